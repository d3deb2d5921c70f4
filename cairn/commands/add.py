"""`cairn add`: tasks are queued, and nothing runs; `cairn work` runs them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cairn.commands import Chosen, as_json, ask_at_limits, models_option, only_paths, opened, variants_option
from cairn.commands.run import asked_for, by_recipe, options_of, program_of
from cairn.console import Console, one_line, printable
from cairn.errors import UsageProblem
from cairn.task import MAX_ATTEMPTS, CodeOrigin, Task, Terms
from cairn.variant_runs import count_of, names_of, origins_of, refuse_with_variants

if TYPE_CHECKING:
    from cairn.orchestrator import Orchestrator

SHOWN = 20
LONGEST_WORD = 200
LINES_BYTES = 20_000_000


@click.command("add")
@click.argument("words", metavar="TASK...", nargs=-1)
@click.option("--from", "source", metavar="FILE", help="One task a line; - reads stdin, as a lone - for TASK does.")
@click.option("--code", "code", metavar="FILE", help="Run this program instead of asking a model to write one.")
@click.option("--recipe", "recipe", metavar="NAME", help="Run this recipe; then TASK is its parameters: key=value ...")
@click.option("-m", "--model", metavar="MODEL", help="The `llm` model that writes the program.")
@click.option("-f", "--file", "files", metavar="FILE", multiple=True, help="Hand this file to the model with the task.")
@click.option("--text-model", metavar="MODEL", help="The `llm` model behind ask_llm, if not the same.")
@click.option("--limit", "limits", multiple=True, metavar="NAME=VALUE", help="Change a limit, e.g. --limit seconds=5.")
@only_paths
@ask_at_limits
@click.option("--priority", type=click.IntRange(-1000, 1000), default=0, show_default=True, help="Higher runs first.")
@click.option("--delay", metavar="TIME", help="Not before that time has passed, e.g. --delay 2h.")
@click.option("--at", "moment", metavar="TIME", help="Not before then, e.g. --at 18:30 or --at 2026-01-31T08:00.")
@click.option("--deadline", metavar="TIME", help="Failed if it has not ended by then; 2h, 18:30 or a date.")
@click.option("--key", metavar="KEY", help="Add nothing if an unfinished task has this key already.")
@click.option(
    "--max-attempts", type=click.IntRange(1, 100), default=MAX_ATTEMPTS, show_default=True,
    help="Give up after so many starts in vain: its worker died, or the provider failed.",
)  # fmt: skip
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="A word to find it by; may be given again.")
@click.option(
    "--after", "after", metavar="ID", multiple=True, help="Run it once this one is accepted; may be given again."
)
@click.option("--accept", "accept", is_flag=True, help="Accept at once if nothing conflicts or is dangerous.")
@variants_option
@models_option
@as_json
@click.pass_obj
def command(
    chosen: Chosen,
    words: tuple[str, ...],
    source: str | None,
    code: str | None,
    recipe: str | None,
    model: str | None,
    files: tuple[str, ...],
    text_model: str | None,
    limits: tuple[str, ...],
    only: tuple[str, ...],
    ask: bool,
    priority: int,
    delay: str | None,
    moment: str | None,
    deadline: str | None,
    key: str | None,
    max_attempts: int,
    tags: tuple[str, ...],
    after: tuple[str, ...],
    accept: bool,
    variants: int | None,
    models: str | None,
    as_json: bool,
) -> None:
    """Queue tasks for `cairn work`; nothing runs now.

    Each TASK is one task, so put a sentence in quotes. Nothing in your project changes until you accept.

    \b
      cairn add "add docstrings" "remove unused imports"
      cairn add --tag nightly --delay 2h "fix the TODOs"
      cairn add - < tasks.txt
    """
    console = Console(as_json=as_json)
    options = options_of(text_model, limits, only, ask=ask)
    terms = Terms(
        priority=priority,
        not_before=_start(delay, moment),
        deadline=_deadline(deadline),
        key=None if key is None else _one_word(key, "--key"),
        max_attempts=max_attempts,
        tags=tuple(sorted({_one_word(tag, "--tag") for tag in tags})),
        accepts=accept,
    )
    writers = names_of(models)
    count = count_of(variants, writers)
    if count is not None:
        refuse_with_variants(accept=accept, key=key is not None, two_writers=bool(model and writers))
    model = writers[0] if writers else model
    overrides: dict[str, object] = {**options, **({"model": model} if model else {})}
    with opened(chosen, console, overrides, founding=True) as orchestrator:
        if delay is not None:  # by the clock that decides when it is over
            terms = replace(terms, not_before=terms.not_before - time.time() + orchestrator.queue.clock())
        terms = replace(terms, after=tuple(sorted({orchestrator.task(task_id).id for task_id in after})))
        wishes = wishes_of(orchestrator, words, source, code, recipe)
        if terms.key is not None and len(wishes) > 1:
            raise UsageProblem("A key names one task, and several are added.", fix="Add them one by one.")
        before = orchestrator.queue.unfinished(terms.key)
        asked = asked_for(orchestrator, chosen, wishes[0][1], files)
        if count is not None:
            several = partial(orchestrator.new_tasks.submit_variants, options=options, asked=asked, terms=terms)
            groups = [several(request, origins_of(origin, count, writers)) for request, origin in wishes]
            found = tuple(task for group in groups for task in group)
            tell_added(console, found, None, orchestrator.queue.holds(found))
            return
        if asked:
            one = partial(orchestrator.new_tasks.submit, options=options, asked=asked, terms=terms, for_workers=True)
            tasks = tuple(one(request, origin) for request, origin in wishes)
        else:
            tasks = orchestrator.new_tasks.submit_all(wishes, options=options, terms=terms)
        tell_added(console, tasks, before, orchestrator.queue.holds(tasks))


def wishes_of(
    orchestrator: Orchestrator, words: tuple[str, ...], source: str | None, code: str | None, recipe: str | None
) -> list[tuple[str, CodeOrigin]]:
    """Each task's request, and who does it. Raises UsageProblem for none."""
    if recipe is not None:
        return [by_recipe(orchestrator, recipe, words, code)]
    if code is not None:
        name = "from standard input" if code == "-" else printable(code)
        program = program_of(None, code)
        return [(each, CodeOrigin("file", name, program)) for each in words or (f"run the program {name}",)]
    from cairn.plugins import origin_for
    from cairn.recipe_library import library

    sentences = _lines(source or "-") if source or words == ("-",) else list(words)
    known = library(orchestrator.project.state)
    if not any(sentence.strip() for sentence in sentences):
        raise UsageProblem("There is no task to add.", fix='cairn add "add docstrings"   or   cairn add - < tasks.txt')
    wishes: list[tuple[str, CodeOrigin]] = []
    model: CodeOrigin | None = None
    for sentence in sentences:
        if not sentence.strip():
            raise UsageProblem("One of the tasks is empty.", fix='cairn add "add docstrings"')
        # A model does any sentence, so it is looked for once; a recipe is matched with each.
        origin = model or origin_for(sentence, orchestrator.settings, os.environ, known)
        model = origin if origin.source == "model" else None
        wishes.append((sentence, origin))
    return wishes


