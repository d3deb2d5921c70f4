from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cairn import language_model
from cairn.errors import CairnError, ConversationTooLong, KeyMissing, KeyRefused, ModelCallFailed, ModelUnavailable
from cairn.language_model import (
    AnswerCut,
    Completion,
    LanguageModel,
    Message,
    choose_model,
    describe_missing,
    model_status,
    open_model,
    watched,
)
from cairn.progress import Event, Waiting
from cairn.retry import RetryStrategy
from cairn.settings import RetrySettings
from cairn.testing import Asked, ModelServer, Plain, Script, Silence, Streamed

KEYS = ("OPENAI_API_KEY", "LLM_MODEL", "CAIRN_MODEL", "LLM_USER_PATH")


@pytest.fixture(autouse=True)
def llm_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`llm` with nothing set up, in a folder of its own."""
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "llm"
    folder.mkdir()
    monkeypatch.setenv("LLM_USER_PATH", str(folder))
    monkeypatch.setattr(language_model._BlamingTheCulprit, "_first", None)
    return folder


async def no_sleep(_seconds: float) -> None: ...


def served(server: ModelServer, *, asynchronous: bool = True, seconds: float = 20.0, **how: Any) -> LanguageModel:
    from llm.default_plugins.openai_models import AsyncChat, Chat

    kind = AsyncChat if asynchronous else Chat
    model = kind("served", model_name="served", api_base=server.url)
    model.needs_key = None
    how.setdefault("strategy", RetryStrategy(attempts=3, jitter=0.0))
    return LanguageModel(model, call_seconds=seconds, **{"sleep": no_sleep, **how})


both = pytest.mark.parametrize("asynchronous", [True, False], ids=["async", "sync"])


# ── a whole answer ──────────────────────────────────────────────────────────────────────────────────────────────────


@both
async def test_an_answer_comes_whole_with_its_usage(asynchronous: bool) -> None:
    heard: list[int] = []
    with ModelServer("one\ntwo\n") as server:
        answer = await served(server, asynchronous=asynchronous).complete("Count.", on_text=heard.append)

    assert answer == Completion("one\ntwo\n", 100, 20, answer.seconds, "served")
    assert heard[-1] == len("one\ntwo\n")
    assert 0 < answer.seconds < 20


@both
async def test_the_system_prompt_and_the_history_reach_the_server_in_order(asynchronous: bool) -> None:
    history = (Message("user", "Hello."), Message("assistant", "Hi."))
    with ModelServer("fine") as server:
        await served(server, asynchronous=asynchronous).complete("How are you?", system=" Be kind. ", history=history)

    assert server.requests[0]["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "How are you?"},
    ]


async def test_no_options_are_sent() -> None:
    with ModelServer("fine") as server:
        await served(server).complete("Hello.")

    assert set(server.requests[0]) == {"messages", "model", "stream", "stream_options"}


@both
async def test_both_forms_of_the_system_prompt_are_given_to_a_plug_in(asynchronous: bool) -> None:
    script = Script("fine")

    await script.model(asynchronous=asynchronous).complete(
        "Now?", system="Be brief.", history=[Message("user", "a"), Message("assistant", "b")]
    )

    assert script.asked == [Asked("Now?", "Be brief.", (("user", "a"), ("assistant", "b")))]


async def test_a_provider_that_reports_no_usage_counts_as_zero_tokens() -> None:
    answer = await Script("fine", tokens=None).model().complete("Hello.")

    assert (answer.input_tokens, answer.output_tokens) == (0, 0)


async def test_a_model_without_system_prompts_gets_it_as_text() -> None:
    script = Script("fine", "fine")
    model = script.model()
    model.model.allows_system_prompt = False

    await model.complete("Go.", system="Be brief.")
    await model.complete("Go on.", system="Be brief.", history=[Message("user", "Go."), Message("assistant", "ok")])

    assert script.asked == [
        Asked("Be brief.\n\nGo."),
        Asked("Go on.", "", (("user", "Be brief.\n\nGo."), ("assistant", "ok"))),
    ]


async def test_a_model_without_conversations_gets_one_prompt() -> None:
    script = Script("fine")
    model = script.model()
    model.model.supports_conversation = False

    await model.complete("Go on.", system="S", history=[Message("user", "Go."), Message("assistant", "ok")])

    assert script.asked == [Asked("I said:\nGo.\n\nYou said:\nok\n\nGo on.", "S")]


async def test_a_model_that_only_completes_text_gets_everything_in_one_prompt() -> None:
    from llm.default_plugins.openai_models import Completion as OldCompletion

    with ModelServer("fine") as server:
        old = OldCompletion("served", model_name="served", api_base=server.url)
        old.needs_key = None
        answer = await LanguageModel(old).complete("Go on.", system="S", history=[Message("user", "Go.")])

    assert answer.text == "fine"
    assert server.requests[0]["prompt"] == "S\n\nGo.\nGo on."


async def test_calls_of_one_model_run_side_by_side() -> None:
    barrier = threading.Barrier(3, timeout=10)

    def together(asked: Asked) -> str:
        barrier.wait()
        return asked.prompt.upper()

    model = Script(together).model(asynchronous=False)

    answers = await asyncio.gather(*(model.complete(prompt) for prompt in "abc"))

    assert [answer.text for answer in answers] == ["A", "B", "C"]


# ── what is no answer ───────────────────────────────────────────────────────────────────────────────────────────────


async def failure(model: LanguageModel) -> CairnError:
    with pytest.raises(CairnError) as caught:
        await model.complete("Hello.")
    return caught.value


def parts(error: CairnError) -> tuple[type, str, str, tuple[str, ...]]:
    return type(error), error.what, error.why, error.fix


@both
async def test_a_refused_key_is_not_tried_again(asynchronous: bool) -> None:
    with ModelServer(Plain.error(401, "Incorrect API key provided: sk-abcdefghijkl.")) as server:
        error = await failure(served(server, asynchronous=asynchronous))

    assert parts(error) == (KeyRefused, "The key for served was refused.", "Incorrect API key provided: ***.", ())
    assert len(server.requests) == 1


@pytest.mark.parametrize("given", ["letmein", None], ids=["given", "stored"])
async def test_the_key_itself_never_shows_in_an_error(given: str | None, llm_folder: Path) -> None:
    (llm_folder / "keys.json").write_text('{"openai": "letmein"}')
    from llm.default_plugins.openai_models import AsyncChat

    with ModelServer(Plain.error(401, "no such key: letmein")) as server:
        chat = AsyncChat("served", model_name="served", api_base=server.url)
        error = await failure(LanguageModel(chat, given))

    assert server.keys == ["letmein"]
    assert error.why == "no such key: ***."
    assert error.fix == (
        "llm keys set openai",
        "export OPENAI_API_KEY=...   works too; a stored key wins over it.",
    )


NOT_RETRIED = {
    "403": (
        Plain.error(403, "not yours"),
        (KeyRefused, "The key may not use served.", "not yours.", ("cairn run -m MODEL   uses another model.",)),
    ),
    "404": (
        Plain.error(404, "The model `served` does not exist"),
        (
            ModelUnavailable,
            "The provider does not know the model served.",
            "The model `served` does not exist.",
            ("llm models   lists the models that llm knows.",),
        ),
    ),
    "context": (
        Plain.error(400, "This model's maximum context length is 8192 tokens."),
        (
            ConversationTooLong,
            "The conversation is too long for served.",
            "This model's maximum context length is 8192 tokens.",
            ("A model with a longer context (cairn run -m MODEL) or a smaller task helps.",),
        ),
    ),
    "400": (
        Plain.error(400, "bad temperature"),
        (ModelCallFailed, "served refused the request (400).", "bad temperature.", ()),
    ),
    "quota": (
        Plain.error(429, "You exceeded your current quota."),
        (
            ModelCallFailed,
            "The account has no quota left for served.",
            "You exceeded your current quota.",
            ("Top it up with the provider, or use another model: cairn run -m MODEL",),
        ),
    ),
    "filter": (
        Streamed("I ", finish="content_filter"),
        (ModelCallFailed, "served declined to answer.", "Its provider says: content_filter.", ()),
    ),
    "length": (
        Streamed("half", finish="length"),
        (
            AnswerCut,
            "served reached its length limit before the end of its answer.",
            "It stopped after 4 characters (length).",
            ("A smaller task, or a model with a higher output limit, helps.",),
        ),
    ),
}


@pytest.mark.parametrize("case", NOT_RETRIED)
async def test_what_would_fail_again_is_asked_once(case: str) -> None:
    reply, expected = NOT_RETRIED[case]
    with ModelServer(reply) as server:
        error = await failure(served(server))

    assert parts(error) == expected
    assert len(server.requests) == 1


PASSING = {
    "429": Plain.error(429, "slow down"),
    "500": Plain.error(500, "oops"),
    "503 page": Plain(503, "<!DOCTYPE html><html>down</html>", content_type="text/html"),
    "empty": Streamed(""),
    "blank": Streamed(" \n"),
    "cut": Streamed("```python\nwrite_file(", finish=None),
    "page": Plain(200, "<html>log in</html>", content_type="text/html"),
    "broken event": Plain(200, "data: {broken\n\n", content_type="text/event-stream"),
    "error event": Plain(
        200, 'data: {"error": {"message": "server overloaded"}}\n\n', content_type="text/event-stream"
    ),
}


@both
@pytest.mark.parametrize("case", PASSING)
async def test_what_may_pass_is_tried_again(case: str, asynchronous: bool) -> None:
    with ModelServer(PASSING[case], "good") as server:
        answer = await served(server, asynchronous=asynchronous).complete("Hello.")

    assert answer.text == "good"
    assert len(server.requests) == 2


async def test_the_last_failure_says_how_often_it_was_tried() -> None:
    with ModelServer(*[Plain.error(500, "oops")] * 3) as server:
        error = await failure(served(server))

    assert parts(error) == (ModelCallFailed, "The server of served failed (500).", "oops; 3 attempts were made.", ())
    assert len(server.requests) == 3


async def test_retry_after_is_waited_for_and_told() -> None:
    slept: list[float] = []
    events: list[Event] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    with ModelServer(Plain.error(429, "slow down", retry_after="7"), "good") as server:
        await watched(served(server, sleep=sleep), events.append).complete("Hello.")

    assert slept == [7.0]
    assert events == [Waiting("served is rate-limited (try 1 of 3)", 7.0)]


async def test_a_server_that_is_not_there_is_named() -> None:
    with ModelServer() as server:
        model = served(server, strategy=RetryStrategy(attempts=2, jitter=0.0))
    error = await failure(model)

    assert error.what == "served cannot be reached."
    assert server.url in error.why
    assert error.why.endswith("; 2 attempts were made.")


@both
@pytest.mark.parametrize("reply", [Silence(), Streamed("so far\n", stall=True)], ids=["silent", "stalled"])
async def test_a_server_that_hangs_is_left_at_the_deadline(reply: Any, asynchronous: bool) -> None:
    with ModelServer(reply) as server:
        once = RetryStrategy(attempts=1)
        error = await failure(served(server, asynchronous=asynchronous, seconds=0.2, strategy=once))

    assert isinstance(error, ModelCallFailed)
    assert (error.what, error.retryable) == ("served did not answer in time.", True)


async def test_a_stall_ends_a_call_before_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_model, "_STALL_SECONDS", 0.1)
    with ModelServer(Streamed("so far\n", stall=True), "good") as server:
        answer = await served(server, seconds=60.0).complete("Hello.")

    assert answer.text == "good"


async def test_cancelling_a_call_ends_it_at_once() -> None:
    started = asyncio.Event()
    with ModelServer(Streamed("so far\n", stall=True)) as server:
        call = asyncio.create_task(served(server).complete("Hello.", on_text=lambda _n: started.set()))
        await started.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


@both
async def test_an_error_of_a_plug_in_keeps_its_words(asynchronous: bool) -> None:
    error = await failure(Script(ValueError("no candidates")).model(asynchronous=asynchronous))

    assert parts(error) == (ModelCallFailed, "scripted failed.", "ValueError: no candidates.", ())


@pytest.mark.parametrize(
    ("words", "kind", "tries"),
    [
        ("The model is overloaded. Please try again later.", ModelCallFailed, 4),
        ("API key not valid. Please pass a valid API key.", KeyRefused, 1),
        ("Your credit balance is too low", ModelCallFailed, 1),
        ("Unsupported image", ModelCallFailed, 1),
    ],
)
async def test_a_model_error_is_judged_by_its_words(words: str, kind: type, tries: int) -> None:
    import llm

    script = Script(*[llm.ModelError(words)] * 5)
    error = await failure(script.model())

    assert (type(error), len(script.asked)) == (kind, tries)
    assert error.why.startswith(words.rstrip("."))


# ── which model ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_asked_for_comes_before_everything() -> None:
    assert choose_model("mine", {"LLM_MODEL": "theirs"}) == "mine"


def test_llm_model_comes_before_the_default() -> None:
    assert choose_model(None, {"LLM_MODEL": "theirs"}) == "theirs"


def test_a_default_without_a_key_is_no_model(llm_folder: Path) -> None:
    (llm_folder / "default_model.txt").write_text("gpt-4o")

    assert choose_model(None, os.environ) is None


def test_a_machine_where_llm_was_never_set_up_has_no_model() -> None:
    assert choose_model(None, os.environ) is None


def test_the_default_is_taken_when_its_key_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")

    assert choose_model(None, os.environ) == "gpt-5.6-luna"


def test_the_users_default_is_taken_when_its_key_is_stored(llm_folder: Path) -> None:
    (llm_folder / "default_model.txt").write_text("4o")
    (llm_folder / "keys.json").write_text('{"openai": "k"}')

    assert choose_model(None, os.environ) == "gpt-4o"


def test_a_broken_llm_has_no_default(llm_folder: Path) -> None:
    (llm_folder / "keys.json").write_text("{")

    assert choose_model(None, os.environ) is None


async def test_a_model_opens_by_name_with_the_settings_patience() -> None:
    script = Script("fine")
    with script.registered() as name:
        model = open_model(name, retry=RetrySettings(attempts=7, max_delay=5, call_seconds=9))

    assert (model.strategy.attempts, model.strategy.max_delay, model.call_seconds) == (7, 5.0, 9.0)
    assert (await model.complete("Hello.")).text == "fine"


async def test_a_model_of_the_users_settings_file_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ModelServer("fine") as server:
        for name, value in server.settings(tmp_path / "set up").items():
            monkeypatch.setenv(name, value)
        answer = await open_model("served").complete("Hello.")

    assert (answer.text, server.keys) == ("fine", ["DUMMY_KEY"])


def unavailable(act: Callable[[], object]) -> CairnError:
    with pytest.raises(ModelUnavailable) as caught:
        act()
    return caught.value


def test_a_missing_key_is_found_before_anything_starts() -> None:
    assert parts(unavailable(lambda: open_model("gpt-4o"))) == (
        KeyMissing,
        "gpt-4o needs a key.",
        'OPENAI_API_KEY is not set and llm has no stored "openai" key.',
        ("llm keys set openai", "export OPENAI_API_KEY=...   works too; a stored key wins over it."),
    )


def test_an_unknown_model_names_the_nearest() -> None:
    error = unavailable(lambda: open_model("gpt-4-o"))

    assert (error.what, error.fix[0], error.fix[-1]) == (
        "There is no model 'gpt-4-o'.",
        "Did you mean: gpt-4o, gpt-4, gpt-4-turbo",
        "llm models   lists all there are.",
    )


def test_an_unknown_model_names_the_plug_in_that_may_bring_it() -> None:
    error = unavailable(lambda: open_model("claude-sonnet-9"))

    assert error.fix == ("pip install llm-anthropic   brings models of that name.", "llm models   lists all there are.")


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("keys.json", "{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("aliases.json", "[]", "it holds a list, not an object"),
        ("extra-openai-models.yaml", "", "it is not a list of models"),
        ("extra-openai-models.yaml", "- model_id: x", "entry 1 has no model_name"),
    ],
)
def test_a_damaged_settings_file_of_llm_is_named(llm_folder: Path, name: str, text: str, why: str) -> None:
    (llm_folder / name).write_text(text)

    assert parts(unavailable(lambda: open_model("gpt-4o"))) == (
        ModelUnavailable,
        f"llm cannot read its file {name}, so no model can be used.",
        f"{llm_folder / name}: {why}.",
        (f"Mend or remove {llm_folder / name}",),
    )


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path / "file" / "llm"))

    assert parts(unavailable(lambda: open_model("gpt-4o"))) == (
        ModelUnavailable,
        "llm cannot use the folder of its settings.",
        f"Not a directory: {tmp_path / 'file' / 'llm'}.",
        ("LLM_USER_PATH=FOLDER   names another folder.",),
    )


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Installs a plug-in `llm-broken` with this source, as far as `llm` and the import system can tell."""
    import sys

    from llm.plugins import load_plugins, pm

    def install(source: str) -> None:
        (tmp_path / "llm_broken.py").write_text(source)
        info = tmp_path / "llm_broken-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-broken\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[llm]\nbroken = llm_broken\n")
        monkeypatch.syspath_prepend(tmp_path)

    load_plugins()
    before = set(pm.get_plugins())
    yield install
    sys.modules.pop("llm_broken", None)
    for registered in set(pm.get_plugins()) - before:
        pm.unregister(registered)


