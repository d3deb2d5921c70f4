"""What a project may set, parsed once into one frozen value.

The order, last word first: flags, `CAIRN_*` variables, `cairn.toml`, `[tool.cairn]` in `pyproject.toml`, the user's
`cairn/settings.toml` in the XDG config folder, the defaults here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from cairn.checks import Check
from cairn.command_bounds import Bounds
from cairn.errors import UsageProblem
from cairn.metering import Prices, Rates
from cairn.policy import Action, AtLimitSetting, Policy, PolicyRule
from cairn.program import Limits
from cairn.setting_rules import (
    CheckTable,
    Counts,
    Flag,
    Name,
    OneOf,
    OrNone,
    Patterns,
    PostgresUrl,
    PriceTable,
    RateTable,
    Real,
    Refused,
    Rule,
    Rules,
    Texts,
    Whole,
)

PROJECT_FILE = "cairn.toml"
_DEFAULTS = Limits()
_DAY = 86_400
_MANY_TOKENS = 1_000_000_000_000
_BOUNDS = Bounds()


def _setting(default: object, rule: Rule, description: str) -> Any:
    return field(default=default, metadata=_told(rule, description))


def _told(rule: Rule, description: str) -> dict[str, object]:
    return {"rule": rule, "description": description}


def _added(rule: Rule, description: str) -> dict[str, object]:
    return {**_told(rule, description), "adds": True}


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """What one task may use; each field is a field of `program.Limits`."""

    seconds: float = _setting(
        _DEFAULTS.seconds,
        Real(3600, positive=True),
        "sandbox seconds per program; time inside external functions does not count",
    )
    total_seconds: float = _setting(
        _DEFAULTS.total_seconds, Real(_DAY, positive=True), "sandbox seconds of all of a task's programs together"
    )
    wall_seconds: float = _setting(
        _DEFAULTS.wall_seconds,
        Real(7 * _DAY, positive=True),
        "seconds for the whole task, waiting for models included",
    )
    memory_mb: int = _setting(_DEFAULTS.memory_mb, Whole(16, 16_384), "sandbox memory in MB")
    recursion: int = _setting(_DEFAULTS.recursion, Whole(200, 100_000), "call depth")
    calls: int = _setting(_DEFAULTS.calls, Whole(1, 10_000_000), "external calls per task (read_file, write_file, ...)")
    calls_of: Mapping[str, int] = field(
        default_factory=dict,
        metadata=_told(
            Counts(10_000_000), "external calls per task by function, such as {write_file = 100, delete_file = 0}"
        ),
    )
    llm_calls: int = _setting(
        _DEFAULTS.llm_calls, Whole(0, 1_000_000), "questions a task's programs may ask a model (ask_llm)"
    )
    bytes_written: int = _setting(
        _DEFAULTS.bytes_written, Whole(0, 100_000_000_000), "bytes a task may write in all, moved files counted"
    )
    files_changed: int = _setting(
        _DEFAULTS.files_changed, Whole(0, 10_000_000), "files a task may make, change, move or delete"
    )
    steps: int = _setting(_DEFAULTS.steps, Whole(1, 1000), "programs a model may write")
    repairs: int = _setting(_DEFAULTS.repairs, Whole(0, 100), "times one program is sent back because its check failed")
    program_chars: int = _setting(_DEFAULTS.program_chars, Whole(1, 500_000), "characters of one program")
    nesting: int = _setting(_DEFAULTS.nesting, Whole(1, 90), "blocks (def, if, for, with, ...) inside one another")
    output_chars: int = _setting(
        _DEFAULTS.output_chars, Whole(200, 1_000_000), "characters of a step's output that the model sees"
    )
    file_bytes: int = _setting(
        _DEFAULTS.file_bytes, Whole(1024, 100_000_000), "largest file that is read or written, in bytes"
    )
    model_calls: int = _setting(
        _DEFAULTS.model_calls, Whole(0, 1_000_000), "calls of models in all: programs, repairs and questions"
    )
    input_tokens: int = _setting(_DEFAULTS.input_tokens, Whole(0, _MANY_TOKENS), "tokens sent to models in all")
    output_tokens: int = _setting(_DEFAULTS.output_tokens, Whole(0, _MANY_TOKENS), "tokens written by models in all")
    money: float | None = _setting(
        _DEFAULTS.money, OrNone(Real(1_000_000)), "what calls of models may cost in all, in the unit of [prices]"
    )

    def limits(self) -> Limits:
        """The same figures as the model layer's value."""
        return Limits(**{each.name: getattr(self, each.name) for each in fields(Limits)})


