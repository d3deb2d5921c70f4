"""What stands beside a task file: where its task is, what it did, and what to type next."""

from __future__ import annotations

from cairn.console import printable
from cairn.errors import CairnError
from cairn.task import Task


def result_head(task: Task, stale: int) -> str:
    """The part by which a result is known to be of today: front matter that other programs can read."""
    lines = ["---", f"task: {task.id}", f"state: {task.status}"]
    lines += [f"stale: {stale}"] if stale else []
    return "\n".join([*lines, "---", ""])


def result_text(task: Task, ending: str, stale: int) -> str:
    """The whole result. `ending` is what `cairn run` says at its end, plain."""
    fence = "`" * max(3, _longest_run(ending, "`") + 1)
    return f"{result_head(task, stale)}\n{fence}text\n{ending.rstrip()}\n{fence}\n"


def waiting_text(task: Task, why: str) -> str:
    """The result of a task that did not begin yet or is under way; `why` it waits, if something keeps it."""
    told = f" ({printable(why)})" if why else ""
    return f"{result_head(task, 0)}\n`cairn show {task.id}` shows how far it is{told}.\n"


def problem_text(error: CairnError) -> str:
    """The result of a file that makes no task: what is wrong with it, and how to mend it."""
    lines = [line for part in (error.why, *error.fix) for line in part.splitlines() if line.strip()]
    told = "\n".join(f"{'  ' if line.startswith(' ') else ''}- {printable(line.strip())}" for line in lines)
    return f"---\nstate: not a task\n---\n\n{printable(error.what)}\n\n{told}\n".rstrip() + "\n"


def _longest_run(text: str, letter: str) -> int:
    longest = run = 0
    for each in text:
        run = run + 1 if each == letter else 0
        longest = max(longest, run)
    return longest
