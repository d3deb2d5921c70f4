"""What `cairn doctor` says of the model and its key: which one a task would get, and why that one."""

from __future__ import annotations

import json

import pytest

STORED, SAME, OTHER = {"openai": "sk-stored-0123456789"}, "sk-stored-0123456789", "sk-other-9876543210"
WINS = 'key from llm\'s stored "openai" key, which wins over the environment; OPENAI_API_KEY'


@pytest.mark.parametrize(
    ("stored", "environ", "says"),
    [
        ({}, {"OPENAI_API_KEY": OTHER}, "ok      model     gpt-4o (LLM_MODEL), key from OPENAI_API_KEY"),
        (STORED, {}, 'ok      model     gpt-4o (LLM_MODEL), key from llm\'s stored "openai" key'),
        (STORED, {"OPENAI_API_KEY": SAME}, f"ok      model     gpt-4o (LLM_MODEL), {WINS} holds the same"),
        (
            STORED,
            {"OPENAI_API_KEY": OTHER},
            f"ok      model     gpt-4o (LLM_MODEL), {WINS} holds another, which is not used",
        ),
        ({}, {}, "note    model     none: gpt-4o needs a key. Recipes work without one."),
        (
            STORED,
            {"CAIRN_MODEL": "local"},
            "ok      model     local (--model, CAIRN_MODEL or the settings), no key needed",
        ),
    ],
)
def test_the_doctor_says_which_key_wins_and_why(project, cairn, tmp_path, stored, environ, says):
    folder = tmp_path / "llm"
    folder.mkdir()
    (folder / "keys.json").write_text(json.dumps(stored))
    local = {"model_id": "local", "model_name": "local", "api_base": "http://127.0.0.1:9/v1"}
    (folder / "extra-openai-models.yaml").write_text(json.dumps([local]))

    screen = cairn("doctor", env={"LLM_USER_PATH": str(folder), "LLM_MODEL": "gpt-4o", **environ})

    assert [line for line in screen.out.splitlines() if line[8:13] == "model"] == [says]
    assert "sk-" not in screen.out + screen.err
