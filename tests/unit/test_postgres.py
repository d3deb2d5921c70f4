"""A ledger on a server: what a restart, a cut line, another version, another role or another clock do to it."""

from __future__ import annotations

import hashlib
import pickle
import random
import selectors
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from cairn import postgres as server
from cairn import postgres_connection as sessions
from cairn.day_budget import DayBudget, NoRoom
from cairn.errors import StorageProblem, UsageProblem
from cairn.ledger_database import RETURN_SECONDS, opened
from cairn.ledger_place import LedgerServer
from cairn.ledger_schema import VERSION
from cairn.ledger_watch import LedgerWatch
from cairn.metering import Ceilings, Spent
from cairn.queue import LEASE_SECONDS, TaskQueue
from cairn.task import CodeOrigin, Outcome, TaskStatus
from cairn.task_owner import Owner

FILE = CodeOrigin("file", "x", "")
HERE = Owner.this_process()
# Waits until each has ended: until then it may still answer.
END_SESSIONS = "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity WHERE application_name = 'cairn'"


@pytest.fixture
def place(database_url):
    return LedgerServer(database_url, "shop")


@pytest.fixture
def queue(place):
    with TaskQueue(place) as queue:
        yield queue


def sql(url, statement, *values):
    with psycopg.connect(url, autocommit=True) as connection:
        done = connection.execute(statement, values or None)
        return done.fetchall() if done.description else []


class Line:
    """A line to the server that can be cut when a change is about to be committed, or has just been, or at a `sign`."""

    def __init__(self, url):
        self.socket = f"{parse_qs(urlsplit(url).query)['host'][0]}/.s.PGSQL.5432"
        self.cut = ""  # "before" or "after" the server hears of the commit
        self.sign = b"COMMIT"
        self.always = False
        self.cuts = 0
        self.unheard = set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"postgresql://postgres@127.0.0.1:{self.listener.getsockname()[1]}{urlsplit(url).path}"
        self.ends = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self.socket)
                self.ends += [near, far]
                threading.Thread(target=self._carry, args=(near, far), daemon=True).start()
                threading.Thread(target=self._carry, args=(far, near), daemon=True).start()

    def _carry(self, one, other):
        with suppress(OSError):
            while data := one.recv(65_536):
                if self.sign in data and self.cut:
                    self.cuts += 1
                    how, self.cut = self.cut, self.cut if self.always else ""
                    if how == "before":
                        break
                    self.unheard.add(other)
                if one in self.unheard:  # the server has answered
                    break
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def hang_up(self):
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for end in self.ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.hang_up()
        for end in self.ends:
            end.close()


@pytest.fixture
def line(database_url):
    with closing(Line(database_url)) as line:
        yield line


# ── connections that end ──


def test_a_ledger_whose_connection_ended_goes_on_as_if_nothing_had_been(queue, database_url):
    task = queue.add("x", FILE)
    for act in (queue.tasks, lambda: queue.claim(HERE), lambda: queue.add("y", FILE)):
        sql(database_url, END_SESSIONS)
        act()

    assert queue.get(task.id).attempt == 1
    assert len(queue.tasks()) == 2


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_commit_whose_answer_was_lost_is_looked_up_and_done_once(line, cut):
    with TaskQueue(LedgerServer(line.url, "shop")) as queue:
        queue.add("x", FILE)
        line.cut = cut
        added = queue.add("y", FILE)
        line.cut = cut
        claimed = [queue.claim(HERE)]
        line.cut = cut
        queue.finish(claimed[0], TaskStatus.IN_REVIEW, outcome=Outcome())
        claimed += [queue.claim(HERE), queue.claim(HERE)]

        assert line.cuts == 3
        assert [task and (task.request, task.attempt) for task in claimed] == [("x", 1), ("y", 1), None]
        assert [move.became for move in queue.events(added.id)] == [TaskStatus.QUEUED, TaskStatus.RUNNING]
        assert len(queue.tasks()) == 2


def test_a_change_that_was_cut_off_in_its_middle_is_made_again_whole(queue, database_url):
    attempts = []

    def work():
        attempts.append(queue._db.execute("INSERT INTO pause VALUES ('m', 1, 'x', 1, 1)").count)
        if len(attempts) < 3:
            sql(database_url, END_SESSIONS)
        return queue._db.execute("SELECT count(*) FROM pause").rows

    assert queue._db.write(work) == [(1,)]
    assert attempts == [1, 1, 1]


