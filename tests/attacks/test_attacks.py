"""Every attack is tried, in each way in which somebody could, on every server: it is refused for the reason that the
page gives, or does no harm, and nothing that is not the attacker's has changed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import struct
import tempfile
import textwrap
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest
import zstandard
from attacks import archives, bounded, leaks, readers, statements
from attacks.attempt import Told
from attacks.model import Attack, Group, Way
from attacks.revisions import ANOTHER
from attacks.world import SECRET, World, world
from support import until
from throwaway_postgres import Server, throwaway_postgres

from tenants.edges import sql
from tenants.edges.postgres import lock_key
from tenants.usecases import audit

SETTINGS = ("max_prepared_transactions=5", "authentication_timeout=3s")


@pytest.fixture(scope="module")
def server(binaries: Path | None) -> Iterator[Server]:
    """One where more is switched on that a tenant could use."""
    with tempfile.TemporaryDirectory(prefix="tests-") as folder:
        with throwaway_postgres(Path(folder), binaries, SETTINGS) as running:
            yield running


def faults(attacks: Sequence[Attack], told: Sequence[Told]) -> list[str]:
    """What became of the attempts other than it ought to."""
    found = []
    for attack in attacks:
        mine = [(how, state, text) for id_, how, state, text in told if id_ == attack.id]
        if len(mine) < 5:
            found.append(f"{attack.id}: was tried {len(mine)} times")
        for how, state, text in mine:
            if attack.outcome == "denied":
                right = state in attack.expects
            else:
                right = state in attack.expects or (state == "00000" and attack.answers in (None, text))
            if not right:
                found.append(f"{attack.id}, after {how}: {state} {text}")
        if attack.outcome == "harmless" and not any(state in ("00000", "0A000") for _, state, _ in mine):
            found.append(f"{attack.id}: never ran")
    return found


def culprit(server: Server, way: Way, attacks: Sequence[Attack]) -> str:
    """Which of the attacks it is that changes something: halves of them are tried in worlds of their own."""
    while len(attacks) > 1:
        half = attacks[: len(attacks) // 2]
        with world(server) as fresh:
            before = fresh.state()
            fresh.attempt(way, half)
            attacks = half if fresh.state() != before else attacks[len(half) :]
    return attacks[0].id


@pytest.mark.every_server
def test_statements_are_refused_or_do_no_harm(server: Server) -> None:
    wrong = []
    changed: list[tuple[Way, list[Attack]]] = []
    with world(server) as one:
        for way in ("login", "app", "revision", "sql"):
            attacks = [a for group in statements.GROUPS for a in group.attacks if way in a.ways]
            before = one.state()
            try:
                wrong += [f"{way}: {fault}" for fault in faults(attacks, one.attempt(way, attacks))]
            except AssertionError as error:  # what was let through broke the way itself
                wrong.append(f"{way}: {error}")
            if difference := one.state() ^ before:
                wrong.append(f"{way}: changed {sorted(difference)}")
                changed.append((way, attacks))
    wrong += [f"{way}: it was {culprit(server, way, attacks)}" for way, attacks in changed]
    assert not wrong, "\n".join(wrong)


THRESHOLDS = {"1 hour": "0 seconds", "> 10000000": ">= 0", "> 0.1": "> 0", "1 minute": "0 seconds"}
"""What a rule waits for before it speaks, and what a test does not wait for."""


def named(one: World, rule: str) -> list[str]:
    """What that rule of the audit finds of the attacker, with its own query, less the time that it waits."""
    (query,) = (r.query for r in audit.rules() if r.id == rule)
    for patience, none in THRESHOLDS.items():
        query = query.replace(patience, none)
    rows = one.database.sql(f"SET search_path = pg_catalog; {sql.statement('audit_ours')}\n{query}")
    return [found for tenant, found, _ in rows if tenant == "fruits"]


def hold(one: World, attack: Attack, url: str) -> psycopg.Connection:
    """A session that has said the attack's lines, and stays."""
    session = psycopg.connect(url, autocommit=True, prepare_threshold=None)
    with psycopg.connect(url) as other:
        code = re.sub(r"\{key:(.*?)\}", lambda found: str(lock_key(found[1])), attack.code)
        if "{snapshot}" in code:
            other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            code = code.replace("{snapshot}", str(other.execute("SELECT pg_export_snapshot()").fetchone()[0]))  # type: ignore[index]
        for line in code.splitlines():
            if line.startswith("& "):
                session.pgconn.send_query(line[2:].encode())
            else:
                session.execute(line.encode())
    return session


