"""Settings: the environment read, its faults named, and a password that shows nowhere."""

from __future__ import annotations

import string
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tenants.core.errors import SettingsError
from tenants.core.settings import DatabaseUrl, Settings, StoreUrl, check_endpoint, parse_store

URL = "postgres://fruits~abc:s3cret-w0rd@db.example.com:5433/db.main"
ODD = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=30)
PASSWORDS = st.text(string.ascii_letters + string.digits + "~!@#$%^&*()/?:;+ '\"\\äß", min_size=8, max_size=30)


@given(ODD, ODD)
def test_a_login_with_odd_name_and_password_comes_back_from_its_url(user: str, password: str) -> None:
    made = DatabaseUrl.parse(URL).as_login(user, password)
    again = DatabaseUrl.parse(made.text)
    assert (again.user, again.password) == (user, password)
    assert (again.where, again.database) == ("db.example.com:5433", "db.main")
    assert again == made


@given(ODD, PASSWORDS)
def test_the_password_never_shows_in_what_is_printed_or_put_on_a_command_line(user: str, password: str) -> None:
    url = DatabaseUrl.parse(f"postgres://{quote(user, safe='')}:{quote(password, safe='')}@host/database")
    assume(password not in f"{user} {quote(user)} {DatabaseUrl.parse('postgres://u:p@host/database')!r}")
    for shown in (str(url), repr(url), f"{url}", f"{url!r}", url.without_password()):
        assert password not in shown
        assert quote(password, safe="") not in shown
    without = DatabaseUrl.parse(url.without_password())
    assert (without.user, without.password, without.database) == (user, "", "database")


def test_a_password_in_the_urls_parameters_does_not_get_on_a_command_line() -> None:
    try:
        url = DatabaseUrl.parse("postgres://fruits@host/database?password=s3cret-w0rd&sslmode=require")
    except SettingsError as error:
        assert "s3cret-w0rd" not in f"{error.message}{error.next}"
    else:
        assert "s3cret-w0rd" not in f"{url}{url!r}{url.without_password()}"
        assert url.password == "s3cret-w0rd"


@pytest.mark.parametrize("parameter", ["user=postgres", "password=x", "dbname=other"])
def test_parameters_of_the_admins_url_that_say_who_or_where_do_not_get_into_a_tenants_url(parameter: str) -> None:
    try:
        url = DatabaseUrl.parse(f"postgres://admin:s3cret-w0rd@host/database?{parameter}")
    except SettingsError:
        return
    assert parameter not in url.as_login("fruits~abc", "password").text


