"""Published systems by name, one file each: ``fusion: muse`` builds MuSE whole."""

from fuseloom.models.config import ModelConfig
from fuseloom.models.naming import named_whole
from fuseloom.models.systems._base import Extra, System

__all__ = ["Extra", "System", "named_system"]


def named_system(config: ModelConfig) -> System | None:
    """The system that a configuration names where others name their fusion, with its options.

    Raises:
        OptionError: an option that it does not have.
    """
    system: System | None = named_whole(config, "system")
    return system
