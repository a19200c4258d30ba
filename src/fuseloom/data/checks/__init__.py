"""What is wrong with data before anything is trained on them: one file per question, each gives findings."""

from fuseloom.data.checks._finding import CheckResult, Finding, Severity
from fuseloom.data.checks.contents import contents
from fuseloom.data.checks.copies import find_copies
from fuseloom.data.checks.grids import find_grids
from fuseloom.data.checks.labels import find_labels
from fuseloom.data.checks.leaks import find_leaks
from fuseloom.data.checks.names import find_misaligned
from fuseloom.data.checks.parts import find_uneven
from fuseloom.data.checks.values import find_values
from fuseloom.data.dataset import Dataset
from fuseloom.data.label_counts import label_pixels

__all__ = ["CheckResult", "Finding", "Severity", "check"]


def check(dataset: Dataset) -> CheckResult:
    """Look for what makes scores wrong or rows useless, errors first.

    An error makes scores wrong or lost rows unnoticed: rows that cannot be read, the same content or group in
    two splits, inputs that give the target away, classes that are tested and never trained. A warning is what
    a person should know.

    Args:
        dataset: As `fuseloom.data.load` gives it; pictures, recordings and maps are read once more.

    Raises:
        DataError: a file has vanished since.

    Example:
        >>> import numpy as np
        >>> from fuseloom.data import load
        >>> numbers = np.arange(48.0)
        >>> rows = load({"a": np.stack([numbers, numbers % 7], 1), "b": numbers % 5}, target=numbers * 2)
        >>> [(one.severity, one.kind, one.where) for one in check(rows).findings]
        [('error', 'input-tells-target', ('a, feature 0',))]
    """
    prints, pixels = contents(dataset), label_pixels(dataset)
    findings = [
        *_set_aside(dataset),
        *_missing(dataset),
        *find_copies(dataset, prints),
        *find_uneven(dataset),
        *find_leaks(dataset),
        *find_misaligned(dataset),
        *find_grids(dataset, pixels),
        *([] if pixels is None else find_labels(dataset, pixels)),
        *find_values(dataset, prints),
    ]
    errors_first = sorted(findings, key=lambda one: one.severity != "error")
    return CheckResult(name=dataset.name, rows=len(dataset), findings=tuple(errors_first))


def _missing(dataset: Dataset) -> list[Finding]:
    return [
        Finding(
            severity="warning",
            kind="missing-files",
            what=f"files of {name} are not there or cannot be read; their rows are kept without",
            where=tuple(f"{row}: {why}" for row, why in found.items()),
            count=len(found),
            advice="Put them there, or know that scores are of fewer of them than a paper's.",
        )
        for name, found in dataset.missing.items()
    ]


def _set_aside(dataset: Dataset) -> list[Finding]:
    places: dict[bool, list[str]] = {True: [], False: []}
    for row in dataset.set_aside:
        places[row.reason.endswith("got no value")].append(f"{row.where}: {row.reason}")
    found = []
    if unreadable := places[False]:
        found.append(
            Finding(
                severity="error",
                kind="unreadable",
                what="rows cannot be read and are left out",
                where=tuple(unreadable),
                count=len(unreadable),
                advice="Repair or remove them.",
            )
        )
    if unknown := places[True]:
        found.append(
            Finding(
                severity="warning",
                kind="unlabelled",
                what="rows lack their target, split or group and are left out",
                where=tuple(unknown),
                count=len(unknown),
                advice="Fill the gap, or remove the rows.",
            )
        )
    return found
