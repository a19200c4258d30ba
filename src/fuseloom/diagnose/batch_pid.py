"""How two modalities tell of the target, estimated by networks: for many rows of continuous values."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fuseloom.diagnose.sources import Sources, TargetClasses, read_sources
from fuseloom.errors import DataError, OptionError
from fuseloom.metrics.information.decomposition import Unit, in_nats
from fuseloom.metrics.interval import Interval
from fuseloom.nn.perceptron import perceptron
from fuseloom.nn.sinkhorn import sinkhorn
from fuseloom.types import Batch

__all__ = ["AlignedInformation", "AlignmentNetwork", "BatchPid", "BatchPidConfig", "batch_pid"]

Floats = NDArray[np.floating[Any]]

_TINY = 1e-8
_LEAST = 1e-30


@dataclass(frozen=True, kw_only=True)
class BatchPidConfig:
    """Sizes and training of the networks; the defaults are the published ones."""

    hidden: int = 32
    """Width of every network."""
    layers: int = 3
    """Hidden layers beyond the first."""
    dim: int = 10
    """Width of the embeddings whose products align the rows."""
    lr: float = 1e-3
    epochs: int = 40
    """Of the three networks that predict the target."""
    align_epochs: int = 10
    batch_size: int = 256
    """Rows that are aligned with one another; a last smaller batch is left out."""


@dataclass(frozen=True, kw_only=True)
class BatchPid:
    """Estimates of the partial information decomposition; biased, and they may be negative."""

    redundant: Interval
    """What either source tells of the target."""
    unique: dict[str, Interval]
    """Source -> what only it tells."""
    synergistic: Interval
    """What neither tells and both together do."""
    unit: Unit
    num_batches: int
    """Held-out batches that the estimates are means of; the intervals are a bootstrap over them."""
    batch_size: int


class AlignmentNetwork(nn.Module):
    """How likely each row of one source goes with each row of the other, for every class.

    Args:
        widths: Of the two sources.
        num_classes: ``C``.
        hidden: Width of the two networks.
        layers: Their hidden layers beyond the first.
        dim: Width of an embedding.

    Example:
        >>> AlignmentNetwork((3, 4), 2)(torch.ones(5, 3), torch.ones(5, 4)).shape
        torch.Size([2, 5, 5])
    """

    def __init__(
        self, widths: tuple[int, int], num_classes: int, *, hidden: int = 32, layers: int = 3, dim: int = 10
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        sizes = [hidden] * (layers + 1)
        self.first = perceptron([widths[0], *sizes, num_classes * dim])
        self.second = perceptron([widths[1], *sizes, num_classes * dim])

    def forward(self, first: Float[Tensor, "b n"], second: Float[Tensor, "b m"]) -> Float[Tensor, "c b b"]:
        """Positive weights ``[C, B, B]`` of the pairs of rows."""
        one, other = self._embedded(self.first, first), self._embedded(self.second, second)
        weights: Tensor = (torch.einsum("aye,bye->yab", one, other) / one.shape[-1] ** 0.5).exp()
        return weights

    def _embedded(self, network: nn.Module, values: Tensor) -> Tensor:
        """``[B, C, E]``, each embedding of mean zero and variance one."""
        embedded: Tensor = network(values).unflatten(-1, (self.num_classes, -1))
        centred = embedded - embedded.mean(-1, keepdim=True)
        return centred / (embedded.var(-1, keepdim=True) + _TINY).sqrt()


@dataclass(frozen=True, kw_only=True, eq=False)
class AlignedInformation:
    """What a batch whose rows are aligned for least synergy says, in nats."""

    loss: Tensor
    """Information that the second source adds to the first, to be made small."""
    parts: Tensor
    """Redundant, unique to the first, unique to the second, synergistic ``[4]``."""
    joint: Tensor
    """The weights of the pairs of rows with their sums as wanted ``[C, B, B]``."""

    @classmethod
    def of(cls, weights: Tensor, predictions: Sequence[Tensor], frequencies: Tensor) -> Self:
        """Scale the weights to the predictions of both sources, and take the information.

        Args:
            weights: Of the pairs of rows, ``[C, B, B]``.
            predictions: Class probabilities ``[B, C]`` from the first source, the second, and both.
            frequencies: Of the classes ``[C]``.

        Example:
            >>> sure = torch.eye(2).clamp(1e-6, 1)
            >>> found = AlignedInformation.of(torch.ones(2, 2, 2), [sure, sure, sure], torch.full((2,), 0.5))
            >>> (found.parts / np.log(2)).round(decimals=2).abs()
            tensor([1., 0., 0., 0.])
        """
        first, second, both = predictions
        joint = sinkhorn(weights, first.T, second.T)
        given = (joint / (joint.sum(-1, keepdim=True) + _TINY)).permute(1, 2, 0)  # [B, B, C], of the second
        mass = first[:, None] * given
        ratio = (given + _TINY).log() - (mass.sum(-1, keepdim=True) + _TINY).log()
        least = (mass * (ratio + _log(first)[:, None] - _log(frequencies))).sum((1, 2)).mean()
        one, other, total = (_information(p, frequencies) for p in (first, second, both))
        parts = torch.stack([one + other - least, least - other, least - one, total - least])
        return cls(loss=(mass * ratio).sum((1, 2)).mean(), parts=parts, joint=joint)


def batch_pid(  # noqa: PLR0913  the keywords are what a person wants to say
    train: Batch,
    rows: Batch,
    *,
    sources: Sources | None = None,
    config: BatchPidConfig | None = None,
    num_bins: int = 4,
    unit: Unit = "bits",
    resamples: int = 2000,
    seed: int = 0,
) -> BatchPid:
    """Estimate the decomposition without a table: the BATCH estimator of Liang et al. (NeurIPS 2023).

    Three networks learn the target from the first source, the second and both. A fourth learns to align the
    rows of a batch for each class, so that the predictions of both sources hold and together they tell least.
    The numbers are biased where the networks are not calibrated, depend on the size of the batches and may be
    negative. The sources are not treated alike: rows of the second are aligned to those of the first.

    Args:
        train: Rows with their target to learn from; values are standardised by them.
        rows: Held-out rows with their target; what the numbers are of.
        sources: Two names of modalities, or tuples of names that count as one; by default the two there are.
        config: Sizes and training; by default the published ones.
        num_bins: Of a target of numbers, with equally many training rows in each.
        unit: ``bits`` or ``nats``.
        resamples: Of the held-out batches.
        seed: Of the weights, the order of the rows and the bootstrap.

    Raises:
        DataError: there is no target of one class or number per row, or fewer rows than a batch.
        OptionError: sources that are not two, or another option out of its range.
    """
    config = config if config is not None else BatchPidConfig()
    _check(config, train, rows)
    scale = in_nats(unit)
    labels = torch.from_numpy(TargetClasses.of(train, num_bins=num_bins).labels)
    learn, held = read_sources(train, sources), read_sources(rows, sources)
    names = list(learn)
    tables = [_standardised(learn[name], held[name]) for name in names]
    parts = _estimates([one for one, _ in tables], [other for _, other in tables], labels, config, seed)
    values = parts.double().numpy() / scale
    drawn = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    each = [_interval(column, drawn) for column in values.T]
    return BatchPid(
        redundant=each[0],
        unique=dict(zip(names, each[1:3], strict=True)),
        synergistic=each[3],
        unit=unit,
        num_batches=len(values),
        batch_size=config.batch_size,
    )


def _estimates(
    learn: Sequence[Tensor], held: Sequence[Tensor], labels: Tensor, config: BatchPidConfig, seed: int
) -> Tensor:
    """The four parts of each batch that is held out, ``[R, 4]`` in nats."""
    count = int(labels.max()) + 1
    frequencies = torch.bincount(labels, minlength=count).float() / len(labels)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        inputs = [*learn, torch.cat(list(learn), 1)]
        experts = [_expert(values, labels, count, config) for values in inputs]
        network = _aligned(learn, experts, frequencies, config)
        batches = list(_batches(len(held[0]), config.batch_size))
    with torch.no_grad():
        found = [_of_batch(network, experts, [one[batch] for one in held], frequencies) for batch in batches]
    return torch.stack([one.parts for one in found])


def _expert(values: Tensor, labels: Tensor, count: int, config: BatchPidConfig) -> nn.Module:
    """A network from one source, or from both, to the classes."""
    network = perceptron([values.shape[1], *[config.hidden] * (config.layers + 1), count])
    optimizer = torch.optim.Adam(network.parameters(), lr=config.lr)
    for _ in range(config.epochs):
        for batch in _batches(len(values), config.batch_size):
            optimizer.zero_grad()
            torch.autograd.backward(cross_entropy(network(values[batch]), labels[batch]))
            optimizer.step()
    return network.requires_grad_(False)


def _aligned(
    learn: Sequence[Tensor], experts: Sequence[nn.Module], frequencies: Tensor, config: BatchPidConfig
) -> AlignmentNetwork:
    """The network whose alignment leaves the second source least to add to the first."""
    widths = learn[0].shape[1], learn[1].shape[1]
    sizes = {"hidden": config.hidden, "layers": config.layers, "dim": config.dim}
    network = AlignmentNetwork(widths, len(frequencies), **sizes)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.lr)
    for _ in range(config.align_epochs):
        for batch in _batches(len(learn[0]), config.batch_size):
            optimizer.zero_grad()
            found = _of_batch(network, experts, [values[batch] for values in learn], frequencies)
            torch.autograd.backward(found.loss)
            optimizer.step()
    return network


def _of_batch(
    network: AlignmentNetwork, experts: Sequence[nn.Module], values: Sequence[Tensor], frequencies: Tensor
) -> AlignedInformation:
    inputs = [*values, torch.cat(list(values), 1)]
    predictions = [expert(one).softmax(-1) for expert, one in zip(experts, inputs, strict=True)]
    return AlignedInformation.of(network(*values), predictions, frequencies)


def _batches(count: int, size: int) -> Iterator[Tensor]:
    """Rows in random order, a batch at a time; a last one that is not full is left out."""
    order = torch.randperm(count)
    return (order[start : start + size] for start in range(0, count - size + 1, size))


def _standardised(learn: Floats, held: Floats) -> tuple[Tensor, Tensor]:
    mean, spread = learn.mean(0), learn.std(0)
    scale = np.where(spread > 0, spread, 1.0)
    one, other = (torch.from_numpy((values - mean) / scale).float() for values in (learn, held))
    return one, other


def _interval(values: Floats, drawn: NDArray[np.integer[Any]]) -> Interval:
    mean = float(values.mean())
    return Interval.from_resamples(mean, values[drawn].mean(1)) if len(values) > 1 else Interval(mean=mean)


def _information(predictions: Tensor, frequencies: Tensor) -> Tensor:
    return (predictions * (_log(predictions) - _log(frequencies))).sum(-1).mean()


def _log(probabilities: Tensor) -> Tensor:
    return probabilities.clamp(min=_LEAST).log()


def _check(config: BatchPidConfig, train: Batch, rows: Batch) -> None:
    for field in fields(config):
        value, least = getattr(config, field.name), 2 if field.name in ("batch_size", "dim") else 1
        if not (value >= least or (field.name == "lr" and value > 0)):
            limit = "above 0" if field.name == "lr" else f"at least {least}"
            raise OptionError(f"{field.name} must be {limit}, got {value}.")
    fewest = min(len(train), len(rows))
    if fewest < config.batch_size:
        raise DataError(
            f"train and rows must each fill a batch of {config.batch_size}, got {fewest} rows. "
            "Choose a smaller batch_size, or `pid`, which needs fewer."
        )
