"""The command line: one file per verb, heavy imports inside."""

from typing import Any

from fuseloom.errors import MissingExtraError

__all__ = ["main"]


def main(**options: Any) -> None:
    """Run the command line.

    Raises:
        MissingExtraError: click is not installed.
    """
    try:
        from fuseloom.cli.group import fuseloom
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        hint = "The command line needs click. Run: pip install 'fuseloom[workbench]'"
        raise MissingExtraError(hint) from None
    fuseloom(**options)
