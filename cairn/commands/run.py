"""`cairn run`: a sentence or a program file becomes a task, and runs to its review."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cairn.commands import Chosen, as_json, ask_at_limits, models_option, only_paths, opened, variants_option
from cairn.console import Console, printable
from cairn.errors import CairnError, CheckNotPassed, Conflict, Interrupted, ModelCallFailed, TaskFailed, UsageProblem
from cairn.task import CodeOrigin, Task, TaskStatus, Terms
from cairn.task_owner import Owner
from cairn.variant_runs import carry_out_variants, count_of, names_of, origins_of, refuse_with_variants

if TYPE_CHECKING:
    from cairn.orchestrator import Orchestrator
    from cairn.review import Review
    from cairn.task_context import Asked, Attachment

PROGRAM_BYTES = 1_000_000


@click.command("run")
@click.argument("words", metavar="TASK", nargs=-1)
@click.option(
    "--code", "code", metavar="FILE", help="Run this program instead of asking a model to write one; - reads stdin."
)
@click.option("--recipe", "recipe", metavar="NAME", help="Run this recipe; then TASK is its parameters: key=value ...")
@click.option("-m", "--model", metavar="MODEL", help="The `llm` model that writes the program.")
@click.option("-f", "--file", "files", metavar="FILE", multiple=True, help="Hand this file to the model with the task.")
@click.option("--text-model", metavar="MODEL", help="The `llm` model behind ask_llm, if not the same.")
@click.option("--limit", "limits", multiple=True, metavar="NAME=VALUE", help="Change a limit, e.g. --limit seconds=5.")
@only_paths
@ask_at_limits
@click.option("--accept", "accept", is_flag=True, help="Accept at once if nothing conflicts or is dangerous.")
@click.option("--dry-run", "dry_run", is_flag=True, help="Print what the model would be told first; ask nobody.")
@click.option("--new", "new", is_flag=True, help="Start anew, even if the same task was interrupted.")
@click.option("--no-wait", "no_wait", is_flag=True, help="Stop if budget.tasks_at_once tasks run already.")
@variants_option
@models_option
@click.option("--detach", "detach", is_flag=True, help="Queue it for `cairn work` instead of running it here.")
@click.option("-v", "--verbose", is_flag=True, help="Show each external call, and what a model is told.")
@as_json
@click.pass_obj
def command(
    chosen: Chosen,
    words: tuple[str, ...],
    code: str | None,
    recipe: str | None,
    model: str | None,
    files: tuple[str, ...],
    text_model: str | None,
    limits: tuple[str, ...],
    only: tuple[str, ...],
    ask: bool,
    accept: bool,
    dry_run: bool,
    new: bool,
    no_wait: bool,
    variants: int | None,
    models: str | None,
    detach: bool,
    verbose: bool,
    as_json: bool,
) -> int:
    """Do a task: write programs, run them in the sandbox, show what changed.

    Nothing in your project changes until you accept. If the same task was interrupted before, it goes on from there.

    \b
      cairn run "add docstrings"
      cairn run "rename load_cfg to load_config" -m MODEL
      cairn run "make it faster" --variants 3
      cairn run --code fix_todos.py
      cairn run --recipe rename_symbol old=load_cfg new=load_config
    """
    console = Console(as_json=as_json)
    request = None if recipe else _sentence(words)
    program = None if recipe else program_of(request, code)
    options = options_of(text_model, limits, only, ask=ask)
    writers = names_of(models)
    count = count_of(variants, writers)
    if count is not None:
        refuse_with_variants(
            accept=accept, two_writers=bool(model and writers), **{"dry-run": dry_run, "no-wait": no_wait}
        )
    model = writers[0] if writers else model
    overrides: dict[str, object] = {**options, **({"model": model} if model else {})}
    with opened(chosen, console, overrides, founding=True) as orchestrator:
        if recipe is not None:
            request, origin = by_recipe(orchestrator, recipe, words, code)
        elif program is not None:
            name = "from standard input" if code == "-" else printable(str(code))
            request = request or f"run the program {name}"
            origin = CodeOrigin("file", name, program)
        else:
            from cairn.plugins import origin_for
            from cairn.recipe_library import library

            known = library(orchestrator.project.state)
            origin = origin_for(request or "", orchestrator.settings, os.environ, known)
        asked = asked_for(orchestrator, chosen, origin, files)
        if count is not None:
            held_by = None if detach else Owner.this_process()
            origins = origins_of(origin, count, writers)
            tasks = orchestrator.new_tasks.submit_variants(
                request or "", origins, options=options, asked=asked, terms=Terms(), held_by=held_by
            )
            if detach:
                return _tell_queued(console, tasks)
            return carry_out_variants(orchestrator, tasks, console, verbose=verbose)
        if dry_run:
            return _show_prompt(orchestrator, console, request or "", origin, asked, options)
        if detach:
            return _queue(orchestrator, console, request or "", origin, options, asked, accept=accept)
        task = None if new else orchestrator.stopped_tasks.interrupted(request or "", origin)
        if task is None:
            task = orchestrator.new_tasks.submit(
                request or "", origin, options=options, asked=asked, held_by=Owner.this_process()
            )
        else:
            console.note(f"cairn: this task was interrupted, so it goes on (--new starts anew): {task.id}")
            task = orchestrator.stopped_tasks.resume(task, options, held_by=Owner.this_process())
        return carry_out(orchestrator, task, console, accept=accept, verbose=verbose, wait=not no_wait)


def _queue(
    orchestrator: Orchestrator,
    console: Console,
    request: str,
    origin: CodeOrigin,
    options: dict[str, str],
    asked: Asked,
    *,
    accept: bool,
) -> int:
    terms = Terms(accepts=accept)
    put = orchestrator.new_tasks.submit(request, origin, options=options, asked=asked, terms=terms, for_workers=True)
    return _tell_queued(console, [put])


def _tell_queued(console: Console, tasks: Sequence[Task]) -> int:
    from cairn.commands.add import tell_added

    tell_added(console, tasks, None, {})
    return 0


def carry_out(
    orchestrator: Orchestrator, task: Task, console: Console, *, accept: bool, verbose: bool, wait: bool = True
) -> int:
    """Runs a queued task here and now, then shows its end. 0 in review, accepted or with a question; 1 otherwise."""
    console.note(f"cairn: task {task.id}: {printable(task.request)}")
    review = _run_once(orchestrator, task, verbose=verbose, wait=wait)
    return conclude(orchestrator, review, console, accept=accept, verbose=verbose, wait=wait)


def _run_once(orchestrator: Orchestrator, task: Task, *, verbose: bool, wait: bool) -> Review:
    from cairn.interruption import run_interruptibly
    from cairn.progress_lines import ProgressLines
    from cairn.worker import Worker

    try:
        with ProgressLines(verbose=verbose) as progress:
            return run_interruptibly(Worker(orchestrator).run_to_its_end(task.id, progress, wait=wait))
    except ModelCallFailed as error:
        error.fix = (*error.fix, f"cairn resume {task.id}   goes on where it stopped.")
        raise
    except KeyboardInterrupt:
        fix = (f"cairn show {task.id}   shows how far it came.", f"cairn resume {task.id}   goes on where it stopped.")
        raise Interrupted(f"Task {task.id} was stopped; nothing in your project changed.", fix=fix) from None


def conclude(
    orchestrator: Orchestrator, review: Review, console: Console, *, accept: bool, verbose: bool, wait: bool = True
) -> int:
    """Asks what the task asks, if a person is there, runs it on with each answer, and shows what it came to."""
    from cairn.question_dialog import QuestionDialog, somebody_is_there

    while review.question is not None and somebody_is_there(console):
        said = QuestionDialog(console, review).ask()
        if said is None:
            break
        task = orchestrator.stopped_tasks.answer(review.task, said.answer, said.options, held_by=Owner.this_process())
        if task.status is not TaskStatus.QUEUED:
            review = orchestrator.reviews.of(task)
            break
        review = _run_once(orchestrator, task, verbose=verbose, wait=wait)
    failure: CairnError | None = None
    if accept and review.task.status is TaskStatus.IN_REVIEW:
        try:
            orchestrator.decisions.accept(review.task)
        except (
            Conflict,
            CheckNotPassed,
        ) as conflict:  # its work is worth showing all the same; it stays in review
            failure = conflict
        review = orchestrator.reviews.of(orchestrator.task(review.task.id))
    return _show_end(console, review, failure)


def _show_end(console: Console, review: Review, failure: CairnError | None) -> int:
    from cairn.json_output import error_json, review_json
    from cairn.review_text import ending

    failed = review.task.status in {TaskStatus.FAILED, TaskStatus.CANCELLED}
    failure = _failure(review) if failed else failure
    if console.as_json:
        console.json(review_json(review) | ({"error": error_json(failure)} if failure else {}))
    console.write(ending(review, console))
    if failure is None:
        return 0
    console.error(failure)
    return failure.exit_code


def _failure(review: Review) -> TaskFailed:
    from cairn.review_text import files, raise_the_limit

    task = review.task
    kept = f"Its work is kept: {files(len(review.changes))} changed." if review.changes else "It changed nothing."
    return TaskFailed(f"Task {task.id} {task.status}: {task.reason}.", kept, raise_the_limit(review))


def asked_for(orchestrator: Orchestrator, chosen: Chosen, origin: CodeOrigin, files: Sequence[str]) -> Asked:
    """What belongs to the sentence: attached files, and the folder one stands in."""
    from cairn.task_context import Asked

    if origin.source != "model":
        if files:
            raise UsageProblem(
                "-f hands files to a model, and no model writes this task's program.", fix="cairn run ..."
            )
        return Asked()
    root = orchestrator.project.root
    folder = os.path.relpath(chosen.path.resolve(), root).replace(os.sep, "/")
    attachments = tuple(_attachment(root, chosen.path / name, name) for name in files)
    return Asked("." if folder.startswith("..") else folder, attachments)


def _attachment(root: Path, path: Path, name: str) -> Attachment:
    """A file of the project is read as the task sees it; any other one now. Raises UsageProblem for what is no text."""
    from cairn.project_path import project_path
    from cairn.task_context import ATTACHMENTS_CHARS, Attachment

    if not path.is_file():
        raise UsageProblem(f"There is no file {name}.", fix="-f FILE   names a file, as seen from this folder.")
    inside = os.path.relpath(path.resolve(), root).replace(os.sep, "/")
    with suppress(ValueError, PermissionError):
        return Attachment(project_path(inside))
    try:
        with path.open("rb") as file:
            return Attachment(name, file.read(4 * ATTACHMENTS_CHARS).decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageProblem(f"{name} cannot be attached.", f"{error}.", "Name a readable text file.") from None


def _show_prompt(
    orchestrator: Orchestrator,
    console: Console,
    request: str,
    origin: CodeOrigin,
    asked: Asked,
    options: dict[str, str],
) -> int:
    if origin.source != "model":
        who = f"recipe {origin.name}" if origin.source == "recipe" else f"program {origin.name}"
        raise UsageProblem(f"No model would be asked: the {who} does this task.", fix="-m MODEL   names a model.")
    from cairn.external_functions import function_reference
    from cairn.first_prompt import first_prompt
    from cairn.prompts import version as version_of

    system, first = first_prompt(orchestrator.project, orchestrator.settings, request, asked, options)
    version = version_of(function_reference())
    if console.as_json:
        console.json({"model": origin.name, "version": version, "system": system, "prompt": first})
    console.write(f"{printable(system)}\n\n{'-' * 72}\n\n{printable(first)}")
    console.note(
        f"cairn: about {(len(system) + len(first)) // 4:,} tokens for {origin.name}, rules {version}; "
        "nothing was asked or kept."
    )
    return 0


def _sentence(words: tuple[str, ...]) -> str | None:
    if len(words) > 1:
        sentence = " ".join(words)
        raise UsageProblem("The task is more than one word of the command line.", fix=f'cairn run "{sentence}"')
    return words[0] if words else None


def by_recipe(
    orchestrator: Orchestrator, name: str, words: tuple[str, ...], code: str | None
) -> tuple[str, CodeOrigin]:
    """The request in words and its origin. Raises UsageProblem for parameters that the recipe cannot have."""
    from cairn.plugins import recipe_origin
    from cairn.recipe_library import library

    if code is not None:
        raise UsageProblem("--recipe and --code are two programs for one task.", fix="Leave one of them out.")
    recipe = library(orchestrator.project.state).named(name)
    given: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            known = ", ".join(each.name for each in recipe.parameters) or "none"
            raise UsageProblem(f"{word!r} is no parameter.", f"{name} has: {known}.", f"cairn recipes show {name}")
        given[key] = value
    recipe.values(given)
    return " ".join([f"recipe {name}", *words]), recipe_origin(recipe, given)


def options_of(
    text_model: str | None, limits: Sequence[str], only: Sequence[str] = (), *, ask: bool = False
) -> dict[str, str]:
    """The settings that flags give for one task alone. Raises UsageProblem for a limit without a value."""
    options: dict[str, str] = {}
    for setting in limits:
        name, equals, value = setting.partition("=")
        if not equals or not value:
            raise UsageProblem(f"--limit {setting} says no value.", fix="Write it as --limit seconds=5.")
        options[f"limits.{name.strip().removeprefix('limits.')}"] = value.strip()
    if not all(glob.strip() for glob in only):
        raise UsageProblem("--only names no path, so that nothing would be refused.", fix='--only "src/**"')
    if only:
        options["policy.only"] = "".join(f"{glob}\n" for glob in only)  # lines, so that a glob may have blanks
    if ask:
        options["policy.at_limit"] = "ask"
    return options | ({"text_model": text_model} if text_model else {})


def _file_bytes(path: Path) -> bytes:
    if path.exists() and not (path.is_file() or path.is_fifo()):  # a pipe: `--code <(...)`
        raise UsageProblem(f"{path} is not a file.", fix="Name a Python program.")
    with path.open("rb") as file:
        return file.read(PROGRAM_BYTES + 1)


def program_of(request: str | None, code: str | None) -> str | None:
    """The text of --code, None for a sentence. Refuses neither, an empty sentence, and an unreadable file."""
    if code is None:
        if not (request or "").strip():
            raise UsageProblem("There is no task to do.", fix='cairn run "add docstrings"   or   cairn run --code FILE')
        return None
    try:
        data = sys.stdin.buffer.read(PROGRAM_BYTES + 1) if code == "-" else _file_bytes(Path(code))
    except OSError as error:
        raise UsageProblem(f"Cannot read the program {code}.", f"{error.strerror}.", "Name a readable file.") from None
    code = "The standard input" if code == "-" else code
    if len(data) > PROGRAM_BYTES:
        raise UsageProblem(
            f"{code} is too large for a program: more than {PROGRAM_BYTES:,} bytes.", fix="Name a Python program."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageProblem(f"{code} is not UTF-8 text.", fix="Name a Python program.") from None
