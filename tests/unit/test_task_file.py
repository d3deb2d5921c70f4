from __future__ import annotations

import base64
import errno
import json
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cairn.errors import CairnError, DamagedFile, NotFound, StorageProblem
from cairn.overlay import AgentFSOverlay
from cairn.task_file import CHUNK_BYTES, TaskFile, closing


@pytest.fixture
def file(tmp_path):
    with TaskFile.create(tmp_path / "t.db", base=tmp_path) as file:
        yield file


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_a_new_file_is_a_whole_agentfs_database(tmp_path, file):
    assert file.rows("SELECT key, value FROM fs_config ORDER BY key") == [
        ("chunk_size", str(CHUNK_BYTES)),
        ("schema_version", "0.4"),
    ]
    assert file.rows("SELECT key, value FROM fs_overlay_config") == [("base_path", str(tmp_path))]
    assert file.rows("SELECT mode, nlink FROM fs_inode") == [(0o040755, 1)]
    assert file.rows("PRAGMA integrity_check") == [("ok",)]
    assert file.rows("PRAGMA journal_mode") == [("wal",)]
    assert names(tmp_path).count("t.db") == 1


def test_the_schema_has_nothing_that_agentfs_cannot_open(file):
    statements = [str(sql).upper() for (sql,) in file.rows("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")]
    assert not [sql for sql in statements if any(word in sql for word in ("TRIGGER", "CHECK", "GENERATED", "VIRTUAL"))]


def test_both_dialects_of_a_whiteout_can_be_inserted(file):
    file.run("INSERT OR REPLACE INTO fs_whiteout (path, created_at) VALUES ('/a', 1)")
    file.run("INSERT INTO fs_whiteout (path, parent_path, created_at) VALUES ('/b/c', '/b', 1)")
    assert file.rows("SELECT path, parent_path FROM fs_whiteout") == [("/a", ""), ("/b/c", "/b")]


def test_an_existing_file_is_never_overwritten(tmp_path, file):
    file.kv_set("k", 1)
    with pytest.raises(StorageProblem):
        TaskFile.create(tmp_path / "t.db", base=tmp_path)
    assert file.kv_get("k") == 1
    assert [name for name in names(tmp_path) if name.startswith(".")] == []


def test_a_missing_file_is_not_made(tmp_path):
    with pytest.raises(NotFound):
        TaskFile.open(tmp_path / "no.db")
    assert names(tmp_path) == []


def test_a_missing_folder_is_a_storage_problem(tmp_path):
    with pytest.raises(StorageProblem):
        TaskFile.create(tmp_path / "no" / "t.db", base=tmp_path)


def test_a_file_system_without_hard_links_will_do(tmp_path, monkeypatch):
    def refuse(*_paths):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with TaskFile.create(tmp_path / "t.db", base=tmp_path) as file:
        assert file.rows("PRAGMA integrity_check") == [("ok",)]
    with pytest.raises(StorageProblem):
        TaskFile.create(tmp_path / "t.db", base=tmp_path)


def test_blobs_are_stored_once_and_checked_when_read(file):
    assert file.put_blob(b"x") == file.put_blob(b"x") != file.put_blob(b"")
    assert file.rows("SELECT count(*) FROM cairn_blob") == [(2,)]
    assert (file.blob(file.put_blob(b"x")), file.blob(file.put_blob(b""))) == (b"x", b"")
    file.run("UPDATE cairn_blob SET data = ? WHERE size = 1", b"y")
    with pytest.raises(DamagedFile):
        file.blob(file.put_blob(b"x"))
    with pytest.raises(DamagedFile):
        file.blob("00")


def test_a_blob_takes_little_room_and_is_the_same_when_read(file):
    text = b"def f():\n    return 1\n" * 200
    noise = os.urandom(5000)
    assert list(file.blobs()) == []
    assert dict(file.blobs()) == {} != {file.put_blob(text): text, file.put_blob(noise): noise} == dict(file.blobs())
    assert file.rows("SELECT size, length(data) < 200 FROM cairn_blob ORDER BY size") == [(4400, 1), (5000, 0)]
    ((kept,),) = file.rows("SELECT data FROM cairn_blob WHERE size = 4400")
    for altered in (bytes(9), kept[:-1]):
        file.run("UPDATE cairn_blob SET data = ? WHERE size = 4400", altered)
        with pytest.raises(DamagedFile):
            file.blob(file.put_blob(text))


