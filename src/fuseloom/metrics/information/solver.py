"""The joint distribution of given pairs that tells least of a target, with a certificate.

Among all joint distributions of two sources and a target that agree on each source with the target, the one
of least information is the solution of a convex program. Its dual has one number per symbol of a source and
class, and one constraint per pair of symbols:

    maximise  sum a[i,y] u[i,y] + sum b[j,y] v[j,y]   where   log sum_y exp(u[i,y] + v[j,y]) <= 0

with ``a`` and ``b`` the pairs. Masses of the pairs of symbols are the multipliers of the constraints, and
``exp(u + v)`` is how a pair's mass falls to the classes. Primal-dual Newton steps solve both, with the blocks
of one source eliminated from each linear system.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LeastInformative", "least_informative"]

Floats = NDArray[np.float64]

_NEGLIGIBLE = 1e-13
_MOST_STEPS = 300
_MOST_HALVINGS = 40
_NEAR_BOUNDARY = 0.99
_LONGEST = 20.0
_LEAST_SHARE = 1e-3
_TINY = 1e-30
_RIDGES = (0.0, 1e-14, 1e-11, 1e-8, 1e-5)


@dataclass(frozen=True, kw_only=True, eq=False)
class LeastInformative:
    """A joint distribution of two sources and a target, and how far it may be from the least informative."""

    table: Floats
    """Probabilities ``[n_1, n_2, K]``, with the given marginals up to round-off."""
    gap: float
    """Nats by which another may tell less of the target, at most; from the dual."""
    num_steps: int


@dataclass(frozen=True, kw_only=True, eq=False)
class _Point:
    """An iterate: the dual, and what follows from it."""

    u: Floats
    v: Floats
    mass: Floats
    """Multiplier of each pair of symbols ``[n_1, n_2]``."""
    slack: Floats
    """How far its constraint is from being active ``[n_1, n_2]``."""
    shares: Floats
    """Probability of each class given the pair ``[n_1, n_2, K]``."""


def least_informative(first: Floats, second: Floats, *, tolerance: float = 1e-9) -> LeastInformative:
    """Join two sources so that together they tell least of the target.

    Args:
        first: Joint probabilities ``[n_1, K]`` of the first source and the target.
        second: Those of the second source ``[n_2, K]``, with the same probabilities of the target.
        tolerance: The gap in nats to stop at; the result states the one that was reached.

    Example:
        >>> copied = np.eye(2) / 2  # both sources are the target
        >>> least_informative(copied, copied).table[:, :, 0].round(6).tolist()
        [[0.5, 0.0], [0.0, 0.0]]
    """
    if len(first) < len(second):  # the blocks of the longer source are the ones to eliminate
        turned = least_informative(second, first, tolerance=tolerance)
        return LeastInformative(
            table=turned.table.transpose(1, 0, 2), gap=turned.gap, num_steps=turned.num_steps
        )
    program = _Program(first, second)
    point, part = program.start(), 1.0
    for step in range(1, _MOST_STEPS + 1):
        centre = float((point.mass * point.slack).sum())
        point, length = program.step(point, part * centre)
        part = 0.02 if length > 0.9 else (0.15 if length > 0.5 else 0.5)
        if length * centre <= 20 * tolerance:  # near the aim, or stuck
            found = program.certified(point, step)
            if found.gap <= tolerance or length == 0:
                return found
    return program.certified(point, _MOST_STEPS)


class _Program:
    """The program for one pair of tables."""

    def __init__(self, first: Floats, second: Floats) -> None:
        self.there = (first > _NEGLIGIBLE)[:, None] & (second > _NEGLIGIBLE)[None]  # [n_1, n_2, K]
        self.first = np.where(self.there.any(1), first, 0.0)
        self.second = np.where(self.there.any(0), second, 0.0)
        self.pairs = self.there.any(-1)
        # What the masses are of independent sources. Products of mass and slack are kept in these shares: in
        # equal ones, a constraint whose mass is tiny would have to be left far behind, and returned to.
        labels = np.maximum(self.second.sum(0), _NEGLIGIBLE)
        self.apart = (self.first / labels) @ self.second.T
        # One number of the second source per class is free: raising it lowers those of the first by as much.
        free = self.second > 0
        free[self.second.argmax(0), np.arange(second.shape[1])] = False
        self.kept = np.flatnonzero(free)

    def start(self) -> _Point:
        """Sources that are independent given the class, which meets all marginals, inside the constraints."""
        labels = np.maximum(self.second.sum(0), _NEGLIGIBLE)
        u = _log(self.first / np.maximum(self.first.sum(1, keepdims=True), _NEGLIGIBLE))
        v = _log(self.second / np.maximum(self.second.sum(1, keepdims=True), _NEGLIGIBLE) / labels)
        excess = np.where(
            self.pairs, _log((np.exp(u) * (self.first > 0)) @ (np.exp(v) * (self.second > 0)).T), 0.0
        )
        point = self._at(u - np.maximum(excess.max(1, keepdims=True), 0.0) - 1.0, v, self.apart)
        assert point is not None
        return point

    def _at(self, u: Floats, v: Floats, mass: Floats) -> _Point | None:
        """The point with these numbers; None where they break a constraint."""
        weights = np.where(self.there, np.exp(np.minimum(u[:, None] + v[None], 1.0)), 0.0)
        total = np.where(self.pairs, weights.sum(-1), 1.0)
        with np.errstate(divide="ignore"):
            slack = np.where(self.pairs, -np.log(total), 1.0)
        if not ((slack > 0) & (total > 0)).all():
            return None
        return _Point(u=u, v=v, mass=mass, slack=slack, shares=weights / total[..., None])

    def residual(self, point: _Point, aim: float) -> float:
        """How far the masses are from the marginals, and their products with the slacks from the aim."""
        joint = point.mass[..., None] * point.shares
        centred = point.mass * point.slack - aim * self.apart
        off = [
            joint.sum(1) - self.first,
            joint.sum(0) - self.second,
            centred,
        ]
        return float(np.sqrt(sum(np.square(one).sum() for one in off)))

    def step(self, point: _Point, aim: float) -> tuple[_Point, float]:
        """A Newton step towards masses times slacks of ``aim``, and the share of it that was taken."""
        du, dv = self._direction(point, aim)
        change = np.einsum("ijy,ijy->ij", point.shares, du[:, None] + dv[None])
        dmass = np.where(
            self.pairs, point.mass * change / point.slack - point.mass + aim * self.apart / point.slack, 0.0
        )
        falling = dmass < 0
        length = min(1.0, _LONGEST / max(float(np.abs(du).max()), float(np.abs(dv).max()), 1.0))
        if falling.any():
            length = min(length, _NEAR_BOUNDARY * float((-point.mass[falling] / dmass[falling]).min()))
        before = self.residual(point, aim)
        for _ in range(_MOST_HALVINGS):
            new = self._at(point.u + length * du, point.v + length * dv, point.mass + length * dmass)
            if (
                new is not None
                and self._is_central(new)
                and self.residual(new, aim) <= (1 - 0.01 * length) * before + 1e-15
            ):
                return new, length
            length *= 0.7
        return point, 0.0

    def _is_central(self, point: _Point) -> bool:
        """Whether no product of mass and slack is so far behind that it would stop the next step."""
        products = point.mass * point.slack
        return bool((products >= _LEAST_SHARE * products.sum() * self.apart).all())

    def _direction(self, point: _Point, aim: float) -> tuple[Floats, Floats]:
        """Changes of ``u`` and ``v``, from the Newton system without the block-diagonal part of ``u``."""
        k = self.first.shape[1]
        joint = point.mass[..., None] * point.shares
        bend = (point.mass * (1 / point.slack - 1))[..., None] * point.shares  # [n_1, n_2, K]
        pull = (aim * self.apart / point.slack)[..., None] * point.shares
        right_u, right_v = self.first - pull.sum(1), (self.second - pull.sum(0)).ravel()[self.kept]
        cross = bend[..., None] * point.shares[:, :, None]
        cross[..., np.arange(k), np.arange(k)] += joint
        own_u = cross.sum(1)  # [n_1, K, K]
        own_v = cross.sum(0)  # [n_2, K, K]
        absent = self.first <= 0
        own_u[:, np.arange(k), np.arange(k)] += absent
        scale = 1 / np.sqrt(np.maximum(np.einsum("iyy->iy", own_u), _TINY))
        lower = _factor(own_u * scale[..., None] * scale[:, None])
        links = (
            cross.transpose(0, 2, 1, 3).reshape(*self.first.shape, self.second.size)[..., self.kept]
            * scale[..., None]
        )
        whitened = np.linalg.solve(lower, links)  # [n_1, K, m]
        target = np.linalg.solve(lower, (right_u * scale)[..., None])
        flat = whitened.reshape(self.first.size, len(self.kept))
        system = _block_diagonal(own_v)[np.ix_(self.kept, self.kept)] - flat.T @ flat
        dv = np.zeros(self.second.size)
        dv[self.kept] = _solved(system, right_v - flat.T @ target.ravel())
        back = np.linalg.solve(lower.transpose(0, 2, 1), target - (whitened @ dv[self.kept])[..., None])
        return np.where(absent, 0.0, back[..., 0] * scale), dv.reshape(self.second.shape)

    def certified(self, point: _Point, num_steps: int) -> LeastInformative:
        """The point's masses with the marginals made exact, and their distance from the dual's value."""
        table = self._rounded(point.mass[..., None] * point.shares)
        pair = table.sum(-1, keepdims=True)
        ratio = np.divide(table, pair, out=np.ones_like(table), where=table > 0)
        value = float((table * np.log(ratio)).sum())
        bound = float((self.first * point.u).sum() + (self.second * point.v).sum())
        return LeastInformative(table=table, gap=max(0.0, value - bound), num_steps=num_steps)

    def _rounded(self, joint: Floats) -> Floats:
        """Scale down what is too much in each marginal, then spread what is missing as a product."""
        for wanted, axis in ((self.first, 1), (self.second, 0)):
            have = joint.sum(axis)
            factor = np.minimum(np.divide(wanted, have, out=np.ones_like(have), where=have > 0), 1.0)
            joint = joint * np.expand_dims(factor, axis)
        missing = np.maximum(self.first - joint.sum(1), 0.0), np.maximum(self.second - joint.sum(0), 0.0)
        total = missing[1].sum(0)
        per_class = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
        spread: Floats = joint + missing[0][:, None] * (missing[1] * per_class)[None]
        return spread


def _log(masses: Floats) -> Floats:
    """Logarithms, zero of what is zero."""
    return np.log(masses, out=np.zeros_like(masses), where=masses > 0)


def _block_diagonal(blocks: Floats) -> Floats:
    """``[n, K, K]`` to ``[n K, n K]``."""
    count, size = blocks.shape[:2]
    whole = np.zeros((count, size, count, size))
    places = np.arange(count)
    whole[places, :, places] = blocks
    return whole.reshape(count * size, count * size)


def _factor(blocks: Floats) -> Floats:
    """Cholesky factors of positive definite blocks, their diagonals raised as little as makes them so."""
    for ridge in _RIDGES:
        try:
            return np.asarray(np.linalg.cholesky(blocks + ridge * np.eye(blocks.shape[-1])), dtype=np.float64)
        except np.linalg.LinAlgError:
            continue
    roots = np.sqrt(np.maximum(np.einsum("iyy->iy", blocks), _TINY))
    return np.asarray(roots[..., None] * np.eye(blocks.shape[-1]), dtype=np.float64)


def _solved(system: Floats, right: Floats) -> Any:
    """The solution of a positive definite system, its diagonal raised as little as rounding makes needed."""
    scale = 1 / np.sqrt(np.maximum(system.diagonal(), _TINY))
    scaled = system * scale[:, None] * scale
    for ridge in _RIDGES:
        scaled[np.diag_indices_from(scaled)] += ridge
        try:
            found = np.linalg.solve(scaled, right * scale)
        except np.linalg.LinAlgError:
            continue
        if np.isfinite(found).all():
            break
    return found * scale