@pytest.mark.every_server
def test_who_holds_on_is_named_and_one_command_ends_it(server: Server) -> None:
    with world(server, "--size", "1MB") as one:
        for way in (0, 1):
            with ExitStack() as stack:
                _hold_all(one, way, stack)
        assert one.database.sql("SELECT 1", url=one.login) == [(1,)]


def _hold_all(one: World, way: int, stack: ExitStack) -> None:
    """All at the same time: each is named, and one command ends them."""
    held = bounded.HELD.attacks
    sessions = []
    for attack in held:
        assert attack.rule
        url = one.app if attack.ways[way] == "app" else one.login
        session = stack.enter_context(closing(hold(one, attack, url)))
        if attack.id == "hold-notifications":
            one.database.sql("SELECT pg_notify('loot', n || repeat('x', 7000)) FROM generate_series(1, 30) n")
        found = named(one, attack.rule)
        if "pid" in str(found):
            found = [line for line in found if f"pid {session.info.backend_pid} " in line]
        assert found, f"{attack.id} is not named"
        sessions.append(session)
    rules = {finding["rule"] for finding in one.place.tenants("audit", "fruits", "--json").json["findings"]}
    assert rules >= {attack.rule for attack in held} - {"long-transaction", "notifications"}  # which wait before
    done = one.place.tenants("suspend", "fruits")
    assert done.code == 0, done.said
    assert [refused(url, "SELECT 1") is None for url in (one.login, one.app)] == [False, False]
    for attack, session in zip(held, sessions, strict=True):
        assert attack.rule
        assert named(one, attack.rule) == [], attack.id
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert one.database.sql("SELECT gid FROM pg_prepared_xacts") == [("theirs",)]
    assert one.place.tenants("resume", "fruits").code == 0


def by_id(group: Group, id_: str) -> Attack:
    return next(attack for attack in group.attacks if attack.id == id_)


def refused(url: str, code: str) -> str | None:
    """The SQLSTATE with which it is."""
    try:
        with psycopg.connect(url, autocommit=True) as session:
            session.execute(code.encode())
    except psycopg.Error as error:
        return error.sqlstate or str(error)
    return None


@pytest.mark.every_server
def test_who_uses_something_up_meets_a_limit_or_is_named_and_ended(server: Server) -> None:
    limits = ("--size", "1MB", "--temp-file-limit", "5MB", "--connections", "5", "--objects", "50")
    with world(server, *limits) as one:
        for id_ in ("fill-schema", "fill-large-objects"):
            attack = by_id(bounded.FILLED, id_)
            assert attack.rule and named(one, attack.rule) == []
            one.database.sql(attack.code, url=one.app if id_ == "fill-schema" else one.login)
            assert len(named(one, attack.rule)) == 1, id_
        for id_ in ("fill-catalogs", "fill-catalogs-functions", "fill-records"):
            attack = by_id(bounded.FILLED, id_)
            assert attack.rule
            if id_ != "fill-catalogs-functions":
                assert named(one, attack.rule) == []
            one.database.sql(attack.code, url=one.login)
            assert len(named(one, attack.rule)) == 1, id_
        one.database.sql("UPDATE tenants.tenants SET objects = 160 WHERE name = 'fruits'")
        assert named(one, "objects") == []
        with closing(psycopg.connect(one.login, autocommit=True)) as session:
            session.execute(by_id(bounded.FILLED, "fill-catalogs-temporary").code.encode())
            assert len(named(one, "objects")) == 1
        assert refused(one.app, by_id(bounded.FILLED, "fill-files").code) == "53400"

        with ExitStack() as stack:
            for _ in range(5):
                stack.enter_context(psycopg.connect(one.login))
            assert "too many connections for role" in str(refused(one.login, "SELECT 1"))
            assert refused(one.database.url, "SELECT 1") is None

        with ExitStack() as stack:

            def knock() -> bool:
                """Say who one is, and no password; until nobody gets in any more."""
                door = stack.enter_context(socket.socket())
                door.connect(("127.0.0.1", server.port))
                greeting = b"user\0postgres\0database\0db.main\0\0"
                door.sendall(struct.pack("!ii", 8 + len(greeting), 3 << 16) + greeting)
                return "too many clients" in str(refused(one.database.url, "SELECT 1"))

            until(knock, "nobody gets in")
            until(lambda: refused(one.database.url, "SELECT 1") is None, "authentication_timeout has ended them")

        hog = psycopg.connect(one.login, autocommit=True)
        assert hog.execute("SELECT 1").fetchone() is not None
        with pytest.raises(psycopg.errors.OutOfMemory):
            hog.execute(by_id(bounded.FILLED, "fill-locks").code.encode())
        assert "out of shared memory" in str(refused(one.database.url, "SELECT 1"))
        os.kill(hog.info.backend_pid, signal.SIGTERM)  # what a restart does to every session
        until(lambda: refused(one.database.url, "SELECT 1") is None, "the server has locks again")
        hog.close()


