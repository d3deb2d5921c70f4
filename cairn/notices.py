"""Tells other programs that a task reached review, failed or asks: a command of the person's own, and a webhook.

Each notice is sent at least once, also over a restart: how far the ledger's events were told is kept in a file. What a
notice's command or server does never disturbs a task; its failure is told to whoever watches.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cairn.errors import UsageProblem

COMMAND_SECONDS = 60.0
WEBHOOK_SECONDS = 10.0
PAUSES = (1.0, 5.0)  # seconds before the second and the third try of a webhook
AT_ONCE = 4
TOLD_CHARS = 300


@dataclass(frozen=True, slots=True)
class Receivers:
    """Whom to tell: a line for the shell, and an http or https address; "" for none. Raises UsageProblem."""

    command: str = ""
    webhook: str = ""

    def __post_init__(self) -> None:
        if self.webhook:
            parts = urlsplit(self.webhook)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise UsageProblem(
                    f"{self.webhook} is no address of a webhook.", fix="It begins with http:// or https://."
                )

    def __bool__(self) -> bool:
        return bool(self.command or self.webhook)


@dataclass(frozen=True, slots=True)
class Notice:
    """One news of one task. `body` is what `--json` says of it; `file` is the task file it came of, if any."""

    task_id: str
    status: str
    reason: str
    request: str
    file: str
    body: Mapping[str, Any]


class Cursor:
    """How far the ledger's events were told, in a file of its own; a lost one begins with what comes now."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, newest: int) -> int:
        """The number of the last event that was told; `newest` where nobody knows."""
        try:
            return min(int(self._path.read_text(encoding="ascii")), newest)
        except (OSError, ValueError):
            return newest

    def write(self, number: int) -> None:
        """Replaces the number as a whole."""
        waiting = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        waiting.write_text(f"{number}\n", encoding="ascii")
        waiting.replace(self._path)


class Messenger:
    """Sends notices side by side, a few at once. `tell` gets a line for each that could not be sent."""

    def __init__(self, receivers: Receivers, folder: Path, tell: Callable[[str], None]) -> None:
        self._receivers = receivers
        self._folder = folder
        self._tell = tell
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def send(self, notice: Notice) -> None:
        """Raises nothing but cancellation."""
        async with self._turns:
            if self._receivers.command:
                await self._run(self._receivers.command, notice)
            if self._receivers.webhook:
                await self._post(self._receivers.webhook, notice)

    async def _run(self, command: str, notice: Notice) -> None:
        process = await asyncio.create_subprocess_shell(
            command,
            cwd=self._folder,
            env={**os.environ, **_variables(notice, self._folder)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                _, errors = await process.communicate(json.dumps(notice.body).encode())
        except TimeoutError:
            self._tell(f"--exec for {notice.task_id} ran longer than {COMMAND_SECONDS:.0f} s and was ended.")
        else:
            if process.returncode:
                said = errors.decode("utf-8", "replace").strip()[-TOLD_CHARS:]
                self._tell(f"--exec for {notice.task_id} ended with {process.returncode}: {said or 'it said nothing'}")
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()

    async def _post(self, address: str, notice: Notice) -> None:
        problem = ""
        for pause in (0.0, *PAUSES):
            await asyncio.sleep(pause)
            problem = await asyncio.to_thread(_posted, address, json.dumps(notice.body).encode())
            if not problem:
                return
        self._tell(f"the webhook was not told of {notice.task_id}: {problem}")


def _variables(notice: Notice, folder: Path) -> dict[str, str]:
    told = {
        "CAIRN_TASK": notice.task_id,
        "CAIRN_STATUS": notice.status,
        "CAIRN_REASON": notice.reason,
        "CAIRN_REQUEST": notice.request,
        "CAIRN_FILE": notice.file,
        "CAIRN_PROJECT": str(folder),
    }
    return {name: value.replace("\0", "") for name, value in told.items()}


def _posted(address: str, body: bytes) -> str:
    """What went wrong, "" for nothing."""
    from urllib.error import URLError
    from urllib.request import Request, urlopen

    request = Request(address, body, {"Content-Type": "application/json"}, method="POST")  # noqa: S310 - checked: http(s)
    try:
        with urlopen(request, timeout=WEBHOOK_SECONDS):  # noqa: S310
            return ""
    except (URLError, OSError, ValueError) as error:
        return str(error)[:TOLD_CHARS]
