from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cairn import parser_process
from cairn.outline import outline
from cairn.parser_process import PYTHON_BYTES, TooCostly, outlined, require_python

JAVASCRIPT = b"class A {\n  go(x) { return x }\n}\nfunction f() {}\n"
# In Java 100 KB of this would take a parser more memory than most machines have.
COSTLY = b"a<" * 50_000


@pytest.fixture(autouse=True)
def none_before():
    parser_process._end()
    yield
    parser_process._end()


def memory_of(pid):
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def test_an_outline_is_the_same_wherever_it_is_made():
    assert outlined("a.js", JAVASCRIPT) == outline("a.js", JAVASCRIPT)
    assert outlined("a.py", b"def f(): pass\n" * 8_000) == outline("a.py", b"def f(): pass\n" * 8_000)


def test_so_is_what_is_wrong_with_a_text():
    with pytest.raises(ValueError, match="does not parse as javascript"):
        outlined("a.js", b"((((")
    with pytest.raises(ValueError, match=r"no language for 'a\.txt'"):
        outlined("a.txt", b"")
    with pytest.raises(ValueError, match=r"'a\.py' line 100001: invalid syntax"):
        require_python("a.py", "x = 1\n" * 100_000 + "x = = 1\n")


def test_one_process_serves_many_texts():
    pids = set()
    for number in range(5):
        outlined("a.js", JAVASCRIPT * (number + 1))
        pids |= {process.pid for process in parser_process._running}

    assert len(pids) == 1


def test_small_python_needs_no_process():
    outlined("a.py", b"def f(): pass\n")
    require_python("a.py", "x = 1\n" * (PYTHON_BYTES // 6))

    assert parser_process._running == []


def test_a_text_that_costs_too_much_memory_is_refused_and_the_next_one_is_served():
    before = memory_of(os.getpid())
    with pytest.raises(TooCostly, match=r"'a\.java' takes too much memory or time to parse; leave it out"):
        outlined("a.java", COSTLY)

    assert memory_of(os.getpid()) - before < 50_000_000
    assert len(outlined("a.js", JAVASCRIPT)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("text", ["a;" * 2_000_000, "[" + "1," * 4_000_000 + "]"])
def test_so_is_python_that_costs_too_much(text):
    with pytest.raises(TooCostly):
        require_python("a.py", text)


def test_a_process_that_has_grown_is_not_kept(monkeypatch):
    monkeypatch.setattr(parser_process, "KEPT_BYTES", -1)
    outlined("a.js", JAVASCRIPT)

    assert parser_process._running == []


def test_a_process_that_was_killed_is_replaced():
    outlined("a.js", JAVASCRIPT)
    (process,) = parser_process._running
    process.kill()
    process.wait()

    assert len(outlined("a.js", JAVASCRIPT)) == 3


def test_one_that_is_killed_while_it_parses_costs_that_answer_only():
    outlined("a.js", JAVASCRIPT)
    (process,) = parser_process._running
    process.send_signal(signal.SIGSTOP)
    threading.Timer(0.2, process.kill).start()
    with pytest.raises(TooCostly):
        outlined("a.js", JAVASCRIPT)

    assert len(outlined("a.js", JAVASCRIPT)) == 3


def test_one_that_does_not_answer_is_killed(monkeypatch):
    monkeypatch.setattr(parser_process, "ANSWER_SECONDS", 0.3)
    outlined("a.js", JAVASCRIPT)
    (process,) = parser_process._running
    process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(TooCostly):
        outlined("a.js", JAVASCRIPT)

    assert (time.monotonic() - began < 2, process.poll()) == (True, -signal.SIGKILL)


def test_many_threads_get_their_own_answers():
    answers: dict[int, int] = {}

    def ask(number):
        answers[number] = len(outlined("a.js", b"function f() {}\n" * number))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == {number: number for number in range(1, 9)}


def test_the_process_has_no_variables_of_ours_and_no_folder():
    outlined("a.js", JAVASCRIPT)
    (process,) = parser_process._running

    assert Path(f"/proc/{process.pid}/environ").read_bytes() in {b"", b"LC_CTYPE=C.UTF-8\0"}
    assert Path(f"/proc/{process.pid}/cwd").readlink() == Path("/")


def test_a_file_of_the_project_is_not_imported_by_it(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit\n")
    (tmp_path / "tree_sitter.py").write_text("raise SystemExit\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    assert len(outlined("a.js", JAVASCRIPT)) == 3


@pytest.mark.parametrize("ending", ["raise SystemExit", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])
def test_none_outlives_the_process_that_started_it(ending):
    code = (
        "from cairn import parser_process as p\np.outlined('a.js', b'function f() {}')\n"
        f"print(p._running[0].pid, flush=True)\n{ending}\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    pid = int(done.stdout)
    end = time.monotonic() + 3
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.01)

    assert not Path(f"/proc/{pid}").exists()
