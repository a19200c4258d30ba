"""Published systems by name, one file each: ``fusion: muse`` builds MuSE whole."""

import inspect

from fuseloom.errors import OptionError, did_you_mean
from fuseloom.models.config import ModelConfig
from fuseloom.models.systems._base import Extra, System
from fuseloom.registry import list_names, lookup

__all__ = ["Extra", "System", "named_system"]


def named_system(config: ModelConfig) -> System | None:
    """The system that a configuration names where others name their fusion, with its options.

    Raises:
        OptionError: an option that it does not have.
    """
    if config.fusion not in list_names(kind="system"):
        return None
    cls = lookup(config.fusion, kind="system")
    options, known = config.options.get(config.fusion, {}), inspect.signature(cls).parameters
    if unknown := sorted(options.keys() - known.keys()):
        raise OptionError(f"{config.fusion!r} has no option {unknown[0]!r}.{did_you_mean(unknown[0], known)}")
    system: System = cls(**options)
    return system
