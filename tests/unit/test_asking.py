from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from cairn.asking import SYSTEM, Questions, Usage
from cairn.errors import ModelCallFailed
from cairn.language_model import Completion, Message
from cairn.testing import Asked, Script


@dataclass
class Gated:
    """A draft model whose answers wait for a gate, and that counts how many wait at once."""

    name: str = "gated"
    draft: bool = True
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    three: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0
    most: int = 0
    cancelled: int = 0

    async def complete(
        self,
        prompt: str,
        *,
        system: str = "",
        history: Sequence[Message] = (),
        on_text: Callable[[int], None] | None = None,
    ) -> Completion:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        if self.waiting == 3:
            self.three.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1
        return Completion(prompt.upper(), 1, 2, 0.0, self.name)


async def test_a_question_reaches_the_model_with_its_context() -> None:
    script = Script("Adds two numbers.", tokens=(10, 5))
    questions = Questions(script.model(), budget=3)

    answers = await questions.ask(["What is this?"], "def add(a, b): ...")

    assert answers == ["Adds two numbers."]
    assert script.asked == [Asked("What is this?\n\nContext:\ndef add(a, b): ...", SYSTEM)]
    assert (questions.asked, questions.usage, questions.drafts) == (1, Usage(10, 5), 0)


async def test_many_questions_are_asked_a_few_at_once_and_answered_in_order() -> None:
    model = Gated()
    questions = Questions(model, budget=100, at_once=3)
    asking = asyncio.create_task(questions.ask([f"q{number}" for number in range(10)], ""))
    await model.three.wait()
    model.gate.set()

    assert await asking == [f"Q{number}" for number in range(10)]
    assert (model.most, questions.drafts, questions.usage) == (3, 10, Usage(10, 20))


async def test_a_cancellation_reaches_every_question() -> None:
    model = Gated()
    asking = asyncio.create_task(Questions(model, budget=100, at_once=3).ask(["a", "b", "c", "d"], ""))
    await model.three.wait()
    asking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (model.waiting, model.cancelled) == (0, 3)


async def test_answers_beside_a_failure_are_kept_and_not_asked_again() -> None:
    failing = {"b"}

    def answer(asked: Asked) -> str:
        if asked.prompt in failing:
            raise ModelCallFailed("The server said no.", "It was busy.")
        return f"{asked.prompt}!"

    script = Script(answer)
    questions = Questions(script.model(), budget=10)

    with pytest.raises(RuntimeError) as raised:
        await questions.ask(["a", "b", "a", "c"], "")
    failing.clear()
    again = await questions.ask(["a", "b", "a", "c"], "")
    anew = await questions.ask(["a"], "")

    assert str(raised.value).startswith("1 of 4 prompts got no answer (indexes 1): ")
    assert str(raised.value).endswith(
        "The other answers are kept: call ask_llm_many again with the same prompts to send only those that failed"
    )
    assert (again, anew) == (["a!", "b!", "a!", "c!"], ["a!"])
    assert sorted(asked.prompt for asked in script.asked) == ["a", "a", "a", "b", "b", "c"]


async def test_one_failure_says_why() -> None:
    def answer(_asked: Asked) -> str:
        raise ModelCallFailed("The server said no.", "It was busy.")

    with pytest.raises(RuntimeError, match=r"^the language model gave no answer: "):
        await Questions(Script(answer).model(), budget=10).ask(["a"], "")


async def test_the_budget_is_taken_before_anything_is_sent() -> None:
    script = Script(lambda _asked: "yes")
    questions = Questions(script.model(), budget=5, asked=2)
    await questions.ask(["a"], "")
    before = questions.refused

    with pytest.raises(RuntimeError) as raised:
        await questions.ask(["b", "c", "d"], "")

    assert str(raised.value) == (
        "this task may ask 5 questions and 2 are left, fewer than the 3 asked now; none of them was sent. Ask fewer, or "
        "submit what is done and say what is left"
    )
    assert (before, questions.refused, len(script.asked)) == (False, True, 1)
    assert await questions.ask(["b", "c"], "") == ["yes", "yes"]


async def test_without_a_model_the_error_says_what_to_do() -> None:
    with pytest.raises(RuntimeError) as raised:
        await Questions(None, budget=5).ask(["a"], "")

    assert str(raised.value) == (
        "no language model is set up, so ask_llm cannot answer; compute the text in the program, or submit what can be "
        "done without it and say so"
    )


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (" \n", "a prompt is empty; say what text is wanted"),
        (
            "x" * 200_001,
            (
                "prompt and context have 200,001 characters, and at most 200,000 can be sent; send only the lines that "
                "matter"
            ),
        ),
    ],
)
async def test_a_question_that_cannot_be_sent_costs_nothing(prompt: str, message: str) -> None:
    questions = Questions(Script("never").model(), budget=5)

    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the whole message is compared
        await questions.ask(["fine", prompt], "")

    assert (str(raised.value), questions.asked) == (message, 0)


async def test_lone_surrogates_in_an_answer_do_not_reach_the_program() -> None:
    assert await Questions(Script("a\ud800b").model(), budget=5).ask(["a"], "") == ["a?b"]


async def test_no_questions_have_no_answers() -> None:
    assert await Questions(Script("never").model(), budget=0).ask([], "") == []
