"""When the nightly run is due."""

from __future__ import annotations

from datetime import datetime, timedelta

from cronsim import CronSim, CronSimError

from tenants.core.errors import UsageError

DEFAULT = "0 3 * * *"


def check(expression: str) -> str:
    """Return the five-field cron expression. Raises UsageError."""
    try:
        if len(expression.split()) != 5:
            raise CronSimError("it has not five fields")
        CronSim(expression, datetime(2000, 1, 1))
    except CronSimError as error:
        raise UsageError(
            f"schedule {expression!r} is not one that cron knows: {error}", next=f"write it as '{DEFAULT}'"
        ) from None
    return expression


def next_after(expression: str, moment: datetime) -> datetime:
    """The first time after `moment` that the expression names, in the time zone of `moment`."""
    return next(CronSim(expression, moment))


def last_before(expression: str, moment: datetime) -> datetime:
    """The last time at or before `moment` that the expression names: the beginning of the period it lies in."""
    return next(CronSim(expression, moment.replace(microsecond=0) + timedelta(seconds=1), reverse=True))
