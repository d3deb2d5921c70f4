"""Parts for tests, Cairn's own and yours: a scripted model and runtime, a model server, an overlay, contracts."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cairn.changes import Content

# The contracts and the overlay in memory are files of their own; their names are here for whoever writes tests.
from cairn.memory_overlay import MemoryOverlay
from cairn.overlay_contract import OverlayContract
from cairn.runtime import DEFAULT_TIMEOUT, CommandResult, Ground, Layer, Sandbox
from cairn.runtime_contract import RuntimeContract

if TYPE_CHECKING:
    from cairn.language_model import LanguageModel

__all__ = [
    "Answer",
    "Asked",
    "MemoryOverlay",
    "ModelServer",
    "OverlayContract",
    "Plain",
    "Reply",
    "RuntimeContract",
    "Script",
    "ScriptedRuntime",
    "Silence",
    "Streamed",
]

# ── a scripted language model ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Asked:
    """One prompt as a scripted model received it. `history` has (role, text) pairs, without the system prompt."""

    prompt: str
    system: str = ""
    history: tuple[tuple[str, str], ...] = ()


Answer = str | Exception | Callable[[Asked], str]


class Script:
    """What a model will answer, in order, and what it was asked.

    An answer is a text, an exception to raise, or a function of what was asked; the last function answers for ever.
    `tokens` is the usage reported for each answer, None for a provider that reports none.
    """

    def __init__(self, *answers: Answer, name: str = "scripted", tokens: tuple[int, int] | None = (100, 20)) -> None:
        self.name = name
        self.tokens = tokens
        self.asked: list[Asked] = []
        self._answers = list(answers)
        self._turn = threading.Lock()

    def answer(self, asked: Asked) -> str:
        """The next answer. Raises llm.ModelError when the script has ended."""
        with self._turn:
            self.asked.append(asked)
            if not self._answers:
                import llm

                raise llm.ModelError(f"the script of {self.name} ended after {len(self.asked) - 1} answers")
            last_for_ever = len(self._answers) == 1 and callable(self._answers[0])
            answer = self._answers[0] if last_for_ever else self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, str) else answer(asked)

    def llm_models(self) -> tuple[Any, Any]:
        """The script as a real `llm.Model` and a real `llm.AsyncModel`."""
        blocking, asynchronous = _scripted_classes()
        return blocking(self), asynchronous(self)

    def model(self, *, asynchronous: bool = True) -> LanguageModel:
        """The script as Cairn uses a model; what is retried is retried at once."""
        from cairn.language_model import LanguageModel

        return LanguageModel(self.llm_models()[asynchronous], sleep=_at_once)

    @contextmanager
    def registered(self) -> Iterator[str]:
        """While it lasts, `llm` in this process knows the model by its name, as if a plug-in had brought it."""
        import llm
        from llm.plugins import pm

        models = self.llm_models()

        class Plugin:
            @staticmethod
            @llm.hookimpl
            def register_models(register: Callable[..., None]) -> None:
                register(*models)

        pm.register(Plugin, name=f"cairn-script-{id(self)}")
        try:
            yield self.name
        finally:
            pm.unregister(Plugin)


async def _at_once(_seconds: float) -> None:
    """A sleep for those in a hurry."""


@functools.cache
def _scripted_classes() -> tuple[type, type]:
    """Made on first use: importing `llm` takes half a second, which other parts of this module need not pay."""
    import llm

    class ScriptedModel(llm.Model):
        can_stream = True

        def __init__(self, script: Script) -> None:
            self.model_id = script.name
            self.script = script

        def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any) -> Iterator[str]:  # noqa: ARG002
            yield from _in_pieces(self.script, prompt, response)

    class ScriptedAsyncModel(llm.AsyncModel):
        can_stream = True

        def __init__(self, script: Script) -> None:
            self.model_id = script.name
            self.script = script

        async def execute(  # type: ignore[override] # an async generator is what llm calls for
            self,
            prompt: Any,
            stream: bool,  # noqa: ARG002
            response: Any,
            conversation: Any,  # noqa: ARG002
        ) -> AsyncIterator[str]:
            for piece in _in_pieces(self.script, prompt, response):
                yield piece

    return ScriptedModel, ScriptedAsyncModel


def _in_pieces(script: Script, prompt: Any, response: Any) -> Iterator[str]:
    turns = [(str(m.role), "".join(getattr(part, "text", "") for part in m.parts)) for m in prompt.messages]
    history = tuple(turn for turn in turns[:-1] if turn[0] != "system")
    text = script.answer(Asked(prompt.prompt, prompt.system, history))
    if script.tokens is not None:
        response.set_usage(input=script.tokens[0], output=script.tokens[1])
    yield from text.splitlines(keepends=True)


# ── a scripted runtime ──────────────────────────────────────────────────────────────────────────────────────────────


class ScriptedRuntime:
    """A runtime that runs nothing: each command gets the next result, and what it was asked is kept.

    A result is what `execute` returns, or a function of the command; the last function answers for ever. A function may
    change `files`, which begin as the layer's, and so play a command that writes.
    """

    def __init__(self, *results: CommandResult | Callable[[str], CommandResult]) -> None:
        self.ground = Ground(Sandbox.NONE, "memory")
        self.commands: list[tuple[str, float]] = []
        self.files: dict[str, Content | None] = {}
        self.layers: list[Layer] = []
        self.terminated = 0
        self._results = list(results)

    async def initialize(self, layer: Layer) -> None:
        """Remembers the layer."""
        self.layers.append(layer)
        self.files = dict(layer.files)

    async def execute(self, command: str, timeout: float = DEFAULT_TIMEOUT) -> CommandResult:  # noqa: ASYNC109
        """The next result. Raises AssertionError when the script has ended."""
        self.commands.append((command, timeout))
        assert self._results, f"the script ended after {len(self.commands) - 1} commands"
        last_for_ever = len(self._results) == 1 and callable(self._results[0])
        result = self._results[0] if last_for_ever else self._results.pop(0)
        return result if isinstance(result, CommandResult) else result(command)

    def written(self) -> tuple[str, ...]:
        """The paths whose content is not the layer's any more."""
        layer = self.layers[-1].files if self.layers else {}
        paths = {*self.files, *layer}
        return tuple(sorted(path for path in paths if self.files.get(path) != layer.get(path)))

    def content(self, path: str) -> Content | None:
        """What `files` has."""
        return self.files.get(path)

    async def terminate(self) -> None:
        """Counts."""
        self.terminated += 1


