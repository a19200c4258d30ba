"""What flows through a model: streams, masks, batches, alignments and the trace."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["Alignment", "Batch", "Masks", "Selection", "Streams", "Trace"]

Streams = dict[str, Tensor]
"""Modality name -> values: an embedding ``[B, D]``, tokens ``[B, N, D]`` or feature map ``[B, C, H, W]``."""
Masks = dict[str, Tensor]
"""Modality name -> bool, shaped as the value without its feature axis; True = real, False = absent."""


class Trace:
    """Collects auxiliary losses and records of one forward pass.

    A part assigns (never appends) under its own scope, so a forward that runs twice under activation
    checkpointing leaves one entry. A fresh object is made for each forward.

    Example:
        >>> trace = Trace()
        >>> trace.scope("merge").record("gate", torch.ones(2))
        >>> sorted(trace.records)
        ['merge.gate']
    """

    def __init__(self, *, keep_records: bool = True) -> None:
        self.keep_records = keep_records
        """Whether parts should compute what they would record; training needs only the losses."""
        self.losses: dict[str, Tensor] = {}
        """Scoped name -> scalar that the training step adds to its loss."""
        self.predictions: dict[str, Tensor] = {}
        """Scoped name -> outputs ``[B, K]`` that the training step scores like the model's own."""
        self.prediction_weights: dict[str, float] = {}
        """Scoped name of each prediction -> how much its loss counts."""
        self.feedbacks: dict[str, Callable[[Tensor], Tensor]] = {}
        """Scoped name -> function of the detached losses ``[B]`` of the samples to a scalar loss."""
        self.records: dict[str, Tensor] = {}
        """Scoped name -> detached tensor."""
        self._prefix = ""

    def scope(self, name: str) -> "Trace":
        """A view of the same trace whose entries are filed under ``name``."""
        view = Trace(keep_records=self.keep_records)
        view.losses, view.predictions, view.feedbacks = self.losses, self.predictions, self.feedbacks
        view.prediction_weights, view.records = self.prediction_weights, self.records
        view._prefix = f"{self._prefix}{name}."
        return view

    def loss(self, name: str, value: Tensor) -> None:
        """File a scalar auxiliary loss, already weighted by its coefficient."""
        self.losses[self._prefix + name] = value

    def prediction(self, name: str, outputs: Tensor, *, weight: float = 1.0) -> None:
        """File outputs ``[B, K]`` whose loss against the target the training step adds, times ``weight``."""
        self.predictions[self._prefix + name] = outputs
        self.prediction_weights[self._prefix + name] = weight

    def feedback(self, name: str, function: Callable[[Tensor], Tensor]) -> None:
        """File what is learnt from the outcome: the detached task losses ``[B]`` to a scalar loss.

        This is how a choice that was sampled gets its score-function (REINFORCE) gradient.
        """
        self.feedbacks[self._prefix + name] = function

    def record(self, name: str, value: Tensor) -> None:
        """File a tensor to look at; it is detached. Without effect where records are not kept."""
        if self.keep_records:
            self.records[self._prefix + name] = value.detach()

    def total_loss(self) -> Tensor | float:
        """Sum of the auxiliary losses, 0.0 where there are none."""
        return sum(self.losses.values(), start=0.0)


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Weighted index pairs between the tokens of two named streams, padded per sample with -1.

    Pair ``p`` of sample ``b`` says that token ``source_index[b, p]`` of stream ``source`` belongs to token
    ``target_index[b, p]`` of stream ``target``. A pair with -1 on either side is a hole and has no effect.

    Args:
        source_index: ``[B, P]`` int64.
        target_index: ``[B, P]`` int64.
        weight: ``[B, P]``, floating.
    """

    source_index: Tensor
    target_index: Tensor
    weight: Tensor

    @classmethod
    def from_pairs(cls, pairs: Sequence[Iterable[Sequence[float]]]) -> Self:
        """Build from one list of ``(source, target)`` or ``(source, target, weight)`` per sample.

        Example:
            >>> Alignment.from_pairs([[(0, 1)], [(2, 0, 0.5), (1, 0, 0.5)]]).weight
            tensor([[1.0000, 0.0000],
                    [0.5000, 0.5000]])
        """
        rows = [[(*pair, 1.0)[:3] for pair in sample] for sample in pairs]
        width = max((len(row) for row in rows), default=0)
        table = torch.tensor([row + [(-1, -1, 0.0)] * (width - len(row)) for row in rows])
        table = table.reshape(len(rows), width, 3)
        return cls(source_index=table[..., 0].long(), target_index=table[..., 1].long(), weight=table[..., 2])

    @property
    def real(self) -> Tensor:
        """``[B, P]`` bool: pairs that are no holes."""
        return (self.source_index >= 0) & (self.target_index >= 0)

    def transpose(self) -> Self:
        """The same pairs with source and target swapped."""
        return replace(self, source_index=self.target_index, target_index=self.source_index)

    def gather(self, values: Tensor, num_targets: int) -> Tensor:
        """Weighted sum of the source tokens aligned to each target token.

        Args:
            values: Source tokens ``[B, N, D]``.
            num_targets: ``T``, number of target tokens.

        Returns:
            ``[B, T, D]``; zero where nothing is aligned. Indices beyond ``T`` are holes.
        """
        batch, count, width = values.shape
        real = self.real & (self.target_index < num_targets) & (self.source_index < count)
        # Measured on one thread of a CPU with 16 samples of 64 tokens, 64 pairs, width 768: whole rows of all
        # samples end to end take 4 ms forward and backward, gather and scatter_add 15 ms.
        sample = torch.arange(batch, device=values.device)[:, None]
        source = torch.where(real, self.source_index, 0) + sample * count
        taken = values.flatten(0, 1).index_select(0, source.flatten())  # [B * P, D]
        taken = taken * torch.where(real, self.weight, 0).to(values.dtype).reshape(-1, 1)
        # Holes land in a dump row behind all targets, so no index is negative.
        target = torch.where(real, self.target_index + sample * num_targets, batch * num_targets)
        out = values.new_zeros(batch * num_targets + 1, width).index_add_(0, target.flatten(), taken)
        return out[:-1].view(batch, num_targets, width)

    def truncate(self, num_sources: int, num_targets: int) -> Self:
        """Make holes of the pairs that point past truncated streams."""
        real = self.real & (self.source_index < num_sources) & (self.target_index < num_targets)
        return self._hole(real, self.source_index, self.target_index)

    def shift(self, source: int = 0, target: int = 0) -> Self:
        """Re-index after prefixes of ``source`` and ``target`` tokens were put before the streams."""
        return self._hole(self.real, self.source_index + source, self.target_index + target)

    def reindex(self, source: Tensor | None = None, target: Tensor | None = None) -> Self:
        """Follow tokens to other places, as when some were inserted in the middle, dropped or turned round.

        Args:
            source: New place of each source token, ``[N]`` or ``[B, N]`` int64, -1 where it is gone.
            target: New place of each target token likewise. Without one, places stay.

        Example:
            >>> tokens = torch.arange(5)
            >>> behind = tokens + 6 * (tokens > 1)  # token 1 became seven
            >>> Alignment.from_pairs([[(0, 0), (3, 0)]]).reindex(behind).source_index
            tensor([[0, 9]])
        """
        moved = (_moved(self.source_index, source), _moved(self.target_index, target))
        return self._hole((moved[0] >= 0) & (moved[1] >= 0), *moved)

    def pad(self, num_pairs: int) -> Self:
        """The same with holes behind its pairs, ``num_pairs`` in all, so that batches can be collated."""
        more = max(num_pairs - self.weight.shape[1], 0)
        return replace(
            self,
            source_index=pad(self.source_index, (0, more), value=-1),
            target_index=pad(self.target_index, (0, more), value=-1),
            weight=pad(self.weight, (0, more)),
        )

    def flatten(self, num_sources: int, num_targets: int) -> Self:
        """One alignment ``[1, B * P]`` over streams whose samples are laid end to end."""
        inside = self.truncate(num_sources, num_targets)  # or a pair would point into the next sample
        sample = torch.arange(self.weight.shape[0], device=self.weight.device)[:, None]
        moved = inside._hole(
            inside.real, self.source_index + sample * num_sources, self.target_index + sample * num_targets
        )
        return moved._map(lambda value: value.reshape(1, -1))

    def _hole(self, real: Tensor, source: Tensor, target: Tensor) -> Self:
        return replace(
            self, source_index=torch.where(real, source, -1), target_index=torch.where(real, target, -1)
        )

    def _map(self, function: Callable[[Tensor], Tensor]) -> Self:
        return replace(self, **{f.name: function(getattr(self, f.name)) for f in fields(self)})


def _moved(index: Tensor, places: Tensor | None) -> Tensor:
    if places is None:
        return index
    known = (index >= 0) & (index < places.shape[-1])
    new = places.expand(index.shape[0], -1).gather(1, torch.where(known, index, 0))
    return torch.where(known, new, -1)


torch.export.register_dataclass(Alignment)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows on their way into a model.

    ``inputs`` are what encoders read (or streams, where there is no encoder); ``extras`` hold what a card
    names under ``reads``, tensors or alignments, and the ``weight`` of rows. Of what has an entry per stream
    or pair of streams each is an extra of its own, ``scores.text`` or ``alignment.image_from_text``.
    """

    inputs: Streams
    masks: Masks = field(default_factory=dict)
    target: Tensor | None = None
    ids: Tensor | None = None
    extras: dict[str, Tensor | Alignment] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of rows, zero without inputs."""
        return next((len(value) for value in self.inputs.values()), 0)

    @classmethod
    def collate(cls, batches: Sequence["Batch"]) -> "Batch":
        """Stack batches along their rows; all must name the same entries and agree beyond the first axis.

        Alignments may have different numbers of pairs: holes stand behind those that have fewer.

        Raises:
            ValueError: an entry that some batches have and others have not.

        Example:
            >>> pairs = [Alignment.from_pairs([[(0, 1)]]), Alignment.from_pairs([[(2, 0), (1, 1)]])]
            >>> both = Batch.collate([Batch(inputs={}, extras={"alignment": one}) for one in pairs])
            >>> both.extras["alignment"].source_index
            tensor([[ 0, -1],
                    [ 2,  1]])
        """
        parts = [batch._parts() for batch in _equally_wide(batches)]
        names = [part.keys() for part in parts]
        if uneven := {path for those in names for path in those ^ names[0]}:
            path = ".".join(min(uneven))
            raise ValueError(f"batches must name the same entries, got {path!r} in some of them only.")
        return batches[0]._rebuilt({path: torch.cat([part[path] for part in parts]) for path in parts[0]})

    @property
    def device(self) -> torch.device:
        """Where the inputs are; the CPU, where there are none."""
        return next((value.device for value in self.inputs.values()), torch.device("cpu"))

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """The same rows on another device."""
        return self._map(lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """The same rows in pinned memory, as data loaders ask for."""
        return self._map(lambda value: value.pin_memory())

    def mask_of(self, name: str) -> Tensor:
        """The mask of a modality; where it has none, all is real and a mask is made that an encoder takes.

        That is one entry for a vector, a row or a picture (``[B]``), for each byte or token id (integers
        ``[B, T]``), and for each step of ``[B, T, D]``.

        Example:
            >>> Batch(inputs={"text": torch.zeros(2, 3, dtype=torch.uint8)}).mask_of("text").shape
            torch.Size([2, 3])
        """
        if name in self.masks:
            return self.masks[name]
        value = self.inputs[name]
        stepwise = value.dim() == 3 or (value.dim() == 2 and not value.is_floating_point())
        shape = value.shape[:2] if stepwise else value.shape[:1]
        return torch.ones(shape, dtype=torch.bool, device=value.device)

    def reads(self, names: Iterable[str]) -> dict[str, Any]:
        """Those of the extras that a model reads, as its ``forward`` takes them by keyword.

        ``target`` is that of the batch, where it has one.

        Raises:
            ValueError: a name that stands for one extra, and before a dot for others too.

        Example:
            >>> batch = Batch(inputs={}, extras={"weight": torch.ones(1), "scores.text": torch.zeros(1, 3)})
            >>> batch.reads(["alignment", "scores"])
            {'scores': {'text': tensor([[0., 0., 0.]])}}
        """
        names, found = list(names), dict[str, Any]()
        if "target" in names and self.target is not None:
            found["target"] = self.target
        for name in names:
            each = {
                key.removeprefix(f"{name}."): value
                for key, value in self.extras.items()
                if key.startswith(f"{name}.")
            }
            if each and name in self.extras:
                raise ValueError(
                    f"extras must hold {name!r} or one entry each, got both {name!r} and "
                    f"{f'{name}.{min(each)}'!r}. Leave one out."
                )
            found |= {name: each} if each else {}
            found |= {name: self.extras[name]} if name in self.extras else {}
        return found

    def take(self, rows: Tensor | slice) -> Self:
        """The rows selected by an index tensor or a slice."""
        return self._map(lambda value: value[rows])

    def _map(self, function: Callable[[Tensor], Tensor]) -> Self:
        return self._rebuilt({path: function(value) for path, value in self._parts().items()})

    def _parts(self) -> dict[tuple[str, ...], Tensor]:
        parts: dict[tuple[str, ...], Tensor] = {}
        for name in ("inputs", "masks", "extras"):
            for key, value in getattr(self, name).items():
                if isinstance(value, Alignment):
                    parts |= {(name, key, f.name): getattr(value, f.name) for f in fields(value)}
                else:
                    parts[name, key] = value
        return parts | {(n,): v for n in ("target", "ids") if (v := getattr(self, n)) is not None}

    def _rebuilt(self, parts: Mapping[tuple[str, ...], Tensor]) -> Self:
        values: dict[str, Any] = {"inputs": {}, "masks": {}, "extras": {}}
        pairs: dict[str, dict[str, Tensor]] = {}
        for path, value in parts.items():
            match path:
                case (name,):
                    values[name] = value
                case (name, key):
                    values[name][key] = value
                case (_, key, part):
                    pairs.setdefault(key, {})[part] = value
        values["extras"] |= {key: Alignment(**part) for key, part in pairs.items()}
        return replace(self, **values)


def _equally_wide(batches: Sequence[Batch]) -> list[Batch]:
    """The same batches, with as many pairs in each alignment as the widest of its name has."""
    widest: dict[str, int] = {}
    for batch in batches:
        for key, value in batch.extras.items():
            if isinstance(value, Alignment):
                widest[key] = max(value.weight.shape[1], widest.get(key, 0))
    return [
        replace(
            batch,
            extras={
                key: value.pad(widest[key]) if isinstance(value, Alignment) else value
                for key, value in batch.extras.items()
            },
        )
        for batch in batches
    ]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Some rows of a batch in an order of their own, read only as they are taken.

    So the values of the batch may be mapped from files larger than the memory, and splits of the same rows
    take no copies.

    Example:
        >>> held = Selection(batch=Batch(inputs={"x": torch.arange(5) * 10}), rows=torch.tensor([4, 0, 2]))
        >>> held.take(slice(0, 2)).inputs
        {'x': tensor([40,  0])}
    """

    batch: Batch
    rows: Tensor
    """Row numbers ``[N]`` of the batch, int64."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def device(self) -> torch.device:
        """Where the inputs are."""
        return self.batch.device

    @property
    def target(self) -> Tensor | None:
        """That of the selected rows."""
        return None if self.batch.target is None else self.batch.target[self.rows]

    def take(self, rows: Tensor | slice) -> Batch:
        """The rows at places of the selection, read now."""
        return self.batch.take(self.rows[rows])
