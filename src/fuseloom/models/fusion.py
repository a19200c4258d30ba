"""The generic assembly: ``(stage -> exchange?)* -> merge -> head``, or heads before a merge of decisions."""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any

from torch import Tensor, nn

from fuseloom.encoders import Encoder
from fuseloom.errors import ModalityError, OptionError, did_you_mean
from fuseloom.exchange import Exchange
from fuseloom.heads import PositionHead
from fuseloom.merge import Merge
from fuseloom.models.anchor import Anchor
from fuseloom.models.spec import stages_run
from fuseloom.part import zero_masked
from fuseloom.types import Masks, Streams, Trace

__all__ = ["FusionModel"]


class FusionModel(nn.Module):
    """One encoder per modality, exchanges between their stages, a merge and a head.

    An encoder with fewer stages than the longest spreads them: its first runs with the first stage, its last
    with the last, so that every exchange meets streams. The merge stands behind the last stage; or, with a
    ``trunk``, behind any stage of that encoder, whose other stages then run on the fused stream. All other
    encoders run whole before it, so give them only the stages that you want (`Encoder.shorten`).

    Where the positions of one modality are to be predicted, such as the tags of words, an ``anchor`` brings
    the other streams to them, behind the last stage and its exchanges; the merge fuses position by position,
    and the head, a `PositionHead`, is told which of them are real.

    Args:
        encoders: Modality name -> encoder.
        merge: Takes the streams. Before the rest of a trunk it keeps positions (``pool=None``), which then
            all streams share, and is as wide as the trunk is there.
        head: Takes what the merge gives, or what the trunk makes of it; or, before a merge of decisions,
            modality name -> head; or None behind a merge whose output is the prediction itself.
        exchanges: Stage number -> exchange that stands behind it, or several that stand there one behind the
            other; negative numbers count from the last stage before the merge.
        trunk: The encoder that goes on behind the merge.
        merge_after: Stage of the trunk behind which the merge stands; negative numbers count from its end.
        anchor: Brings the streams to the positions of one of them, for a merge that keeps positions.

    Raises:
        ModalityError: the merge, an exchange or the heads were built for other modalities than the encoders,
            or for streams of other widths.
        OptionError: the level of the merge and the kind of head do not fit, or there is no such stage or
            trunk.

    Reads:
        What the cards of its exchanges name, such as ``alignment``, about the streams as the exchanges meet
        them; all that read one name get the same. A `Batch` holds it in its ``extras``. Not ``inputs``,
        which are what a block gets: between stages there is none. With an anchor also ``positions``
        ``[B, N]``, which of its positions are to be predicted: by default those that are real.

    Example:
        >>> import torch
        >>> from fuseloom import create
        >>> from fuseloom.encoders.image import ImageEncoder
        >>> from fuseloom.heads import LinearHead
        >>> photo, depth = ImageEncoder(3, dim=32), ImageEncoder(1, dim=32).shorten(2)
        >>> first, second, *_ = photo.dims
        >>> model = FusionModel(
        ...     {"photo": photo, "depth": depth},
        ...     create("sum", {"photo": second, "depth": second}, pool=None),
        ...     LinearHead(32, 5),
        ...     exchanges={0: create("cross_attention", {"photo": first, "depth": first})},
        ...     trunk="photo",
        ...     merge_after=1,
        ... )
        >>> model({"photo": torch.ones(2, 3, 8, 8), "depth": torch.ones(2, 1, 8, 8)}).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        merge: Merge,
        head: nn.Module | Mapping[str, nn.Module] | None,
        *,
        exchanges: Mapping[int, Exchange | Sequence[Exchange]] | None = None,
        trunk: str | None = None,
        merge_after: int | None = None,
        anchor: Anchor | None = None,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.trunk = trunk
        self.depth = _depth(encoders, trunk, merge_after)
        """Stages before the merge."""
        behind = _by_stage(exchanges or {}, self.depth)
        self.exchanges = nn.ModuleDict(behind)
        """Stage, or stage and place behind it (``2_1``), -> exchange."""
        self._first_meeting = min(map(_stage, behind), default=self.depth - 1)
        self.anchor = anchor
        self.merge = merge
        _check_level(merge, head, trunk)
        _check_anchor(anchor, head, trunk)
        self.decisions = nn.ModuleDict(head if isinstance(head, Mapping) else {})
        self.head = head if isinstance(head, nn.Module) else nn.Identity()
        for key, part in behind.items():
            _check_dims(part, self._widths(_stage(key)), where=f" behind stage {_stage(key)}")
        last = self._widths(self.depth - 1)
        _check_dims(merge, last, where="", widths=merge.card.level != "decision")
        if anchor is not None:
            _check_dims(anchor, last, where="")
        if isinstance(head, Mapping) and head.keys() != encoders.keys():
            raise ModalityError(f"head must be built for {sorted(encoders)}, got {sorted(head)}.")
        if trunk is not None and merge.dim != last[trunk]:
            raise ModalityError(
                f"dim of {type(merge).__name__} must be {last[trunk]}, the width of "
                f"the trunk {trunk!r} behind stage {self.depth - 1}, got {merge.dim}."
            )

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        masks: Mapping[str, Tensor | None] | None = None,
        *,
        trace: Trace | None = None,
        **reads: Any,
    ) -> Tensor:
        """Outputs ``[B, K]`` of what the encoders read; masks are True where an input is real."""
        positions = reads.pop("positions", None) if self.anchor is not None else None
        streams, kept = self.encode(inputs, masks, trace=trace, **reads)
        return self.fuse(streams, kept, trace=trace, positions=positions)

    def encode(
        self,
        inputs: Mapping[str, Tensor],
        masks: Mapping[str, Tensor | None] | None = None,
        *,
        trace: Trace | None = None,
        **reads: Any,
    ) -> tuple[Streams, Masks]:
        """Streams and masks after all stages and exchanges before the merge.

        Raises:
            ModalityError: an input is missing.
            OptionError: no exchange reads what is passed besides.
        """
        streams, kept = self.encode_alone(inputs, masks)
        return self.encode_together(streams, kept, trace=trace, **reads)

    def encode_alone(
        self, inputs: Mapping[str, Tensor], masks: Mapping[str, Tensor | None] | None = None
    ) -> tuple[Streams, Masks]:
        """Streams and masks before the first exchange; up to there no modality meets another.

        Raises:
            ModalityError: an input is missing.
        """
        if missing := sorted(self.encoders.keys() - inputs.keys()):
            raise ModalityError(f"Missing modality {missing}; got {sorted(inputs)}.")
        streams = {name: inputs[name] for name in self.encoders}
        kept = {n: mask for n, mask in (masks or {}).items() if n in streams and mask is not None}
        for stage in range(self._first_meeting + 1):
            streams, kept = self._run_stage(stage, streams, kept)
        return streams, kept

    def encode_together(
        self, streams: Streams, masks: Masks, *, trace: Trace | None = None, **reads: Any
    ) -> tuple[Streams, Masks]:
        """Streams and masks before the merge, from those of `encode_alone`.

        Raises:
            OptionError: no exchange reads what is passed besides.
        """
        if unknown := sorted(reads.keys() - set(self.reads)):
            hint = did_you_mean(unknown[0], self.reads)
            raise OptionError(
                f"No exchange of this model reads {unknown[0]!r}, only {list(self.reads)}.{hint}"
            )
        for stage in range(self._first_meeting, self.depth):
            if stage > self._first_meeting:
                streams, masks = self._run_stage(stage, streams, masks)
            for key, exchange in self.exchanges.items():
                if _stage(key) == stage:
                    scope = None if trace is None else trace.scope(f"exchange.{key}")
                    given = {name: reads[name] for name in _reads_of(exchange) if name in reads}
                    streams = exchange(streams, masks, trace=scope, **given)
        return streams, masks

    @property
    def dims_alone(self) -> dict[str, int]:
        """Modality name -> width of its stream as `encode_alone` gives it."""
        return self._widths(self._first_meeting)

    @property
    def stages_alone(self) -> dict[str, int]:
        """Modality name -> how many stages of its encoder `encode_alone` runs."""
        return {name: self._done(name, self._first_meeting) for name in self.encoders}

    @property
    def reads(self) -> tuple[str, ...]:
        """What may be passed besides inputs and masks: what its exchanges read."""
        names = dict.fromkeys(name for part in self.exchanges.values() for name in _reads_of(part))
        return (*names, *(["positions"] if self.anchor is not None else []))

    def fuse(
        self,
        streams: Streams,
        masks: Masks,
        *,
        trace: Trace | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Outputs ``[B, K]`` of encoded streams, or what a `PositionHead` gives.

        Raises:
            ModalityError: a trunk is to go on, and streams differ in their positions, or the merge gave
                none.
        """
        for name, decide in self.decisions.items():
            streams = streams | {name: decide(streams[name])}
        if self.anchor is not None:
            scope = None if trace is None else trace.scope("anchor")
            streams, masks = self.anchor(streams, masks, trace=scope)
        if self.trunk is not None:
            _check_places(streams, stage=self.depth - 1)
        fused = self.merge(streams, masks, trace=None if trace is None else trace.scope("merge"))
        if self.trunk is not None:
            fused = self._go_on(self.trunk, fused, streams, masks)
        if self.anchor is None:
            outputs: Tensor = self.head(fused)
            return outputs
        found: Tensor = self.head(
            fused,
            positions if positions is not None else masks.get(self.anchor.anchor),
            trace=None if trace is None else trace.scope("head"),
        )
        return found

    def _run_stage(self, stage: int, streams: Streams, masks: Masks) -> tuple[Streams, Masks]:
        values, kept = dict(streams), dict(masks)
        for name in self.encoders:
            for own in range(self._done(name, stage - 1), self._done(name, stage)):
                values[name], mask = self._encoder(name).run_stage(own, values[name], kept.pop(name, None))
                if mask is not None:
                    kept[name] = mask
        return values, kept

    def _done(self, name: str, stage: int) -> int:
        """How many of its own stages an encoder has run behind one of all."""
        count = self.depth if name == self.trunk else len(self._encoder(name).stages)
        return stages_run(count, behind=stage, depth=self.depth)

    def _encoder(self, name: str) -> Encoder:
        encoder = self.encoders[name]
        assert isinstance(encoder, Encoder)
        return encoder

    def _widths(self, stage: int) -> dict[str, int]:
        return {name: self._encoder(name).dims[self._done(name, stage) - 1] for name in self.encoders}

    def _go_on(self, trunk: str, fused: Tensor, streams: Streams, masks: Masks) -> Tensor:
        """What the rest of the trunk makes of the fused stream."""
        if fused.dim() != streams[trunk].dim():
            raise ModalityError(
                f"{type(self.merge).__name__} must keep positions, so that {trunk!r} can go on behind stage "
                f"{self.depth - 1}, got shape {tuple(fused.shape)}. Build it with pool=None."
            )
        # A position is real where any modality is.
        mask = reduce(or_, (masks[name] for name in streams)) if masks.keys() >= streams.keys() else None
        fused = fused if mask is None else zero_masked(fused, mask)
        for own in range(self.depth, len(self._encoder(trunk).stages)):
            fused, mask = self._encoder(trunk).run_stage(own, fused, mask)
        return fused


