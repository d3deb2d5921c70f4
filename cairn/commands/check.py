"""`cairn check`: the project's own commands judge a task's files."""

from __future__ import annotations

import click

from cairn.commands import Chosen, as_json, looked_at, opened
from cairn.console import Console


@click.command("check")
@click.argument("task_id", metavar="[ID]", required=False)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--unsandboxed", is_flag=True, help="Run them with all your rights, where no sandbox can be had.")
@click.option("-v", "--verbose", is_flag=True, help="Show the output of checks that passed too.")
@as_json
@click.pass_obj
def command(
    chosen: Chosen, task_id: str | None, names: tuple[str, ...], unsandboxed: bool, verbose: bool, as_json: bool
) -> int:
    """Run the project's checks over a task's files.

    The checks are the commands under [checks] in cairn.toml. Without a NAME all run that are about the task's changes.
    Each runs in a sandbox over the project as it would be with the task accepted; your own files are not touched. One
    that fails runs once more without the task's changes, to tell what the task broke from what failed before.

    Exit code 1 when a required check failed.
    """
    import asyncio

    from cairn import review_text
    from cairn.json_output import check_json
    from cairn.progress_lines import ProgressLines

    console = Console(as_json=as_json)
    with opened(chosen, console) as orchestrator:
        task = looked_at(orchestrator, task_id, "check")
        every = orchestrator.settings.with_options(task.options).checks
        required = {name for name, check in every.items() if check.required}
        with ProgressLines(verbose=False) as progress:
            results = asyncio.run(orchestrator.checks.run(task, names, progress, unsandboxed=unsandboxed))
    if as_json:
        console.json({"id": task.id, "checks": [check_json(each) for each in results]})
    for each in results:
        for line in review_text.check_run(each, console, verbose=verbose):
            console.write(line)
    if not results:
        console.note(f"cairn: task {task.id} changed nothing that a check is about.")
    return 1 if any(not each.passed and each.name in required for each in results) else 0