def test_a_part_that_failed_is_taken_back_by_itself(queue):
    db = queue._db

    def part():
        db.execute("INSERT INTO pause VALUES ('part', 1, 'x', 1, 1)")
        raise RuntimeError

    def whole():
        db.execute("INSERT INTO pause VALUES ('whole', 1, 'x', 1, 1)")
        with suppress(RuntimeError):
            db.write(part)

    db.write(whole)

    assert [pause.model for pause in queue.pauses()] == ["whole"]


def test_who_is_stopped_in_the_middle_of_a_change_stops_nobody_else_for_long(queue, place, monkeypatch):
    monkeypatch.setitem(sessions.SESSION, "idle_in_transaction_session_timeout", "300ms")
    asleep = opened(place)
    began = threading.Event()
    turns = []

    def work():
        turns.append(asleep.execute("INSERT INTO pause VALUES ('m', 1, 'x', 1, 1)"))
        if len(turns) == 1:
            began.set()
            time.sleep(1.0)
        return asleep.execute("SELECT model FROM pause").rows

    with closing(asleep):
        sleeper = threading.Thread(target=lambda: turns.append(asleep.write(work)))
        sleeper.start()
        began.wait(5)
        begun = time.monotonic()
        queue.add("x", FILE)
        waited = time.monotonic() - begun
        sleeper.join()

    assert waited < 0.9
    assert turns[-1] == [("m",)]
    assert len(turns) == 3


CLAIMER = """
import pickle, sys
from cairn.queue import TaskQueue
from cairn.task_owner import Owner
from cairn.task import Outcome, TaskStatus
with TaskQueue(pickle.loads(bytes.fromhex(sys.argv[1]))) as queue:
    print("ready", flush=True)
    sys.stdin.readline()
    while task := queue.claim(Owner.this_process()):
        print(task.id, task.attempt, flush=True)
        queue.finish(task, TaskStatus.IN_REVIEW, outcome=Outcome())
"""


def claimers(place, count=4):
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMER, pickle.dumps(place).hex()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(count)
    ]  # fmt: skip
    assert [each.stdout.readline() for each in started] == ["ready\n"] * count
    for each in started:
        each.stdin.write("go\n")
        each.stdin.flush()
    return started


def test_of_four_processes_none_claims_what_another_has(place):
    with TaskQueue(place) as queue:
        tasks = queue.put([queue.draft("x", FILE) for _ in range(200)])
    ends = [each.communicate(timeout=60) for each in claimers(place)]

    assert [errors for _, errors in ends] == [""] * 4
    claimed = sorted(line for out, _ in ends for line in out.splitlines())
    assert claimed == sorted(f"{task.id} 1" for task in tasks)


@pytest.mark.slow
def test_restarts_in_the_middle_of_claims_lose_and_double_nothing():
    from tests.postgres_server import PostgresServer

    own = PostgresServer()  # that of the other tests is not restarted under them
    try:
        place = LedgerServer(own.new_database(), "shop")
        with TaskQueue(place) as queue:
            tasks = queue.put([queue.draft("x", FILE) for _ in range(600)])
            with LedgerWatch(place) as watch:
                started = claimers(place)
                for _ in range(3):
                    time.sleep(random.uniform(0.1, 0.4))
                    own.stop()
                    time.sleep(0.2)
                    own.start()
                ends = [each.communicate(timeout=120) for each in started]
                for _ in range(5):
                    watch.wait(0.5)
                begun = time.monotonic()
                queue.add("told", FILE)
                watch.wait(20)

                assert time.monotonic() - begun < 5
            assert [errors for _, errors in ends] == [""] * 4
            claimed = sorted(line for out, _ in ends for line in out.splitlines())
            assert claimed == sorted(f"{task.id} 1" for task in tasks)
            assert {task.status for task in queue.tasks() if task.request == "x"} == {TaskStatus.IN_REVIEW}
    finally:
        own.remove()