@dataclass(frozen=True, slots=True)
class BudgetSettings:
    """What all tasks of the project may use together; None: as much as they like."""

    tokens_per_day: int | None = _setting(
        None, OrNone(Whole(0, _MANY_TOKENS)), "tokens sent to and written by models from midnight to midnight"
    )
    money_per_day: float | None = _setting(
        None, OrNone(Real(1_000_000)), "what calls of models may cost from midnight to midnight"
    )
    tasks_at_once: int | None = _setting(
        None, OrNone(Whole(1, 10_000)), "tasks that run at the same time; a further one waits"
    )


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """How often and how patiently a failed model call is made again."""

    attempts: int = _setting(4, Whole(1, 100), "calls in all, the first one included")
    first_delay: float = _setting(1.0, Real(600), "seconds before the second; then doubled")
    max_delay: float = _setting(30.0, Real(3600), "longest pause in seconds")
    pause_seconds: float = _setting(
        60.0, Real(3600, positive=True), "how long a model is not asked after its key or quota failed; then doubled"
    )
    call_seconds: float = _setting(180.0, Real(3600, positive=True), "deadline of one call in seconds")


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """Where checks run, and what each may use. What lets one out of its sandbox is the user's own choice."""

    name: str = _setting("local", Name(), "the runtime: local, ssh, or one that an installed package brings")
    host: str | None = _setting(None, Name(), "the machine that checks run on with ssh, as ssh takes it")
    folder: str | None = _setting(None, Name(), "where on it files are put; its ~/.cache when not set")
    unsandboxed: bool = _setting(default=False, rule=Flag(), description="run checks although no sandbox can be had")
    visible: tuple[str, ...] = _setting((), Texts(), 'more folders and files that checks may read, such as ["~/sdk"]')
    environment: tuple[str, ...] = _setting((), Texts(), "more variables that checks get")
    memory_mb: int = _setting(_BOUNDS.memory_mb, Whole(64, 1_000_000), "memory of a check in MB")
    processes: int = _setting(_BOUNDS.processes, Whole(16, 32_768), "processes and threads of a check at once")
    file_mb: int = _setting(_BOUNDS.file_mb, Whole(1, 1_000_000), "largest file a check may write, in MB")
    disk_mb: int = _setting(_BOUNDS.disk_mb, Whole(1, 10_000_000), "what a check may write in all, in MB")
    runs: int = _setting(20, Whole(0, 10_000), "checks that a task's programs may run (run_check)")

    def bounds(self) -> Bounds:
        """The same figures as the launcher has them."""
        return Bounds(self.memory_mb, self.processes, self.file_mb, self.disk_mb)


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Where tasks, their files and their workers meet when one machine is not enough. Not a project's to say."""

    url: str | None = _setting(
        None, PostgresUrl(), 'a Postgres that many machines share, such as "postgresql://host/cairn"; none: one machine'
    )
    project: str | None = _setting(None, Name(), "the project's name there; made from its first commit when not set")
    remote: str | None = _setting("origin", Name(), "the git remote that workers fetch from, by its name, path or URL")
    objects: str | None = _setting(
        None, Name(), 'where large task files lie, such as "s3://bucket/cairn" or "file:///srv/cairn"'
    )
    cache: str | None = _setting(
        None, Name(), "where workers keep the commits that tasks work on; in ~/.cache/cairn when not set"
    )
    starts_per_minute: int | None = _setting(
        None, OrNone(Whole(1, 100_000)), "tasks that all workers of the server together start in a minute"
    )


