"""What a project may set, parsed once into one frozen value.

The order, last word first: flags, `CAIRN_*` variables, `cairn.toml`, `[tool.cairn]` in `pyproject.toml`, the user's
`cairn/settings.toml` in the XDG config folder, the defaults here.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from cairn.errors import UsageProblem
from cairn.glob_pattern import glob_pattern
from cairn.program import Limits

PROJECT_FILE = "cairn.toml"
_DEFAULTS = Limits()


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LimitSettings(_Section):
    """What one task may use; each field is a field of `program.Limits`."""

    seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        _DEFAULTS.seconds, description="sandbox seconds per program; time inside external functions does not count"
    )
    wall_seconds: Annotated[float, Field(gt=0, le=7 * 86400)] = Field(
        _DEFAULTS.wall_seconds, description="seconds for the whole task, waiting for models included"
    )
    memory_mb: Annotated[int, Field(ge=16, le=16384)] = Field(_DEFAULTS.memory_mb, description="sandbox memory in MB")
    recursion: Annotated[int, Field(ge=200, le=100_000)] = Field(_DEFAULTS.recursion, description="call depth")
    calls: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        _DEFAULTS.calls, description="external calls per task (read_file, write_file, ...)"
    )
    llm_calls: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        _DEFAULTS.llm_calls, description="questions a task's programs may ask a model (ask_llm)"
    )
    steps: Annotated[int, Field(ge=1, le=1000)] = Field(_DEFAULTS.steps, description="programs a model may write")
    repairs: Annotated[int, Field(ge=0, le=100)] = Field(
        _DEFAULTS.repairs, description="times one program is sent back because its check failed"
    )
    output_chars: Annotated[int, Field(ge=200, le=1_000_000)] = Field(
        _DEFAULTS.output_chars, description="characters of a step's output that the model sees"
    )
    file_bytes: Annotated[int, Field(ge=1024, le=100_000_000)] = Field(
        _DEFAULTS.file_bytes, description="largest file that is read or written, in bytes"
    )

    def limits(self) -> Limits:
        """The same figures as the model layer's value."""
        return Limits(**{field.name: getattr(self, field.name) for field in fields(Limits)})


class RetrySettings(_Section):
    """How often and how patiently a failed model call is made again."""

    attempts: Annotated[int, Field(ge=1, le=100)] = Field(4, description="calls in all, the first one included")
    first_delay: Annotated[float, Field(ge=0, le=600)] = Field(
        1.0, description="seconds before the second; then doubled"
    )
    max_delay: Annotated[float, Field(ge=0, le=3600)] = Field(30.0, description="longest pause in seconds")
    call_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(180.0, description="deadline of one call in seconds")


class KeepSettings(_Section):
    """What `cairn gc` leaves; it deletes only when it is called."""

    days: Annotated[int, Field(ge=0, le=36_500)] = Field(
        30, description="days that `cairn gc` keeps ended tasks, and accepts and undos so that they can be taken back"
    )
    operations: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        20, description="the newest accepts and undos, which it keeps however old they are"
    )


