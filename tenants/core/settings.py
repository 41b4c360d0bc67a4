"""Configuration: the environment, read once into one frozen object. Errors name the variable."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from tenants.core.errors import SettingsError
from tenants.core.names import printable
from tenants.core.near import near

STORAGE_SECRETS = ("AWS_", "TENANTS_")
"""What the names of variables begin with that project code never gets to see."""

LOCK_WAIT = 60.0
"""Seconds that a command waits for its turn, if it is not told otherwise."""
MIGRATION_SECONDS = 1800.0
"""That the migrations of one tenant may take."""

VARIABLES = (
    *("TENANTS_STORE", "TENANTS_MIGRATIONS", "TENANTS_SCHEDULE", "TENANTS_KEEP", "TENANTS_KEEP_CHANGES"),
    *("TENANTS_AGE_RECIPIENTS", "TENANTS_AGE_IDENTITY", "TENANTS_DRILL", "TENANTS_HEARTBEAT_URL"),
    *("TENANTS_REHEARSAL", "TENANTS_REHEARSAL_URL", "TENANTS_REHEARSAL_LIMIT", "TENANTS_REHEARSAL_TIMEOUT"),
    *("TENANTS_NOTIFY_URLS", "TENANTS_INCOMPATIBLE", "TENANTS_MOVE_TO", "TENANTS_TRACEBACK"),
    *("TENANTS_CALLED_AS", "TENANTS_SERVICE", "TENANTS_JOBS", "TENANTS_MAX_FAILURES"),
    "TENANTS_SANDBOX",
)
"""All of our own that are read anywhere."""

RECIPIENTS, IDENTITY = "TENANTS_AGE_RECIPIENTS", "TENANTS_AGE_IDENTITY"
REHEARSAL_URL = "TENANTS_REHEARSAL_URL"


def mistyped(names: Iterable[str]) -> list[str]:
    """What to say of variables that nobody reads and that are like one of ours. Of their values nothing is said."""
    told = []
    for name in sorted(names):
        if name.startswith("TENANT") and name not in VARIABLES and (meant := near(name, VARIABLES, cutoff=0.85)):
            told.append(f"nobody reads {printable(name[:80])}; did you mean {' or '.join(meant)}?")
    return told


@dataclass(frozen=True)
class DatabaseUrl:
    """Where PostgreSQL is and who we are there. `str()` and `repr()` never show the password."""

    text: str = field(repr=False)
    user: str
    password: str = field(repr=False)
    where: str
    database: str

    def __str__(self) -> str:
        return f"postgres://{quote(self.user)}:…@{self.where}/{self.database}"

    @classmethod
    def parse(cls, text: str, variable: str = "DATABASE_URL") -> DatabaseUrl:
        """Take the URL as Dokku sets it, or as SQLAlchemy spells it. Raises SettingsError, without the password."""
        text = re.sub(r"^(postgres(?:ql)?)\+\w+://", r"\1://", text.strip())
        if named := re.match(rf"(DATABASE_URL|{REHEARSAL_URL})=", text):
            raise _malformed(variable, f"is not a PostgreSQL URL: it begins with {named[0]} itself: leave that away")
        if not re.match(r"postgres(ql)?://", text):
            scheme = re.match(r"(\w+)://", text)
            found = f"it begins with {scheme[1]}:" if scheme else "it has no scheme"
            raise _malformed(variable, f"is not a PostgreSQL URL: {found}")
        if any("\ud800" <= c <= "\udfff" or c < " " for c in text):
            raise _malformed(variable, "is malformed: it is not UTF-8, or has control characters in it")
        if re.search(r"%(?![0-9a-fA-F]{2})|%00", text):
            raise _malformed(variable, "is malformed: a percent sign in it stands for no character")
        try:
            parts = urlsplit(text)
            port: int | str = parts.port or 5432
            params = dict(parse_qsl(parts.query, keep_blank_values=True))
        except ValueError:
            raise _malformed(variable, "is malformed: its host or port cannot be read") from None
        if parts.fragment:
            raise _malformed(variable, "is malformed: it has a '#' in it")
        # libpq takes these from the parameters as well, and there they would win
        user = params.pop("user", None) or unquote(parts.username or "")
        password = params.pop("password", None) or unquote(parts.password or "")
        database = params.pop("dbname", None) or unquote(parts.path.lstrip("/"))
        host = params.get("host") or parts.hostname
        port = params.get("port") or port
        missing = [what for what, there in (("host", host), ("user", user), ("database", database)) if not there]
        if missing:
            raise _malformed(variable, f"is malformed: it names no {' and no '.join(missing)}")
        assert host is not None
        where = host if host.startswith("/") else f"{host}:{port}"
        path, query = f"/{quote(database, safe='')}", urlencode(params, quote_via=quote)
        whole = _with_login(parts._replace(path=path, query=query), user, password)
        return cls(whole, user, password, where, database)

    def as_login(self, user: str, password: str) -> DatabaseUrl:
        """The same database for another login."""
        return DatabaseUrl(_with_login(urlsplit(self.text), user, password), user, password, self.where, self.database)

    def in_database(self, name: str) -> DatabaseUrl:
        """The same login in another database of the server."""
        text = urlsplit(self.text)._replace(path=f"/{quote(name, safe='')}").geturl()
        return DatabaseUrl(text, self.user, self.password, self.where, name)

    def with_parameter(self, name: str, value: str) -> DatabaseUrl:
        """The same with one more parameter."""
        parts = urlsplit(self.text)
        query = "&".join(filter(None, (parts.query, urlencode({name: value}, quote_via=quote))))
        return replace(self, text=parts._replace(query=query).geturl())

    @property
    def behind_unix_socket(self) -> bool:
        return self.where.startswith("/")

    @property
    def secrets(self) -> tuple[str, ...]:
        """What nobody is to be shown of it: its password, in both ways in which it may be written."""
        return tuple(dict.fromkeys(filter(None, (self.password, quote(self.password, safe="")))))

    def without_password(self) -> str:
        """For a program's command line; the password goes through its environment."""
        return _with_login(urlsplit(self.text), self.user, None)


