"""What stands beside a task file."""

from __future__ import annotations

from cairn.errors import CairnError
from cairn.task_results import problem_text


def test_a_problem_of_several_lines_is_a_list_with_its_steps_below():
    error = CairnError("No model.", "Asked for: x.\nIt needs a key.", ("Do one of:", "  llm keys set x", "  a server"))
    assert problem_text(error) == (
        "---\nstate: not a task\n---\n\nNo model.\n\n"
        "- Asked for: x.\n- It needs a key.\n- Do one of:\n  - llm keys set x\n  - a server\n"
    )
