"""Every exception a user of fuseloom can meet.

::

    FuseloomError
    ├── ModalityError      (ValueError)   names, number, widths or ranks of modalities
    ├── MaskError          (ValueError)   a mask of the wrong type or shape
    ├── OptionError        (ValueError)   a keyword option out of its range
    ├── UnknownNameError   (LookupError)  a name no registry knows
    ├── DataError          (ValueError)   data that cannot be read or used
    ├── RunError           (RuntimeError) a run folder or saved model that cannot be used
    ├── MissingExtraError  (ImportError)  an optional dependency that is not installed
    └── ContractError      (AssertionError) a part that breaks a clause of the contract

Each also derives from the builtin it specialises, so ``except ValueError`` keeps working.
"""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "ContractError",
    "DataError",
    "FuseloomError",
    "MaskError",
    "MissingExtraError",
    "ModalityError",
    "OptionError",
    "RunError",
    "UnknownNameError",
    "did_you_mean",
]


class FuseloomError(Exception):
    """Base of all errors that fuseloom raises on purpose."""


class ModalityError(FuseloomError, ValueError):
    """The modalities given do not fit the part: names, number, widths, ranks or types."""


class MaskError(FuseloomError, ValueError):
    """A mask is not boolean, names an unknown modality or does not fit its value."""


class OptionError(FuseloomError, ValueError):
    """A keyword option is out of its range."""


class UnknownNameError(FuseloomError, LookupError):
    """A name that is in no registry."""


class DataError(FuseloomError, ValueError):
    """Data that cannot be read, or that cannot answer the question asked of it."""


class RunError(FuseloomError, RuntimeError):
    """A run folder or a saved model that is missing, incomplete or of another version."""


class MissingExtraError(FuseloomError, ImportError):
    """An optional dependency is not installed; the message names the command that installs it."""


class ContractError(FuseloomError, AssertionError):
    """A part breaks a clause of the contract; the message names the clause."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Say which known names are near ``name`` and list them all, as the end of an error message.

    Example:
        >>> did_you_mean("lowrank", ["concat", "low_rank"])
        " Did you mean 'low_rank'? Known: concat, low_rank."
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{hint} Known: {', '.join(names) if names else 'none'}."