class AcceptSettings(_Section):
    """What `cairn accept` lets through without asking."""

    allow: tuple[str, ...] = Field(
        (), description='dangerous paths that need no --allow, globs too, for example ["conftest.py", "tests/**"]'
    )

    @field_validator("allow", mode="before")
    @classmethod
    def _from_a_variable(cls, value: object) -> object:
        return tuple(value.split()) if isinstance(value, str) else value

    @field_validator("allow")
    @classmethod
    def _usable(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                glob_pattern(pattern)
            except PermissionError as error:
                raise ValueError(str(error)) from None
        return patterns


class Settings(_Section):
    """Everything that can be set; immutable once loaded."""

    model: str | None = Field(
        None, description='the `llm` model that writes programs, for example "gpt-5.6-luna"; `llm models` lists them'
    )
    text_model: str | None = Field(None, description="the model behind ask_llm; the same one when not set")
    limits: LimitSettings = Field(default_factory=LimitSettings)  # type: ignore[arg-type]
    retry: RetrySettings = Field(default_factory=RetrySettings)  # type: ignore[arg-type]
    accept: AcceptSettings = Field(default_factory=AcceptSettings)  # type: ignore[arg-type]
    keep: KeepSettings = Field(default_factory=KeepSettings)  # type: ignore[arg-type]

    @field_validator("model", "text_model")
    @classmethod
    def _empty_is_unset(cls, name: str | None) -> str | None:
        return name or None

    @classmethod
    def load(cls, root: Path, environ: Mapping[str, str], overrides: Mapping[str, object] | None = None) -> Settings:
        """Later layers win key by key. Raises UsageProblem that names the file, the key and what it takes."""
        merged: dict[str, Any] = {}
        for origin, values in _layers(root, environ):
            _check(origin, values)
            _merge(merged, values)
        flags = _nested(overrides or {})
        _check("the command line", flags)
        _merge(merged, flags)
        return cls(**merged)

    def with_options(self, options: Mapping[str, str]) -> Settings:
        """The same with the settings of one task, by their dotted names. Raises UsageProblem for a wrong one."""
        if not options:
            return self
        nested = _nested(options)
        _check("the task's own settings", nested)
        merged = self.model_dump()
        _merge(merged, nested)
        return Settings(**merged)


_SECTIONS: Mapping[str, type[BaseModel]] = {
    "limits": LimitSettings,
    "retry": RetrySettings,
    "accept": AcceptSettings,
    "keep": KeepSettings,
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
    except (OSError, UnicodeDecodeError) as error:
        raise UsageProblem(f"Cannot read the settings in {path}.", str(error), "Mend or remove that file.") from None
    try:
        values: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        if table and "tool.cairn" not in text:
            return  # somebody else's broken pyproject.toml holds nothing of ours
        raise UsageProblem(f"{path} is not valid TOML.", f"{error}.", "Mend that line, then try again.") from None
    for key in table:
        values = values.get(key, {}) if isinstance(values, dict) else {}
    if values:
        yield str(path), values


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """`CAIRN_MODEL`, `CAIRN_TEXT_MODEL`, and `CAIRN_LIMITS_SECONDS`, `CAIRN_RETRY_ATTEMPTS` and the like."""
    keys = ["model", "text_model"]
    keys += [f"{section}.{name}" for section, model in _SECTIONS.items() for name in model.model_fields]
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
        section, _, name = key.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[name] = value
    return nested


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, dict) else value


def _check(origin: str, values: Mapping[str, Any]) -> None:
    try:
        Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise _unknown(origin, key) from None
        reason = first["msg"].removeprefix("Input should be ")
        raise UsageProblem(
            f"The setting {key} in {origin} cannot be {first['input']!r}.",
            f"It should be {reason}.",
            f"Change {key} in {origin}.",
        ) from None


def _unknown(origin: str, key: str) -> UsageProblem:
    section, _, name = key.rpartition(".")
    model = _SECTIONS.get(section, Settings)
    near = difflib.get_close_matches(name, list(model.model_fields), n=1)
    known = ", ".join(model.model_fields)
    return UsageProblem(
        f"There is no setting {key} ({origin}).",
        f"Known here: {known}.",
        f"Did you mean {near[0]}?" if near else "cairn init   writes a file that explains each setting.",
    )


def commented_file() -> str:
    """The text of a `cairn.toml` in which every setting stands, explained, commented out at its default."""
    lines = [
        "# Cairn's settings for this project. Every line that starts with #  is a default: remove the # to change it."
    ]
    sections: dict[str, type[BaseModel]] = {"": Settings, **_SECTIONS}
    for section, model in sections.items():
        lines += ["", f"[{section}]"] if section else [""]
        for name, info in model.model_fields.items():
            if isinstance(info.default_factory, type):
                continue
            default = {None: '""', (): "[]"}.get(info.default, info.default)
            lines.append(f"# {name} = {default}".ljust(28) + f"  # {info.description}")
    return "\n".join(lines) + "\n"