def test_a_tenant_that_holds_its_own_role_keeps_nobody_from_being_mended(server: Server) -> None:
    with world(server) as one, closing(hold(one, by_id(bounded.FILLED, "hold-mending"), one.login)):
        one.database.sql("ALTER ROLE apples LOGIN; ALTER ROLE fruits CREATEDB")
        done = one.place.tenants("apply", "--json")
        assert done.code == 0, done.said
        powers = one.database.sql("SELECT rolname FROM pg_roles WHERE rolname IN ('apples', 'fruits') AND rolcanlogin")
        assert powers == []
        found = one.place.tenants("audit", "--json").json["findings"]
        assert {f["tenant"] for f in found if f["rule"] == "role-own-settings"} == set(), "who held it was ended"


def test_a_tenant_that_comes_back_again_and_again_is_shut_out_all_the_same(server: Server) -> None:
    with world(server) as one:
        over = threading.Event()
        attack = by_id(bounded.FILLED, "storm")

        def storm() -> None:
            while not over.is_set():
                try:
                    with closing(psycopg.connect(one.login, autocommit=True)) as session:
                        for line in attack.code.splitlines():
                            session.execute(line.encode())
                        over.wait()
                except psycopg.Error:
                    continue

        threads = [threading.Thread(target=storm) for _ in range(6)]
        try:
            for thread in threads:
                thread.start()
            until(
                lambda: one.database.sql("SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"), "they wait"
            )
            done = one.place.tenants("suspend", "fruits")
            assert done.code == 0, done.said
            assert "not permitted to log in" in str(refused(one.login, "SELECT 1"))
            assert one.database.sql("SELECT pid FROM pg_stat_activity WHERE usename LIKE 'fruits~%'") == []
        finally:
            over.set()
            for thread in threads:
                thread.join()


@pytest.mark.every_server
def test_what_the_page_says_can_be_seen_can_be_seen(server: Server) -> None:
    with world(server) as one:
        hidden = [leak.what for leak in leaks.LEAKS if one.database.sql(leak.query, url=one.app)[0][0] is not True]
        assert hidden == []
        with psycopg.connect(one.app, autocommit=True) as spy, psycopg.connect(one.place.url_of("apples")) as theirs:
            spy.execute("LISTEN orders")
            theirs.execute("NOTIFY orders, 'a customer of apples'")
            theirs.commit()
            assert [heard.payload for heard in spy.notifies(timeout=30, stop_after=1)] == ["a customer of apples"]


@pytest.mark.every_server
def test_what_runs_in_a_session_of_a_read_only_login_reaches_one_tenant(server: Server) -> None:
    with world(server) as one:
        made = one.place.tenants("reader", "boss", "--of", "fruits,apples", "--json")
        assert made.code == 0, made.said
        url = {login["tenant"]: str(login["url"]) for login in made.json["logins"]}
        one.database.sql(readers.PLANTED, url=one.login)
        wrong = []
        with psycopg.connect(one.database.url, autocommit=True) as listens:
            listens.execute("LISTEN loot")
            for attack in readers.GROUPS[0].attacks:
                plants, _, reads = attack.code.partition(readers.READS)
                one.database.sql(plants, url=one.login)
                assert one.place.tenants("apply", "fruits").code == 0  # what is new can be read
                list(listens.notifies(timeout=0.2))
                one.database.sql(reads, url=url["fruits"])
                heard = [sent.payload for sent in listens.notifies(timeout=5, stop_after=1)]
                heard += [sent.payload for sent in listens.notifies(timeout=0.1)]
                if set(heard) != {"fruits~reader~boss denied"}:
                    wrong.append(f"{attack.id}: {heard}")
                theirs = f"SELECT count(*) FROM items WHERE name = '{SECRET}' AND upper(name) <> 'x'"
                assert one.database.sql(theirs, url=url["apples"]) == [(100,)]
                if heard := [sent.payload for sent in listens.notifies(timeout=0.2)]:
                    wrong.append(f"{attack.id}, beside a query of the neighbour: {heard}")
        assert not wrong, "\n".join(wrong)
        assert refused(url["fruits"], "SELECT name FROM apples.items") == "42501"


