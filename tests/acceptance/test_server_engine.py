"""`cairn work` with the server's engine: real processes, a real Postgres, kills; and clients that load nothing of it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time

import psycopg
import pytest

from tests.acceptance.test_workers import A_WHILE, NOTHING, SPIN, all_gone, crew, family, tasks  # noqa: F401

pytestmark = pytest.mark.timeout(150)  # git, two crews and a server on a busy machine
LOADED = "print(sorted({'dbos', 'sqlalchemy'} & {name.partition('.')[0] for name in sys.modules}))"


def sql(url, statements):
    with psycopg.connect(url, autocommit=True) as connection:
        answer = connection.execute(statements.encode())
        return [row[0] for row in answer.fetchall()] if answer.description else []


def statuses():
    return sorted(task["status"] for task in tasks())


@pytest.fixture
def server(repository, tmp_path, monkeypatch, database_url):
    """A project whose tasks are dispatched by a server; its commits go to a remote, as those of a team do."""
    remote = tmp_path / "origin.git"
    for command in (["init", "-q", "--bare", str(remote)], ["remote", "add", "origin", str(remote)]):
        subprocess.run(["git", *command], cwd=repository, check=True)
    monkeypatch.setenv("CAIRN_ENGINE_URL", database_url)
    return repository


@pytest.fixture
def add(server, cairn):
    def add(program: str, *requests: str) -> None:
        assert cairn("add", "--code", "-", *requests, stdin=program).code == 0

    return add


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["add", "add docstrings"], ["list"], ["engine", "status"]]
)
def test_no_client_loads_the_engine(server, arguments):
    code = (
        f"import sys; sys.argv = ['cairn', *{arguments!r}]\nfrom cairn.cli import main\n"
        f"try:\n    main()\nfinally:\n    {LOADED}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_two_crews_do_every_task_once_though_one_of_them_is_killed(cairn, add, crew):  # noqa: F811
    add(NOTHING, *(f"task {number}" for number in range(10)))
    crews = [crew("-j", "2", "--forever") for _ in range(2)]
    crews[0].until("started")
    processes = family(crews[0].process.pid)
    crews[0].process.send_signal(signal.SIGKILL)
    end = time.monotonic() + 40
    while statuses() != ["accepted"] * 10 and time.monotonic() < end:
        time.sleep(0.2)

    assert statuses() == ["accepted"] * 10
    crews[1].process.send_signal(signal.SIGTERM)
    crews[1].ended(0)
    assert all_gone(processes)
    told = json.loads(cairn("engine", "status", "--json").out)
    assert [each["is_there"] for each in told["crews"]] == [False]


@pytest.mark.slow
def test_a_first_signal_drains_and_a_second_one_stops_at_once(cairn, add, crew):  # noqa: F811
    add(A_WHILE, "a while")
    add(SPIN, "spins")
    add(NOTHING, "left")
    drained = crew("-j", "1")
    drained.until("started")
    drained.process.send_signal(signal.SIGTERM)
    drained.until("finishing 1 task")
    said = drained.ended(0)

    assert "1 task: 1 in review" in said
    stopped = crew("-j", "1")
    stopped.until("started: spins")
    processes = family(stopped.process.pid)
    stopped.process.send_signal(signal.SIGTERM)
    stopped.until("finishing 1 task")
    stopped.process.send_signal(signal.SIGTERM)
    stopped.ended(130)
    assert all_gone(processes)
    assert statuses() == ["in review", "queued", "queued"]


@pytest.mark.slow
def test_a_server_that_is_not_there_ends_the_crew_with_its_own_words(project, crew):  # noqa: F811
    env = {"CAIRN_ENGINE_URL": "postgresql://me:secret@127.0.0.1:1/x", "CAIRN_ENGINE_PROJECT": "app"}
    said = crew("-j", "1", "--forever", env=env).ended(1)

    assert "refused" in said
    assert "secret" not in said


@pytest.mark.slow
def test_a_role_that_may_use_the_ledger_alone_hears_what_a_worker_needs_and_works_once_it_has_that(
    cairn, add, database_url, monkeypatch
):
    add(NOTHING, "one task")
    assert cairn("work").code == 0  # as the owner, whose engine makes its tables
    name = f"dave_{time.monotonic_ns()}"
    (schema,) = (
        each for each in sql(database_url, "SELECT nspname FROM pg_namespace") if re.match("cairn_[0-9a-f]{12}", each)
    )
    everything = "; ".join(f"GRANT ALL ON ALL {kind} IN SCHEMA {schema} TO {name}" for kind in ("TABLES", "SEQUENCES"))
    sql(database_url, f"CREATE ROLE {name} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {name}; {everything}")
    try:
        monkeypatch.setenv("CAIRN_ENGINE_URL", database_url.replace("postgres@", f"{name}@"))
        assert cairn("add", "--code", "-", "another", stdin=NOTHING).code == 0
        refused = cairn("work")
        doctor = cairn("doctor")
        (grants,) = (line for line in refused.err.splitlines() if "USAGE ON SCHEMA" in line)
        sql(database_url, grants.rpartition(";")[0])
        done, ended = cairn("work"), statuses()
    finally:
        sql(database_url, f"DROP OWNED BY {name}; DROP ROLE {name}")

    assert refused.code == 1
    assert "This role may not use what hands out tasks." in refused.err
    assert grants.strip() in doctor.out
    assert doctor.code == 0, doctor.out
    assert (done.code, ended) == (0, ["accepted", "accepted"])


@pytest.mark.slow
def test_a_crew_whose_server_is_gone_stops_when_it_is_told_so_twice(cairn, add, crew, postgres):  # noqa: F811
    add(SPIN, "spins")
    stranded = crew("-j", "1", "--forever")
    stranded.until("started")
    processes = family(stranded.process.pid)
    postgres.stop()
    try:
        for _ in range(2):
            time.sleep(3)  # it waits for the server by now
            stranded.process.send_signal(signal.SIGTERM)
        said = stranded.ended(130)
        assert all_gone(processes)
    finally:
        postgres.start()
    assert "Stopped while the ledger did not answer." in said


@pytest.mark.slow
def test_a_crew_whose_server_stays_away_ends_by_itself_and_leaves_no_process(cairn, add, postgres):
    """After a minute; here after three seconds."""
    add(SPIN, "spins")
    code = "import cairn.postgres as p; p.PATIENCE_SECONDS = 3.0; from cairn.cli import main; main()"
    stranded = subprocess.Popen(
        [sys.executable, "-c", code, "work", "-j", "1", "--forever"], stderr=subprocess.PIPE, text=True
    )
    assert any("started" in line for line in stranded.stderr)
    processes = family(stranded.pid)
    postgres.stop()
    try:
        _, said = stranded.communicate(timeout=50)
        assert all_gone(processes)
    finally:
        postgres.start()
    assert stranded.returncode == 1
    assert "Traceback" not in said