def test_a_lease_that_ran_out_while_the_server_was_down_is_no_sign_of_death(queue, monkeypatch):
    queue.add("x", FILE)
    task = queue.claim(Owner("elsewhere", 1, 1))
    queue._db.execute("UPDATE task SET lease_until = ? WHERE id = ?", (queue.clock() - 1, task.id))
    assert queue.clock() - 3600 * 24 < queue._db.serves_since() < queue.clock()

    monkeypatch.setattr(queue._db, "serves_since", lambda: queue.clock() - 2)
    assert queue.abandoned() == ()
    monkeypatch.setattr(queue._db, "serves_since", lambda: queue.clock() - RETURN_SECONDS - 1)
    assert [each.id for each in queue.abandoned()] == [task.id]


def test_who_runs_counts_though_the_leases_ran_out_while_the_server_was_away(queue, place, database_url):
    """A task, and what it has reserved: until its worker had time to come back."""
    queue.add("x", FILE)
    queue.add("y", FILE)
    elsewhere = Owner("elsewhere", 1, 1)
    with DayBudget(place, Ceilings(tokens=1_000), str(elsewhere)) as theirs, DayBudget(place, theirs.ceilings) as day:
        task = queue.claim(elsewhere)
        theirs.reserve(task.id, "m", None, Spent.on(None, 400, 500))
        assert day.today().reserved.calls == 1  # it has a session, which it can lose
        # As after a restart, a failover or a time in which nobody reached it: all sessions are new, all leases old.
        sql(database_url, "UPDATE cairn_shop.task SET lease_until = 1 WHERE status = 'running'")
        sql(database_url, END_SESSIONS)

        assert queue.claim(HERE, at_once=1) is None
        assert queue.count_running() == 1
        assert isinstance(day.reserve("other", "m", None, Spent.on(None, 400, 0)), NoRoom)
        assert day.today().reserved.calls == 1

        for each in (queue._db, day._db):
            each._since -= RETURN_SECONDS
        assert day.today().reserved.calls == 0
        assert queue.count_running() == 0
        assert queue.claim(HERE, at_once=1).request == "y"


def test_a_ledger_that_was_closed_is_not_connected_to_again(queue, place):
    other = opened(place)
    other.close()

    with pytest.raises(StorageProblem, match="was closed"):
        other.execute("SELECT 1")


def test_a_server_that_stays_away_is_named_after_a_while_without_its_password(line, monkeypatch):
    monkeypatch.setattr(server, "PATIENCE_SECONDS", 0.3)
    with TaskQueue(LedgerServer(line.url.replace("postgres@", "postgres:s3cret@"), "shop")) as queue:
        line.hang_up()

        with pytest.raises(StorageProblem, match="server cannot be used") as caught:
            queue.tasks()

    assert "s3cret" not in f"{caught.value}{caught.value!r}"
    assert f"project shop on postgresql://postgres@127.0.0.1:{urlsplit(line.url).port}/" in caught.value.what


def test_a_watch_hears_again_after_its_connection_was_lost(queue, place, database_url):
    with LedgerWatch(place) as watch:
        sql(database_url, "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
        watch.wait(5)
        watch.wait(0.05)
        begun = time.monotonic()
        queue.add("x", FILE)
        watch.wait(20)

        assert time.monotonic() - begun < 5


def test_a_claim_that_finds_nothing_wakes_nobody(queue, place):
    with LedgerWatch(place) as watch:
        assert queue.claim(Owner.this_process()) is None
        begun = time.monotonic()
        watch.wait(0.3)

        assert time.monotonic() - begun >= 0.3


def test_a_watch_whose_line_is_cut_as_it_begins_begins_again(queue, line):
    line.cut, line.sign = "before", b"LISTEN"
    with LedgerWatch(LedgerServer(line.url, "shop")) as watch:
        queue.add("x", FILE)
        begun = time.monotonic()
        watch.wait(20)

    assert line.cuts == 1
    assert time.monotonic() - begun < 5


def test_a_watch_whose_line_is_always_cut_as_it_begins_is_told_in_words(queue, line, monkeypatch):
    monkeypatch.setattr(sessions, "FIRST_SECONDS", 0.3)
    line.cut, line.sign, line.always = "before", b"LISTEN", True

    with pytest.raises(StorageProblem, match="server cannot be used"):
        LedgerWatch(LedgerServer(line.url, "shop"))

    assert line.cuts > 1


def test_a_beat_tells_nobody_and_a_wish_to_cancel_does(queue, place):
    queue.add("x", FILE)
    task = queue.claim(HERE)
    with LedgerWatch(place) as watch:

        def waited():
            begun = time.monotonic()
            watch.wait(0.1)
            return time.monotonic() - begun

        queue.heartbeat(task, HERE)
        assert waited() >= 0.1
        queue.ask_to_cancel(task)
        assert waited() < 0.1
        assert selectors.EVENT_READ in {key.events for key in watch.selector.get_map().values()}


# ── addresses ──


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://bob:s3cret@127.0.0.1:1/team", "server cannot be used"),
        ("postgresql://bob:s3cret@127.0.0.1:zz/team", "server cannot be used"),
        ("postgresql://bob@127.0.0.1:1/team?password=s3cret", "server cannot be used"),
        ("postgresql://bob:s3cret@127.0.0.1:1/team?nonsense=1", "is no address"),
        ("mysql://bob:s3cret@127.0.0.1/team", "is no address"),
    ],
)
def test_an_address_that_leads_nowhere_is_told_without_its_password(url, words, monkeypatch):
    monkeypatch.setattr(sessions, "FIRST_SECONDS", 0.1)
    with pytest.raises((StorageProblem, UsageProblem), match=words) as caught:
        opened(LedgerServer(url, "shop"))

    shown = f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"
    assert "s3cret" not in shown
    assert "s3cret" not in repr(LedgerServer("postgresql://bob:s3cret@h/team", "shop"))


