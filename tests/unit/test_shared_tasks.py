"""Tasks' files over a real Postgres: faults of the server, of the object store and of this machine's copies."""

# ruff: noqa: PT012 - the end of the block is what raises

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from cairn import task_content
from cairn.errors import DamagedFile, DiskFull, StorageProblem
from cairn.journal import Journal, KeptAnswer, TakenOver
from cairn.ledger_place import LedgerServer
from cairn.object_store import ObjectStore, open_objects
from cairn.page_delta import packed_image
from cairn.queue import TaskQueue
from cairn.shared_tasks import SharedTasks
from cairn.task import CodeOrigin, TaskStatus
from cairn.task_content import TooLargeToPublish, image_digest
from cairn.task_dumps import TaskDumps
from cairn.task_file import TaskFile
from cairn.task_store_contract import TASK, keep, kept
from tests.shared_database import SharedLedger

DAY = 86_400.0


@pytest.fixture
def ledger(database_url):
    made = SharedLedger(database_url)
    made.has(TASK)
    yield made
    made.close()


@pytest.fixture
def machine(ledger, tmp_path):
    """Makes stores as of machines of their own; `objects` is the name of a folder that all of them reach."""

    def make(name="one", objects=None):
        store = None if objects is None else ObjectStore((tmp_path / objects).as_uri())
        return SharedTasks(ledger.database(), tmp_path / name, store)

    return make


@pytest.fixture
def small_rows(monkeypatch):
    """A few kilobytes are too large for the database."""
    monkeypatch.setattr(task_content, "LARGEST_ROW", 5000)


def one_answer(store, text="one"):
    with store.writing(TASK, base=Path()) as file:
        keep(file, text)


def large(file, size=20_000):
    """Content that nobody can make shorter."""
    with file.transaction():
        file.put_blob(os.urandom(size))


def head(store):
    return store.contents.head(TASK.id)


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# ── what is sent ──


def test_only_what_changed_is_sent_and_nothing_when_nothing_did(machine):
    store = machine()
    with store.writing(TASK, base=Path()) as file:
        large(file, 100_000)
        keep(file, "one")
        first = head(store)
        keep(file, "two")
        second = head(store)
        file.publish()
        assert head(store) == second
    assert (first.version, first.deltas) == (1, 0)
    assert (second.version, second.deltas) == (2, 1)
    assert second.delta_bytes < 1500
    assert second.whole_bytes > 100_000
    with store.writing(TASK):
        pass
    assert head(store) == second


def test_deltas_never_outgrow_the_whole(machine, monkeypatch):
    monkeypatch.setattr(task_content, "MOST_DELTAS", 4)
    store = machine()
    with store.writing(TASK, base=Path()) as file:
        for number in range(11):
            keep(file, str(number))
            assert head(store).deltas == number % 5
        large(file, 200_000)
        keep(file, "large")
        assert (head(store).deltas, head(store).delta_bytes) == (0, 0)
    assert kept(machine("two")) == [*map(str, range(11)), "large"]


# ── fences ──


@pytest.mark.parametrize(
    "now",
    [replace(TASK, attempt=2), replace(TASK, status=TaskStatus.IN_REVIEW), replace(TASK, status=TaskStatus.QUEUED)],
    ids=["another attempt", "in review", "queued"],
)
def test_a_run_whose_task_moved_publishes_nothing(machine, ledger, now):
    store = machine()
    one_answer(store)
    before = head(store)
    with pytest.raises(TakenOver), store.writing(TASK) as file:
        ledger.has(now)
        keep(file, "late")
    assert (head(store), kept(store)) == (before, ["one"])


def test_a_first_content_needs_the_ledger_s_word_too(machine, ledger):
    ledger.has(replace(TASK, attempt=2))
    store = machine()
    with pytest.raises(TakenOver):
        one_answer(store)
    assert not store.exists(TASK.id)


def test_of_two_that_begin_from_one_content_only_the_first_publishes(machine):
    """Both hold the ledger's word, as two answers of two people would."""
    store, other = machine(), machine("two")
    one_answer(store)
    with pytest.raises(TakenOver), store.writing(TASK) as file:
        with other.writing(TASK) as theirs:
            keep(theirs, "theirs")
        keep(file, "mine")
    assert kept(store) == ["one", "theirs"]


