"""Runs the tasks of `tasks.py` on a model, and says which it did, in how many steps, at what cost.

    python -m tests.evals.run -m MODEL                     all tasks, on any model that `llm` knows
    python -m tests.evals.run -m MODEL --only bug --record
    python -m tests.evals.run --replay                     the recorded answers again, offline

Each task runs as people run it: `cairn run`, then `cairn accept`, in a fresh repository. A recording is the answers that
a model gave, in their order, with the version of the package they were given for.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import mean

from cairn import prompts
from cairn.external_functions import function_reference
from cairn.journal import Journal
from cairn.task_file import TaskFile
from cairn.testing import ModelServer, Streamed
from tests.evals.tasks import TASKS, EvalTask

ROOT = Path(__file__).parents[2]
RECORDINGS = Path(__file__).parent / "recordings"


@dataclass(frozen=True)
class Score:
    """One task's outcome. `problem` is "" when it was done."""

    name: str
    problem: str
    status: str = ""
    steps: int = 0
    failed_programs: int = 0
    repairs: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Recording:
    """What a model answered, and for which version of the package (`""` where none is used)."""

    model: str
    package: str
    answers: tuple[str, ...]

    @classmethod
    def of(cls, task: EvalTask) -> Recording | None:
        path = RECORDINGS / f"{task.name}.json"
        if not path.exists():
            return None
        kept = json.loads(path.read_text())
        return cls(kept["model"], kept["package"], tuple(kept["answers"]))

    def save(self, task: EvalTask) -> None:
        RECORDINGS.mkdir(exist_ok=True)
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        (RECORDINGS / f"{task.name}.json").write_text(text + "\n")


def release(task: EvalTask) -> str:
    return f"{task.package} {version(task.package)}" if task.package else ""


def cairn(folder: Path, environ: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cairn", *arguments]
    where = {**os.environ, "PYTHONPATH": str(ROOT), **environ}
    return subprocess.run(command, cwd=folder, env=where, capture_output=True, text=True, check=False)


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Eval", "-c", "user.email=eval@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def evaluate(task: EvalTask, model: str, environ: Mapping[str, str], *, record: bool = False) -> Score:
    """One task in a fresh repository."""
    with tempfile.TemporaryDirectory(prefix="cairn-eval-") as name:
        folder = Path(name, task.name)
        folder.mkdir()
        task.setup(folder)
        git(folder, "init", "-q")
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", "before")
        before = {
            str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if _is_ours(folder, path)
        }
        began = time.monotonic()
        cairn(folder, environ, "run", task.request, "-m", model)
        seconds = time.monotonic() - began
        (told,) = json.loads(cairn(folder, environ, "list", "--json").stdout)["tasks"]
        steps, answers = _journal(folder)
        if record and answers:
            Recording(model, release(task), answers).save(task)
        problem = "" if told["status"] in {"in review", "accepted"} else f"{told['status']}: {told['reason']}"
        if told["status"] == "in review":
            accepted = cairn(folder, environ, "accept", "--allow", "**")
            problem = "" if accepted.returncode == 0 else f"accept: {accepted.stderr.strip()[:200]}"
        failed = sum(1 for step in steps if type(step.result).__name__ != "Finished")
        return Score(
            task.name,
            problem or task.check(folder, before),
            told["status"],
            len(steps),
            failed,
            sum(step.program.repairs for step in steps),
            told["input_tokens"],
            told["output_tokens"],
            round(seconds, 1),
        )


def _is_ours(folder: Path, path: Path) -> bool:
    return path.is_file() and not {".git", ".cairn", "__pycache__"} & set(path.relative_to(folder).parts)


def _journal(folder: Path):
    found = list((folder / ".cairn" / "tasks").glob("*.db"))
    if not found:
        return (), ()
    with TaskFile.open(found[0]) as file:
        journal = Journal(file)
        answers = tuple(message.text for message in journal.messages() if message.role == "assistant")
        return journal.steps(), answers


@contextlib.contextmanager
def recorded(recording: Recording) -> Iterator[dict[str, str]]:
    """The environment in which the model "recorded" gives these answers, over HTTP."""
    with (
        tempfile.TemporaryDirectory(prefix="cairn-eval-llm-") as folder,
        ModelServer(*map(Streamed, recording.answers)) as server,
    ):
        yield server.settings(Path(folder), model="recorded")


def replay(task: EvalTask) -> Score | None:
    """The recorded answers again; None without a recording for the package as it is installed."""
    recording = Recording.of(task)
    if recording is None or recording.package != release(task):
        return None
    with recorded(recording) as environ:
        return evaluate(task, "recorded", environ)


def table(scores: list[Score]) -> str:
    lines = [
        "| task | done | steps | failed programs | repairs | tokens in | tokens out | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in scores:
        done = "yes" if not each.problem else f"no: {each.problem}"
        figures = (each.steps, each.failed_programs, each.repairs, each.input_tokens, each.output_tokens, each.seconds)
        lines.append(f"| {each.name} | {done} | " + " | ".join(f"{figure:,}" for figure in figures) + " |")
    programs = sum(each.steps + each.repairs for each in scores)
    bad = sum(each.failed_programs + each.repairs for each in scores)
    done = sum(not each.problem for each in scores)
    lines += [
        "",
        (
            f"{done} of {len(scores)} done; {programs - bad} of {programs} programs without an error;"
            f" {mean(each.steps for each in scores):.2f} steps, {mean(each.input_tokens for each in scores):,.0f} tokens in and"
            f" {mean(each.output_tokens for each in scores):,.0f} out for each task."
        ),
    ]
    return "\n".join(lines)


def main() -> int:
    """The exit code is 1 when a task was not done."""
    parser = argparse.ArgumentParser(description="Measure a model by Cairn's evaluation tasks.")
    parser.add_argument("-m", "--model")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--replay", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    chosen = [task for task in TASKS if not given.only or task.name in given.only]
    scores = []
    for task in chosen:
        score = replay(task) if given.replay else evaluate(task, given.model, {}, record=given.record)
        if score is not None:
            scores.append(score)
            print(f"{task.name}: {score.problem or 'done'} ({score.steps} steps, {score.seconds} s)", file=sys.stderr)
    if not scores:
        print("No task ran.", file=sys.stderr)
        return 1
    print(f"Rules {prompts.version(function_reference())}.\n\n{table(scores)}")
    if given.json:
        given.json.write_text(json.dumps([asdict(score) for score in scores], indent=1) + "\n")
    return int(any(score.problem for score in scores))


if __name__ == "__main__":
    sys.exit(main())
