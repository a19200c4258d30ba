"""The generic assembly: ``(stage -> exchange?)* -> merge -> head``, or heads before a merge of decisions."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from torch import Tensor, nn

from fuseloom.encoders import Encoder
from fuseloom.errors import ModalityError, OptionError, did_you_mean
from fuseloom.exchange import Exchange
from fuseloom.merge import Merge
from fuseloom.registry import card, create, list_fusions, lookup
from fuseloom.tasks import Task
from fuseloom.types import Masks, Streams, Trace

__all__ = ["FusionModel", "FusionSpec", "ModelConfig", "build_model"]


class FusionModel(nn.Module):
    """One encoder per modality, exchanges between their stages, a merge and a head.

    Args:
        encoders: Modality name -> encoder.
        merge: Takes the streams after the last stage.
        head: Takes what the merge gives; or, before a merge of decisions, modality name -> head; or None
            behind a merge whose output is the prediction itself.
        exchanges: Stage number -> exchange that stands behind it, or several that stand there one behind the
            other; negative numbers count from the end. An
            encoder with fewer stages than the longest joins late: its last stage runs with theirs.

    Raises:
        ModalityError: the merge, an exchange or the heads were built for other modalities than the encoders.
        OptionError: the level of the merge and the kind of head do not fit.

    Example:
        >>> import torch
        >>> from fuseloom.encoders.embedding import EmbeddingEncoder
        >>> from fuseloom.heads import LinearHead
        >>> encoders = {"text": EmbeddingEncoder(6, dim=8), "audio": EmbeddingEncoder(4, dim=8)}
        >>> model = FusionModel(encoders, create("sum", {"text": 8, "audio": 8}), LinearHead(8, 3))
        >>> model({"text": torch.ones(2, 6), "audio": torch.ones(2, 4)}).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        merge: Merge,
        head: nn.Module | Mapping[str, nn.Module] | None,
        *,
        exchanges: Mapping[int, Exchange | Sequence[Exchange]] | None = None,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.depth = max(len(encoder.stages) for encoder in encoders.values())
        behind = _by_stage(exchanges or {}, self.depth)
        self.exchanges = nn.ModuleDict(behind)
        """Stage, or stage and place behind it (``2_1``), -> exchange."""
        self.merge = merge
        _check_level(merge, head)
        self.decisions = nn.ModuleDict(head if isinstance(head, Mapping) else {})
        self.head = head if isinstance(head, nn.Module) else nn.Identity()
        built = [(type(part).__name__, part.dims.keys()) for part in (merge, *behind.values())]
        for owner, names in [*built, *([("head", head.keys())] if isinstance(head, Mapping) else [])]:
            if names != encoders.keys():
                raise ModalityError(f"{owner} must be built for {sorted(encoders)}, got {sorted(names)}.")

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        masks: Mapping[str, Tensor | None] | None = None,
        *,
        trace: Trace | None = None,
    ) -> Tensor:
        """Outputs ``[B, K]`` of what the encoders read; masks are True where an input is real."""
        streams, kept = self.encode(inputs, masks, trace=trace)
        return self.fuse(streams, kept, trace=trace)

    def encode(
        self,
        inputs: Mapping[str, Tensor],
        masks: Mapping[str, Tensor | None] | None = None,
        *,
        trace: Trace | None = None,
    ) -> tuple[Streams, Masks]:
        """Streams and masks after all stages and exchanges.

        Raises:
            ModalityError: an input is missing.
        """
        if missing := sorted(self.encoders.keys() - inputs.keys()):
            raise ModalityError(f"Missing modality {missing}; got {sorted(inputs)}.")
        streams = {name: inputs[name] for name in self.encoders}
        kept = {n: mask for n, mask in (masks or {}).items() if n in streams and mask is not None}
        for stage in range(self.depth):
            streams, kept = self._run_stage(stage, streams, kept)
            for key, exchange in self.exchanges.items():
                if key.partition("_")[0] == str(stage):
                    scope = None if trace is None else trace.scope(f"exchange.{key}")
                    streams = exchange(streams, kept, trace=scope)
        return streams, kept

    def fuse(self, streams: Streams, masks: Masks, *, trace: Trace | None = None) -> Tensor:
        """Outputs ``[B, K]`` of encoded streams."""
        for name, decide in self.decisions.items():
            streams = streams | {name: decide(streams[name])}
        fused = self.merge(streams, masks, trace=None if trace is None else trace.scope("merge"))
        outputs: Tensor = self.head(fused)
        return outputs

    def _run_stage(self, stage: int, streams: Streams, masks: Masks) -> tuple[Streams, Masks]:
        values, kept = dict(streams), dict(masks)
        for name, encoder in self.encoders.items():
            assert isinstance(encoder, Encoder)
            own = stage - (self.depth - len(encoder.stages))
            if own < 0:
                continue
            values[name], mask = encoder.run_stage(own, values[name], kept.pop(name, None))
            if mask is not None:
                kept[name] = mask
        return values, kept