def test_of_many_at_once_exactly_one_publishes_each_version(machine):
    stores = [machine(f"machine {number}") for number in range(6)]
    one_answer(stores[0])
    won, start = [], threading.Barrier(len(stores))

    def write(number):
        with suppress(TakenOver), stores[number].writing(TASK) as file:
            start.wait(10)
            keep(file, f"of {number}")
            won.append(f"of {number}")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(len(stores))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(won) == 1
    assert kept(stores[0]) == ["one", *won]
    assert head(stores[0]).version == 2


ZOMBIE = """
import sys
from pathlib import Path
from cairn.journal import TakenOver
from cairn.shared_tasks import SharedTasks
from cairn.task_store_contract import TASK, keep
from cairn.ledger_database import opened
from cairn.ledger_place import LedgerServer

try:
    with SharedTasks(opened(LedgerServer(sys.argv[1], "sample")), Path(sys.argv[2])).writing(TASK, base=Path()) as file:
        keep(file, "before")
        print("ready", flush=True)
        sys.stdin.readline()
        keep(file, "late")
        print("published", flush=True)
except TakenOver as refused:
    print(refused.what, flush=True)
"""


def test_a_stopped_process_that_goes_on_after_it_was_replaced_changes_nothing(machine, ledger, database_url, tmp_path):
    command = [sys.executable, "-c", ZOMBIE, database_url, str(tmp_path / "zombie")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as zombie:
        assert zombie.stdout.readline() == "ready\n"
        zombie.send_signal(signal.SIGSTOP)

        task = ledger.has(replace(TASK, attempt=2))
        with machine().writing(task) as file:
            keep(file, "after")

        zombie.send_signal(signal.SIGCONT)
        said, _ = zombie.communicate("go on\n", timeout=20)

    assert said == "The task was taken over by another process, so this one stopped.\n"
    assert kept(machine("two")) == ["before", "after"]
    assert files(tmp_path / "zombie") == []


# ── the server ──


def test_a_server_that_was_restarted_between_two_answers_has_both(machine, postgres, tmp_path):
    store = machine()
    with store.writing(TASK, base=Path()) as file:
        keep(file, "one")
        postgres.stop()
        postgres.start()
        keep(file, "two")
    assert kept(machine("two")) == ["one", "two"]
    assert [name for name in files(tmp_path) if "kept" in name] == []


def test_what_could_not_be_sent_stays_on_this_machine_and_is_gone_on_with(machine, monkeypatch, tmp_path):
    store = machine()
    one_answer(store)

    def away(_work, **_options):
        raise StorageProblem("The server is not there.")

    with pytest.raises(StorageProblem, match="not there"), store.writing(TASK) as file:
        monkeypatch.setattr(store.contents._database, "write", away)
        keep(file, "two")
    monkeypatch.undo()
    assert kept(store) == ["one"]
    assert [name for name in files(tmp_path) if name.endswith(".kept.db")] == [f"{TASK.id}.{head(store).name}.kept.db"]

    with machine().writing(TASK) as file:
        keep(file, "three")
    assert kept(machine("two")) == ["one", "two", "three"]
    assert [name for name in files(tmp_path) if "kept" in name] == []


def test_what_was_kept_is_not_used_once_the_task_went_on_elsewhere(machine, monkeypatch, ledger, tmp_path):
    store = machine()
    one_answer(store)
    with suppress(StorageProblem), store.writing(TASK) as file:
        monkeypatch.setattr(store.contents, "publish", lambda *_, **__: (_ for _ in ()).throw(StorageProblem("Away.")))
        keep(file, "two")
    monkeypatch.undo()
    one_answer(machine("two"), "elsewhere")

    with machine().writing(TASK) as file:
        assert [answer.text for answer in Journal(file).kept_answers()] == ["one", "elsewhere"]
    assert [each.name for each in store.left_over(time.time()) if "kept" in each.name]
    for each in store.left_over(time.time()):
        each.remove()
    assert [name for name in files(tmp_path) if "kept" in name] == []


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE task_part SET data = '\\x00' WHERE version = 1",
        "UPDATE task_part SET data = substr(data, 1, 100) WHERE version = 1",
        "UPDATE task_data SET digest = repeat('0', 64)",
        "UPDATE task_data SET size = size - 1",
        "UPDATE task_part SET data = '\\x00' WHERE version = 3",
        "DELETE FROM task_part WHERE version = 3",
        "DELETE FROM task_part",
    ],
)
def test_content_that_is_not_what_was_published_is_told_as_damaged(machine, ledger, harm, tmp_path):
    store = machine()
    with store.writing(TASK, base=Path()) as file:
        large(file, 3000)
        for text in ("one", "two", "three"):
            keep(file, text)
    assert head(store).deltas == 2
    ledger.database().execute(harm)

    with pytest.raises(DamagedFile) as told:
        kept(machine("two"))
    assert told.value.what == f"The file of task {TASK.id} on the server is damaged."
    assert files(tmp_path / "two") == []
    with pytest.raises(DamagedFile), machine("three").writing(TASK):
        pass


