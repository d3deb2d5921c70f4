"""Rules and verdicts: deny wins, then ask; the order of rules says nothing; what would never hold is refused."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cairn.external_functions
import cairn.sandbox_files
from cairn.glob_pattern import glob_pattern
from cairn.policy import ALLOWED, CALLS, FREE, Access, Action, Doing, Policy, PolicyRule, Verdict, in_words, rule_of
from cairn.task_functions import TaskFunctions

PATHS = ("a.py", "src/a.py", "src/deep/b.py", "secrets/key", ".env")
GLOBS = ("", "*.py", "src/**", "**/*.py", "secrets/**", ".env", "**")
names = st.sampled_from([name for name in CALLS if name not in FREE])
rules = st.builds(
    lambda name, glob: PolicyRule(name, glob if CALLS.get(name, {1}) else ""),
    st.sampled_from(["*", *Doing, *CALLS]),
    st.sampled_from(GLOBS),
)
policies = st.builds(
    Policy,
    deny=st.lists(rules, max_size=4).map(tuple),
    ask=st.lists(rules, max_size=4).map(tuple),
    allow=st.lists(rules, max_size=4).map(tuple),
    default=st.sampled_from(Action),
)
accesses = st.builds(Access, st.sampled_from(Doing), st.sampled_from(PATHS), st.sampled_from(PATHS), st.booleans())


def test_every_call_that_a_program_can_make_is_known():
    functions = {name for name, _ in inspect.getmembers(TaskFunctions, inspect.isfunction) if name[0] != "_"}
    sources = [inspect.getsource(cairn.external_functions), inspect.getsource(cairn.sandbox_files)]
    file_calls = {name for text in sources for name in re.findall(r'"(open(?:\(\)\.write)?|(?:Path|os)\.\w+)"', text)}
    handled_alone = {"os.getenv", "os.environ", "Path.resolve", "Path.absolute", "Path.scan"}
    in_pieces = {"Path.append_text", "Path.append_bytes"}

    assert functions | (file_calls - handled_alone - in_pieces) <= set(CALLS)


@given(policies, names, accesses, rules)
def test_a_denial_wins_whatever_else_is_said(policy, name, access, rule):
    strict = Policy((*policy.deny, rule), policy.ask, policy.allow, policy.default)

    if rule.covers_call(name):
        assert strict.on_call(name).action is Action.DENY
    if access.doing in CALLS[name] and rule.covers(name, access):
        assert strict.on_access(name, access).action is Action.DENY


@given(policies, names, accesses, rules)
def test_a_further_rule_that_asks_or_denies_never_makes_a_verdict_milder(policy, name, access, rule):
    harder = [Policy((*policy.deny, rule), policy.ask, policy.allow, policy.default)]
    if policy.default is not Action.DENY:  # what a rule names is not left to the default
        harder.append(Policy(policy.deny, (*policy.ask, rule), policy.allow, policy.default))
    severity = list(Action).index

    for more in harder:
        assert severity(more.on_call(name).action) >= severity(policy.on_call(name).action)
        assert severity(more.on_access(name, access).action) >= severity(policy.on_access(name, access).action)


@given(policies, names, accesses, st.randoms())
def test_the_order_of_rules_says_nothing(policy, name, access, random):
    def mixed(given_rules):
        return tuple(random.sample(given_rules, len(given_rules)))

    other = Policy(mixed(policy.deny), mixed(policy.ask), mixed(policy.allow), policy.default)

    assert other.on_call(name).action is policy.on_call(name).action
    assert other.on_access(name, access).action is policy.on_access(name, access).action


def judged(policy, name, path, doing, real=None):
    return policy.on_access(name, Access(doing, path, real or path))


def policy(**given_rules):
    return Policy(**{kind: tuple(map(rule_of, texts)) for kind, texts in given_rules.items()})


@pytest.mark.parametrize(
    ("rule", "name", "path", "doing", "held"),
    [
        ("write(secrets/**)", "write_file", "secrets/a", Doing.WRITE, True),
        ("write(secrets/**)", "write_file", "secret", Doing.WRITE, False),
        ("write(secrets/**)", "delete_file", "secrets", Doing.WRITE, True),
        ("write(secrets/**)", "Path.rename", "secrets/a", Doing.WRITE, True),
        ("write(secrets/**)", "read_file", "secrets/a", Doing.READ, False),
        ("read(**/.env)", "Path.read_text", ".env", Doing.READ, True),
        ("read(**/.env)", "move_file", "a/.env", Doing.READ, True),
        ("read(**/.env)", "file_exists", "a/.env", Doing.LOOK, False),
        ("*(secrets/**)", "list_dir", "secrets", Doing.LOOK, True),
        ("write_file(src/*.py)", "Path.write_text", "src/a.py", Doing.WRITE, True),
        ("write_file(src/*.py)", "open().write", "src/a.py", Doing.WRITE, True),
        ("write_file(src/*.py)", "edit_file", "src/a.py", Doing.WRITE, False),
        ("Path.write_text(src/*.py)", "write_file", "src/a.py", Doing.WRITE, False),
        ("open().write(src/*.py)", "open().write", "src/a.py", Doing.WRITE, True),
        ("write", "edit_file", "a.py", Doing.WRITE, True),
        ("write", "edit_file", "a.py", Doing.READ, False),
    ],
)
def test_what_a_rule_covers(rule, name, path, doing, held):
    assert judged(policy(deny=[rule]), name, path, doing) == (Verdict(Action.DENY, rule) if held else ALLOWED)


def test_a_link_is_judged_by_its_name_and_by_where_it_leads():
    strict = policy(deny=["read(secrets/**)"])

    assert judged(strict, "read_file", "a.txt", Doing.READ, real="secrets/key").action is Action.DENY
    assert judged(strict, "read_file", "secrets/link", Doing.READ, real="a.txt").action is Action.DENY


def test_what_no_rule_names_follows_the_default_but_for_ending_and_explaining():
    careful = Policy(allow=(rule_of("read(src/**)"), rule_of("ask_llm")), default=Action.DENY)

    assert judged(careful, "read_file", "src/a.py", Doing.READ) == ALLOWED
    assert judged(careful, "read_file", "link", Doing.READ, real="src/a.py") == ALLOWED
    assert judged(careful, "read_file", "src/link", Doing.READ, real="a.py") == Verdict(Action.DENY)
    assert [careful.on_call(name).action for name in ("ask_llm", "ask_llm_many", "submit_result", "log")] == [
        Action.ALLOW, Action.DENY, Action.ALLOW, Action.ALLOW,
    ]  # fmt: skip


def test_a_task_ends_and_explains_itself_unless_that_is_denied_by_name():
    assert policy(deny=["*"]).on_call("submit_result") == ALLOWED
    assert policy(ask=["submit_result"]).on_call("submit_result") == Verdict(Action.ASK, "submit_result")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("write_fil", "there is no function 'write_fil'; did you mean write_file?"),
        ("Read(.env)", "there is no function 'Read'; did you mean read?"),
        ("ask_llm(src/**)", "ask_llm is about no path, so it has none in brackets"),
        ("write(/etc/**)", "'/etc/**' leads out of the project; patterns are relative to its root and have no '..'"),
        ("write(a**b)", "in 'a**b', ** must stand alone between slashes, like 'src/**/*.py'"),
        ("write(", "'write(' is no rule; write NAME or NAME(GLOB), such as write(secrets/**)"),
        ("", "'' is no rule; write NAME or NAME(GLOB), such as write(secrets/**)"),
    ],
)
def test_a_rule_that_would_never_hold_is_refused(text, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        rule_of(text)


@given(st.sampled_from(GLOBS[1:]), st.lists(st.sampled_from(["a", "src", "secrets", "b.py"]), min_size=1))
def test_a_folder_may_hold_a_match_when_some_path_below_it_fits(glob, names_of_path):
    pattern, path = glob_pattern(glob), "/".join(names_of_path)

    if pattern.matches(path):
        assert all(pattern.may_hold(str(above)) for above in Path(path).parents)


@pytest.mark.parametrize(
    ("glob", "holds"),
    [
        ("src/*.py", ["src"]),
        ("src/**/a.py", ["src", "src/x", "src/x/y"]),
        ("src/**", ["src", "src/x", "src/x/y"]),
        ("*/x/a.py", ["src", "src/x"]),
        ("{src,docs}/x/*", ["src", "src/x"]),
        ("a.py", []),
    ],
)
def test_folders_that_may_hold_a_match(glob, holds):
    assert [each for each in ("src", "src/x", "src/x/y") if glob_pattern(glob).may_hold(each)] == holds


def test_a_model_is_told_the_rules_and_nothing_where_there_are_none():
    assert in_words(Policy()) == []
    told = in_words(Policy(deny=(rule_of("ask_llm"),), ask=(rule_of("delete_file"),), only=("src/**", "docs/*.md")))
    assert told == [
        (
            "This task may change only these paths; a change elsewhere is refused. Reading is free:",
            "src/**\ndocs/*.md",
        ),
        (
            "The person's policy for calls, as function(glob of paths):",
            "denied: ask_llm\na person is asked first: delete_file",
        ),
    ]