def test_values_keep_their_shape(file):
    value = {"a": [1, 2.5, None, True, "\u00e9\n"], "b": {}}
    file.kv_set("k", 1)
    file.kv_set("k", value)
    assert file.kv_get("k") == value
    assert file.kv_get("missing") is None
    with pytest.raises(ValueError, match="JSON"):
        file.kv_set("k", float("nan"))


def test_everything_is_there_after_opening_again(tmp_path, file):
    file.kv_set("k", "v")
    file.close()
    assert not (tmp_path / "t.db-wal").exists()
    with TaskFile.open(tmp_path / "t.db") as again:
        assert again.kv_get("k") == "v"


def test_a_reader_in_another_process_sees_what_is_committed(tmp_path, file):
    file.kv_set("k", "v")
    code = (
        "import sys; from pathlib import Path; from cairn.task_file import TaskFile\n"
        "print(TaskFile.open(Path(sys.argv[1]), read_only=True).kv_get('k'))"
    )
    with file.transaction():
        file.kv_set("k", "not committed")
        done = subprocess.run([sys.executable, "-c", code, str(file.path)], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("v\n", "")


def test_it_may_pass_from_thread_to_thread(file):
    thread = threading.Thread(target=file.kv_set, args=("k", 1))
    thread.start()
    thread.join()
    assert file.kv_get("k") == 1


# ── files that are not what they should be ──


def use(path):
    with TaskFile.open(path) as file:
        overlay = AgentFSOverlay(file, path.parent)
        overlay.changes()
        for number in range(40):
            overlay.read(f"src/a{number}")


def refused(path):
    """The error that opening and using the file gives; its bytes must stay."""
    before = path.read_bytes()
    with pytest.raises(CairnError) as caught:
        use(path)
    assert path.read_bytes() == before
    assert str(path) in str(caught.value)
    return type(caught.value)


@pytest.fixture
def used(tmp_path):
    path = tmp_path / "used.db"
    (tmp_path / "src").mkdir()
    with TaskFile.create(path, base=tmp_path) as file:
        overlay = AgentFSOverlay(file, tmp_path)
        for number in range(40):
            overlay.write(f"src/a{number}", b"%d" % number * 5000)
    return path


def test_an_empty_file_is_damaged(tmp_path):
    (tmp_path / "t.db").write_bytes(b"")
    assert refused(tmp_path / "t.db") is DamagedFile


def test_another_programs_database_is_damaged(tmp_path):
    connection = sqlite3.connect(tmp_path / "t.db")
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    assert refused(tmp_path / "t.db") is DamagedFile


def test_text_and_a_folder_are_refused(tmp_path):
    (tmp_path / "t.db").write_text("hello " * 1000)
    assert refused(tmp_path / "t.db") is DamagedFile
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(StorageProblem):
        TaskFile.open(tmp_path / "folder.db")


@pytest.mark.parametrize("kept", [50, 4096, 20_000, 0.5, 0.99])
def test_a_truncated_file_is_damaged(used, kept):
    size = used.stat().st_size
    os.truncate(used, int(size * kept) if kept < 1 else kept)
    assert refused(used) is DamagedFile


def test_bytes_overwritten_in_the_middle_are_noticed(used):
    data = bytearray(used.read_bytes())
    for start in range(8192, len(data) - 512, 4096):
        data[start : start + 512] = os.urandom(512)
    used.write_bytes(data)
    assert refused(used) is DamagedFile


def test_a_newer_layout_is_left_to_the_newer_cairn(used):
    connection = sqlite3.connect(used)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StorageProblem) as caught:
        TaskFile.open(used)
    assert type(caught.value) is StorageProblem
    assert "newer Cairn" in caught.value.what


# ── AgentFS's own tools ──

SDK = """
import asyncio, base64, json, sys
from agentfs_sdk import AgentFS, AgentFSOptions

async def main():
    agent = await AgentFS.open(AgentFSOptions(path=sys.argv[1]))
    async def walk(path):
        found = {}
        for name in await agent.fs.readdir(path):
            below = path.rstrip("/") + "/" + name
            stats = await agent.fs.stat(below)
            if stats.is_directory():
                found |= await walk(below)
            elif stats.is_file():
                data = await agent.fs.read_file(below, encoding=None)
                found[below] = [stats.mode & 0o777, base64.b64encode(data).decode()]
        return found
    files = await walk("/")
    await agent.fs.write_file("/src/from_sdk", "written by the SDK")
    calls = [call.name for call in await agent.tools.get_recent(since=0)]
    print(json.dumps([files, await agent.kv.get("submission"), calls]))
    await agent.close()

asyncio.run(main())
"""