# ── objects ──


def test_what_is_too_large_for_the_database_is_an_object_and_small_changes_are_not(machine, small_rows, tmp_path):
    store = machine(objects="objects")
    with store.writing(TASK, base=Path()) as file:
        large(file)
        keep(file, "one")
        key = head(store).object
        keep(file, "two")
        assert head(store).object == key
    *folders, name = key.split("/")
    assert (*folders, name.partition("-")[0]) == ("tasks", "sample", TASK.id, "1")
    assert files(tmp_path / "objects") == [name]
    assert kept(machine("two", "objects")) == ["one", "two"]

    with store.writing(TASK) as file:
        large(file, 40_000)
    assert files(tmp_path / "objects") == [head(store).object.rpartition("/")[2]] != [name]
    store.remove(TASK.id).remove()
    assert files(tmp_path / "objects") == []


def test_a_task_goes_with_its_file_or_not_at_all(database_url, small_rows, tmp_path):
    """Over one connection, in one transaction; what lies apart goes when that is certain."""
    objects = open_objects(f"file://{tmp_path}/objects")
    with TaskQueue(LedgerServer(database_url, "shop")) as queue:
        store = SharedTasks(queue.database, tmp_path / "here", objects)
        task = queue.add("x", CodeOrigin("file", "p.py", ""))
        with store.writing(task, base=tmp_path) as file:
            large(file)
        task = queue.move(task, TaskStatus.CANCELLED)

        def remove_and_fail():
            store.remove(task.id)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            queue.forget(task, remove_and_fail)
        assert (queue.get(task.id).status, store.exists(task.id)) == (TaskStatus.CANCELLED, True)
        assert files(tmp_path / "objects") == [store.contents.head(task.id).object.rpartition("/")[2]]

        assert queue.forget(task, lambda: store.remove(task.id))
        assert (queue.tasks(), store.exists(task.id)) == ((), False)


@pytest.mark.slow
def test_eleven_megabytes_are_an_object_and_ten_are_not(machine, tmp_path):
    store = machine(objects="objects")
    with store.writing(TASK, base=Path()) as file:
        for _ in range(99):
            large(file, 100_000)
        file.publish()
        assert head(store).object is None
        for _ in range(60):
            large(file, 100_000)
        file.publish()
        assert head(store).object is not None
    with machine("two", "objects").reading(TASK.id) as file:
        assert sum(len(content) for _, content in file.blobs()) == 15_900_000


def test_an_object_that_is_missing_or_altered_is_told_as_damage(machine, small_rows, tmp_path):
    store = machine(objects="objects")
    with store.writing(TASK, base=Path()) as file:
        large(file)
    path = tmp_path / "objects" / head(store).object
    content = path.read_bytes()

    path.write_bytes(content[:-1])
    with pytest.raises(DamagedFile, match="on the server is damaged"):
        machine("two", "objects").reading(TASK.id)
    path.unlink()
    with pytest.raises(DamagedFile) as told:
        machine("two", "objects").reading(TASK.id)
    assert told.value.why.startswith(f"There is no object tasks/sample/{TASK.id}/1-")
    path.write_bytes(content)
    machine("two", "objects").reading(TASK.id).close()


def test_a_machine_without_the_object_store_says_so(machine, small_rows):
    with machine(objects="objects").writing(TASK, base=Path()) as file:
        large(file)
    with pytest.raises(StorageProblem, match="this machine has no object store set") as told:
        machine("two").reading(TASK.id)
    assert told.value.fix == ("Set engine.objects to the same address as on the machine that wrote it.",)


def test_without_an_object_store_what_is_too_large_stays_whole_on_the_machine_that_made_it(machine, small_rows):
    store = machine()
    one_answer(store)
    with pytest.raises(TooLargeToPublish) as told, store.writing(TASK) as file:
        large(file)
        keep(file, "paid for")
    assert told.value.what == (f"What task {TASK.id} made is too large for the database: 0 MB, and 0 MB are the most.")
    assert kept(machine("two")) == ["one"]

    with machine(objects="objects").writing(TASK) as file:
        keep(file, "later")
        assert sum(len(content) for _, content in file.blobs()) == 20_000
    assert kept(machine("two", "objects")) == ["one", "paid for", "later"]


