"""The heartbeat: a URL that is called when a night went well, so that somebody notices when it is not."""

from __future__ import annotations

from urllib.parse import urlsplit

from tenants import __version__
from tenants.core.errors import SettingsError

SECONDS = 10


def check(url: str, variable: str) -> str:
    """Return the URL. Raises SettingsError, without what it has in it: it is a secret of a kind."""
    try:
        sound = urlsplit(url).scheme in ("http", "https") and bool(urlsplit(url).hostname)
    except ValueError:
        sound = False
    if not sound:
        raise SettingsError(f"{variable} is not a URL", next=f"set {variable}=https://…")
    return url


def beat(url: str) -> str | None:
    """Call the URL. Returns why it could not be done, None if it was; never raises for that."""
    from urllib.request import Request, urlopen  # here, since every command imports this module and one needs it

    request = Request(url, headers={"User-Agent": f"dokku-tenants/{__version__}"})  # noqa: S310  # checked above
    try:
        with urlopen(request, timeout=SECONDS):  # noqa: S310
            return None
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
