"""When a task goes in circles: the same program comes to the same again and again, or two programs take turns.

Pure: it looks at steps and calls, and says why it is no use to go on, or "".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cairn.program import CallRecord, ExecutionResult, Step

REPEATS = "repeats"  # the limit's name in a task's outcome
SAME_STEPS = 3  # so often the same program may come to the same; a model may try once more after an error
TURNS = 4  # steps of an A-B-A-B
SAME_CALLS = 50  # in a row: the same call that fails in the same way


def repetition(steps: Sequence[Step], calls: Sequence[CallRecord]) -> str:
    """Why the task repeats itself. `calls` are those of the last step."""
    if not steps:
        return ""
    last = steps[-1]
    same = [step.number for step in steps[:-1] if _is_same(step, last)]
    if len(same) >= SAME_STEPS - 1:
        return f"step {last.number} is step {same[-1]} again, with the same outcome"
    if len(steps) >= TURNS and _takes_turns(steps[-TURNS:]):
        return f"steps {last.number - 1} and {last.number} are the two before them again"
    return _failing_call(calls)


def _is_same(one: Step, other: Step) -> bool:
    return one.program.text.strip() == other.program.text.strip() and _outcome(one.result) == _outcome(other.result)


def _outcome(result: ExecutionResult) -> ExecutionResult:
    return replace(result, run=replace(result.run, seconds=0.0, calls=0))


def _takes_turns(steps: Sequence[Step]) -> bool:
    first, second, third, fourth = steps
    return _is_same(first, third) and _is_same(second, fourth)


def _failing_call(calls: Sequence[CallRecord]) -> str:
    tail = calls[-SAME_CALLS:]
    keys = {(call.name, call.arguments, call.error) for call in tail}
    if len(tail) < SAME_CALLS or len(keys) > 1 or not tail[-1].error:
        return ""
    last = tail[-1]
    return f"{last.name}({last.arguments}) failed {SAME_CALLS} times in a row in the same way: {last.error}"