@dataclass(frozen=True, slots=True)
class KeepSettings:
    """What `cairn gc` leaves; it deletes only when it is called."""

    days: int = _setting(
        30,
        Whole(0, 36_500),
        "days that `cairn gc` keeps ended tasks, and accepts and undos so that they can be taken back",
    )
    operations: int = _setting(
        20, Whole(0, 1_000_000), "the newest accepts and undos, which it keeps however old they are"
    )


@dataclass(frozen=True, slots=True)
class AcceptSettings:
    """What `cairn accept` lets through without asking."""

    allow: tuple[str, ...] = _setting(
        (), Patterns(), 'dangerous paths that need no --allow, globs too, for example ["conftest.py", "tests/**"]'
    )


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """What programs may do; `deny` and `ask` of all layers add up, so that none can take another's back."""

    deny: tuple[PolicyRule, ...] = field(
        default=(), metadata=_added(Rules(), 'calls that are refused, such as ["ask_llm", "write(secrets/**)"]')
    )
    ask: tuple[PolicyRule, ...] = field(
        default=(), metadata=_added(Rules(), 'calls that wait for a person, such as ["delete_file", "write(*.toml)"]')
    )
    allow: tuple[PolicyRule, ...] = _setting(
        (), Rules(), 'calls that are allowed where default is not, such as ["look", "read", "write(src/**)"]'
    )
    default: Action = field(
        default=Action.ALLOW,
        metadata=_told(OneOf(Action), "what becomes of a call that no rule names: allow, ask or deny"),
    )
    only: tuple[str, ...] = _setting((), Patterns(), 'paths that may be changed, such as ["src/**"]; empty: all')

    at_limit: AtLimitSetting = field(
        default=AtLimitSetting.STOP,
        metadata=_told(OneOf(AtLimitSetting), "what a task does at a limit: stop, or ask whether to raise it"),
    )

    def policy(self) -> Policy:
        """The same as the model layer's value."""
        return Policy(self.deny, self.ask, self.allow, self.default, self.only or None)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set; immutable once loaded."""

    model: str | None = _setting(
        None, Name(), 'the `llm` model that writes programs, for example "gpt-5.6-luna"; `llm models` lists them'
    )
    text_model: str | None = _setting(None, Name(), "the model behind ask_llm; the same one when not set")
    prices: Prices = field(
        default_factory=Prices,
        metadata=_told(
            PriceTable(),
            'what a million tokens cost, by model, globs too, such as {"gpt-5*" = {input = 1.25, output = 10.0}}',
        ),
    )
    rates: Rates = field(
        default_factory=Rates,
        metadata=_told(
            RateTable(),
            'how fast models may be asked, globs too, such as {"gpt-5*" = {calls_at_once = 4, requests_per_minute = 60,'
            " tokens_per_minute = 100_000}}",
        ),
    )
    limits: LimitSettings = field(default_factory=LimitSettings)
    budget: BudgetSettings = field(default_factory=BudgetSettings)
    retry: RetrySettings = field(default_factory=RetrySettings)
    accept: AcceptSettings = field(default_factory=AcceptSettings)
    keep: KeepSettings = field(default_factory=KeepSettings)
    policy: PolicySettings = field(default_factory=PolicySettings)
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    checks: Mapping[str, Check] = field(
        default_factory=dict,
        metadata=_told(CheckTable(), 'commands that judge a task, such as {tests = "pytest -q"}; docs/checks.md'),
    )

    @classmethod
    def load(cls, root: Path, environ: Mapping[str, str], overrides: Mapping[str, object] | None = None) -> Settings:
        """Later layers win key by key. Raises UsageProblem that names the file, the key and what it takes."""
        loaded = cls()
        for origin, values in _layers(root, environ):
            loaded = loaded.overruled(values, origin)
        return loaded.overruled(_nested(overrides or {}), "the command line")

    def overruled(self, values: Mapping[str, Any], origin: str) -> Settings:
        """The same where `values`, as TOML has them, say nothing. Raises UsageProblem that names `origin`."""
        plain = {name: value for name, value in values.items() if name not in _SECTIONS}
        changed = _parsed(self, plain, origin)
        for name in _SECTIONS:
            if name in values:
                changed[name] = _overruled(getattr(self, name), values[name], origin, name)
        return replace(self, **changed)

    def with_options(self, options: Mapping[str, str]) -> Settings:
        """The same with the settings of one task, by their dotted names. Raises UsageProblem for a wrong one."""
        return self.overruled(_nested(options), "the task's own settings") if options else self


_SECTIONS: Mapping[str, type[Any]] = {
    "limits": LimitSettings,
    "budget": BudgetSettings,
    "retry": RetrySettings,
    "accept": AcceptSettings,
    "keep": KeepSettings,
    "policy": PolicySettings,
    "runtime": RuntimeSettings,
    "engine": EngineSettings,
}
# A project that came from elsewhere must neither let its own checks out of the sandbox nor send anybody's work away.
_PERSONAL: Mapping[str, tuple[frozenset[str], str]] = {
    "runtime": (
        frozenset({"name", "host", "folder", "unsandboxed", "visible", "environment"}),
        "It decides what a check may reach on this machine",
    ),
    "engine": (frozenset({"url", "project", "remote", "objects", "cache"}), "It decides where your work goes"),
}


def _layers(root: Path, environ: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from _file_layer(_user_file(environ), table=())
    yield from _file_layer(root / "pyproject.toml", table=("tool", "cairn"))
    yield from _file_layer(root / PROJECT_FILE, table=())
    yield "the environment", _from_environment(environ)


def _user_file(environ: Mapping[str, str]) -> Path:
    home = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or "~").expanduser() / ".config")
    return home / "cairn" / "settings.toml"


def _file_layer(path: Path, *, table: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return
    except UnicodeDecodeError:
        why = "It is not UTF-8 text."
        raise UsageProblem(f"Cannot read the settings in {path}.", why, "Mend or remove that file.") from None
    except OSError as error:
        why = f"The system says: {error.strerror}."
        raise UsageProblem(f"Cannot read the settings in {path}.", why, "Mend or remove it.") from None
    import tomllib

    try:
        values: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        if table and "tool.cairn" not in text:
            return  # somebody else's broken pyproject.toml holds nothing of ours
        raise UsageProblem(f"{path} is not valid TOML.", f"{error}.", "Mend that line, then try again.") from None
    for key in table:
        values = values.get(key, {}) if isinstance(values, dict) else {}
    if not isinstance(values, dict):
        raise _refused(".".join(table), str(path), Refused(f"a table: [{'.'.join(table)}]", values))
    if path.name in {PROJECT_FILE, "pyproject.toml"}:
        _require_not_personal(values, str(path))
    if values:
        yield str(path), values


def _require_not_personal(values: Mapping[str, Any], origin: str) -> None:
    for section, (names, why) in _PERSONAL.items():
        found = sorted(names & set(values[section])) if isinstance(values.get(section), Mapping) else []
        if found:
            raise UsageProblem(
                f"The setting {section}.{found[0]} in {origin} is not a project's to set.",
                f"{why}, and a project may come from anywhere.",
                f"Set it in cairn/settings.toml in your own configuration folder, or as a CAIRN_{section.upper()}_"
                " variable.",
            )


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """`CAIRN_MODEL`, `CAIRN_TEXT_MODEL`, and `CAIRN_LIMITS_SECONDS`, `CAIRN_RETRY_ATTEMPTS` and the like."""
    keys = ["model", "text_model"]
    keys += [f"{section}.{name}" for section, kind in _SECTIONS.items() for name in described(kind)]
    sections = tuple(f"CAIRN_{section}_".upper() for section in _SECTIONS)
    for name in environ:
        if name.startswith(sections) and name not in {_variable(key) for key in keys}:
            raise UsageProblem(f"No setting belongs to the variable {name}.", fix=f"unset {name}")
    variables = {_variable(key): key for key in keys}
    return _nested({key: environ[variable] for variable, key in variables.items() if environ.get(variable)})


def _variable(key: str) -> str:
    return f"CAIRN_{key.replace('.', '_')}".upper()


def _nested(dotted: Mapping[str, object]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in dotted.items():
        *tables, name = key.split(".")
        place = nested
        for table in tables:
            place = place.setdefault(table, {})
        place[name] = value
    return nested


def _overruled(section: Any, values: object, origin: str, name: str) -> Any:
    if not isinstance(values, Mapping):
        raise _refused(name, origin, Refused(f"a table: [{name}]", values))
    return replace(section, **_parsed(section, values, origin, f"{name}."))


def _parsed(section: Any, values: Mapping[str, Any], origin: str, prefix: str = "") -> dict[str, Any]:
    known = {each.name: each for each in fields(section)}
    parsed: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise _unknown(name, prefix, tuple(known), origin)
        try:
            read = known[name].metadata["rule"].parse(value)
            before = getattr(section, name)
            parsed[name] = _sum(before, read) if known[name].metadata.get("adds") else _joined(before, read)
        except Refused as refused:
            raise _refused(f"{prefix}{name}", origin, refused) from None
    return parsed


def _joined(before: object, value: object) -> object:
    """Tables are overruled name by name, everything else as a whole."""
    if isinstance(before, Prices) and isinstance(value, Prices):
        return Prices({**before.of, **value.of})
    if isinstance(before, Rates) and isinstance(value, Rates):
        return Rates({**before.of, **value.of})
    return {**before, **value} if isinstance(before, Mapping) and isinstance(value, Mapping) else value


def _sum(before: tuple[object, ...], more: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(sorted({*before, *more}, key=str))


def _refused(key: str, origin: str, refused: Refused) -> UsageProblem:
    place = key if refused.item is None else f"{key}.{refused.item}"
    return UsageProblem(
        f"The setting {place} in {origin} cannot be {_shown(refused.value)}.",
        f"It should be {refused.wanted}" + ("" if refused.wanted.endswith("?") else "."),
        f"Change {key} in {origin}.",
    )


def _shown(value: object) -> str:
    """As it was written: lists come from flags as lines."""
    return repr(value.rstrip("\n") if isinstance(value, str) else value)


def _unknown(name: str, prefix: str, known: tuple[str, ...], origin: str) -> UsageProblem:
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    return UsageProblem(
        f"There is no setting {prefix}{name} ({origin}).",
        f"Known here: {', '.join(known)}.",
        f"Did you mean {near[0]}?" if near else "cairn init   writes a file that explains each setting.",
    )


def described(kind: type[Any]) -> dict[str, Field[Any]]:
    """The settings of a section by name, each with its default and, under `metadata`, its description."""
    return {each.name: each for each in fields(kind) if "rule" in each.metadata}


def commented_file() -> str:
    """The text of a `cairn.toml` in which every setting stands, explained, commented out at its default."""
    lines = [
        "# Cairn's settings for this project. Every line that starts with #  is a default: remove the # to change it."
    ]
    sections: dict[str, type[Any]] = {"": Settings, **_SECTIONS}
    for section, kind in sections.items():
        lines += ["", f"[{section}]"] if section else [""]
        for name, each in described(kind).items():
            lines.append(f"# {name} = {_written(default_of(each))}".ljust(28) + f"  # {each.metadata['description']}")
    return "\n".join(lines) + "\n"


def default_of(setting: Field[Any]) -> Any:
    """What a setting is when nobody sets it."""
    return setting.default if setting.default_factory is MISSING else setting.default_factory()


def _written(default: Any) -> str:
    """A default as TOML has it."""
    if default is None:
        return '""'
    if isinstance(default, Mapping | Prices | Rates):
        return "{}"
    if isinstance(default, bool):
        return str(default).lower()
    return "[]" if default == () else f'"{default}"' if isinstance(default, str) else str(default)
