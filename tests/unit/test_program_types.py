from __future__ import annotations

import json

import pytest

from cairn.parsed_program import parse
from cairn.program import Problem
from cairn.program_types import type_problems

GIVEN = frozenset({"read_file"})


def problems(rule, message, *, code="x = 1\n", line=1, column=1):
    report = [{"code": rule, "message": message, "location": {"row": line + 1, "column": column}}]
    return type_problems(json.dumps(report), parse(code), GIVEN, shift=1)


def test_a_finding_becomes_a_problem_at_the_programs_own_line():
    assert problems("unresolved-reference", "Name `read_fil` used when not defined", line=3, column=7) == (
        Problem(3, 7, "Name 'read_fil' used when not defined", "did you mean read_file?"),
    )


COUNTS = [
    ("missing-argument", "No argument provided for required parameter `path` of function `read_file`"),
    ("invalid-argument-type", "Argument to function `read_file` is incorrect: Expected `str`, found `None`"),
    ("invalid-argument-type", "Argument to function `len` is incorrect: Expected `Sized`, found `Literal[5]`"),
    ("invalid-argument-type", "Argument to function `read_file` is incorrect: Expected `int | None`, found `str`"),
    ("unresolved-attribute", "Object of type `str` has no attribute `foo`"),
    ("unresolved-attribute", "Module `asyncio` has no member `create_task`"),
    ("invalid-assignment", "Too many values to unpack: Expected 2"),
    ("unused-awaitable", "Object of type `CoroutineType[Any, Any, Unknown]` is not awaited"),
    ("unresolved-import", "Cannot resolve imported module `numpy`"),
]

MAY_WORK = [
    ("invalid-assignment", "Object of type `None` is not assignable to `list[Unknown]`"),
    ("invalid-parameter-default", "Default value of type `None` is not assignable to annotated parameter type `str`"),
    ("invalid-return-type", "Return type does not match returned value: expected `int`, found `str`"),
    ("invalid-argument-type", "Argument to function `read_file` is incorrect: Expected `str`, found `str | None`"),
    ("unresolved-attribute", "Attribute `group` is not defined on `None` in union `Match[str] | None`"),
    ("unresolved-attribute", "Object of type `None` has no attribute `foo`"),
    ("unresolved-attribute", "Unresolved attribute `z` on type `A`"),
    ("unresolved-attribute", "Module `os` has no member `walk`"),
    ("unsupported-operator", "Operator `+` is not supported between objects of type `str | int` and `Literal[1]`"),
    ("invalid-syntax", "`return` statement outside of a function"),
    ("unresolved-import", "Cannot resolve imported module `__future__`"),
    ("no-matching-overload", "No overload of bound method `str.join` matches arguments"),
    ("some-new-rule-about-style", "Too long"),
]


@pytest.mark.parametrize(("rule", "message"), COUNTS)
def test_what_would_raise_counts(rule, message):
    assert len(problems(rule, message)) == 1


@pytest.mark.parametrize(("rule", "message"), MAY_WORK)
def test_what_may_work_does_not(rule, message):
    assert problems(rule, message) == ()


def test_an_unknown_name_in_an_annotation_does_not_matter():
    code = "def f(rows: List[str]) -> Optional[int]:\n    return List\n"
    message = "Name `List` used when not defined"

    assert problems("unresolved-reference", message, code=code, line=1, column=13) == ()
    assert len(problems("unresolved-reference", message, code=code, line=2, column=12)) == 1


def test_the_programs_own_functions_may_be_called_against_their_hints():
    message = "Argument to function `own` is incorrect: Expected `str`, found `None`"

    assert problems("invalid-argument-type", message, code="def own(x: str):\n    pass\n") == ()


def test_an_import_that_the_program_expects_to_fail_passes():
    code = "try:\n    import numpy\nexcept ImportError:\n    pass\nimport numpy\n"
    message = "Cannot resolve imported module `numpy`"

    assert problems("unresolved-import", message, code=code, line=2) == ()
    assert len(problems("unresolved-import", message, code=code, line=5)) == 1


def test_a_program_that_cannot_be_parsed_here_is_judged_by_the_report_alone():
    assert len(problems("unresolved-reference", "Name `x` used when not defined", code="def f(:")) == 1
