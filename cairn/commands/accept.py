"""`cairn accept`: a task's changes reach the project, all or none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cairn.changes import ChangeSet
from cairn.checks import Verdict
from cairn.commands import Chosen, as_json, named_task, opened, overrule_option, task_argument, tell_of_kept
from cairn.console import Console, printable
from cairn.dangerous_paths import Danger, dangers, not_allowed, require_patterns
from cairn.errors import NotFound, UsageProblem
from cairn.hunks import Selection, under
from cairn.interruption import ended_as_by_ctrl_c
from cairn.project_path import project_path
from cairn.review_text import files, path_notes
from cairn.task import Task, TaskStatus

if TYPE_CHECKING:
    from cairn.git_commit import Commit
    from cairn.orchestrator import Orchestrator

_ALREADY = "No commit was made: git has these files so already."


@click.command("accept")
@task_argument
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("--hunks", "hunks", is_flag=True, help="Ask hunk by hunk, as git add -p does.")
@click.option("--dry-run", "dry_run", is_flag=True, help="Say exactly what would happen, and write nothing.")
@click.option("--commit", "commit", is_flag=True, help="Make one git commit of exactly these files.")
@click.option("-m", "--message", metavar="TEXT", help="The commit's message; else the task's summary and request.")
@click.option("--allow", "allow", metavar="PATH", multiple=True, help="Take this dangerous path too; a glob will do.")
@click.option("--force", is_flag=True, help="Take it although a required check failed.")
@overrule_option
@as_json
@click.pass_obj
def command(
    chosen: Chosen,
    task_id: str | None,
    paths: tuple[str, ...],
    hunks: bool,
    dry_run: bool,
    commit: bool,
    message: str | None,
    allow: tuple[str, ...],
    force: bool,
    overrule: bool,
    as_json: bool,
) -> int:
    """Take a task's changes into the project.

    With PATHs only the changes of these files and folders; the rest stays in review.

    Your own edits since then are kept: each file is merged three ways. On a conflict nothing is written.

    Paths that could run something by themselves (hooks, CI, editor and agent settings, conftest.py, new executables,
    links) must be named with --allow, or in the settings; else nothing is written, and they are listed.

    A task that failed a required check (`cairn check`) is taken with --force only.

    With --commit your hooks run, and what else you have staged stays staged. `cairn undo` takes the files back, not the
    commit.
    """
    if message is not None and not commit:
        raise UsageProblem("-m is the message of a commit, and there is none without --commit.", fix="Add --commit.")
    require_patterns(allow)
    console = Console(as_json=as_json)
    with opened(chosen, console, looking=dry_run) as orchestrator, ended_as_by_ctrl_c():
        if task_id is not None and {"/", "."} & set(task_id):
            what = f"{task_id} is no id of a task; paths stand behind one."
            raise UsageProblem(what, fix=f"cairn accept ID {task_id}")
        task = named_task(orchestrator, task_id, (TaskStatus.IN_REVIEW,), "accept")
        wanted = Wanted(task, None, allow, commit, message, force, overrule)
        if paths:
            picked = orchestrator.acceptable.picked(task, _named(orchestrator, task, chosen, paths))
            wanted = replace(wanted, selection=picked)
        if hunks:
            answered = _asked(orchestrator, wanted, console)
            if answered is None:
                return _nothing_chosen(orchestrator, task, console)
            wanted = answered
        return _foretold(orchestrator, wanted, console) if dry_run else _accepted(orchestrator, wanted, console)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be accepted, and how; without a selection all that is left."""

    task: Task
    selection: Selection | None
    allow: tuple[str, ...]
    commit: bool
    message: str | None
    force: bool = False
    overrule: bool = False


def _accepted(orchestrator: Orchestrator, wanted: Wanted, console: Console) -> int:
    made: Commit | None = None
    notes = _on_checks(orchestrator, wanted)
    accept = partial(
        orchestrator.decisions.accept,
        wanted.task,
        wanted.selection,
        allow=wanted.allow,
        force=wanted.force,
        overrule=wanted.overrule,
    )
    if wanted.commit:
        from cairn.committing import accept_and_commit

        task, applied, made = accept_and_commit(orchestrator, wanted.task, wanted.message, accept, wanted.selection)
    else:
        task, applied = accept()
    left = _left(orchestrator, task)
    for line in notes:
        console.note(f"cairn: accepted {line}")
    if console.as_json:
        from cairn.json_output import applied_json

        commit = {"commit": made.sha if made else None} if wanted.commit else {}
        console.json(applied_json(task, applied, left) | commit)
    part = "part of " if left else ""
    console.write(f"Accepted {part}{task.id}: {applied.in_words()}.")
    if wanted.commit:
        console.write(f"Committed {made.sha[:10]}: {printable(made.subject)}" if made else _ALREADY)
    if others := _rejected_for(orchestrator, task):
        console.note(f"cairn: rejected, as variants of it: {', '.join(others)}")
    tell_of_kept(applied.kept, console)
    if left:
        console.note(f"{files(len(left))} left in review:  cairn diff {task.id}   shows the rest.")
    console.note(f"cairn undo {task.id}   takes {'that part' if applied.operation.partial else 'it'} back.")
    return 0


