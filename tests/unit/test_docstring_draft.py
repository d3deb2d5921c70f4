from __future__ import annotations

import ast
import re
import textwrap

import pytest

from cairn.docstring_draft import Function, acceptable_sentence, function_in, prompts_for, words_of

LEAP = "def is_leap(year):\n    return year % 4 == 0\n"
METHOD = "    @property\n    def name(self) -> str:\n        return self._name\n"
ASK = "Write the docstring of the Python function is_leap: one sentence."


def function(source: str) -> Function:
    found = Function.parse(textwrap.dedent(source))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("question", "name"),
    [
        (f"{ASK}\n\nContext:\n{LEAP}", "is_leap"),
        (f"What does this do?\n\nContext:\n{METHOD}", "name"),
        (f"One plain English sentence: what does this function do?\n\n{LEAP}", "is_leap"),
        (f"Describe it:\n```python\n{LEAP}```", "is_leap"),
        (f"{ASK}\n\nContext:\nasync def f(x):\n    y = x\n    if x:\n        return g(x", "f"),
    ],
)
def test_a_question_about_a_function_is_recognised(question: str, name: str) -> None:
    found = function_in(question)

    assert found is not None
    assert found.node.name == name


@pytest.mark.parametrize(
    "question",
    [
        "What is the capital of France?",
        f"Translate this to Rust:\n\n{LEAP}",
        f"{ASK}\n\nContext:\nx = 1\ny = 2",
        f"{ASK}\n\nContext:\n{LEAP}\n\n{LEAP}",
        f"{ASK}\n\nContext:\nclass A:\n    pass",
        f"{ASK}\n\nContext:\ndef is_leap(year",
    ],
)
def test_other_questions_are_not(question: str) -> None:
    assert function_in(question) is None


def test_the_prompt_is_code_to_complete() -> None:
    first, second = prompts_for(function(LEAP))

    assert first.text == (f"{LEAP}\n\n# The same function with a one-line docstring:\ndef is_leap(year):\n    " + '"""')
    assert second.text.startswith(LEAP)
    assert first.grammar.startswith('root ::= "Return True if " word ')


@pytest.mark.parametrize(
    ("source", "beginning"),
    [
        ("def flush(self):\n    self.x.flush()", "Flush "),
        ("def _format_eta(self):\n    return ''", "Format "),
        ("def seekable(self) -> bool:\n    return self.x", "Return True if "),
        ("def get_name(self):\n    return self.x", "Return the "),
        (METHOD, "Return the "),
        ("def renderable(self):\n    return self.x", None),
        ("def __init__(self):\n    self.x = 1", None),
        ("@overload\ndef get(x: int) -> int:\n    ...", None),
        ("def get(x): return 1", None),
        ("def on_close(self) -> bool:\n    return False", None),
    ],
)
def test_a_sentence_begins_as_the_name_demands(source: str, beginning: str | None) -> None:
    found = re.findall(r'root ::= "([^"]*)"', next(prompts_for(function(source)), None).grammar) if beginning else []

    assert (found[0] if found else None) == beginning
    assert beginning is not None or not list(prompts_for(function(source)))


def test_the_signature_ends_before_a_decorated_function_inside() -> None:
    source = "@wraps\ndef outer(\n    a,\n):\n    @inner\n    def b():\n        return a\n    return b"

    assert function(source).signature == "def outer(\n    a,\n):"


FIT = [
    ("def is_leap(year):\n    return year % 4 == 0", "Return True if the given year is a leap year, False otherwise."),
    (
        "def get_value_from_state(self, option, state):\n    return state[option]",
        "Return the value from the given option in the state.",
    ),
    ("def convert(self, value) -> uuid.UUID:\n    return uuid.UUID(value)", "Convert a value to a UUID."),
    ("def list_commands(self, ctx):\n    return sorted(self.x)", "List all commands in a context."),
    ("def parse_args(argv):\n    return 1", "Parse the given arguments."),
]
UNFIT = [
    (FIT[0][0], "Year."),
    ("def show(self, x):\n    print(x)", "Return the given x."),
    ("def celsius(f):\n    return (f - 32) / 1.8", "Convert Celsius to Fahrenheit."),
    ("def flush_par():\n    del buf[:]", "Flush the first line of a file."),
    ("def get_default(self):\n    return 1", "Return the default value of a function that is not a function."),
    ("def which(cmd):\n    return cmd", "Return the command to which the command is the only command."),
    ("def time_per_iteration(self):\n    return self.a", "Return the time of a given number."),
    ("def get_params(self, ctx):\n    return self.x", "Return the parameters of the given context."),
    ("def is_lazy(flag):\n    return flag", "Return True if the flag is a lazy lazy flag."),
    ("def title(self) -> Text:\n    return self.text", "Return the title of the given text."),
    ("def get_renderable(self) -> RenderableType:\n    return self.x", "Return the renderable type."),
    ("def pause(self):\n    ...", "Pause the self."),
    ("def close(self):\n    self.f.close()", "Close a a a a a a a a a a a a a a a a a a close."),
]


@pytest.mark.parametrize(("source", "sentence"), FIT)
def test_a_sentence_that_speaks_of_the_function_is_fit(source: str, sentence: str) -> None:
    assert acceptable_sentence(sentence, function(source))


@pytest.mark.parametrize(("source", "sentence"), UNFIT)
def test_a_sentence_that_invents_or_repeats_is_not(source: str, sentence: str) -> None:
    assert not acceptable_sentence(sentence, function(source))


def test_names_of_every_style_are_read_as_words() -> None:
    assert words_of("_parseHTTPHeader_to_dict2") == ["parse", "http", "header", "to", "dict"]


def test_every_prompt_can_become_the_same_function_with_a_docstring() -> None:
    for prompt in prompts_for(function(LEAP)):
        completed = prompt.text + 'Return True if it is."""\n    return 1\n'

        assert ast.get_docstring(ast.parse(completed).body[1]) == "Return True if it is."  # type: ignore[arg-type]
