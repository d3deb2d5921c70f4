"""What every runtime must do, as tests that any implementation can inherit."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cairn.changes import Content, EntryKind
from cairn.runtime import TIMED_OUT, Layer, Runtime


def _file(text: str, mode: int = 0o644) -> Content:
    return Content(EntryKind.FILE, mode, text.encode())


# It leaves the session, writes until it is killed, and is known to run when the shell goes on.
_DAEMON = (
    "(setsid sh -c 'while :; do date +%s%N > new; mv new beat; sleep 0.05; done' &) ; "
    "while [ ! -e beat ]; do sleep 0.01; done"
)


class RuntimeContract(ABC):
    """Inherit it, give `runtime`, and pytest runs the rest. Commands are run by a POSIX shell."""

    @abstractmethod
    def runtime(self, project: Path) -> Runtime:
        """A new one for the project at this folder."""

    @asynccontextmanager
    async def over(self, project: Path, **files: Content | None) -> AsyncIterator[Runtime]:
        """One that is initialized with these files; a name has "__" where its path has a slash, "_" for a dot."""
        runtime = self.runtime(project)
        layer = Layer({name.replace("__", "/").replace("_", "."): content for name, content in files.items()})
        await runtime.initialize(layer)
        try:
            yield runtime
        finally:
            await runtime.terminate()

    async def test_a_command_sees_the_task_s_files_and_the_project_s_beside_them(self, tmp_path: Path) -> None:
        """Changed, new, deleted and untouched files, modes and links."""
        (tmp_path / "kept.txt").write_text("kept\n")
        (tmp_path / "changed.txt").write_text("the user's\n")
        (tmp_path / "old").mkdir()
        (tmp_path / "old/gone.txt").write_text("gone\n")
        link = Content(EntryKind.SYMLINK, 0o777, b"kept.txt")
        files = {"changed_txt": _file("the task's\n"), "deep__er__new_sh": _file("#!/bin/sh\necho new\n", 0o755)}
        async with self.over(tmp_path, **files, old=None, old__gone_txt=None, link=link) as runtime:
            result = await runtime.execute("cat kept.txt changed.txt link && deep/er/new.sh && ls -d old")
        assert result.stdout == "kept\nthe task's\nkept\nnew\n"
        assert result.exit_code != 0
        assert (tmp_path / "changed.txt").read_text() == "the user's\n"

    async def test_what_a_command_writes_stays_there(self, tmp_path: Path) -> None:
        """The project is what it was, and the runtime tells what was written."""
        (tmp_path / "a.txt").write_text("a\n")
        (tmp_path / "b.txt").write_text("b\n")
        async with self.over(tmp_path) as runtime:
            await runtime.execute("echo more >> a.txt; rm b.txt; mkdir made; echo x > made/x.txt")
            again = await runtime.execute("cat a.txt made/x.txt; ls b.txt")
            written = runtime.written()
            contents = [runtime.content(path) for path in ("a.txt", "b.txt", "made/x.txt")]
        assert again.stdout == "a\nmore\nx\n"
        assert written == ("a.txt", "b.txt", "made", "made/x.txt")
        assert contents == [_file("a\nmore\n"), None, _file("x\n")]
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "a\n", "b.txt": "b\n"}

    async def test_exit_codes_are_the_command_s_own(self, tmp_path: Path) -> None:
        """Nothing that a command does is an exception."""
        async with self.over(tmp_path) as runtime:
            codes = [
                (await runtime.execute(each)).exit_code for each in ("true", "exit 7", "no-such-command", "kill -9 $$")
            ]
        assert codes == [0, 7, 127, 137]

    async def test_the_streams_are_apart_and_python_is_unbuffered(self, tmp_path: Path) -> None:
        """So that what was printed before a kill is there."""
        async with self.over(tmp_path) as runtime:
            result = await runtime.execute("echo out; echo err >&2; echo $PYTHONUNBUFFERED")
        assert (result.stdout, result.stderr) == ("out\n1\n", "err\n")

    async def test_too_much_output_keeps_its_head_and_its_tail(self, tmp_path: Path) -> None:
        """And says how much is left out."""
        async with self.over(tmp_path) as runtime:
            result = await runtime.execute("echo first; yes | head -c 3000000; echo last")
        assert result.stdout.startswith("first\n")
        assert result.stdout.endswith("last\n")
        assert "bytes left out" in result.stdout
        assert len(result.stdout) < 200_000

    async def test_a_timeout_ends_the_command_and_all_it_started(self, tmp_path: Path) -> None:
        """The exit code is 124, what was printed is kept, and no descendant writes on."""
        async with self.over(tmp_path) as runtime:
            started = time.monotonic()
            result = await runtime.execute(f"{_DAEMON}; echo here; sleep 100", timeout=2.0)
            beat = await runtime.execute("cat beat; sleep 0.3; cat beat")
        assert (result.exit_code, result.timed_out, result.stdout) == (TIMED_OUT, True, "here\n")
        assert time.monotonic() - started < 10
        assert len(set(beat.stdout.split())) == 1

    async def test_a_daemon_ends_with_the_command(self, tmp_path: Path) -> None:
        """Also without a timeout, and nobody waits for its output."""
        async with self.over(tmp_path) as runtime:
            await runtime.execute(_DAEMON)
            beat = await runtime.execute("cat beat; sleep 0.3; cat beat")
        assert len(beat.stdout.split()) == 2
        assert len(set(beat.stdout.split())) == 1

    async def test_a_cancelled_command_ends_at_once(self, tmp_path: Path) -> None:
        """The runtime can be used on."""
        async with self.over(tmp_path) as runtime:
            running = asyncio.ensure_future(runtime.execute("touch began; sleep 100; touch ended"))
            while "began" not in runtime.written():  # noqa: ASYNC110 - another process says so
                await asyncio.sleep(0.01)
            running.cancel()
            (ended,) = await asyncio.gather(running, return_exceptions=True)
            after = await runtime.execute("ls")
        assert isinstance(ended, asyncio.CancelledError)
        assert after.stdout.split() == ["began"]

    async def test_two_runtimes_do_not_meet(self, tmp_path: Path) -> None:
        """Each has its own files, temporary ones too."""
        async with self.over(tmp_path, a=_file("one\n")) as one, self.over(tmp_path, a=_file("two\n")) as two:
            command = "cat a; echo x > $TMPDIR/mine; ls $TMPDIR | grep -c mine; echo y > b; sleep 0.2; ls"
            results = await asyncio.gather(one.execute(command), two.execute(command))
        assert [result.stdout for result in results] == ["one\n1\na\nb\n", "two\n1\na\nb\n"]

    async def test_terminating_twice_or_unused_does_no_harm(self, tmp_path: Path) -> None:
        """A runtime can be ended wherever it is."""
        runtime = self.runtime(tmp_path)
        await runtime.terminate()
        await runtime.initialize(Layer())
        await runtime.terminate()
        await runtime.terminate()
        assert list(tmp_path.iterdir()) == []
