"""What two sources tell of a target: redundantly, each alone, and only together."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fuseloom.errors import DataError, OptionError
from fuseloom.metrics.information.binary import least_binary_information
from fuseloom.metrics.information.entropy import coupling_entropy, entropy, mutual_information
from fuseloom.metrics.information.solver import least_informative

__all__ = ["Decomposition", "SynergyBounds", "Unit", "decompose", "in_nats", "synergy_bounds"]

Floats = NDArray[np.floating[Any] | np.integer[Any]]
Doubles = NDArray[np.float64]
Unit = Literal["bits", "nats"]

_UNITS: dict[Unit, float] = {"bits": float(np.log(2)), "nats": 1.0}
_NEGLIGIBLE = 1e-13
_WEIGHTS = np.linspace(0.0, 1.0, 21)


@dataclass(frozen=True, kw_only=True)
class Decomposition:
    """The partial information decomposition of two sources and a target; no part is negative."""

    redundant: float
    """What either source tells."""
    unique: tuple[float, float]
    """What only the first source tells, and what only the second does."""
    synergistic: float
    """What neither tells and both together do."""
    gap: float
    """By how much the redundant part may be too small, and each of the others too large, at most."""
    unit: Unit

    @property
    def total(self) -> float:
        """What both sources together tell of the target."""
        return self.redundant + sum(self.unique) + self.synergistic


@dataclass(frozen=True, kw_only=True)
class SynergyBounds:
    """What can be said of the synergistic part without having seen both sources with the target."""

    from_redundancy: float
    """Synergy is at least the redundant part less the information that the sources share."""
    from_disagreement: float
    """It is at least how far the sources' predictions differ, less what each tells uniquely."""
    lower: float
    """The greater of the two, or zero."""
    upper: float
    """It is at most the information of the tightest coupling of sources and target, less the other parts."""
    unit: Unit


def decompose(table: Floats, *, unit: Unit = "bits", tolerance: float = 1e-9) -> Decomposition:
    r"""Decompose the information of two discrete sources about a target, after Bertschinger et al. (2014).

    Among all joint distributions with the same table of each source and the target, the one of least
    information ``J`` has no synergy. With ``I_1``, ``I_2`` and ``I_12`` the information of the first source,
    of the second and of both, the parts are

    .. math:: R = I_1 + I_2 - J \quad U_1 = J - I_2 \quad U_2 = J - I_1 \quad S = I_{12} - J

    so that ``R + U_1 = I_1``, ``R + U_2 = I_2`` and all four add up to ``I_12``. ``J`` is exact where the
    target is binary, and of a certified gap otherwise. Symbols without mass do not count. Time grows as
    ``(n_1 + n_2) (n_2 K)^2`` with the smaller number of symbols as ``n_2``.

    Args:
        table: Probabilities, or counts, ``[n_1, n_2, K]``: first source, second source, target.
        unit: ``bits`` or ``nats``.
        tolerance: Of ``J``, in nats.

    Raises:
        DataError: the table has another rank, no mass, or values that are negative or not finite.
        OptionError: an unknown unit.

    Example:
        >>> exclusive_or = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]]])
        >>> decompose(exclusive_or)
        Decomposition(redundant=0.0, unique=(0.0, 0.0), synergistic=1.0, gap=0.0, unit='bits')
        >>> first_only = np.array([[[1, 0], [1, 0]], [[0, 1], [0, 1]]])
        >>> decompose(first_only).unique
        (1.0, 0.0)
    """
    scale = in_nats(unit)
    joint = _compact(_checked(table))
    first, second = joint.sum(1), joint.sum(0)
    alone = mutual_information(first), mutual_information(second)
    both = max(mutual_information(joint.reshape(-1, joint.shape[2])), *alone)
    least, gap = _least(first, second, tolerance)
    least = min(max(least, *alone), sum(alone), both)
    return Decomposition(
        redundant=(alone[0] + alone[1] - least) / scale,
        unique=((least - alone[1]) / scale, (least - alone[0]) / scale),
        synergistic=(both - least) / scale,
        gap=gap / scale,
        unit=unit,
    )


