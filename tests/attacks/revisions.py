"""Revisions: what the Python of a revision may try under the admin's pipeline. Each is pushed for real, and what has to
hold after each is in tests/acceptance/test_hostile_revisions.py."""

from __future__ import annotations

from typing import Literal

from attacks.model import Attack, Group

ANOTHER = """
    import os, sys, threading, time
    import psycopg
    raw = op.get_bind().connection.driver_connection
    def another():
        info = raw.info
        return psycopg.connect(host=info.host, port=info.port, user=info.user, password=info.password,
                               dbname=info.dbname, autocommit=True, prepare_threshold=None)
"""
"""The beginning of a revision that opens further sessions, with what it was given to connect."""

ENDS = {
    "commit": """
        op.execute("CREATE TABLE loot (x int)")
        op.execute("COMMIT")
        op.execute("CREATE TABLE more (x int)")
    """,
    "commit-in-one-string": """op.execute("CREATE TABLE loot (x int); COMMIT; CREATE TABLE more (x int)")""",
    "end-and-chain": """op.execute("CREATE TABLE loot (x int); COMMIT AND CHAIN; CREATE TABLE more (x int)")""",
    "commit-of-the-connection": """
        op.execute("CREATE TABLE loot (x int)")
        op.get_bind().commit()
    """,
    "commit-of-the-driver": """
        op.execute("CREATE TABLE loot (x int)")
        op.get_bind().connection.driver_connection.commit()
    """,
    "commit-in-a-block": """op.execute("CREATE TABLE loot (x int); DO $$BEGIN COMMIT; END$$")""",
    "rollback": """
        op.execute("ROLLBACK")
        op.execute("CREATE TABLE loot (x int)")
    """,
    "rollback-of-the-connection": """
        op.get_bind().rollback()
        op.execute("CREATE TABLE loot (x int)")
    """,
    "rollback-of-the-driver": """
        op.get_bind().connection.driver_connection.rollback()
        op.execute("CREATE TABLE loot (x int)")
    """,
    "rollback-then-commit": """
        op.execute("ROLLBACK")
        op.execute("CREATE TABLE loot (x int)")
        op.execute("COMMIT")
    """,
    "constraints-first": """op.execute("CREATE TABLE loot (x int); SET CONSTRAINTS ALL IMMEDIATE; COMMIT")""",
    "drop-the-guard": """op.execute("CREATE TABLE loot (x int); DROP TABLE pg_temp.tenants_transaction; COMMIT")""",
    "discard-the-guard": """op.execute("CREATE TABLE loot (x int); DISCARD TEMP; COMMIT")""",
    "prepare": """op.execute("CREATE TABLE loot (x int); PREPARE TRANSACTION 'left'")""",
}

ESCAPES = {
    "empty-the-guard": """op.execute(
        "CREATE TABLE loot (x int); DELETE FROM pg_temp.tenants_transaction; COMMIT; CREATE TABLE more (x int)")""",
    "rollback-and-commit-in-one-string": """op.execute("ROLLBACK; CREATE TABLE loot (x int); COMMIT")""",
    "second-session": ANOTHER
    + """
    another().execute("CREATE TABLE loot (x int)")
    raise RuntimeError("after the fact")
    """,
    "version-by-hand": ANOTHER
    + """
    other = another()
    other.execute("UPDATE alembic_version SET version_num = '0002'")
    raise RuntimeError("nothing of this revision was done")
    """,
}

ROWS = {
    "rows-second-session": ANOTHER
    + """
    another().execute("DELETE FROM items")
    raise RuntimeError("after the fact")
    """,
    "rows-analyzed": ANOTHER
    + """
    other = another()
    other.execute("UPDATE items SET name = name || '!'")
    other.execute("ANALYZE items")
    raise RuntimeError("after the fact")
    """,
    "rows-same-session": """op.execute("ROLLBACK; DELETE FROM items; COMMIT")""",
    "rows-killed": ANOTHER
    + """
    other = another()
    other.execute("DELETE FROM items WHERE name = 'apple'")
    os._exit(0)
    """,
}
"""What changes rows alone, so that no definition is another one after it."""