def test_the_file_opens_in_the_agentfs_sdk_with_the_same_bytes(tmp_path):
    root = tmp_path / "project"
    (root / "src").mkdir(parents=True)
    (root / "src/base").write_bytes(b"base")
    (root / "gone").write_bytes(b"deleted by the task")
    path = tmp_path / "task.db"
    contents = {
        "src/bin": bytes(range(256)) * 1000,
        "src/empty": b"",
        "src/crlf": b"a\r\nb\r\n",
        'src/it\'s "quoted"\n\u540d': b"\xff",
        "big": b"0123456789" * 300_000,
    }
    with TaskFile.create(path, base=root) as file:
        overlay = AgentFSOverlay(file, root)
        for name, data in contents.items():
            overlay.write(name, data)
        overlay.set_mode("src/bin", 0o755)
        overlay.delete("gone")
        overlay.move("src/base", "src/moved")
        overlay.make_link("src/link", "bin")
        file.kv_set("submission", {"summary": "done"})
        file.run("INSERT INTO tool_calls (name, status, started_at) VALUES ('read_file', 'success', 5)")
    done = subprocess.run([sys.executable, "-c", SDK, str(path)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    files, submission, calls = json.loads(done.stdout)
    seen = {name[1:]: (mode, base64.b64decode(data)) for name, (mode, data) in files.items()}
    expected = {name: (0o755 if name == "src/bin" else 0o644, data) for name, data in contents.items()}
    assert seen == {**expected, "src/moved": (0o644, b"base")}
    assert (submission, calls) == ({"summary": "done"}, ["read_file"])
    with TaskFile.open(path) as file:
        assert file.rows("PRAGMA integrity_check") == [("ok",)]
        overlay = AgentFSOverlay(file, root)
        assert overlay.read("src/from_sdk") == b"written by the SDK"
        assert "src/from_sdk" in overlay.changes().paths
        assert overlay.read("big") == contents["big"]


def test_a_file_that_rests_opens_itself_again_and_stays_closed_once_closed(file):
    file.kv_set("key", 1)
    assert (file.rest(), file.rest()) == (True, True)
    assert file.kv_get("key") == 1
    with file.transaction():
        file.kv_set("key", 2)
        assert file.rest() is False
        file.kv_set("other", 3)
    with file.durably():
        file.kv_set("key", 2)
    file.rest()
    file.close()
    with pytest.raises(sqlite3.ProgrammingError):
        file.kv_get("key")
    with TaskFile.open(file.path) as again:
        assert (again.kv_get("key"), again.kv_get("other")) == (2, 3)


def test_a_file_that_vanished_while_it_rested_is_told(file):
    file.rest()
    file.path.unlink()
    with pytest.raises(StorageProblem):
        file.kv_get("key")


@pytest.fixture
def few_open(monkeypatch):
    """As many may be open as a test can afford to pass."""
    monkeypatch.setattr("cairn.task_file.OPEN_FILES", 8)


def test_of_very_many_files_only_the_last_used_are_open(tmp_path, few_open):
    files = [TaskFile.create(tmp_path / f"{number}.db", base=tmp_path) for number in range(16)]
    closing().submit(int).result()
    files[0].kv_set("used", 1)
    closing().submit(int).result()

    assert [file for file in files if file._connection is not None] == [files[0], *files[9:]]
    held = [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.exists()]
    assert sum(name.startswith(str(tmp_path)) and name.endswith("-wal") for name in held) == 8
    for number, file in enumerate(files):
        file.kv_set("number", number)
    assert [file.kv_get("number") for file in files] == list(range(16))
    for file in files:
        file.close()


def test_very_many_files_are_used_by_threads_at_once(tmp_path, few_open):
    files = [TaskFile.create(tmp_path / f"{number}.db", base=tmp_path) for number in range(12)]
    failures = []

    def use(mine):
        try:
            for n in range(8):
                for file in mine:
                    with file.transaction():
                        file.kv_set("n", n)
                        assert file.kv_get("n") == n
        except (CairnError, sqlite3.Error, AssertionError) as error:
            failures.append(error)

    threads = [threading.Thread(target=use, args=(files[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended = [file.kv_get("n") for file in files]
    for file in files:
        file.close()

    assert (failures, set(ended)) == ([], {7})
