"""The experiments that come with the package: settings as YAML, with the figures that were published."""

from importlib.resources import files
from typing import Any

from fuseloom.comparison.emap_table import EmapTableConfig, Published
from fuseloom.errors import UnknownNameError, did_you_mean

__all__ = ["experiment_text", "list_experiments", "read_experiment", "summary_of"]

_FOLDER = files("fuseloom").joinpath("recipes", "experiments")
_ABOUT = ("name", "summary", "sources", "published")


def list_experiments() -> list[str]:
    """Their names, sorted.

    Example:
        >>> list_experiments()
        ['emap-table']
    """
    return sorted(
        file.name.removesuffix(".yaml") for file in _FOLDER.iterdir() if file.name.endswith(".yaml")
    )


def experiment_text(name: str) -> str:
    """The YAML of an experiment.

    Raises:
        UnknownNameError: none has the name.
    """
    if name not in (known := list_experiments()):
        raise UnknownNameError(f"Unknown experiment {name!r}.{did_you_mean(name, known)}")
    return _FOLDER.joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def summary_of(name: str) -> str:
    """What an experiment asks, in a sentence or two."""
    return str(_settings(name)["summary"])


def read_experiment(name: str) -> EmapTableConfig:
    """The settings of an experiment.

    Raises:
        UnknownNameError: none has the name.

    Example:
        >>> read_experiment("emap-table").columns
        {'I-INT': 'intent', 'I-SEM': 'semiotic'}
    """
    settings = _settings(name)
    given = settings["published"]
    published = Published(
        source=given["source"],
        columns=tuple(given["columns"]),
        rows={row: tuple(figures) for row, figures in given["rows"].items()},
    )
    return EmapTableConfig(
        published=published, **{key: value for key, value in settings.items() if key not in _ABOUT}
    )


def _settings(name: str) -> dict[str, Any]:
    import yaml

    return dict(yaml.safe_load(experiment_text(name)))
