"""What `cairn doctor` says of a ledger on a real server, and that it makes none."""

from __future__ import annotations

import time

import psycopg
import pytest

from cairn import postgres_look
from cairn.checkup import _server, _storage
from cairn.finding import State
from cairn.fleet import Fleet, SeenCrew
from cairn.ledger_place import LedgerServer
from cairn.ledger_schema import VERSION
from cairn.project import Project
from cairn.queue import TaskQueue
from cairn.server_checkup import server_findings
from cairn.settings import BudgetSettings, EngineSettings, Settings
from cairn.task import CodeOrigin
from cairn.task_owner import Owner


def sql(url, statement):
    with psycopg.connect(url, autocommit=True) as connection:
        done = connection.execute(statement.encode())
        return done.fetchall() if done.description else []


@pytest.fixture
def place(database_url):
    return LedgerServer(database_url, "shop")


@pytest.fixture
def bob(database_url):
    """A role that may do nothing but connect, and its ledger's place."""
    name = f"bob_{time.monotonic_ns()}"
    sql(database_url, f"CREATE ROLE {name} LOGIN")
    yield name, LedgerServer(database_url.replace("postgres@", f"{name}@"), "shop")
    sql(database_url, f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_a_ledger_that_is_well_is_told_with_who_works(place, database_url):
    (none,), is_usable = server_findings(place)
    assert (none.state, none.detail, is_usable) == (
        State.OK, f"there is none of {place} yet; the first command makes it", False,
    )  # fmt: skip
    assert sql(database_url, "SELECT count(*) FROM pg_namespace WHERE nspname = 'cairn_shop'") == [(0,)]

    TaskQueue(place).close()
    (quiet,), is_usable = server_findings(place)
    with Fleet(place) as fleet:
        crew = SeenCrew("a", Owner("builder", 1, 1), "0.1.0", "dbos", "", 4, (), stopping=False, started_at=fleet.now())
        fleet.beat(crew)
    (busy,), _ = server_findings(place)

    told = f"of {place}: Postgres {postgres_look.look(place).major}, format {VERSION}, role 'postgres'"
    assert (quiet.detail, is_usable) == (f"{told}; nobody works now (cairn work --forever)", True)
    assert busy.detail == f"{told}; 1 crew with 4 workers there"


def test_a_clock_that_is_wrong_is_told(place, monkeypatch):
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() - 3600)

    _, clock = server_findings(place)[0]

    assert (clock.part, clock.state) == ("clock", State.NOTE)
    assert clock.detail == "this machine's is 3,600 s behind the server's, which tasks go by"


def test_a_role_without_rights_hears_which_and_from_whom(place, bob, database_url):
    name, theirs = bob
    (none,), _ = server_findings(theirs)
    database = sql(database_url, "SELECT current_database()")[0][0]
    assert (none.state, none.fix.partition("   ")[0]) == (
        State.BROKEN, f'GRANT CREATE ON DATABASE "{database}" TO "{name}"',
    )  # fmt: skip
    TaskQueue(place).close()

    (shut,), is_usable = server_findings(theirs)
    assert (shut.state, is_usable) == (State.BROKEN, False)
    assert shut.detail.startswith(f"the role '{name}' may not use the schema, ")
    for grant in shut.fix.partition("   ")[0].split("; "):
        sql(database_url, grant)
    (well,), is_usable = server_findings(theirs)
    assert (well.state, is_usable) == (State.OK, True)

    sql(database_url, "UPDATE cairn_shop.layout SET version = 1")
    (old,), _ = server_findings(theirs)
    assert (old.state, old.fix.partition("   ")[2].partition(" with")[0]) == (State.BROKEN, "run once as 'postgres'")
    assert server_findings(place)[0][0].state is State.NOTE
    sql(database_url, f"UPDATE cairn_shop.layout SET version = {VERSION + 5}, oldest = {VERSION + 5}")  # noqa: S608
    assert "is a newer Cairn's" in server_findings(place)[0][0].detail


def test_a_server_that_is_not_there_is_told_without_its_password(monkeypatch):
    from cairn import postgres_connection

    monkeypatch.setattr(postgres_connection, "FIRST_SECONDS", 0.1)
    (away,), is_usable = server_findings(LedgerServer("postgresql://me:s3cret@127.0.0.1:1/x", "shop"))

    assert (away.state, is_usable) == (State.BROKEN, False)
    assert "server cannot be used" in away.detail
    assert "s3cret" not in f"{away}"


def test_doctor_tells_the_day_of_the_servers_ledger_and_not_of_one_here(repository, database_url):
    project = Project(repository)
    project.prepare()
    here, there = TaskQueue(repository / ".cairn/cairn.db"), TaskQueue(LedgerServer(database_url, "shop"))
    for queue in (here, there, there):
        queue.add("x", CodeOrigin("file", "p.py", ""))
    for queue in (there, there):
        queue.claim(Owner.this_process())
    settings = Settings(budget=BudgetSettings(tasks_at_once=5), engine=EngineSettings(url=database_url, project="shop"))

    told = [finding.detail for finding in _server(project, settings, database_url)]
    told += [finding.detail for finding in _storage(project, settings)]

    assert [each for each in told if "tasks running" in each] == ["today 0 tokens, money 0, 2 of 5 tasks running"]
    here.close()
    there.close()
