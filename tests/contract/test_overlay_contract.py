"""Every overlay keeps the same promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cairn.overlay import AgentFSOverlay, Overlay
from cairn.task_file import TaskFile
from cairn.testing import MemoryOverlay, OverlayContract

LIMIT = 1_000_000


class TestAgentFSOverlay(OverlayContract):
    @pytest.fixture(autouse=True)
    def _close_all(self) -> Iterator[None]:
        self.opened: list[Overlay] = []
        yield
        for overlay in self.opened:
            overlay.close()

    def open(self, root: Path) -> Overlay:
        overlay = AgentFSOverlay(TaskFile.create(root.parent / "task.db", base=root), root, file_bytes=LIMIT)
        self.opened.append(overlay)
        return overlay


class TestMemoryOverlay(OverlayContract):
    def open(self, root: Path) -> Overlay:
        return MemoryOverlay(root, file_bytes=LIMIT)
