r"""The best additive approximation of a model over all combinations of modalities, without its table.

Over the table ``f(x_i, y_j)`` of all pairs of rows it is ``f(x_i, .) + f(., y_j) - f(., .)``, where a dot is
the mean over all rows; of ``M`` modalities a sum of ``M`` such means, less ``M - 1`` times the mean of all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fuseloom.diagnose.crossed import Crossed, Places
from fuseloom.diagnose.split import Split
from fuseloom.errors import OptionError
from fuseloom.registry import Interaction
from fuseloom.types import Batch

__all__ = ["Form", "Partners", "Projection", "project"]

Form = Literal["exact", "additive", "multilinear", "monte carlo"]
"""``exact``: means over all combinations. ``additive``: the model is its own projection. ``multilinear``: a
mean of outputs is the output of a mean. ``monte carlo``: means over some partners, the same for all rows."""
Partners = int | Literal["all"] | None
"""How many other rows each modality of a row is combined with; None takes a closed form, all or some."""

_MOST_COMBINATIONS = 2**22
_FEWEST_PARTNERS = 100
_MOST_FOR_ENERGY = 256
_CHECKED_ROWS, _CHECKED_COMBINATIONS = 12, 2**12
_TOLERANCE = 1e-4
_ROUND_OFF = 1e-5


@dataclass(frozen=True, kw_only=True, eq=False)
class Projection:
    """Outputs of a model and of its additive projection, at the rows themselves."""

    own: Tensor
    """``[N, K]``, double precision."""
    additive: Tensor
    """``[N, K]``, double precision."""
    error: Tensor
    """Standard error of ``additive`` ``[N, K]`` by the choice of partners; zero where all were taken."""
    energy: float
    """Share of the outputs' variance over all combinations that is not additive."""
    form: Form
    num_computed: int
    """Combinations of which outputs were computed, true rows included."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Effects:
    """The mean, and what each modality of each row adds to it."""

    base: Tensor
    """``[K]``."""
    each: dict[str, Tensor]
    """``[N, K]``."""
    variance: Tensor
    """Squared standard error of their sum ``[N, K]``."""

    def at(self, places: Places) -> Tensor:
        """Sums ``[B, K]`` of the mean and of what each modality of these rows adds."""
        return self.base + sum(effect[places[name]] for name, effect in self.each.items())


def project(parts: Split, rows: Batch, *, partners: Partners = None, seed: int = 0) -> Projection:
    """Project a model's outputs on sums of a function of each modality, over all combinations of rows.

    Where the parts claim an additive or multiplicative order and all modalities are there in all rows, the
    closed form is taken once it agrees with the exact one on a dozen rows. Else all combinations are computed
    where they are at most four millions, and else as many partners as come to that, a hundred at least.

    Args:
        parts: The model.
        rows: The rows.
        partners: How many, or ``"all"``, without a closed form; ``N ** M`` combinations are then computed.
        seed: Of the choice of partners.

    Raises:
        DataError: rows that cannot be combined, or outputs that cannot be projected.
        ModalityError: fewer than two modalities.
        OptionError: fewer than two partners, or more than there are rows.

    Example:
        >>> rows = Batch(inputs={"a": torch.tensor([[1.0], [-1.0]]), "b": torch.tensor([[3.0], [5.0]])})
        >>> found = project(Split(together=lambda rows: rows.inputs["a"] * rows.inputs["b"]), rows)
        >>> found.own[:, 0].tolist(), found.additive[:, 0].tolist()
        ([3.0, -5.0], [4.0, -4.0])
    """
    _check_partners(partners, len(rows))
    crossed = Crossed(parts, rows)
    form = _form(crossed, parts.interaction, partners)
    if form == "additive":
        nothing = torch.zeros_like(crossed.own)
        return _projection(crossed, crossed.own, nothing, form, energy=0.0)
    generator = torch.Generator().manual_seed(seed)
    if form == "exact":
        effects, energy = _all_of(crossed)
    else:
        effects = _at_means(crossed) if form == "multilinear" else _sampled(crossed, partners, generator)
        energy = _energy(crossed, effects, generator)
    itself = torch.arange(len(crossed))
    additive = effects.at(dict.fromkeys(crossed.names, itself))
    return _projection(crossed, additive, effects.variance.sqrt(), form, energy=energy)


def _check_partners(partners: object, count: int) -> None:
    known = partners is None or partners == "all" or (isinstance(partners, int) and 2 <= partners <= count)
    if not known:
        raise OptionError(
            f"partners must be from 2 to {count}, the rows, or 'all' or None, got {partners!r}."
        )


def _projection(
    crossed: Crossed, additive: Tensor, error: Tensor, form: Form, *, energy: float
) -> Projection:
    return Projection(
        own=crossed.own,
        additive=additive,
        error=error,
        energy=energy,
        form=form,
        num_computed=crossed.num_computed,
    )


def _form(crossed: Crossed, interaction: Interaction, partners: Partners) -> Form:
    if partners is not None:
        return "exact" if partners == "all" else "monte carlo"
    if interaction != "nonlinear" and _all_there(crossed.rows):
        form: Form = "additive" if interaction == "additive" else "multilinear"
        if _agrees(crossed, form):
            return form
    return "exact" if len(crossed) ** len(crossed.names) <= _MOST_COMBINATIONS else "monte carlo"


def _all_there(rows: Batch) -> bool:
    """Whether every row has every modality: what is absent changes how the others are fused."""
    return all(bool(mask.reshape(len(mask), -1).any(1).all()) for mask in rows.masks.values())


def _agrees(crossed: Crossed, form: Form) -> bool:
    """Whether a closed form gives on some of the rows what all their combinations give."""
    most = min(_CHECKED_ROWS, max(2, int(_CHECKED_COMBINATIONS ** (1 / len(crossed.names)))), len(crossed))
    few = crossed.of_rows(torch.linspace(0, len(crossed) - 1, most).long())
    itself = dict.fromkeys(few.names, torch.arange(len(few)))
    exact = _all_of(few)[0].at(itself)
    claimed = few.own if form == "additive" else _at_means(few).at(itself)
    crossed.num_computed += few.num_computed
    varies, size = ((few.own - few.own.mean(0)).abs().max(), few.own.abs().max())
    return bool((exact - claimed).abs().max() <= _TOLERANCE * varies + _ROUND_OFF * size)


def _all_of(crossed: Crossed) -> tuple[_Effects, float]:
    """Effects and energy over all combinations, of which only sums are kept."""
    count, num = len(crossed), len(crossed.names)
    sums = {name: torch.zeros_like(crossed.own) for name in crossed.names}
    squares = torch.zeros_like(crossed.own[0])
    centre = crossed.own.mean(0)  # keeps the digits of a variance that is small beside the mean

    def places(cells: Tensor) -> Places:
        return {name: cells // count**place % count for place, name in enumerate(crossed.names)}

    for cells, outputs in crossed.blocks(count**num, places):
        centred = outputs - centre
        squares += centred.square().sum(0)
        for name, rows in places(cells).items():
            sums[name].index_add_(0, rows, centred)
    first = next(iter(sums.values()))
    base = first.sum(0) / count**num
    each = {name: total / count ** (num - 1) - base for name, total in sums.items()}
    whole = squares / count**num - base.square()
    explained = sum(effect.square().mean(0) for effect in each.values())
    effects = _Effects(base=base + centre, each=each, variance=torch.zeros_like(first))
    return effects, _share(whole - explained, whole, crossed.own)


def _at_means(crossed: Crossed) -> _Effects:
    """Effects of a function that is affine in each modality: its partners are one row, their mean."""
    count, more = len(crossed), crossed.with_mean_row()
    base = more.own[count]
    each = {}
    for name in crossed.names:
        blocks = more.blocks(count, _swap(crossed, name, count))
        each[name] = torch.cat([outputs for _, outputs in blocks]) - base
    crossed.num_computed += more.num_computed
    return _Effects(base=base, each=each, variance=torch.zeros_like(crossed.own))


def _swap(crossed: Crossed, name: str, partner: int) -> Callable[[Tensor], Places]:
    """A modality of each row, all others of one partner."""
    return lambda cells: {
        other: cells if other == name else torch.full_like(cells, partner) for other in crossed.names
    }


def _sampled(crossed: Crossed, partners: Partners, generator: torch.Generator) -> _Effects:
    """Effects by the mean over partners that all rows share.

    As they are shared, what is additive in them is the same for every row and drops out; only interactions
    leave an error. Partners are drawn for each modality by itself, so that no pair of them is a true one more
    often than in the whole table.
    """
    count, num = len(crossed), len(crossed.names)
    size = partners if isinstance(partners, int) else _num_partners(count, num)
    drawn = {name: torch.randperm(count, generator=generator)[:size] for name in crossed.names}
    base = torch.zeros_like(crossed.own[0])
    variance = torch.zeros_like(crossed.own)
    each = {}
    for name in crossed.names:
        means = _means_over(crossed, name, drawn)
        base += means.mean(0) / num
        each[name], spread = _against(crossed, name, drawn, means)
        variance += spread / size
    if num == 2:
        variance *= 1 - size / count  # drawn without putting back; of more, combinations are never all drawn
    return _Effects(base=base, each=each, variance=variance)


def _num_partners(count: int, num: int) -> int:
    return min(count, max(_FEWEST_PARTNERS, _MOST_COMBINATIONS // (count * num)))


def _means_over(crossed: Crossed, name: str, drawn: Places) -> Tensor:
    """Mean outputs ``[P, K]`` of each combination of partners over the drawn values of one modality."""
    size = len(drawn[name])

    def places(cells: Tensor) -> Places:
        at, turn = cells // size, cells % size
        return {n: rows[(at + turn) % size if n == name else at] for n, rows in drawn.items()}

    means = crossed.own.new_zeros(size, crossed.own.shape[1])
    for cells, outputs in crossed.blocks(size * size, places):
        means.index_add_(0, cells // size, outputs / size)
    return means


def _against(crossed: Crossed, name: str, drawn: Places, means: Tensor) -> tuple[Tensor, Tensor]:
    """What a modality of each row adds to the means of its partners, and its variance over them."""
    size = len(means)

    def places(cells: Tensor) -> Places:
        return {n: cells // size if n == name else rows[cells % size] for n, rows in drawn.items()}

    total, squares = torch.zeros_like(crossed.own), torch.zeros_like(crossed.own)
    for cells, outputs in crossed.blocks(len(crossed) * size, places):
        added = outputs - means[cells % size]
        total.index_add_(0, cells // size, added)
        squares.index_add_(0, cells // size, added.square())
    mean = total / size
    return mean, (squares / size - mean.square()).clamp(min=0) * size / (size - 1)


def _energy(crossed: Crossed, effects: _Effects, generator: torch.Generator) -> float:
    """Share of the variance that the effects leave, over combinations of some rows."""
    size = min(len(crossed), _MOST_FOR_ENERGY)
    drawn = {name: torch.randperm(len(crossed), generator=generator)[:size] for name in crossed.names}

    def places(cells: Tensor) -> Places:
        at, turn = cells // size, cells % size
        return {n: rows[(at + turn * place) % size] for place, (n, rows) in enumerate(drawn.items())}

    left, total, squares = (torch.zeros_like(crossed.own[0]) for _ in range(3))
    for cells, outputs in crossed.blocks(size * size, places):
        centred = outputs - effects.base
        left += (outputs - effects.at(places(cells))).square().sum(0)
        total += centred.sum(0)
        squares += centred.square().sum(0)
    whole = squares / size**2 - (total / size**2).square()
    return _share(left / size**2, whole, crossed.own)


def _share(left: Tensor, whole: Tensor, own: Tensor) -> float:
    """Share of the variances ``[K]`` that is left; none where they are but round-off of single precision."""
    variance = float(whole.sum())
    if variance <= (1e-6 * float(own.abs().max())) ** 2:
        return 0.0
    return min(1.0, max(0.0, float(left.sum()) / variance))
