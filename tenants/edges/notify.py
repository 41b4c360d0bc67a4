"""Notifications, to wherever people read them: mail, chat, telephone. The one module that knows apprise."""

from __future__ import annotations

import logging

from tenants.core.errors import SettingsError

VARIABLE = "TENANTS_NOTIFY_URLS"


class Notifier:
    """Where a bad night is told. `urls` are apprise's, with white space or commas between; none: nowhere."""

    def __init__(self, urls: str) -> None:
        """Raises SettingsError, without the URL, which has passwords in it."""
        self._there = None
        wanted = urls.replace(",", " ").split()
        if not wanted:
            return
        try:
            import apprise
        except ImportError:
            raise SettingsError(
                f"{VARIABLE} needs the extra 'notify', which is not installed",
                next="pip install 'dokku-tenants[notify]'",
            ) from None
        logging.getLogger("apprise").propagate = False  # what it says of a URL may have the password in it
        self._there = apprise.Apprise()
        for number, url in enumerate(wanted, 1):
            if not self._there.add(url):
                raise SettingsError(
                    f"URL {number} of {VARIABLE} is none that apprise knows",
                    next="see https://github.com/caronc/apprise/wiki",
                )

    def tell(self, title: str, body: str) -> bool:
        """False if it did not arrive everywhere; never raises for that."""
        return self._there is None or bool(self._there.notify(title=title, body=body))