def _lines(source: str) -> list[str]:
    """A task a line; blank lines and those that begin with # are left out."""
    try:
        if source == "-":
            data = sys.stdin.buffer.read(LINES_BYTES + 1)
        else:
            with Path(source).open("rb") as file:
                data = file.read(LINES_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise UsageProblem(f"Cannot read {source}.", f"{error.strerror}.", "Name a readable file.") from None
    except UnicodeDecodeError:
        raise UsageProblem(f"{source} is not UTF-8 text.", fix="One task a line.") from None
    if len(data) > LINES_BYTES:
        raise UsageProblem(f"{source} has more than {LINES_BYTES:,} bytes.", fix="Add it in parts.")
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _start(delay: str | None, moment: str | None) -> float:
    from cairn.moments import moment_of, seconds_of

    if delay is not None and moment is not None:
        raise UsageProblem("--delay and --at are two times for one start.", fix="Leave one of them out.")
    if delay is not None:
        return time.time() + seconds_of(delay, "--delay")
    return 0.0 if moment is None else moment_of(moment, "--at", time.time())


def _deadline(text: str | None) -> float | None:
    from cairn.moments import moment_of

    if text is None:
        return None
    moment = moment_of(text, "--deadline", time.time())
    if moment <= time.time():
        raise UsageProblem(f"--deadline {text} has passed already.", fix="Name a later time.")
    return moment


def _one_word(text: str, option: str) -> str:
    if not text.strip() or len(text) > LONGEST_WORD or not text.isprintable():
        raise UsageProblem(
            f"{option} cannot be {text!r}.", f"It is a word of at most {LONGEST_WORD} characters.", f"Change {option}."
        )
    return text.strip()


def tell_added(console: Console, tasks: Sequence[Task], before: Task | None, holds: Mapping[str, str]) -> None:
    """Each id with its request; what was there before is said to be."""
    if console.as_json:
        from cairn.json_output import task_json

        known = [{**task_json(task), "added": before is None or task.id != before.id} for task in tasks]
        console.json({"tasks": known})
    for task in tasks[:SHOWN]:
        hold = f"  ({holds[task.id]})" if task.id in holds else ""
        there = f"  (there already, {task.status})" if before is not None and task.id == before.id else ""
        console.write(f"{task.id}  {one_line(task.request, 100)}{there or hold}")
    if len(tasks) > SHOWN:
        console.write(f"and {len(tasks) - SHOWN:,} more")
    if before is None:
        stuck = sum(holds.get(task.id, "").startswith("blocked") for task in tasks)
        after = f", but for {stuck:,} that are blocked" if 0 < stuck < len(tasks) else ""
        runs = "none can start yet." if stuck == len(tasks) else f"cairn work   runs them{after}."
        console.note(f"cairn: {len(tasks):,} queued; {runs}")