def synergy_bounds(table: Floats, *, unit: Unit = "bits") -> SynergyBounds:
    """Bound the synergistic part from the table of each source and the target, and that of both sources.

    That is what two labelled sets of one source each and an unlabelled set of both tell. Synergy is the
    redundant part less what the sources share, plus what they share given the target: at least the first
    two. It is also half of what is left, beyond the unique parts, of the divergences of the prediction from
    both sources to those from each, which add up to at least what the two predictions differ by (weighted
    freely: a Chernoff divergence). It is at most the information of the coupling of least entropy, less the
    redundant and unique parts, after Liang et al. (ICLR 2024).

    Args:
        table: As for `decompose`; of it no more than its three tables of two variables is used.
        unit: ``bits`` or ``nats``.

    Raises:
        DataError: as `decompose`.
        OptionError: an unknown unit.

    Example:
        >>> exclusive_or = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]]])
        >>> bounds = synergy_bounds(exclusive_or)
        >>> round(bounds.lower, 6), round(bounds.upper, 6)
        (0.0, 1.0)
    """
    scale = in_nats(unit)
    joint = _compact(_checked(table))
    pairs, parts = joint.sum(2), decompose(joint, unit="nats")
    shared = parts.redundant - mutual_information(pairs)
    differing = _disagreement(joint.sum(1), joint.sum(0), pairs)
    unique = _WEIGHTS * parts.unique[1] + (1 - _WEIGHTS) * parts.unique[0]
    apart = float((differing - unique).max())
    labels = joint.sum((0, 1))
    most = entropy(pairs) + entropy(labels) - coupling_entropy(pairs.ravel(), labels)
    upper = max(0.0, most - parts.redundant - sum(parts.unique))
    return SynergyBounds(
        from_redundancy=shared / scale,
        from_disagreement=apart / scale,
        lower=min(max(shared, apart, 0.0), upper) / scale,
        upper=upper / scale,
        unit=unit,
    )


def in_nats(unit: Unit) -> float:
    """How many nats a unit is.

    Raises:
        OptionError: it is none of ``bits`` and ``nats``.

    Example:
        >>> in_nats("nats")
        1.0
    """
    if unit not in _UNITS:
        raise OptionError(f"unit must be one of {sorted(_UNITS)}, got {unit!r}.")
    return _UNITS[unit]


def _least(first: Doubles, second: Doubles, tolerance: float) -> tuple[float, float]:
    """Least information in nats, and by how much it may be too large."""
    if first.shape[1] == 2:
        return least_binary_information(first, second), 0.0
    found = least_informative(first, second, tolerance=tolerance)
    return mutual_information(found.table.reshape(-1, first.shape[1])), found.gap


def _disagreement(first: Doubles, second: Doubles, pairs: Doubles) -> Doubles:
    """Mean Chernoff divergence of the two predictions over pairs, for each weight of the first."""
    one, other = (np.log(np.maximum(t / t.sum(1, keepdims=True), 1e-300)) for t in (first, second))
    found = []
    for weight in _WEIGHTS:
        mixed = np.exp(weight * one) @ np.exp((1 - weight) * other).T  # [n_1, n_2]
        found.append(float(-(pairs * np.log(np.minimum(np.maximum(mixed, 1e-300), 1.0))).sum()))
    return np.array(found)


def _checked(table: Floats) -> Doubles:
    if table.ndim != 3:
        raise DataError(
            f"table must be [first source, second source, target], got shape {list(table.shape)}."
        )
    if not np.isfinite(table).all() or (table < 0).any():
        raise DataError(f"table must have masses of 0 or more, got {float(np.min(table))} as its least.")
    if not (table > 0).any():
        raise DataError("table must have some mass, got none.")
    wide = table.astype(np.float64)
    found: Doubles = wide / wide.max() / (wide / wide.max()).sum()
    return found


def _compact(joint: Doubles) -> Doubles:
    """The table without symbols that have no mass."""
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        joint = joint.take(np.flatnonzero(joint.sum(others) > _NEGLIGIBLE), axis)
    smaller: Doubles = joint / joint.sum()
    return smaller