def _depth(encoders: Mapping[str, Encoder], trunk: str | None, merge_after: int | None) -> int:
    """How many stages there are before the merge."""
    if trunk is None:
        if merge_after is not None:
            raise OptionError(
                f"trunk must name the encoder that goes on behind stage {merge_after}, got None. Known: "
                f"{sorted(encoders)}."
            )
        return max(len(encoder.stages) for encoder in encoders.values())
    if trunk not in encoders:
        hint = did_you_mean(trunk, encoders)
        raise OptionError(f"trunk must be one of {sorted(encoders)}, got {trunk!r}.{hint}")
    count = len(encoders[trunk].stages)
    if merge_after is None or not -count <= merge_after < count or merge_after % count == count - 1:
        raise OptionError(
            f"merge_after must be a stage of {trunk!r} before its last, 0 to {count - 2}, got {merge_after}. "
            "A merge behind the last stages needs no trunk."
        )
    return merge_after % count + 1


def _by_stage(exchanges: Mapping[int, Exchange | Sequence[Exchange]], depth: int) -> dict[str, Exchange]:
    """Every exchange under the stage that it stands behind, in the order in which they run."""
    places: dict[int, list[Exchange]] = {stage: [] for stage in range(depth)}
    for stage, given in exchanges.items():
        if not -depth <= stage < depth:
            raise OptionError(f"exchanges must stand behind stages 0 to {depth - 1}, got {stage}.")
        places[stage % depth] += given if isinstance(given, Sequence) else [given]
    return {
        f"{stage}_{place}" if place else f"{stage}": part
        for stage, parts in places.items()
        for place, part in enumerate(parts)
    }


