"""What a model is told first: the rules of its programs, the task, and what belongs to it in the project."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cairn import prompts
from cairn.overlay import AgentFSOverlay
from cairn.permission import is_hidden
from cairn.policy import Policy, in_words
from cairn.project import Project
from cairn.task import Task
from cairn.task_context import Asked, Section, opening, sections
from cairn.task_file import TaskFile
from cairn.task_work import Work

if TYPE_CHECKING:
    from cairn.settings import Settings


def first_prompt(
    project: Project, settings: Settings, request: str, asked: Asked, options: Mapping[str, str] | None = None
) -> tuple[str, str]:
    """The system prompt and the first message that a model would get; nothing is kept, nobody is asked."""
    from cairn.external_functions import function_reference
    from cairn.recipe_library import library

    with (
        tempfile.TemporaryDirectory(prefix="cairn-prompt-") as folder,
        TaskFile.create(Path(folder, "task.db"), base=project.root) as file,
    ):
        overlay = AgentFSOverlay(file, project.root, file_bytes=settings.limits.file_bytes)
        policy = settings.with_options(options or {}).policy.policy()
        hides = partial(is_hidden, policy, overlay, "read_file")
        told = _told(policy, sections(overlay, request, asked, library(project.state).offered, hides=hides))
    limits = settings.limits.limits()
    return prompts.system_prompt(function_reference(tuple(settings.checks)), limits), prompts.task_message(
        request, told
    )


def opening_of(task: Task, work: Work, policy: Policy, state: Path) -> list[tuple[str, str]]:
    """What a model is told at the beginning of a task beside its request, each under its heading."""
    from cairn.recipe_library import library

    hides = partial(is_hidden, policy, work.overlay, "read_file")
    return _told(policy, opening(work.file, work.overlay, task.request, library(state).offered, hides=hides))


def _told(policy: Policy, found: Iterable[Section]) -> list[tuple[str, str]]:
    return [*in_words(policy), *((each.heading, each.text) for each in found)]