def test_a_plug_in_that_cannot_list_its_models_is_named(plugin: Callable[[str], None]) -> None:
    import importlib

    from llm.plugins import pm

    plugin("import llm\n@llm.hookimpl\ndef register_models(register):\n    raise RuntimeError('the list is offline')\n")
    pm.register(importlib.import_module("llm_broken"), "broken")

    assert parts(unavailable(lambda: open_model("gpt-4o"))) == (
        ModelUnavailable,
        "The llm plug-in llm-broken is broken, so no model can be used.",
        "RuntimeError: the list is offline.",
        ("pip install --upgrade llm-broken", "llm uninstall llm-broken"),
    )


def test_a_plug_in_that_cannot_be_imported_is_named_each_time(
    plugin: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import llm.plugins

    plugin("import no_such_module_anywhere\n")
    monkeypatch.setattr(llm.plugins, "_loaded", False)
    monkeypatch.setattr(llm.plugins, "LLM_LOAD_PLUGINS", "llm-broken")
    monkeypatch.setattr(llm.plugins, "DEFAULT_PLUGINS", ())

    errors = [unavailable(lambda: open_model("gpt-4o")) for _ in range(2)]

    assert [error.what for error in errors] == ["The llm plug-in llm-broken is broken, so no model can be used."] * 2


# ── what there is, for people ───────────────────────────────────────────────────────────────────────────────────────


def test_the_status_says_when_a_stored_key_hides_another(llm_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (llm_folder / "keys.json").write_text('{"openai": "old"}')
    monkeypatch.setenv("OPENAI_API_KEY", "new")

    status = model_status("gpt-4o")

    assert (status.key_source, status.shadowed, status.usable) == ('llm\'s stored "openai" key', True, True)


def test_the_status_of_a_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "new")

    status = model_status("4o")

    assert (status.name, status.key_source, status.shadowed, status.usable) == ("gpt-4o", "OPENAI_API_KEY", False, True)


def test_the_status_of_a_model_that_needs_no_key() -> None:
    with Script().registered() as name:
        status = model_status(None, {"LLM_MODEL": name})

    assert (status.name, status.origin, status.key_source, status.usable) == (name, "LLM_MODEL", "none needed", True)


def test_the_status_of_an_unknown_model_holds_the_problem() -> None:
    status = model_status("nonesuch")

    assert (status.usable, str(status.problem).splitlines()[0]) == (False, "There is no model 'nonesuch'.")


def screen(error: CairnError) -> str:
    return "\n".join(["cairn: " + error.what, *("  " + line for line in [*error.why.splitlines(), *error.fix])])


def test_when_nothing_can_do_a_task_the_error_shows_every_way_out() -> None:
    names = ("add_docstrings", "rename_symbol", "fix_todos")

    assert screen(describe_missing("fix the login bug", names)) == (
        "cairn: no language model can do this task.\n"
        "  Asked for: gpt-5.6-luna (llm's default; no --model, CAIRN_MODEL or LLM_MODEL set).\n"
        '  It needs a key: OPENAI_API_KEY is not set and llm has no stored "openai" key.\n'
        '  The built-in recipes (no AI) do not cover: "fix the login bug". They cover: add_docstrings, rename_symbol, '
        "fix_todos (cairn recipes)\n"
        "  Do one of:\n"
        "    llm keys set openai                                  then run this again\n"
        '    pip install llm-anthropic && llm keys set anthropic  then cairn run -m MODEL "..."   (llm models lists '
        "them)\n"
        "    a local server: extra-openai-models.yaml, or pip install llm-ollama\n"
        "  Nothing was changed in this repository."
    )


def test_a_task_that_only_lacks_sentences_is_told_of_the_local_model() -> None:
    error = describe_missing("add docstrings", ("a",), drafts_would_do=True)

    assert error.fix[-2] == (
        "  pip install 'cairn[local]' && cairn local install    (94 MB; drafts: about half need rewriting)"
    )


def test_a_broken_llm_is_named_where_nothing_can_do_a_task(llm_folder: Path) -> None:
    (llm_folder / "keys.json").write_text("{")

    error = describe_missing("x" * 100, [f"recipe{n}" for n in range(8)])

    assert error.why.splitlines()[1].startswith("llm cannot read its file keys.json, so no model can be used.")
    assert error.why.splitlines()[2] == (
        f'The built-in recipes (no AI) do not cover: "{"x" * 59}…". '
        "They cover: recipe0, recipe1, recipe2, recipe3, recipe4, recipe5, ... (cairn recipes)"
    )


def test_importing_cairns_model_layer_does_not_import_llm() -> None:
    import subprocess
    import sys

    code = "import sys, cairn.language_model, cairn.testing; print('llm' in sys.modules, 'openai' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False False\n"


def test_the_servers_requests_are_json() -> None:
    assert json.loads(Plain.error(500, "x").body) == {"error": {"message": "x", "type": "error", "code": None}}
