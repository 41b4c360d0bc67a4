"""Whatever is done to tenants, in whatever order: the audit finds nothing wrong in between, and nothing is left."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from support import NAME, Database, remove_all
from throwaway_postgres import Server

from tenants.core.errors import TenantsError
from tenants.core.events import Event
from tenants.core.limits import Limits
from tenants.core.settings import Settings
from tenants.usecases import adopt, audit, logins, provision, restore, sharing, suspend
from tenants.usecases.access import open_access

NAMES = st.sampled_from(["fruits", "0", "api.example.com", "select", "a-b_c", "user~"[:-1] + "s", "x" * 40])
"""Names that a Dokku app may have, and that make trouble where they are not quoted."""

TABLES = """
    CREATE TYPE public."{0}_mood" AS ENUM ('a');
    CREATE TABLE public."{0} parents" (id serial PRIMARY KEY, mood public."{0}_mood" DEFAULT 'a');
    CREATE TABLE public."{0} Children" (parent int REFERENCES public."{0} parents", at timestamptz DEFAULT now());
    CREATE VIEW public."{0} view" AS SELECT * FROM public."{0} parents";
    INSERT INTO public."{0} parents" DEFAULT VALUES;
"""


def quiet(_: Event) -> None:
    pass


class Tenants(RuleBasedStateMachine):
    """An admin who types commands, and a model of what there is to be."""

    server: Server

    def __init__(self) -> None:
        super().__init__()
        self.closing = ExitStack()
        store = self.closing.enter_context(tempfile.TemporaryDirectory(prefix="tests-"))
        migrations = Path(store) / "migrations"
        migrations.mkdir()
        Path(store).chmod(0o755)
        superuser = self.closing.enter_context(psycopg.connect(self.server.url(), autocommit=True))
        superuser.execute('CREATE DATABASE "db.main"')
        self.closing.callback(remove_all, superuser)
        self.database = Database(self.server)
        environment = {
            "DATABASE_URL": self.server.url(NAME),
            "TENANTS_STORE": f"file://{store}/store",
            "TENANTS_MIGRATIONS": str(migrations),
            "TENANTS_SANDBOX": "weak",
        }
        self.access = self.closing.enter_context(open_access(Settings.read(environment), "test"))
        self.living: set[str] = set()
        self.holding: set[str] = set()
        """Those with something in their schema."""
        self.urls: dict[str, str] = {}
        self.suspended: set[str] = set()
        self.count = 0

    def teardown(self) -> None:
        self.closing.close()

    def tried(self, name: str, allowed: bool, work: Callable[[], Any]) -> Any:
        """Do it; where the model says that there is no such tenant, it has to be refused."""
        try:
            done = work()
        except TenantsError as error:
            assert not allowed, error
            assert error.exit_code == 2
            return None
        assert allowed, f"{name} is not there"
        return done

    @rule(name=NAMES, app_role=st.sampled_from([None, True, False]), connections=st.integers(1, 30))
    def create(self, name: str, app_role: bool | None, connections: int) -> None:
        limits = Limits(connections=connections)
        made = provision.create(self.access, name, None, quiet, limits=limits, app_role=app_role)
        self.living.add(name)
        if made.url:
            self.urls[name] = made.url.text

    @rule()
    def apply(self) -> None:
        changed = provision.apply(self.access, [], quiet)
        assert {name: what for name, what in changed.items() if what} == {}

    @rule(name=NAMES, whole=st.booleans())
    def adopt(self, name: str, whole: bool) -> None:
        self.count += 1
        label = f"t{self.count}"
        self.database.sql(TABLES.format(label))
        tables = () if whole else (f"{label} parents", f"{label} Children")
        done = adopt.adopt(self.access, adopt.Wanted(name, "public", tables), quiet)
        assert len(done.plan.tables) == 2
        if done.created.url:
            self.urls[name] = done.created.url.text
        self.living.add(name)
        self.holding.add(name)

    @rule(name=NAMES)
    def finish(self, name: str) -> None:
        self.tried(name, name in self.living, lambda: adopt.finish(self.access, name, quiet))

    @rule(name=NAMES)
    def rotate(self, name: str) -> None:
        made = self.tried(name, name in self.living, lambda: logins.rotate(self.access, name))
        if made:
            logins.retire(self.access, name, quiet)
            self.urls[name] = made.url.text

    @rule(name=NAMES)
    def suspend(self, name: str) -> None:
        if self.tried(name, name in self.living, lambda: suspend.suspend(self.access, name, quiet)) is not None:
            self.suspended.add(name)

    @rule(name=NAMES)
    def resume(self, name: str) -> None:
        self.tried(name, name in self.living, lambda: suspend.resume(self.access, name))
        self.suspended.discard(name)

    @precondition(lambda self: self.holding)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.holding)))
        adopt.finish(self.access, name, quiet)
        restore.restore(self.access, name, None, quiet)

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def share(self, data: st.DataObject) -> None:
        of = data.draw(st.lists(st.sampled_from(sorted(self.living)), min_size=1, unique=True))
        self.count += 1
        sharing.reader(self.access, f"r{self.count}", of)
        sharing.extension(self.access, of[0], "citext")

    @rule(name=NAMES)
    def drop(self, name: str) -> None:
        self.tried(name, name in self.living, lambda: provision.drop(self.access, name, quiet))
        for known in (self.living, self.holding, self.suspended):
            known.discard(name)
        self.urls.pop(name, None)

    @invariant()
    def nothing_is_wrong(self) -> None:
        found = audit.audit(self.access)
        assert [(f.rule.id, f.tenant, f.object) for f in found] == []

    @invariant()
    def every_tenant_that_is_let_in_gets_to_its_tables_and_to_no_others(self) -> None:
        for name, url in self.urls.items():
            if name in self.suspended:
                continue
            with psycopg.connect(url, autocommit=True) as session:
                query = "SELECT current_schema(), EXISTS (SELECT FROM pg_tables WHERE schemaname = current_schema())"
                assert session.execute(query).fetchone() == (name, name in self.holding)
        query = "SELECT count(*) FROM pg_roles WHERE rolname ~ '~(deploy|connect)~'"
        assert self.database.sql(query) == [(0,)]


def test_no_sequence_of_commands_leaves_anything_wrong(server: Server) -> None:
    machine = type("Tenants", (Tenants,), {"server": server})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=8,
            stateful_step_count=10,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],  # each step is real work: a failure is shown as it came, not made smaller
            suppress_health_check=list(HealthCheck),
        ),
    )
