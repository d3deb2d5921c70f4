"""A worker process that cannot begin says so in a sentence."""

from __future__ import annotations

import os
import subprocess
import sys


def test_a_worker_that_cannot_begin_says_why_in_a_line_and_fails(tmp_path):
    (tmp_path / ".cairn").mkdir()
    (tmp_path / "cairn.toml").write_text("[budget]\ntasks_at_once = 'many'\n")
    answers, theirs = os.pipe()
    commands, ours = os.pipe()
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "cairn.crew_member", str(tmp_path), "0", "started", str(theirs)],
            pass_fds=(theirs,), stdin=commands, capture_output=True, text=True,
        )  # fmt: skip
    finally:
        for end in (answers, theirs, commands, ours):
            os.close(end)

    why = (
        f"The setting budget.tasks_at_once in {tmp_path}/cairn.toml cannot be 'many'. "
        'It should be a whole number from 1 to 10,000, or "" for no limit.'
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", f"A worker ended: {why}\n")
