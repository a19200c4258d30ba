"""What a check says."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["CheckResult", "Finding", "Severity"]

Severity = Literal["error", "warning"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong, or that a person should know."""

    severity: Severity
    kind: str
    """What it is, in a word that stays the same: ``unreadable``, ``copies-across-splits``."""
    what: str
    """The same as the rest of a sentence that begins with ``count``."""
    where: tuple[str, ...]
    """The rows, columns, features, classes or groups."""
    count: int
    """How many of them."""
    advice: str
    """What to do."""


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """All findings on one data set."""

    name: str
    rows: int
    """That can be used."""
    findings: tuple[Finding, ...]

    def count(self, severity: Severity) -> int:
        """Findings of that severity.

        Example:
            >>> CheckResult(name="posts", rows=9, findings=()).count("error")
            0
        """
        return sum(one.severity == severity for one in self.findings)
