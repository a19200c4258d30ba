"""A whole system that a configuration names where others name their fusion."""

import inspect
from typing import Any

from fuseloom.errors import OptionError, did_you_mean
from fuseloom.models.config import ModelConfig
from fuseloom.registry import list_names, lookup

__all__ = ["named_whole"]


def named_whole(config: ModelConfig, kind: str) -> Any:
    """The system of a kind that a configuration names, with its options; None where it names none.

    Args:
        config: Names it.
        kind: As of `fuseloom.registry.list_names`.

    Raises:
        OptionError: an option that the system does not have.
    """
    if config.fusion not in list_names(kind=kind):
        return None
    cls = lookup(config.fusion, kind=kind)
    options, known = config.options.get(config.fusion, {}), inspect.signature(cls).parameters
    if unknown := sorted(options.keys() - known.keys()):
        raise OptionError(f"{config.fusion!r} has no option {unknown[0]!r}.{did_you_mean(unknown[0], known)}")
    return cls(**options)