def _with_login(parts: SplitResult, user: str, password: str | None) -> str:
    login = quote(user, safe="~") + (f":{quote(password, safe='')}" if password else "")
    return parts._replace(netloc=f"{login}@{parts.netloc.rpartition('@')[2]}").geturl()


def _malformed(variable: str, fault: str) -> SettingsError:
    return SettingsError(
        f"{variable} {fault}",
        next="write it as postgres://user:password@host:5432/database, "
        "with special characters of the password percent-encoded",
    )


@dataclass(frozen=True)
class StoreUrl:
    """Where snapshots go: a bucket and prefix of any S3, or a folder."""

    scheme: str
    bucket: str
    prefix: str
    """Within the bucket, without slashes at its ends; for a folder, its absolute path."""

    def __str__(self) -> str:
        if self.scheme == "file":
            return f"file://{self.prefix}"
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def parse_store(text: str) -> StoreUrl:
    """`s3://bucket/prefix` or `file:///folder`. Raises SettingsError."""
    try:
        parts = urlsplit(text.strip())
    except ValueError:
        parts = urlsplit("")
    local = parts.netloc in ("", "localhost") and parts.path.startswith("/") and parts.path != "/"
    if parts.scheme == "file" and local:
        return StoreUrl("file", "", unquote(parts.path).rstrip("/"))
    if parts.scheme == "s3" and re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", parts.netloc):
        return StoreUrl("s3", parts.netloc, parts.path.strip("/"))
    credentials = "it has credentials in it, which belong into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    raise SettingsError(
        f"TENANTS_STORE is not a place for snapshots: {credentials if '@' in text else repr(text)}",
        next="write TENANTS_STORE=s3://bucket/prefix, or TENANTS_STORE=file:///folder",
    )


