from __future__ import annotations

import pytest

from cairn.known_secrets import Secret, known_secrets, looks_secret, secret_in


def test_keys_of_the_environment_and_of_llm_are_known_and_short_values_are_not(tmp_path):
    keys = tmp_path / "keys.json"
    keys.write_text('{"openai": "sk-0123456789", "// Note": "x", "bad": 5}')
    environ = {"ACME_API_KEY": "abcdefgh", "HOME": "/home/somebody", "DB_PASSWORD": "short", "GH_TOKEN": "tttttttt"}

    assert known_secrets(environ, keys) == (
        Secret("ACME_API_KEY", b"abcdefgh"),
        Secret("GH_TOKEN", b"tttttttt"),
        Secret("llm's key openai", b"sk-0123456789"),
    )


@pytest.mark.parametrize("content", ["", "no json", "[1]"])
def test_a_broken_or_missing_keys_file_holds_nothing(tmp_path, content):
    (tmp_path / "keys.json").write_text(content)
    assert known_secrets({}, tmp_path / "keys.json") == known_secrets({}, tmp_path / "none") == known_secrets({}, None)


def test_a_known_secret_is_found_anywhere():
    known = (Secret("A_KEY", b"abcdefgh"),)
    assert secret_in(b"\x00xxabcdefghyy", known) == "A_KEY"
    assert secret_in(b"abcdefg", known) == ""


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("-----BEGIN " + "OPENSSH PRIVATE KEY-----", "a private key"),
        ("id = AKIA" + "ABCDEFGHIJKLMNOP;", "an AWS access key"),
        ("ghp_" + "a" * 36, "a GitHub token"),
        ("glpat-" + "a" * 20, "a GitLab token"),
        ("xoxb-" + "1" * 12, "a Slack token"),
        ("sk-" + "a" * 40, "a model provider's key"),
        ("AIza" + "b" * 35, "a Google key"),
        ("-----BEGIN PUBLIC KEY-----", ""),
        ("task-management is a skill of sk-learn", ""),
        ("AKIA is a prefix", ""),
    ],
)
def test_text_that_looks_like_a_key_is_named_by_its_kind(text, kind):
    assert looks_secret(text.encode()) == kind