OWN = {
    "password-of-the-owner": (ANOTHER + """    another().execute("ALTER ROLE fruits PASSWORD 'mine'")"""),
    "set-role-none": """
        op.execute("SET ROLE NONE")
        op.execute("SET ROLE fruits")
    """,
    "reset-role": """
        op.execute("RESET ROLE")
        op.create_table("colours", sa.Column("name", sa.Text))
    """,
    "session-kept-by-a-thread": ANOTHER
    + """
    def keep():
        other = another()
        other.execute("LISTEN loot")
        while True:
            time.sleep(1)
    threading.Thread(target=keep).start()
    time.sleep(0.3)
    """,
    "session-kept-by-a-daemon": ANOTHER
    + """
    ready, go = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        other = another()
        other.execute("SELECT set_config('application_name', 'kept', false)")
        os.write(go, b".")
        for fd in range(3, 100):
            if fd != other.fileno():
                try:
                    os.close(fd)
                except OSError:
                    pass
        while True:
            time.sleep(1)
    os.read(ready, 1)
    """,
    "a-few-forks": """
        import os, time
        for _ in range(4):
            if os.fork() == 0:
                os.setsid()
                for _ in range(3):
                    os.fork()
                while True:
                    time.sleep(1)
    """,
    "children-that-die-and-are-born": """
        import os, time
        if os.fork() == 0:
            end = time.monotonic() + 20
            while time.monotonic() < end:
                if os.fork():
                    os._exit(0)
                os.setsid()
    """,
    "flood": """
        import sys
        for _ in range(3000):
            sys.stdout.write("x" * 10000)
    """,
    "escape-sequences": r"""
        import sys
        sys.stdout.write("\x1b]0;owned\x07\x1b[2J\x1b[31mfruits   migrated\x9b2J\u202e")
    """,
    "deep-folders": """
        import os
        os.chdir(os.environ["TMPDIR"])
        for _ in range(3000):
            os.mkdir("d")
            os.chdir("d")
        os.chdir("/")
    """,
    "closed-folders": """
        import os
        folder = os.path.join(os.environ["TMPDIR"], "closed", "inner")
        os.makedirs(folder)
        os.chmod(folder, 0)
        os.chmod(os.path.dirname(folder), 0)
    """,
    "role-settings": ANOTHER
    + """
    other = another()
    other.execute("SET ROLE NONE")
    other.execute("ALTER ROLE CURRENT_USER SET statement_timeout = 1")
    other.execute("ALTER ROLE CURRENT_USER SET search_path = apples")
    """,
    "endless-reports": """
        import os, stat
        for fd in range(3, 30):
            try:
                if stat.S_ISFIFO(os.fstat(fd).st_mode):
                    os.write(fd, b'{"event": "applied", "revision": "9999"}\\n' * 50000)
            except OSError:
                pass
    """,
}

STOPPED = {
    "set-role-none": """
        op.execute("SET ROLE NONE")
        op.execute("CREATE TABLE fruits.loot (x int)")
    """,
    "set-session-authorization": """op.execute("SET SESSION AUTHORIZATION postgres")""",
    "exit-0-at-once": "__import__('os')._exit(0)",
    "sys-exit": "__import__('sys').exit(0)",
    "system-exit-of-none": "raise SystemExit",
    "keyboard-interrupt": "raise KeyboardInterrupt",
    "kill-itself": "__import__('os').kill(__import__('os').getpid(), 9)",
    "sleep": "__import__('time').sleep(60)",
    "session-ended-from-within": """op.execute("SELECT pg_terminate_backend(pg_backend_pid())")""",
    "version-by-hand": """op.execute("UPDATE alembic_version SET version_num = '0002'")""",
    "version-emptied": """op.execute("DELETE FROM alembic_version")""",
    "version-dropped": """op.execute("DROP TABLE alembic_version")""",
    "version-hidden": """op.execute("ALTER TABLE alembic_version RENAME TO loot")""",
    "recursion": """
        def again():
            again()
        again()
    """,
    "forged-reports": r"""
        import json, os, time
        forged = [
            {"event": "applied", "revision": "0002"}, {"event": "done"},
            {"event": {}}, [], 1, None, {"event": "applied"},
            {"event": "failed", "kind": "Busy", "text": "\x1b[2J\ud800", "where": 1, "statement": {}},
        ]
        for line in [*map(json.dumps, forged), "[" * 200000, "1" * 10000, "\x00\xff", '{"event": NaN}', "{"]:
            for fd in range(3, 30):
                try:
                    os.write(fd, line.encode("latin-1") + b"\n")
                except OSError:
                    pass
        os._exit(0)
    """,
    "an-error-named-like-ours": """
        class Busy(Exception):
            pass
        raise Busy("go away")
    """,
    "an-error-that-is-an-essay": "raise RuntimeError('x' * 3000000)",
    "an-error-that-cannot-be-told": """
        class Mute(Exception):
            def __str__(self):
                raise RuntimeError("no")
        raise Mute
    """,
    "closed-files": """
        import os
        os.closerange(0, 100)
        raise RuntimeError
    """,
    "daemon-that-floods": """
        import os
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            while True:
                for fd in range(1, 30):
                    try:
                        os.write(fd, b"x" * 4096)
                    except OSError:
                        pass
        os._exit(7)
    """,
    "no-other-database": ANOTHER
    + """
    for name in ("postgres", "template1"):
        try:
            psycopg.connect(host=raw.info.host, port=raw.info.port, user=raw.info.user,
                            password=raw.info.password, dbname=name)
        except psycopg.OperationalError:
            continue
        raise SystemExit("could connect to another database, and so it goes on")
    raise RuntimeError
    """,
}