# ── copies on this machine ──


def test_a_copy_is_fetched_once(machine):
    store, other = machine(), machine("two")
    one_answer(store)
    fetched = []
    fetch = other.contents.fetched
    other.contents.fetched = lambda task_id, seen: fetched.append(task_id) or fetch(task_id, seen)
    for _ in range(3):
        assert kept(other) == ["one"]
    with other.writing(TASK) as file:
        keep(file, "two")
    assert kept(other) == ["one", "two"]
    assert fetched == [TASK.id]

    store.contents.fetched = None
    with machine().reading(TASK.id) as file:
        assert len(Journal(file).kept_answers()) == 2


@pytest.mark.parametrize("harm", [b"", b"half"])
def test_a_copy_that_is_cut_off_is_fetched_again(machine, tmp_path, harm):
    one_answer(machine())
    other = machine("two")
    other.path(TASK.id).write_bytes(harm)
    assert kept(other) == ["one"]


def test_a_copy_that_was_changed_is_nothing_to_go_on_from(machine):
    one_answer(machine())
    other = machine("two")
    with TaskFile.open(other.path(TASK.id)) as file:
        file.run("UPDATE cairn_answer SET text = 'forged'")
    with other.writing(TASK) as file:
        assert [answer.text for answer in Journal(file).kept_answers()] == ["one"]


def test_a_full_disk_here_is_told_and_nothing_half_is_left(machine, monkeypatch, tmp_path):
    one_answer(machine())
    other = machine("two")

    def full(self, data):
        with self.open("wb") as file:
            file.write(data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DiskFull):
        other.reading(TASK.id)
    with pytest.raises(DiskFull), other.writing(TASK):
        pass
    assert files(tmp_path / "two") == []
    monkeypatch.undo()
    assert kept(other) == ["one"]


def test_old_copies_go_when_a_newer_one_comes(machine, tmp_path):
    store, other = machine(), machine("two")
    one_answer(store)
    first = other.path(TASK.id)
    one_answer(store, "two")
    second = other.path(TASK.id)
    assert files(tmp_path / "two") == sorted([first.name, second.name])
    os.utime(first, (time.time() - 7200,) * 2)
    one_answer(store, "three")
    assert kept(other) == ["one", "two", "three"]
    assert files(tmp_path / "two") == sorted([second.name, other.path(TASK.id).name])


# ── content that Cairn would not have written ──

HOSTILE = {
    "trigger": "CREATE TRIGGER t AFTER INSERT ON cairn_call BEGIN DELETE FROM cairn_call; END",
    "view": "CREATE VIEW v AS SELECT * FROM cairn_call",
    "another table": "CREATE TABLE mine (x)",
    "virtual table": "CREATE VIRTUAL TABLE mine USING fts5(x)",
    "path that leads out": ("INSERT INTO cairn_base VALUES ('../../home/file', 'file', 33188, NULL, 0, 0, 0, 'read')"),
    "path into .git": "INSERT INTO cairn_move VALUES ('.git/hooks/post-commit', 'a')",
    "name with a slash": "INSERT INTO fs_dentry (name, parent_ino, ino) VALUES ('../x', 1, 1)",
}


@pytest.mark.parametrize("harm", HOSTILE.values(), ids=HOSTILE)
def test_content_that_cairn_would_not_have_written_is_not_opened(machine, ledger, harm, tmp_path):
    one_answer(machine())
    with TaskFile.create(tmp_path / "hostile.db", base=Path()) as file:
        file.run(harm)
        image = file.image()
    database = ledger.database()
    database.execute("UPDATE task_part SET data = ?", (packed_image(image),))
    database.execute("UPDATE task_data SET digest = ?, size = ?", (image_digest(image), len(image)))
    other = machine("two")
    with pytest.raises(DamagedFile, match="not a file of Cairn's"):
        other.reading(TASK.id)
    with pytest.raises(DamagedFile), other.writing(TASK):
        pass
    assert files(tmp_path / "two") == []


# ── what killed processes leave ──