def _rejected_for(orchestrator: Orchestrator, task: Task) -> list[str]:
    from cairn.variants import instead_of

    others = orchestrator.queue.group(task.terms.group) if task.terms.group is not None else ()
    return [each.id for each in others if (each.status, each.reason) == (TaskStatus.REJECTED, instead_of(task))]


def _on_checks(orchestrator: Orchestrator, wanted: Wanted) -> list[str]:
    """What the checks of the task do not say of just what is accepted; asked before the project changes."""
    evidence = orchestrator.checks.evidence(wanted.task)
    part = wanted.selection is not None and wanted.selection != orchestrator.acceptable.undecided(wanted.task).asked
    ran = [each for each in evidence.standings if each.verdict in {Verdict.PASSED, Verdict.FAILED}]
    found = [
        (evidence.missing, "without these checks, which did not run on it"),
        (evidence.outdated, "on checks that passed before later edits of the project"),
        (ran if part else (), "in part; these checks ran on all that the task changed"),
    ]
    return [f"{what}: {', '.join(each.check.name for each in checks)}" for checks, what in found if checks]


def _left(orchestrator: Orchestrator, task: Task) -> ChangeSet:
    return orchestrator.acceptable.changes(task) if task.status is TaskStatus.IN_REVIEW else ChangeSet()


# -- a dry run ---------------------------------------------------------------------------------------------------------


def _foretold(orchestrator: Orchestrator, wanted: Wanted, console: Console) -> int:
    from cairn.forecast import foresee
    from cairn.forecast_text import in_words

    task = wanted.task
    forecast = foresee(
        orchestrator,
        task,
        wanted.selection,
        allow=wanted.allow,
        commit=wanted.commit,
        message=wanted.message,
        force=wanted.force,
    )
    if console.as_json:
        from cairn.json_output import forecast_json

        console.json(forecast_json(task, forecast))
    console.write(in_words(forecast, task.id, console))
    for line in _on_checks(orchestrator, wanted) if forecast.refusal is None else ():
        console.note(f"cairn: it would be accepted {line}")
    if forecast.refusal is not None:
        console.error(forecast.refusal)
    elif forecast.left:
        console.note(f"{files(len(forecast.left))} would be left in review.")
    console.note("This was a dry run.")
    return forecast.exit_code


# -- hunk by hunk ------------------------------------------------------------------------------------------------------


def _asked(orchestrator: Orchestrator, wanted: Wanted, console: Console) -> Wanted | None:
    """What the answers leave of it, dangerous paths that were named on the way allowed; None for nothing."""
    from cairn.git_diff import render_stat, stat
    from cairn.hunk_dialog import HunkDialog
    from cairn.hunk_questions import Answers

    review = orchestrator.reviews.of(wanted.task)
    undecided = orchestrator.acceptable.undecided(wanted.task, wanted.selection)
    standing = (*orchestrator.settings.accept.allow, *wanted.allow)

    def unnamed(selection: Selection, named: tuple[str, ...]) -> tuple[Danger, ...]:
        changes = replace(undecided, asked=selection).accepting()
        return not_allowed(dangers(changes, (*standing, *named)))

    answers = Answers(undecided, first=[danger.path for danger in review.dangers])
    if not answers.questions:
        return wanted
    dialog = HunkDialog(console, answers, orchestrator.project.root, path_notes(review), unnamed)
    selection = dialog.ask()
    if not selection:
        return None
    figures = stat(replace(undecided, asked=selection).accepting())
    console.note(f"\nTaking {answers.count} of {len(answers.questions)}:")
    console.note(printable(render_stat(figures).rstrip("\n")) + "\n")
    return replace(wanted, selection=selection, allow=(*wanted.allow, *dialog.allowed))


def _nothing_chosen(orchestrator: Orchestrator, task: Task, console: Console) -> int:
    if console.as_json:
        from cairn.json_output import nothing_applied_json

        console.json(nothing_applied_json(task, _left(orchestrator, task)))
    console.note("Nothing was taken; all of it stays in review.")
    return 0


# -- paths -------------------------------------------------------------------------------------------------------------


def _named(orchestrator: Orchestrator, task: Task, chosen: Chosen, names: Sequence[str]) -> list[str]:
    """The names as paths of the project: as reviews print them, or as seen from the folder the command is called in."""
    left = orchestrator.acceptable.changes(task)
    return [_one_of(left, name, _readings(name, chosen.path, orchestrator.project.root)) for name in names]


def _one_of(left: ChangeSet, name: str, readings: Sequence[str]) -> str:
    fitting = [reading for reading in readings if under(left, reading)]
    if len(fitting) > 1:
        raise UsageProblem(
            f"{name} could be {fitting[0]} or {fitting[1]}, and both changed.",
            fix=f"./{name}   is the one in this folder; in the project's own folder it is the other one.",
        )
    if not readings:
        raise NotFound(f"{name!r} is no path in the project.", fix="cairn diff --name-only   prints which there are.")
    return [*fitting, readings[-1]][0]


def _readings(name: str, here: Path, root: Path) -> list[str]:
    """What a name can mean, without repetition; with a dot first, only what it means in this folder."""
    seen_from_here = os.path.relpath(here.resolve() / name, root) if name else ""
    found: list[str] = []
    for reading in [seen_from_here] if name.partition("/")[0] in {".", ".."} else [seen_from_here, name]:
        with suppress(ValueError, PermissionError):
            found.append(project_path(reading))
    return list(dict.fromkeys(found))
