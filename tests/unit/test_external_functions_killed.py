from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cairn.journal import Journal
from cairn.overlay import AgentFSOverlay
from cairn.task_file import TaskFile

_WRITER = """
import sys
from pathlib import Path
from cairn.external_functions import create_external_functions
from cairn.journal import Journal
from cairn.overlay import AgentFSOverlay
from cairn.program import Limits
from cairn.task_file import TaskFile

root = Path(sys.argv[1])
file = TaskFile.create(Path(sys.argv[2]), base=root)
functions = create_external_functions(AgentFSOverlay(file, root), Journal(file), None, Limits())
for number in range(100_000):
    functions.call("write_file", (f"{number}.txt", f"{number}" * 2_000), {})
    print(number, flush=True)
"""


@pytest.mark.parametrize("after", [1, 40, 150])
def test_a_killed_process_leaves_no_effect_without_its_record_and_no_record_without_its_effect(
    tmp_path: Path, after: int
) -> None:
    root, kept = tmp_path / "project", tmp_path / "task.db"
    root.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(root), str(kept)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        acknowledged = [line for line, _ in zip(writer.stdout, range(after), strict=False)]
        writer.send_signal(signal.SIGKILL)

    with TaskFile.open(kept) as file:
        changes = AgentFSOverlay(file, root).changes()
        calls = Journal(file).exact_calls()

    assert {change.path: change.after.data.decode() for change in changes if change.after} == {
        call.arguments["path"]: call.arguments["content"] for call in calls
    }
    assert len(calls) >= len(acknowledged)