def check_endpoint(endpoint: str, bucket: str, variable: str) -> None:
    """Say so plainly when the endpoint is one that people paste by mistake. Raises SettingsError."""
    try:
        parts = urlsplit(endpoint)
    except ValueError:
        raise SettingsError(f"{variable} is not a URL: {endpoint!r}", next=f"set {variable}=https://…") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(
            f"{variable} has no https:// in front: {endpoint!r}",
            next=f"set {variable}=https://{endpoint.lstrip('/')}",
        )
    if parts.path.strip("/"):
        raise SettingsError(
            f"{variable} has a path in it ({parts.path!r}): the bucket belongs into TENANTS_STORE, not the endpoint",
            next=f"set {variable}={parts.scheme}://{parts.netloc}, and TENANTS_STORE=s3://{bucket}",
        )
    if parts.hostname.startswith(f"{bucket}.") and parts.hostname.count(".") > 2:
        host = parts.netloc.removeprefix(f"{bucket}.")
        raise SettingsError(
            f"{variable} has the bucket {bucket!r} in its host name: the bucket belongs into TENANTS_STORE alone",
            next=f"set {variable}={parts.scheme}://{host}",
        )


def read_database(environment: Mapping[str, str]) -> DatabaseUrl:
    """DATABASE_URL. Raises SettingsError."""
    url = environment.get("DATABASE_URL", "").strip()
    if not url:
        raise SettingsError(
            "DATABASE_URL is not set",
            next="on Dokku: dokku config:set APP DATABASE_URL=postgres://user:password@host:5432/database",
        )
    return DatabaseUrl.parse(url)


def read_store(environment: Mapping[str, str]) -> StoreUrl | None:
    """TENANTS_STORE, and the endpoint that goes with it looked at; None if it is not set. Raises SettingsError."""
    store = environment.get("TENANTS_STORE", "").strip()
    target = parse_store(store) if store else None
    if target and target.scheme == "s3":
        for variable in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
            if endpoint := environment.get(variable, "").strip():
                check_endpoint(endpoint, target.bucket, variable)
                break
    return target


def read_sandbox(environment: Mapping[str, str]) -> bool:
    """Whether the weak sandbox is accepted beside the admin's URL. Raises SettingsError."""
    value = environment.get("TENANTS_SANDBOX", "").strip().lower()
    if value not in ("", "strong", "weak"):
        raise SettingsError(
            f"TENANTS_SANDBOX is {printable(value[:40])!r}, and has to be strong or weak",
            next="unset TENANTS_SANDBOX, which is the same as strong",
        )
    return value == "weak"


def read_recipients(environment: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, re.split(r"[,\n]", environment.get(RECIPIENTS, "")))))


def read_migrations(environment: Mapping[str, str]) -> Path:
    """Where the revisions are; that alone needs no DATABASE_URL."""
    return Path(environment.get("TENANTS_MIGRATIONS", "").strip() or "migrations").absolute()


@dataclass(frozen=True)
class Settings:
    """All that the environment tells us. Built once, handed on explicitly."""

    database: DatabaseUrl
    store: StoreUrl | None
    migrations: Path
    git_rev: str | None
    recipients: tuple[str, ...]
    """age's public keys that snapshots are encrypted for; none: they are not."""
    identity: Path | None
    """age's identity file, which opens them."""
    rehearsal: DatabaseUrl | None
    """Where a tenant that deploys itself may rehearse."""
    environment: Mapping[str, str] = field(repr=False)

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """Raises SettingsError, which names the variable."""
        return cls(
            database=read_database(environment),
            store=read_store(environment),
            migrations=read_migrations(environment),
            git_rev=_git_rev(environment.get("GIT_REV", "")),
            recipients=read_recipients(environment),
            identity=Path(identity) if (identity := environment.get(IDENTITY, "").strip()) else None,
            rehearsal=DatabaseUrl.parse(room, REHEARSAL_URL)
            if (room := environment.get(REHEARSAL_URL, "").strip())
            else None,
            environment=dict(environment),
        )


def _git_rev(text: str) -> str | None:
    """A commit's hash, or nothing: whatever else stands there would be written into catalog and manifests."""
    text = text.strip().lower()
    return text if re.fullmatch(r"[0-9a-f]{7,64}", text) else None
