"""docs/policy.md: each row of its table of examples is what the policy above it comes to."""

from __future__ import annotations

import re

import pytest

from cairn.policy import CALLS, Access, Action, Doing, Policy, Verdict, rule_of
from tests.docs.generated_blocks import DOCS

PAGE = (DOCS / "policy.md").read_text(encoding="utf-8")
TABLE = PAGE[PAGE.index("<!-- examples -->") : PAGE.index("<!-- end: examples -->")]
ROWS = re.findall(r"^\| `(.+?)` \| (?:`(.+?)`)? ?\| (\w+) \| (?:`(.+?)`)? ?\|$", TABLE, re.MULTILINE)
DENY, ASK = (
    re.findall(r'"(.+?)"', found) for found in re.search(r"With `deny = (.+?)` and `ask = (.+?)`:", PAGE).groups()
)


def test_the_table_has_every_verdict():
    assert {row[2] for row in ROWS} == set(Action)
    assert len(ROWS) == TABLE.count("\n| `")


@pytest.mark.parametrize(("name", "path", "verdict", "rule"), ROWS)
def test_a_row_of_the_table_is_so(name, path, verdict, rule):
    policy = Policy(tuple(map(rule_of, DENY)), tuple(map(rule_of, ASK)))
    verdicts = [policy.on_call(name)]
    if path:
        verdicts += [policy.on_access(name, Access(doing, path, path)) for doing in Doing if doing in CALLS[name]]

    assert max(verdicts, key=lambda each: list(Action).index(each.action)) == Verdict(Action(verdict), rule)