_TITLES = {
    "commit": "Commit half of the migration",
    "commit-in-one-string": "Commit in the middle of a string of statements",
    "end-and-chain": "Commit and begin anew in one breath",
    "commit-of-the-connection": "Commit through SQLAlchemy's connection",
    "commit-of-the-driver": "Commit through the driver's connection",
    "commit-in-a-block": "Commit in a DO block",
    "rollback": "Roll back what came before, and go on",
    "rollback-of-the-connection": "Roll back through SQLAlchemy's connection",
    "rollback-of-the-driver": "Roll back through the driver's connection",
    "rollback-then-commit": "Roll back, begin anew and commit",
    "constraints-first": "Have the guard's constraint checked early, and commit",
    "drop-the-guard": "Drop the guard's table, and commit",
    "discard-the-guard": "Discard all temporary tables, and commit",
    "prepare": "Prepare the transaction for somebody else to commit",
    "empty-the-guard": "Empty the guard's table, and commit",
    "rollback-and-commit-in-one-string": "Roll back and commit in one string",
    "second-session": "Change tables in a session of its own, and fail",
    "rows-second-session": "Delete all rows in a session of its own, and fail",
    "rows-analyzed": "Change rows in a session of its own, reset their counter by ANALYZE, and fail",
    "rows-same-session": "Roll back, delete all rows and commit, in one string",
    "rows-killed": "Delete a row in a session of its own, and end the process as if all was well",
    "version-by-hand": "Write the revision's number without doing its work",
    "password-of-the-owner": "Give the owner, which never logs in, a password",
    "set-role-none": "Shed the owner's role and take it again",
    "reset-role": "Reset the role, and make a table as another one",
    "session-kept-by-a-thread": "Keep a session in a thread that outlives the revision",
    "session-kept-by-a-daemon": "Keep a session in a daemon that outlives the process",
    "a-few-forks": "Leave processes running",
    "children-that-die-and-are-born": "Leave a chain of processes, each of which begets the next and dies",
    "flood": "Flood the log",
    "escape-sequences": "Write escape sequences to the terminal of whoever looks",
    "deep-folders": "Leave folders nested thousands deep",
    "closed-folders": "Leave folders that cannot be entered",
    "role-settings": "Change the deploy role's own settings",
    "endless-reports": "Report revisions that were never run, without end",
    "set-session-authorization": "Become the superuser in the migration's own session",
    "exit-0-at-once": "End the process as if all was well",
    "sys-exit": "Leave by sys.exit(0)",
    "system-exit-of-none": "Raise SystemExit",
    "keyboard-interrupt": "Raise KeyboardInterrupt",
    "kill-itself": "Kill its own process",
    "sleep": "Sleep until the deploy gives up",
    "session-ended-from-within": "End the session of the migration",
    "version-emptied": "Empty the version table",
    "version-dropped": "Drop the version table",
    "version-hidden": "Rename the version table",
    "recursion": "Exhaust the stack",
    "forged-reports": "Forge the reports of the migration, with broken JSON and escape sequences",
    "an-error-named-like-ours": "Raise an error that is named like one of ours, to be tried again",
    "an-error-that-is-an-essay": "Raise an error of three megabytes",
    "an-error-that-cannot-be-told": "Raise an error that raises when it is told",
    "closed-files": "Close all files, also that of the reports",
    "daemon-that-floods": "Leave a daemon that floods the reports, so that nobody sees the end",
    "no-other-database": "Connect to another database of the server",
}

_GUARD = "PostgreSQL itself: the transaction breaks a deferred constraint until the commit that is meant"


def _rows(
    bodies: dict[str, str], kept_by: str, outcome: Literal["denied", "harmless"] = "denied"
) -> tuple[Attack, ...]:
    prefix = {"denied": "revision-", "harmless": "revision-own-"}[outcome]
    return tuple(
        Attack(prefix + id_, _TITLES[id_], body, kept_by, outcome, ("revision",), expects=())
        for id_, body in bodies.items()
    )


GROUPS = (
    Group(
        "Ending the transaction of a deploy",
        (
            *_rows(ENDS, _GUARD),
            *_rows(ESCAPES, "what a tenant commits in its own schema is told, with the way back", "harmless"),
            *_rows(
                ROWS, "rows count as untouched where the server's counters show it, and undo is offered", "harmless"
            ),
        ),
    ),
    Group(
        "Breaking the pipeline from within a revision",
        (
            *_rows(STOPPED, "the outcome is read from the schema, and not from what the revision says"),
            *_rows(OWN, "all that a revision started ends with it", "harmless"),
        ),
    ),
)
