"""What one command and all it starts may use of the machine: values only, read by the launcher's own process too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """`file_mb` is the largest file, `disk_mb` all that is written; `cpu_seconds` are a single process's."""

    memory_mb: int = 2048
    processes: int = 512
    file_mb: int = 1024
    disk_mb: int = 4096
    cpu_seconds: int = 3600