def test_a_password_with_marks_in_it_is_not_shown_in_any_form():
    place = LedgerServer("postgresql://bob:a%40b%2Fc@db.example:5433/team?sslpassword=x%20y", "shop")

    assert str(place) == "project shop on postgresql://bob@db.example:5433/team"
    assert place.without_secrets("a@b/c, a%40b%2Fc, x y") == "***, ***, ***"


@pytest.mark.parametrize("name", ["", "Shop", "-a", 'a"b', "a" * 49, "a b", "ü"])
def test_a_project_has_a_plain_name(name):
    with pytest.raises(UsageProblem, match="cannot be a project's name"):
        LedgerServer("postgresql://h/db", name)


def test_projects_on_one_server_know_nothing_of_each_other(queue, database_url):
    queue.add("x", FILE)
    with TaskQueue(LedgerServer(database_url, "other-1")) as other:
        assert other.tasks() == ()
        other.add("y", FILE)

    assert [task.request for task in queue.tasks()] == ["x"]


def test_what_a_server_cannot_keep_is_refused_in_words(queue):
    with pytest.raises(UsageProblem, match="NUL"):
        queue.add("a\0b", FILE)

    assert queue.tasks() == ()


# ── versions and roles ──


def test_a_newer_ledger_is_left_alone_unless_it_still_serves_this_cairn(queue, place, database_url):
    sql(database_url, "UPDATE cairn_shop.layout SET version = 99")
    opened(place).close()
    sql(database_url, "UPDATE cairn_shop.layout SET oldest = 98")

    with pytest.raises(UsageProblem, match=r"written by a newer Cairn \(format 98"):
        opened(place)
    assert sql(database_url, "SELECT version, oldest FROM cairn_shop.layout") == [(99, 98)]


def test_a_session_that_an_upgrade_shut_out_stays_shut_out(queue, database_url):
    queue.add("x", FILE)
    sql(database_url, "UPDATE cairn_shop.layout SET version = 99, oldest = 99")
    sql(database_url, END_SESSIONS)

    for _ in range(2):
        with pytest.raises(UsageProblem, match=r"written by a newer Cairn \(format 99"):
            queue.claim(Owner.this_process())


def earlier(url):
    """The ledger as Cairn's layout before the first one on servers would have been."""
    sql(url, "ALTER TABLE cairn_shop.task DROP COLUMN base")
    sql(url, "DROP TABLE cairn_shop.acceptance, cairn_shop.overruled, cairn_shop.lack")
    sql(url, "UPDATE cairn_shop.layout SET version = 4, oldest = 4")