def _reads_of(exchange: nn.Module) -> list[str]:
    """What an exchange that stands between stages can be given."""
    assert isinstance(exchange, Exchange)
    return [name for name in exchange.card.reads if name != "inputs"]


def _stage(key: str) -> int:
    """The stage behind which an exchange stands, by its key."""
    return int(key.partition("_")[0])


def _check_level(merge: Merge, head: nn.Module | Mapping[str, nn.Module] | None, trunk: str | None) -> None:
    level = merge.card.level
    wanted, fits = {
        "stream": ("one head behind it", isinstance(head, nn.Module)),
        "decision": ("one head per modality before it", isinstance(head, Mapping)),
        "output": ("no head", head is None),
    }[level]
    if not fits:
        raise OptionError(
            f"{type(merge).__name__}, a merge of level {level!r}, must have {wanted}, got "
            f"{type(head).__name__}."
        )
    if trunk is not None and level != "stream":
        raise OptionError(
            f"A merge before the rest of {trunk!r} must be one of level 'stream', got "
            f"{type(merge).__name__} of level {level!r}."
        )


def _check_anchor(
    anchor: Anchor | None, head: nn.Module | Mapping[str, nn.Module] | None, trunk: str | None
) -> None:
    """Refuse a head over positions without an anchor, and an anchor before anything else."""
    if (anchor is not None) != isinstance(head, PositionHead):
        raise OptionError(
            "head must be a PositionHead where there is an anchor, and another one where there is none, got "
            f"{type(head).__name__} and {'an anchor' if anchor is not None else 'no anchor'}."
        )
    if anchor is not None and trunk is not None:
        raise OptionError(
            f"An anchor must stand behind the last stages of all encoders, got one and the trunk {trunk!r}. "
            "Leave the trunk out."
        )


def _check_dims(
    part: Merge | Exchange | Anchor, there: Mapping[str, int], *, where: str, widths: bool = True
) -> None:
    """Refuse a part that was built for other modalities, or for other widths, than the streams have there."""
    name = type(part).__name__ + where
    if part.dims.keys() != there.keys():
        raise ModalityError(f"{name} must be built for {sorted(there)}, got {sorted(part.dims)}.")
    if widths and part.dims != there:
        raise ModalityError(f"{name} must be built for the widths {dict(there)}, got {part.dims}.")


def _check_places(streams: Streams, *, stage: int) -> None:
    places = {n: tuple(v.shape[2:] if v.dim() == 4 else v.shape[1:-1]) for n, v in streams.items()}
    first = next(iter(places.values()))
    if any(place != first for place in places.values()):
        raise ModalityError(
            f"Streams must share their positions to be merged behind stage {stage}, got {places}. Give "
            "inputs of one size, or merge behind the last stages."
        )