def test_what_killed_processes_left_goes_and_what_is_in_use_stays(machine, ledger, small_rows, tmp_path):
    store = machine(objects="objects")
    with store.writing(TASK, base=Path()) as file:
        large(file)
        with subprocess.Popen(["true"]) as ended:
            pass
        dead = tmp_path / "one" / f"{TASK.id}.work-{ended.pid}-1-1.db"
        dead.write_bytes(b"")
        file.publish()
        with store.creating(replace(TASK, id="bcdfgj", status=TaskStatus.QUEUED, attempt=0), base=Path()):
            pass
        lost = ObjectStore((tmp_path / "objects").as_uri())
        lost.put(f"tasks/sample/{TASK.id}/9-lost", b"lost")
        lost.put("tasks/other project/x", b"theirs")
        lost.put("operations/sample/x", b"of an accept")

        def names():
            return sorted(each.name for each in store.left_over(time.time() + 2 * DAY))

        assert names() == [dead.name]  # the server's clock counts for what is there
        store.contents.now = lambda: time.time() + 2 * DAY
        assert names() == sorted([dead.name, "drafted task bcdfgj", f"object tasks/sample/{TASK.id}/9-lost"])
        for each in store.left_over(time.time()):
            each.remove()
        assert names() == []
        keep(file, "still here")
    assert kept(machine("two", "objects")) == ["still here"]
    assert not store.exists("bcdfgj")
    assert (tmp_path / "objects/tasks/other project/x").exists()
    assert (tmp_path / "objects/operations/sample/x").exists()


def test_a_killed_run_loses_only_what_was_not_published(machine, database_url, tmp_path):
    code = ZOMBIE.replace('keep(file, "late")', 'file.kv_set("half", 1); import os; os.kill(os.getpid(), 9)')
    command = [sys.executable, "-c", code, database_url, str(tmp_path / "killed")]
    done = subprocess.run(command, input="go on\n", capture_output=True, text=True, timeout=20)
    assert done.returncode == -9

    assert [name for name in files(tmp_path / "killed") if "work" in name]
    store = machine("killed")
    with store.writing(TASK) as file:
        assert file.kv_get("half") is None
        keep(file, "after")
    assert kept(machine("two")) == ["before", "after"]
    for each in store.left_over(time.time()):
        each.remove()
    assert [name for name in files(tmp_path / "killed") if "work" in name] == []


def test_two_runs_of_one_machine_do_not_share_a_file(machine, ledger):
    other = replace(TASK, id="bcdfgj")
    ledger.has(other)
    store = machine()
    with store.writing(TASK, base=Path()) as one, store.writing(other, base=Path()) as two:
        keep(one, "one")
        keep(two, "two")
    assert (kept(store), kept(store, other.id)) == (["one"], ["two"])


def test_a_foreign_dump_travels_along_and_harms_nobody(machine):
    """What a run of an older Cairn, or a local one, left in the file is no reason to refuse it."""
    store = machine()
    with store.writing(TASK, base=Path()) as file:
        file.run(
            "INSERT INTO cairn_dump (step, call, version, mac, data, created_at) VALUES (1, 1, 'x', 'y', ?, 0)", b"z"
        )
    with machine("two").reading(TASK.id) as file:
        found = TaskDumps(file, Journal(file)).newest()
    assert found is not None
    assert found[1].mac == "y"


def test_sqlite_itself_finds_a_copy_whole(machine):
    store = machine()
    with store.writing(TASK, base=Path()) as file:
        for number in range(30):
            keep(file, f"answer {number}")
            large(file, 5000)
            file.run("DELETE FROM cairn_blob WHERE rowid % 3 = 0")
    path = machine("two").path(TASK.id)
    connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_the_answer_of_a_person_who_came_second_is_refused(machine, ledger):
    """As two people answer from two clones: the first has the ledger's word, and then the task goes on."""
    waiting = ledger.has(replace(TASK, status=TaskStatus.WAITING))
    store, other = machine(), machine("two")
    with store.writing(waiting, base=Path()) as file:
        keep(file, "question")
    with pytest.raises(TakenOver), other.writing(waiting) as late:
        with store.writing(waiting) as file, file.durably():
            file.kv_set("answer", "yes")
        ledger.has(replace(TASK, status=TaskStatus.QUEUED))
        with late.durably():
            late.kv_set("answer", "no")
    with other.reading(TASK.id) as file:
        assert file.kv_get("answer") == "yes"


def test_answers_are_kept_in_the_order_they_came(machine):
    store = machine()
    with store.writing(TASK, base=Path()) as file:
        journal = Journal(file)
        for number in range(50):
            journal.keep_answer(KeptAnswer(f"q{number}", str(number)))
    assert kept(machine("two")) == [str(number) for number in range(50)]