def test_an_earlier_ledger_is_brought_up_to_date_by_one_of_many(queue, place, database_url):
    task = queue.add("x", FILE)
    earlier(database_url)
    threads = [threading.Thread(target=lambda: opened(place).close()) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with TaskQueue(place) as again:
        assert again.get(task.id).base == ""
    assert sql(database_url, "SELECT version, oldest FROM cairn_shop.layout") == [(VERSION, VERSION)]


def test_of_many_that_find_no_ledger_one_makes_it(place, database_url):
    with psycopg.connect(database_url, autocommit=True) as first:
        key = int.from_bytes(hashlib.sha256(place.schema.encode()).digest()[:8], "big", signed=True)
        first.execute("SELECT pg_advisory_lock(%s)", (key,))
        with ThreadPoolExecutor(4) as pool:
            waiting = [pool.submit(lambda: opened(place).close()) for _ in range(4)]
            query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while sql(database_url, query) != [(4,)]:
                assert not any(each.done() for each in waiting)
            first.execute("SELECT pg_advisory_unlock(%s)", (key,))
            for each in waiting:
                each.result()

    assert sql(database_url, "SELECT version, oldest FROM cairn_shop.layout") == [(VERSION, VERSION)]


@pytest.fixture
def bob(database_url):
    """The URL of a role that may do nothing but connect."""
    name = f"bob_{time.monotonic_ns()}"
    sql(database_url, f"CREATE ROLE {name} LOGIN")
    yield database_url.replace("postgres@", f"{name}@"), name
    sql(database_url, f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_a_role_that_may_not_make_a_ledger_hears_what_it_needs(bob):
    url, name = bob
    with pytest.raises(StorageProblem, match="may not make one") as caught:
        opened(LedgerServer(url, "shop"))

    database = urlsplit(url).path[1:]
    assert caught.value.fix[0].startswith(f'GRANT CREATE ON DATABASE "{database}" TO "{name}"')


@pytest.mark.parametrize(("always", "words"), [(False, "may not make one"), (True, "server cannot be used")])
def test_a_line_that_is_cut_while_a_role_is_looked_up_is_no_error_of_its_own(bob, line, monkeypatch, always, words):
    monkeypatch.setattr(server, "PATIENCE_SECONDS", 0.5)
    line.cut, line.sign, line.always = "before", b"pg_get_userbyid", always

    with pytest.raises(StorageProblem, match=words):
        opened(LedgerServer(line.url.replace("postgres@", f"{bob[1]}@"), "shop"))

    assert line.cuts > 1 if always else line.cuts == 1


def test_a_role_that_may_use_a_ledger_but_not_change_its_tables_hears_who_may(queue, place, database_url, bob):
    url, name = bob
    theirs = LedgerServer(url, "shop")
    with pytest.raises(StorageProblem, match="may not use the ledger") as refused:
        opened(theirs)
    assert "USAGE" in refused.value.fix[0]
    for grant in (
        "USAGE ON SCHEMA cairn_shop",
        "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA cairn_shop",
        "USAGE ON ALL SEQUENCES IN SCHEMA cairn_shop",
    ):
        sql(database_url, f"GRANT {grant} TO {name}")
    with TaskQueue(theirs) as mine:
        task = mine.add("x", FILE)
        assert mine.claim(HERE).id == task.id
    earlier(database_url)

    with pytest.raises(StorageProblem, match="in format 4, and this Cairn needs") as caught:
        opened(theirs)

    assert caught.value.why == f"The role '{name}' may not change its tables; they belong to 'postgres'."
    assert "as 'postgres'" in caught.value.fix[0]


def test_a_ledger_that_was_dropped_under_a_command_is_told_in_words(queue, database_url):
    sql(database_url, "DROP SCHEMA cairn_shop CASCADE")

    with pytest.raises(StorageProblem, match="is not there any more"):
        queue.tasks()


# ── clocks ──


def test_leases_go_by_the_servers_clock_and_not_by_each_machines(queue, place, monkeypatch):
    queue.add("x", FILE)
    task = queue.claim(Owner("elsewhere", 1, 1))
    right = time.time
    with TaskQueue(place) as ahead:
        monkeypatch.setattr(time, "time", lambda: right() + 3600)
        assert abs(ahead.clock() - right()) < 5
        assert ahead.abandoned() == ()
        assert ahead.add("y", FILE).created_at < right() + 5
        second = ahead.claim(Owner("elsewhere", 2, 1))
    monkeypatch.undo()

    assert queue.abandoned() == ()
    (until,) = queue._db.execute("SELECT lease_until FROM task WHERE id = ?", (second.id,)).rows[0]
    assert abs(until - right() - LEASE_SECONDS) < 5
    assert queue.heartbeat(task, Owner("elsewhere", 1, 1))