def _by_stage(exchanges: Mapping[int, Exchange | Sequence[Exchange]], depth: int) -> dict[str, Exchange]:
    """Every exchange under the stage that it stands behind, in the order in which they run."""
    found: dict[str, Exchange] = {}
    for stage in sorted(exchanges, key=lambda stage: stage % depth):
        given = exchanges[stage]
        parts = given if isinstance(given, Sequence) else [given]
        for place, part in enumerate(parts):
            found[f"{stage % depth}_{place}" if place else f"{stage % depth}"] = part
    return found


def _check_level(merge: Merge, head: nn.Module | Mapping[str, nn.Module] | None) -> None:
    wanted, fits = {
        "stream": ("one head behind it", isinstance(head, nn.Module)),
        "decision": ("one head per modality before it", isinstance(head, Mapping)),
        "output": ("no head", head is None),
    }[merge.card.level]
    if not fits:
        raise OptionError(
            f"{type(merge).__name__}, a merge of level {merge.card.level!r}, must have {wanted}, got "
            f"{type(head).__name__}."
        )


@dataclass(frozen=True, kw_only=True)
class FusionSpec:
    """Which parts fuse, by name: exchanges in their order, then one merge."""

    exchanges: tuple[str, ...] = ()
    merge: str = "concat"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``merge`` or ``exchange+merge``.

        Raises:
            OptionError: an unknown part, or parts in another order.

        Example:
            >>> FusionSpec.parse("cross_attention+sum")
            FusionSpec(exchanges=('cross_attention',), merge='sum')
        """
        *exchanges, merge = (name.strip() for name in text.split("+"))
        for name, kind in [*((name, "exchange") for name in exchanges), (merge, "merge")]:
            known = list_fusions(kind=kind)
            if name not in known:
                hint = did_you_mean(name, known)
                raise OptionError(
                    f"fusion must be MERGE or EXCHANGE+MERGE, got {kind} {name!r} in {text!r}.{hint}"
                )
        return cls(exchanges=tuple(exchanges), merge=merge)

    def __str__(self) -> str:
        return "+".join([*self.exchanges, self.merge])

    @property
    def interaction(self) -> str:
        """Highest order of interaction that any of the parts can express."""
        orders = ("additive", "multiplicative", "nonlinear")
        return max((card(name).interaction for name in [*self.exchanges, self.merge]), key=orders.index)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What `build_model` needs; saved with the weights."""

    encoders: Mapping[str, Mapping[str, Any]]
    """Modality name -> ``kind`` of its encoder, and the encoder's own options."""
    fusion: str
    """As `FusionSpec.parse` reads it."""
    dim: int = 64
    """Width of every stream and of the fused value."""
    dropout: float = 0.2
    """In encoders and head."""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Part name -> its keyword options."""
    frozen: Sequence[str] = ()
    """Modalities whose encoders are not trained."""

    def state(self) -> dict[str, Any]:
        """Plain JSON values that `from_state` takes."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Restore from `state`."""
        return cls(**state)


def build_model(config: ModelConfig, task: Task) -> FusionModel:
    """Assemble encoders, exchanges, merge and the task's head; weights come from torch's global generator."""
    encoders = {name: _build_encoder(options, config) for name, options in config.encoders.items()}
    for name in config.frozen:
        encoders[name].freeze()
    spec = FusionSpec.parse(config.fusion)
    dims = {name: encoder.dims[-1] for name, encoder in encoders.items()}
    parts = [create(name, dims, **config.options.get(name, {})) for name in spec.exchanges]
    level, options = card(spec.merge).level, config.options.get(spec.merge, {})
    head: nn.Module | dict[str, nn.Module] | None = None
    if level == "stream":
        merge = create(spec.merge, dims, dim=config.dim, **options)
        head = task.head(config.dim, dropout=config.dropout)
    elif level == "decision":
        merge = create(
            spec.merge, dict.fromkeys(dims, task.num_outputs), **{**_decision(spec.merge, task), **options}
        )
        head = {name: task.head(width, dropout=config.dropout) for name, width in dims.items()}
    else:
        merge = create(spec.merge, dims, dim=task.num_outputs, **options)
    return FusionModel(encoders, merge, head, exchanges={-1: parts})


def _decision(merge: str, task: Task) -> dict[str, Any]:
    """What a decision is, for a merge that asks."""
    asks = "decision" in inspect.signature(lookup(merge, kind="merge")).parameters
    return {"decision": task.decision} if asks else {}


def _build_encoder(options: Mapping[str, Any], config: ModelConfig) -> Encoder:
    cls = lookup(options["kind"], kind="encoder")
    size = {"dim": config.dim, "dropout": config.dropout} if cls.sized else {}
    own = {key: value for key, value in options.items() if key != "kind"}
    encoder: Encoder = cls(**own, **size)
    return encoder
