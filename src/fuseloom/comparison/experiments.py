"""Experiments as YAML: those that come with the package, with their sources, and such as a user writes."""

import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from fuseloom.comparison.emap_table import EmapTableConfig, Published
from fuseloom.comparison.sweep import SweepConfig
from fuseloom.comparison.trials import Terms
from fuseloom.comparison.variants import VariantsConfig
from fuseloom.errors import OptionError, RunError, UnknownNameError, did_you_mean
from fuseloom.train.recipe import list_recipes

__all__ = [
    "Experiment",
    "experiment_kind",
    "experiment_text",
    "is_experiment",
    "list_experiments",
    "read_experiment",
    "summary_of",
]

Experiment = EmapTableConfig | SweepConfig | VariantsConfig

_FOLDER = files("fuseloom").joinpath("recipes", "experiments")
_SUFFIXES = (".yaml", ".yml")
_ABOUT = ("kind", "name", "summary", "sources")


def list_experiments() -> list[str]:
    """Names of the experiments that come with the package, sorted.

    Example:
        >>> "emap-table" in list_experiments()
        True
    """
    return sorted(
        file.name.removesuffix(".yaml") for file in _FOLDER.iterdir() if file.name.endswith(".yaml")
    )


def is_experiment(source: str) -> bool:
    """Whether a name or a YAML file is that of an experiment; if not, it is that of a recipe.

    Raises:
        RunError: there is no such file, or it is no YAML.
        UnknownNameError: neither has the name.

    Example:
        >>> is_experiment("emap-table"), is_experiment("digits")
        (True, False)
    """
    if source.endswith(_SUFFIXES):
        return "kind" in _settings(source)
    experiments, recipes = list_experiments(), list_recipes()
    if source not in (known := [*experiments, *recipes]):
        raise UnknownNameError(f"Unknown recipe or experiment {source!r}.{did_you_mean(source, known)}")
    return source in experiments


def experiment_text(source: str) -> str:
    """The YAML of an experiment, by its name or its file.

    Raises:
        RunError: there is no such file.
        UnknownNameError: no experiment has the name.
    """
    if not source.endswith(_SUFFIXES):
        if source not in (known := list_experiments()):
            raise UnknownNameError(f"Unknown experiment {source!r}.{did_you_mean(source, known)}")
        return _FOLDER.joinpath(f"{source}.yaml").read_text(encoding="utf-8")
    try:
        return Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{source} must be an experiment in YAML that can be read, got {error}.") from None


def experiment_kind(source: str) -> str:
    """Of which kind an experiment is.

    Example:
        >>> experiment_kind("emap-table")
        'emap-table'
    """
    return str(_settings(source)["kind"])


def summary_of(source: str) -> str:
    """What an experiment asks, in a sentence or two."""
    return str(_settings(source).get("summary", ""))


def read_experiment(source: str) -> Experiment:
    """The settings of an experiment, of the kind that it says.

    Args:
        source: A name, or a YAML file; a recipe file that it names lies beside it.

    Raises:
        OptionError: an unknown kind or key, or a value of another form.
        RunError: there is no such file, or it is no YAML.
        UnknownNameError: no experiment has the name.

    Example:
        >>> read_experiment("emap-table").columns
        {'I-INT': 'intent', 'I-SEM': 'semiotic'}
    """
    settings = _settings(source)
    kind = settings.get("kind")
    if kind not in _KINDS:
        raise OptionError(f"kind must be one of {', '.join(_KINDS)}, got {kind!r} in {source}.")
    read, required, optional = _KINDS[kind]
    known = (*_ABOUT, *required, *optional)
    if unknown := [key for key in settings if key not in known]:
        raise OptionError(f"Unknown key {unknown[0]!r} in {source}.{did_you_mean(str(unknown[0]), known)}")
    if missing := [key for key in required if key not in settings]:
        raise OptionError(f"{source} must have {missing[0]!r}, as every experiment of kind {kind!r} has.")
    return read({"name": Path(source).stem, **settings}, Path(source).parent)


def _settings(source: str) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(experiment_text(source))
    except yaml.YAMLError as error:
        raise RunError(f"{source} must be YAML, got: {' '.join(str(error).split())}.") from None
    if not isinstance(found, dict):
        raise RunError(f"{source} must hold settings by name, got {type(found).__name__}.")
    return found


def _emap_table(settings: Mapping[str, Any], _: Path) -> EmapTableConfig:
    given = settings["published"]
    published = Published(
        source=given["source"],
        columns=tuple(given["columns"]),
        rows={row: tuple(figures) for row, figures in given["rows"].items()},
    )
    own = {key: value for key, value in settings.items() if key not in (*_ABOUT, "published")}
    return EmapTableConfig(published=published, **own)


def _sweep(settings: Mapping[str, Any], place: Path) -> SweepConfig:
    grid = {
        str(key): [_written(value) for value in _list(f"grid.{key}", values)]
        for key, values in _mapping("grid", settings["grid"]).items()
    }
    return SweepConfig(
        name=settings["name"],
        grid=grid,
        terms=_terms(settings, place),
        summary=settings.get("summary", ""),
    )


def _variants(settings: Mapping[str, Any], place: Path) -> VariantsConfig:
    variants = {
        str(name): {str(key): _written(value) for key, value in _mapping(f"variants.{name}", own).items()}
        for name, own in _mapping("variants", settings["variants"]).items()
    }
    return VariantsConfig(
        name=settings["name"],
        variants=variants,
        reference=str(settings["reference"]),
        terms=_terms(settings, place),
        summary=settings.get("summary", ""),
    )


def _terms(settings: Mapping[str, Any], place: Path) -> Terms:
    recipe = str(settings["recipe"])
    seeds = settings.get("seeds", 1)
    if type(seeds) is not int:
        raise OptionError(f"seeds must be a number, got {seeds!r}.")
    changes = _mapping("set", settings.get("set", {}))
    return Terms(
        recipe=str(place / recipe) if recipe.endswith(_SUFFIXES) else recipe,
        data=tuple(str(one) for one in _list("data", settings.get("data", []))),
        seeds=seeds,
        settings=tuple(f"{key}={_written(value)}" for key, value in changes.items()),
        metric=settings.get("metric"),
        also=tuple(_list("also", settings.get("also", []))),
    )


def _mapping(name: str, value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise OptionError(f"{name} must be settings by name, got {value!r}.")
    return value


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise OptionError(f"{name} must be a list, got {value!r}.")
    return value


def _written(value: Any) -> str:
    """A value as it would be written behind ``--set KEY=``."""
    return value if isinstance(value, str) else json.dumps(value)


_TERMS = ("data", "seeds", "metric", "also", "set")
_KINDS: dict[
    str, tuple[Callable[[Mapping[str, Any], Path], Experiment], tuple[str, ...], tuple[str, ...]]
] = {
    "emap-table": (
        _emap_table,
        ("published", "columns"),
        ("folds", "metric", "neural_network", "with_linear_logits", "seeds"),
    ),
    "sweep": (_sweep, ("recipe", "grid"), _TERMS),
    "variants": (_variants, ("recipe", "variants", "reference"), _TERMS),
}
"""Kind -> what reads it, keys that it must have, and keys that it may have."""