def test_the_settings_show_neither_password_nor_storage_secret() -> None:
    settings = Settings.read({"DATABASE_URL": URL, "AWS_SECRET_ACCESS_KEY": "storage-secret"})
    assert "s3cret" not in repr(settings) and "storage-secret" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "user", "where", "database"),
    [
        (URL, "fruits~abc", "db.example.com:5433", "db.main"),
        ("postgresql://u:p@host/d", "u", "host:5432", "d"),
        ("postgresql+psycopg://u:p@host/d", "u", "host:5432", "d"),
        ("postgres+asyncpg://u:p@host/d", "u", "host:5432", "d"),
        ("  postgres://u:p@host/d\n", "u", "host:5432", "d"),
        ("postgres://u@host/d", "u", "host:5432", "d"),
        ("postgres://u:p@/d?host=/run/postgresql", "u", "/run/postgresql", "d"),
        ("postgres://u:p%40%2F%23@host:6543/d%2Fe?sslmode=require", "u", "host:6543", "d/e"),
        ("postgres://u:p@ss@host/d", "u", "host:5432", "d"),
    ],
)
def test_a_url_is_taken_as_dokku_or_sqlalchemy_writes_it(text: str, user: str, where: str, database: str) -> None:
    url = DatabaseUrl.parse(text)
    assert (url.user, url.where, url.database) == (user, where, database)
    assert url.text.startswith(("postgres://", "postgresql://"))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("host.example.com", "it has no scheme"),
        ("DATABASE_URL=postgres://fruits:s3cret-w0rd@host/database", "it begins with DATABASE_URL= itself"),
        ("fruits:s3cret-w0rd@host:5432/database", "it has no scheme"),
        ("//fruits:s3cret-w0rd@host/database", "it has no scheme"),
        ("mysql://fruits:s3cret-w0rd@host/database", "it begins with mysql:"),
        ("https://fruits:s3cret-w0rd@host/database", "it begins with https:"),
        ("postgres://fruits:s3cret-w0rd@/database", "names no host"),
        ("postgres://host/database", "names no user"),
        ("postgres://fruits:s3cret-w0rd@host", "names no database"),
        ("postgres://fruits:s3cret-w0rd@host/", "names no database"),
        ("postgres://", "names no host and no user and no database"),
        ("postgres://fruits:s3cret-w0rd@host:port/database", "host or port cannot be read"),
        ("postgres://fruits:s3cret-w0rd@host:99999/database", "host or port cannot be read"),
        ("postgres://fruits:s3cret-w0rd@[::1/database", "host or port cannot be read"),
        ("postgres://fruits:s3cret-#w0rd@host/database", "host or port cannot be read"),
        ("postgres://fruits:s3cret-/w0rd@host/database", "host or port cannot be read"),
        ("postgres://fruits:s3cret-?w0rd@host/database", "host or port cannot be read"),
        ("postgres://fruits:12#w0rd@host/database", "malformed"),
        ("postgres://fruits:s3cret-w0rd@host/database#fragment", "has a '#' in it"),
        ("postgres://fruits:s3cret-w0%rd@host/database", "percent"),
        ("postgres://fruits:s3cret-w0%00rd@host/database", "percent"),
    ],
)
def test_a_malformed_url_is_named_with_its_fault_and_without_the_password(text: str, fault: str) -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL") as caught:
        DatabaseUrl.parse(text)
    shown = f"{caught.value.message} {caught.value.next}"
    assert fault in shown
    assert "s3cret" not in shown and "w0rd" not in shown and "w0" not in shown
    assert "postgres://user:password@host:5432/database" in shown


@given(st.text() | st.text().map(lambda t: f"postgres://u:s3cret-w0rd@{t}"))
def test_any_text_is_a_url_or_a_named_fault(text: str) -> None:
    try:
        url = DatabaseUrl.parse(text)
    except SettingsError as error:
        assert "DATABASE_URL" in error.message
        assert "s3cret-w0rd" not in f"{error.message}{error.next}"
    else:
        assert url.user and url.database and url.where


@given(st.text() | st.text().map(lambda t: f"s3://{t}") | st.text().map(lambda t: f"file://{t}"))
def test_any_text_is_a_store_or_a_named_fault(text: str) -> None:
    try:
        store = parse_store(text)
    except SettingsError as error:
        assert "TENANTS_STORE" in error.message
    else:
        assert store.prefix.startswith("/") if store.scheme == "file" else store.bucket


@pytest.mark.parametrize(
    ("text", "store"),
    [
        ("s3://db-backups/prod", StoreUrl("s3", "db-backups", "prod")),
        ("s3://db-backups/a/b/", StoreUrl("s3", "db-backups", "a/b")),
        ("s3://db-backups", StoreUrl("s3", "db-backups", "")),
        ("s3://db.backups.example", StoreUrl("s3", "db.backups.example", "")),
        ("file:///var/backups/", StoreUrl("file", "", "/var/backups")),
        ("file://localhost/var/backups", StoreUrl("file", "", "/var/backups")),
        ("file:///var/my%20backups", StoreUrl("file", "", "/var/my backups")),
    ],
)
def test_a_store_is_a_bucket_or_a_folder(text: str, store: StoreUrl) -> None:
    assert parse_store(text) == store
    assert parse_store(str(store).replace(" ", "%20")) == store


@pytest.mark.parametrize(
    "text",
    [
        *(
            "db-backups/prod",
            "/var/backups",
            "http://db-backups",
            "s3://",
            "s3:///prefix",
            "s3://Db_Backups",
            "s3://ab",
        ),
        *(
            "file://",
            "file:///",
            "file://relative/path",
            "file:relative",
            "s3://[db-backups",
            "gs://bucket",
            "s3:bucket",
        ),
    ],
)
def test_a_malformed_store_is_named_with_the_way_to_write_it(text: str) -> None:
    with pytest.raises(SettingsError, match="TENANTS_STORE") as caught:
        parse_store(text)
    assert "s3://bucket/prefix" in str(caught.value.next) and "file:///folder" in str(caught.value.next)


