"""Why `llm` cannot be set up: which of its settings files, or which plug-in, is at fault.

One broken plug-in or settings file stops `llm` for every model, with an error that names neither.
"""

from __future__ import annotations

import json
from pathlib import Path

from cairn.errors import ModelUnavailable


def blame(error: Exception, folder: Path) -> ModelUnavailable:
    """The error for people. `folder` is where `llm` keeps its settings."""
    return _damaged_settings(folder) or _no_folder(error) or _broken_plugin(error)


def _damaged_settings(folder: Path) -> ModelUnavailable | None:
    """Reads the files again as `llm` does, since its errors do not say which file they are about."""
    for name, flaw in (
        ("keys.json", _flaw_in_json),
        ("aliases.json", _flaw_in_json),
        ("extra-openai-models.yaml", _flaw_in_models),
    ):
        path = folder / name
        why = flaw(path) if path.is_file() else ""
        if why:
            what = f"llm cannot read its file {name}, so no model can be used."
            return ModelUnavailable(what, f"{path}: {why}.", f"Mend or remove {path}")
    return None


def _flaw_in_json(path: Path) -> str:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        return str(error)
    return "" if isinstance(value, dict) else f"it holds a {type(value).__name__}, not an object"


def _flaw_in_models(path: Path) -> str:
    import yaml

    try:
        entries = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        return " ".join(str(error).split())
    if not isinstance(entries, list):
        return "it is not a list of models"
    for number, entry in enumerate(entries, 1):
        for key in ("model_id", "model_name"):
            if not isinstance(entry, dict) or key not in entry:
                return f"entry {number} has no {key}"
    return ""


def _no_folder(error: Exception) -> ModelUnavailable | None:
    if not isinstance(error, OSError):
        return None
    where = f": {error.filename}" if error.filename else ""
    fix = "LLM_USER_PATH=FOLDER   names another folder."
    return ModelUnavailable("llm cannot use the folder of its settings.", f"{error.strerror or error}{where}.", fix)


def _broken_plugin(error: Exception) -> ModelUnavailable:
    why = f"{type(error).__name__}: {' '.join(str(error).split())}."
    involved = _packages_in(error)
    for plugin, package in _plugins():
        if package in involved:
            fix = (f"pip install --upgrade {plugin}", f"llm uninstall {plugin}")
            return ModelUnavailable(f"The llm plug-in {plugin} is broken, so no model can be used.", why, fix)
    fix = ("llm plugins   lists the plug-ins.", "LLM_LOAD_PLUGINS=''   does without them.")
    return ModelUnavailable("llm cannot be set up, so no model can be used.", why, fix)


def _packages_in(error: Exception) -> set[str]:
    """The top packages whose code was running, and the one whose import failed."""
    modules = [str(getattr(error, "name", None) or "")]
    trace = error.__traceback__
    while trace is not None:
        modules.append(str(trace.tb_frame.f_globals.get("__name__", "")))
        trace = trace.tb_next
    return {module.partition(".")[0] for module in modules}


def _plugins() -> list[tuple[str, str]]:
    """Each installed plug-in of `llm`: the distribution to upgrade or uninstall, and its top package."""
    from importlib.metadata import entry_points

    return [
        (entry.dist.name if entry.dist else entry.name, entry.module.partition(".")[0])
        for entry in entry_points(group="llm")
    ]