# ── a model server ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer as an OpenAI-compatible server streams it: `finish` None is a connection that breaks on the way.

    `stall` hangs after the text, before any end mark, until the server closes.
    """

    text: str
    finish: str | None = "stop"
    usage: tuple[int, int] | None = (100, 20)
    stall: bool = False


@dataclass(frozen=True, slots=True)
class Plain:
    """An answer with any status and body, such as an error or a web page."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    @classmethod
    def error(cls, status: int, message: str, **headers: str) -> Plain:
        """An error in the provider's usual shape; `retry_after="2"` becomes the header Retry-After."""
        body = json.dumps({"error": {"message": message, "type": "error", "code": None}})
        return cls(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


@dataclass(frozen=True, slots=True)
class Silence:
    """No answer at all until the server closes."""


Reply = str | Streamed | Plain | Silence


class ModelServer:
    """A server on 127.0.0.1 that plays an OpenAI-compatible provider: one reply per request, in order.

    `requests` holds the JSON of each request, `keys` the key it came with. After the last reply it answers 500.
    """

    def __init__(self, *replies: Reply) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.closing = threading.Event()
        self._replies = list(replies)
        self._turn = threading.Lock()
        self._http = _Http(self)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()

    def settings(self, folder: Path, *, model: str = "served") -> dict[str, str]:
        """Writes `llm` settings into `folder` that name this server, and returns the environment that selects them."""
        folder.mkdir(parents=True, exist_ok=True)
        entry = {"model_id": model, "model_name": model, "api_base": self.url}
        (folder / "extra-openai-models.yaml").write_text(json.dumps([entry]))  # JSON is YAML
        return {"LLM_USER_PATH": str(folder), "LLM_LOAD_PLUGINS": "", "CAIRN_MODEL": model}

    def reply_to(self, request: dict[str, Any], key: str) -> Reply:
        """The next reply; the request is remembered."""
        with self._turn:
            self.requests.append(request)
            self.keys.append(key)
            return self._replies.pop(0) if self._replies else Plain.error(500, "this server has no further reply")


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, player: ModelServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.player = player

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: clients that hang up are part of the play."""


class _Handler(BaseHTTPRequestHandler):
    server: _Http

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        player = self.server.player
        reply = player.reply_to(request, self.headers.get("authorization", "").removeprefix("Bearer "))
        if isinstance(reply, Silence):
            player.closing.wait()
        elif isinstance(reply, Plain):
            self._plain(reply)
        else:
            self._streamed(Streamed(reply) if isinstance(reply, str) else reply)

    def _plain(self, reply: Plain) -> None:
        body = reply.body.encode()
        self.send_response(reply.status)
        headers = {"content-type": reply.content_type, "content-length": str(len(body)), **reply.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _streamed(self, reply: Streamed) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for piece in reply.text.splitlines(keepends=True):
            self._event({"content": piece}, None)
        if reply.stall:
            self.server.player.closing.wait()
        elif reply.finish is not None:
            self._event({}, reply.finish, reply.usage)
            self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, delta: dict[str, str], finish: str | None, usage: tuple[int, int] | None = None) -> None:
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
        if self.path.endswith("/chat/completions"):
            choice["delta"] = {"role": "assistant", **delta}
        else:
            choice["text"] = delta.get("content", "")
        chunk: dict[str, Any] = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "served"}
        chunk["choices"] = [choice]
        if usage is not None:
            names = ("prompt_tokens", "completion_tokens", "total_tokens")
            chunk["usage"] = dict(zip(names, (*usage, sum(usage)), strict=True))
        self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        self.wfile.flush()

    def log_message(self, *_arguments: object) -> None:
        """Says nothing on stderr."""