def forge(one: World, manifest: Path, claims: dict[str, object]) -> None:
    """A manifest that the catalog knows: an app that takes its own snapshots has its own word for it."""
    text = json.dumps(json.loads(manifest.read_text()) | claims)
    manifest.write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    one.database.sql("UPDATE tenants.snapshots SET manifest = %s WHERE id = %s", [digest, manifest.stem])


def test_an_archive_that_is_forged_starts_nothing_and_reaches_nobody(server: Server) -> None:
    with world(server) as one:
        marker = "m" * archives.ROOM
        one.database.sql(f"COMMENT ON TABLE fruits.items IS '{marker}'")
        taken = one.place.tenants("snapshot", "fruits", "--json").json["id"]
        (archive,) = one.place.store.glob(f"*/fruits/{taken}.dump.zst")
        manifest = archive.with_suffix("").with_suffix(".json")
        whole = zstandard.ZstdDecompressor().decompressobj().decompress(archive.read_bytes())
        assert whole.count(marker.encode()) == 1
        before, wrong = one.state(), []
        for attack in archives.GROUPS[0].attacks:
            code = attack.code.replace("{loot}", str(one.loot)).ljust(archives.ROOM).encode()
            raw = whole.replace(marker.encode(), code)
            packed = zstandard.ZstdCompressor().compress(raw)
            archive.write_bytes(packed)
            told = {"size": len(packed), "raw_size": len(raw), "sha256": hashlib.sha256(packed).hexdigest()}
            forge(one, manifest, told)
            done = one.place.tenants("restore", "fruits", taken)
            if done.code != 5 or "could not be replayed" not in done.err or attack.expects[0] not in done.err:
                wrong.append(f"{attack.id}: {done.code} {done.said}")
            known = {
                s for s in before ^ one.state() if not s[0].startswith("schema fruits~before") and s[0] != "schemas"
            }
            if known:
                wrong.append(f"{attack.id}: changed {known}")
        assert not wrong, "\n".join(wrong)


def test_lies_about_an_archive_are_found_out(server: Server) -> None:
    with world(server) as one:
        one.database.sql("ROLLBACK PREPARED 'theirs'")
        taken = {name: one.place.tenants("snapshot", name, "--json").json["id"] for name in ("apples", "fruits")}
        (archive,) = one.place.store.glob(f"*/fruits/{taken['fruits']}.dump.zst")
        (theirs,) = one.place.store.glob(f"*/apples/{taken['apples']}.dump.zst")
        manifest = archive.with_suffix("").with_suffix(".json")
        zeros = bytes(1 << 30)
        bomb = zstandard.ZstdCompressor().compress(zeros)
        told = json.loads(theirs.with_suffix("").with_suffix(".json").read_text())
        honest = {"raw_size": told["raw_size"]}
        id_ = taken["fruits"]
        lies: dict[str, tuple[bytes, dict[str, object], str]] = {
            "archive-bomb": (bomb, {"raw_size": 10}, id_),
            "archive-bomb-that-is-told": (bomb, {"raw_size": len(zeros)}, id_),
            "archive-swapped": (theirs.read_bytes(), honest, id_),
            "archive-elsewhere": (theirs.read_bytes(), honest, f"../apples/{taken['apples']}"),
        }
        before = one.state()
        wrong = []
        for attack in archives.GROUPS[1].attacks:
            data, claims, wanted = lies[attack.id]
            archive.write_bytes(data)
            claims |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            forge(one, manifest, claims)
            done = one.place.tenants("restore", "fruits", wanted)
            if done.code not in (2, 5) or attack.expects[0] not in done.err or one.state() != before:
                wrong.append(f"{attack.id}: {done.code} {done.said} {one.state() ^ before}")
        assert not wrong, "\n".join(wrong)


def test_a_deploy_role_leaves_no_prepared_transaction(server: Server) -> None:
    with world(server) as one:
        lines = by_id(bounded.FILLED, "leave-prepared").code.splitlines()
        done = one.deploy(
            textwrap.dedent(ANOTHER) + f"other = another()\nfor line in {lines!r}:\n    other.execute(line)\n"
        )
        assert done.code == 0, done.said
        assert one.database.sql("SELECT gid FROM pg_prepared_xacts") == [("theirs",)]
        assert [role for role in one.database.roles() if "~deploy~" in role] == []