def test_credentials_pasted_into_the_store_are_refused_and_not_shown() -> None:
    with pytest.raises(SettingsError, match="TENANTS_STORE") as caught:
        parse_store("s3://AKIAEXAMPLE:storage-secret@db-backups/prod")
    assert "storage-secret" not in f"{caught.value.message} {caught.value.next}"


@pytest.mark.parametrize(
    ("endpoint", "fault", "mended"),
    [
        ("account.r2.cloudflarestorage.com", "no https://", "https://account.r2.cloudflarestorage.com"),
        ("//account.r2.cloudflarestorage.com", "no https://", "https://account.r2.cloudflarestorage.com"),
        ("account.r2.cloudflarestorage.com:443", "no https://", "https://account.r2.cloudflarestorage.com:443"),
        ("https://account.r2.cloudflarestorage.com/db-backups", "path", "https://account.r2.cloudflarestorage.com,"),
        (
            "https://db-backups.account.r2.cloudflarestorage.com",
            "host name",
            "https://account.r2.cloudflarestorage.com",
        ),
        ("https://db-backups.s3.eu-west-1.amazonaws.com", "host name", "https://s3.eu-west-1.amazonaws.com"),
    ],
)
def test_an_endpoint_that_people_paste_by_mistake_is_mended_in_the_message(
    endpoint: str, fault: str, mended: str
) -> None:
    with pytest.raises(SettingsError, match="AWS_ENDPOINT_URL_S3") as caught:
        check_endpoint(endpoint, "db-backups", "AWS_ENDPOINT_URL_S3")
    assert fault in caught.value.message
    assert f"AWS_ENDPOINT_URL_S3={mended}" in str(caught.value.next)


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://account.r2.cloudflarestorage.com",
        "https://account.r2.cloudflarestorage.com/",
        "http://127.0.0.1:9000",
        "http://minio:9000",
        "https://s3.eu-central-1.amazonaws.com",
    ],
)
def test_an_endpoint_that_is_right_is_taken(endpoint: str) -> None:
    check_endpoint(endpoint, "db-backups", "AWS_ENDPOINT_URL_S3")


@given(st.text() | st.text().map(lambda t: f"https://{t}"))
def test_any_text_is_an_endpoint_or_a_named_fault(endpoint: str) -> None:
    try:
        check_endpoint(endpoint, "db-backups", "AWS_ENDPOINT_URL")
    except SettingsError as error:
        assert "AWS_ENDPOINT_URL" in error.message


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
def test_both_variables_for_the_endpoint_are_looked_at(variable: str) -> None:
    environment = {"DATABASE_URL": URL, "TENANTS_STORE": "s3://db-backups", variable: "no-scheme.example.com"}
    with pytest.raises(SettingsError, match=variable):
        Settings.read(environment)
    Settings.read({**environment, "TENANTS_STORE": "file:///var/backups"})


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_database_url_is_named_with_dokkus_command_for_it(value: str | None) -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL is not set") as caught:
        Settings.read({} if value is None else {"DATABASE_URL": value})
    assert "dokku config:set" in str(caught.value.next)


def test_what_is_not_set_has_its_default() -> None:
    settings = Settings.read({"DATABASE_URL": URL, "TENANTS_STORE": "", "TENANTS_MIGRATIONS": ""})
    assert settings.store is None
    assert settings.migrations == Path("migrations").absolute()
    assert settings.git_rev is None


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("8843d7f92416211de9ebb963ff4ce28125932878", "8843d7f92416211de9ebb963ff4ce28125932878"),
        ("8843D7F", "8843d7f"),
        (" 8843d7f\n", "8843d7f"),
        ("", None),
        ("main", None),
        ("8843d7", None),
        ("8843d7f; DROP TABLE", None),
        ("a" * 65, None),
    ],
)
def test_git_rev_is_a_commits_hash_or_nothing(text: str, taken: str | None) -> None:
    assert Settings.read({"DATABASE_URL": URL, "GIT_REV": text}).git_rev == taken
