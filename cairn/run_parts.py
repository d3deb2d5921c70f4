"""What a run of a task is made of: who writes its programs, which model answers them, where its checks run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cairn.task import CodeOrigin

if TYPE_CHECKING:
    from cairn.code_generator import CodeSource
    from cairn.language_model import TextModel
    from cairn.runtime import Runtime
    from cairn.settings import Settings


def chosen_runtime(root: Path, settings: Settings, unsandboxed: bool) -> Runtime:
    """The runtime that the settings name."""
    from cairn.plugins import runtime

    return runtime(root, settings.runtime, unsandboxed=unsandboxed)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run is made of, chosen by name; tests hand in their own."""

    source: Callable[[CodeOrigin, Settings], CodeSource]
    text_model: Callable[[CodeOrigin, Settings], TextModel | None]
    runtime: Callable[[Path, Settings, bool], Runtime] = chosen_runtime
