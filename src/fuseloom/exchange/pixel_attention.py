"""Pixel attention: each position attends to itself, in noise, and to the same position of the others."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial, reduce
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import ModalityError, OptionError
from fuseloom.exchange._base import Exchange, check_positions
from fuseloom.nn.embed import stack_masks
from fuseloom.nn.masked import masked_softmax
from fuseloom.nn.pair_attention import PairAttention
from fuseloom.nn.relation import pair_scores, sum_and_difference
from fuseloom.nn.rowwise import Precision, cached_rows, in_blocks
from fuseloom.nn.rowwise_gradient import with_gradient
from fuseloom.registry import Card, Interaction, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["PixelAttention", "Sharing", "convert_pixel_attention", "official_pixel_attention"]

Sharing = Literal["separate", "paper"]


@register("pixel_attention")
class PixelAttention(Exchange):
    r"""Each position attends to itself, in noise, and to the same position of every other modality.

    .. math::

        Y_t = X_t + \mathrm{Attention}\big(X_t W^Q_t,\
        [X_t + n^K_t;\ X_t \odot \phi(X_t, X_s)]_{s \ne t} W^K_t,\
        [X_t + n^V_t;\ X_s]_{s \ne t} W^V_t\big) W^O_t

    There is one query, one own key and one key per other modality at each position, so the cost is linear in
    the positions. ``n`` is learned noise; the relation ``phi`` is a perceptron of two layers with a softmax
    over the features. Of two modalities the softmax over two keys is the sigmoid of one difference, and
    nothing else is computed. What is absent is no key; a position where all others are absent keeps its
    values exactly.

    Rows are evaluated in blocks that stay in a core's cache, and again in the backward, so that no more than
    the inputs is kept. Two modalities in the published form, in float32 or float64, have their gradient
    written out (`PairAttention`): four times the inputs are kept, and only queries and keys made again. A
    compiler takes all rows at once and fuses by itself.

    Paper: Jia et al., ICML 2024, arXiv:2406.01210 (GeminiFusion), eq. 6. It differs from the official code:
    there may be any number of modalities, masks and batches; the bias of the keys, on which nothing depends,
    is left out unless ``faithful``. `convert_pixel_attention` makes official weights ours.

    Args:
        dims: Modality name -> width, the same for all.
        num_heads: Attention heads; the inner width is the width rounded up to a multiple of them.
        sharing: ``separate`` projections and noise per modality, as in the official code, or one of each for
            all, as in the ``paper``'s equations. The relation is shared in both.
        noise: Standard deviation that the learned noise starts with; None leaves the own key out.
        relation: Whether another's key is the own value times the relation; it is the other's value if not.
            With noise and relation off two modalities exchange ``Y_t = X_t + X_s W^V W^O``.
        chunk: Rows (samples times positions) evaluated at a time; by default as many as the cache holds on a
            CPU, and all of them elsewhere.
        faithful: Have the bias of the keys, for official weights.

    Raises:
        ModalityError: fewer than two modalities, unequal widths, or streams that do not share positions.
        OptionError: an option out of its range, or a relation where there is only one key.

    Records:
        ``<target>_from_<source>``: weight of a key, ``[B, H]``, ``[B, H, N]`` or ``[B, H, height, width]``;
        the own key's is ``<target>_from_<target>``. Zero where the target, or all others, are absent.

    Example:
        >>> exchange = PixelAttention({"rgb": 6, "depth": 6}, num_heads=2)
        >>> trace = Trace()
        >>> out = exchange({"rgb": torch.ones(1, 6, 2, 3), "depth": torch.ones(1, 6, 2, 3)}, trace=trace)
        >>> {name: tuple(value.shape) for name, value in out.items()}
        {'rgb': (1, 6, 2, 3), 'depth': (1, 6, 2, 3)}
        >>> tuple(trace.records["rgb_from_depth"].shape)
        (1, 2, 2, 3)
    """

    card = Card(
        summary="Each position attends to itself, in noise, and to the same position of the others.",
        interaction="nonlinear",
        cost="N D^2 M (3 M + 2), of two modalities 14 N D^2",
        parameters="per modality, or shared; the relation is shared",
        arity=(2, None),
        aligned=True,
        symmetric=True,
        paper="Jia et al., ICML 2024, arXiv:2406.01210",
        code="JiaDingCN/GeminiFusion",
        differs="Any number of modalities, masks, and no bias of the keys, on which nothing depends.",
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        num_heads: int = 1,
        sharing: Sharing = "separate",
        noise: float | None = 1.0,
        relation: bool = True,
        chunk: int | None = None,
        faithful: bool = False,
    ) -> None:
        super().__init__(dims)
        _check_options(self.dims, num_heads=num_heads, sharing=sharing, noise=noise, chunk=chunk)
        self.num_heads, self.sharing, self.chunk = num_heads, sharing, chunk
        self.noisy, self.relating = noise is not None, relation
        self.competing = self.noisy or len(self.dims) > 2
        """Whether there are keys among which a query can choose."""
        if relation and not self.competing:
            raise OptionError(
                "relation must be False where noise is None and there are two modalities, got True. The one "
                "key that is left takes all weight."
            )
        self._build(-(-self._width // num_heads) * num_heads, bias_of_keys=faithful)
        self._start(0.0 if noise is None else noise)
        self.card = self._claims()

    @property
    def _width(self) -> int:
        return next(iter(self.dims.values()))

    def _owner(self, name: str) -> str:
        return name if self.sharing == "separate" else "shared"

    def _build(self, inner: int, *, bias_of_keys: bool) -> None:
        width, owners = self._width, dict.fromkeys(map(self._owner, self.dims))
        compared, noisy = (owners if there else () for there in (self.competing, self.noisy))
        self.query = nn.ModuleDict({name: nn.Linear(width, inner) for name in compared})
        self.key = nn.ModuleDict({name: nn.Linear(width, inner, bias=bias_of_keys) for name in compared})
        self.value = nn.ModuleDict({name: nn.Linear(width, inner) for name in owners})
        self.out = nn.ModuleDict({name: nn.Linear(inner, width) for name in owners})
        self.key_noise = nn.ParameterDict({name: torch.empty(width) for name in noisy})
        self.value_noise = nn.ParameterDict({name: torch.empty(width) for name in noisy})
        sizes = {"hidden": (2 * width, width), "out": (width, width)} if self.relating else {}
        self.relation = nn.ModuleDict({name: nn.Linear(*size) for name, size in sizes.items()})

    def _start(self, noise: float) -> None:
        """As the official code: an update that starts small, from queries, keys and values of one matrix."""
        for name, parameter in self.named_parameters():
            part = name.split(".")[0]
            if part.endswith("noise"):
                nn.init.normal_(parameter, std=noise)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif part in ("out", "relation"):
                nn.init.trunc_normal_(parameter, std=0.02)
            else:
                inner, width = parameter.shape
                bound = math.sqrt(6 / (width + 3 * inner))
                nn.init.uniform_(parameter, -bound, bound)

    def _claims(self) -> Card:
        inert = tuple(f"key.{name}" for name, _ in self.key.named_parameters() if name.endswith("bias"))
        interaction: Interaction = "nonlinear" if self.competing else "additive"
        return replace(type(self).card, inert=inert, interaction=interaction)

    def exchange(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Streams:
        values = {n: v.movedim(1, -1) if v.dim() == 4 else v for n, v in streams.items()}
        check_positions(streams)
        rows = [value.reshape(-1, self._width) for value in values.values()]
        recorded = trace is not None and trace.keep_records
        step, weights = partial(self._attend, masked=tuple(masks), recorded=recorded), self._weights()
        block = self.chunk if self.chunk is not None else cached_rows(rows[0])
        kept = [mask.reshape(-1) for mask in masks.values()]
        written = None if recorded else self._written([*rows, *weights.values()])
        evaluate = in_blocks if written is None else partial(with_gradient, written=written)
        found = evaluate(step, [*rows, *kept], weights, block=block)
        where = next(iter(values.values())).shape[:-1]
        changed, shares = found[: len(rows)], found[len(rows) :]
        if trace is not None:
            for name, share in zip(self._names_of_shares(), shares, strict=False):
                trace.record(name, share.reshape(*where, self.num_heads).movedim(-1, 1))
        out = {n: value.reshape(*where, self._width) for n, value in zip(self.dims, changed, strict=True)}
        return {n: v.movedim(-1, 1) if v.dim() == 4 else v for n, v in out.items()}

    def _written(self, tensors: Sequence[Tensor]) -> PairAttention | None:
        """The published form with its gradient written out: in one precision, and without a compiler."""
        published = len(self.dims) == 2 and self.noisy and self.relating
        if torch.compiler.is_compiling() or not published:
            return None
        types = {value.dtype for value in tensors}
        exact = len(types) == 1 and types <= {torch.float32, torch.float64}
        exact = exact and Precision.current(tensors[0].device.type).dtype is None
        return PairAttention(num_heads=self.num_heads, matrices=self._matrices) if exact else None

    def _matrices(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What `PairAttention` multiplies rows by, and adds to them."""
        total, apart = sum_and_difference(weights["relation.hidden.weight"])
        found = {
            "total": total,
            "total_bias": weights["relation.hidden.bias"],
            "apart": apart,
            "score": weights["relation.out.weight"],
            "score_bias": weights["relation.out.bias"],
        }
        for index, owner in enumerate(map(self._owner, self.dims)):
            of_one = self._matrices_of(owner, weights, sign=(-1, 1)[index])
            found |= {f"{index}.{name}": value for name, value in of_one.items()}
        return found

    def _matrices_of(self, owner: str, weights: Mapping[str, Tensor], *, sign: int) -> dict[str, Tensor]:
        """Those of one target; ``sign`` is that of its rows in the difference."""
        value, out = weights[f"value.{owner}.weight"], weights[f"out.{owner}.weight"]
        noise = F.linear(weights[f"value_noise.{owner}"], value)
        return {
            "query": weights[f"query.{owner}.weight"],
            "query_bias": weights[f"query.{owner}.bias"],
            "key": weights[f"key.{owner}.weight"],
            "key_bias": self._key_noise(owner, weights),
            "value": sign * value,
            "value_bias": -noise,
            "direct": torch.eye(self._width, dtype=out.dtype, device=out.device) + out @ value,
            "direct_bias": F.linear(
                noise + weights[f"value.{owner}.bias"], out, weights[f"out.{owner}.bias"]
            ),
            "out": out,
        }

    def _names_of_shares(self) -> list[str]:
        return [f"{t}_from_{s}" for t in self.dims for s in self._sources(t)] if self.competing else []

    def _sources(self, target: str) -> list[str]:
        """Whose keys there are: the own one first, if noise tells it from the query."""
        return [*([target] if self.noisy else []), *(name for name in self.dims if name != target)]

    def _weights(self) -> dict[str, Tensor]:
        """Every parameter by its name."""
        parts = {f"{role}.": getattr(self, role) for role in ("query", "key", "value", "out", "relation")}
        linears: dict[str, Any] = {
            prefix + name: linear for prefix, part in parts.items() for name, linear in part.items()
        }
        found = {f"{name}.weight": linear.weight for name, linear in linears.items()}
        found |= {f"{n}.bias": linear.bias for n, linear in linears.items() if linear.bias is not None}
        for role in ("key_noise", "value_noise"):
            found |= {f"{role}.{name}": value for name, value in getattr(self, role).items()}
        return found

    def _attend(
        self, rows: Sequence[Tensor], weights: Mapping[str, Tensor], *, masked: Sequence[str], recorded: bool
    ) -> list[Tensor]:
        """Changed rows ``[R, D]`` of every modality and, if recorded, weights ``[R, H]`` of all keys."""
        values = dict(zip(self.dims, rows, strict=False))
        kept = dict(zip(masked, rows[len(values) :], strict=True))
        scores = self._scores(values, weights)
        projected = self._projected(values, weights)
        changed, recorded_shares = [], []
        for target, value in values.items():
            shares = self._shares(target, values, scores, weights, kept) if self.competing else []
            mixed = _mix([projected[target, source] for source in self._sources(target)], shares)
            update = _linear(mixed, weights, f"out.{self._owner(target)}")
            present = _present([name for name in values if name != target], target, kept)
            if present is not None:
                update = update.masked_fill(~present[:, None], 0)
            changed.append(value + update)
            recorded_shares += [_where(share, present) for share in shares] if recorded else []
        return changed + recorded_shares

    def _scores(
        self, values: Mapping[str, Tensor], weights: Mapping[str, Tensor]
    ) -> dict[tuple[str, str], Tensor]:
        if not self.relating:
            return {}
        hidden, out = (
            (weights[f"relation.{name}.weight"], weights[f"relation.{name}.bias"])
            for name in ("hidden", "out")
        )
        names = list(values)
        found = pair_scores(list(values.values()), hidden, out)
        return {(names[i], names[j]): score for (i, j), score in found.items()}

    def _projected(
        self, values: Mapping[str, Tensor], weights: Mapping[str, Tensor]
    ) -> dict[tuple[str, str], Tensor]:
        """Values ``[R, inner]`` that each target sees of each source; what is shared is made once."""
        found: dict[tuple[str, str], Tensor] = {}
        made: dict[tuple[str, str], Tensor] = {}
        for target in values:
            owner = self._owner(target)
            for source in self._sources(target):
                if (owner, source) not in made:
                    made[owner, source] = _linear(values[source], weights, f"value.{owner}")
                found[target, source] = made[owner, source]
            if self.noisy:
                noise = F.linear(weights[f"value_noise.{owner}"], weights[f"value.{owner}.weight"])
                found[target, target] = found[target, target] + noise
        return found

    def _shares(
        self,
        target: str,
        values: Mapping[str, Tensor],
        scores: Mapping[tuple[str, str], Tensor],
        weights: Mapping[str, Tensor],
        kept: Masks,
    ) -> list[Tensor]:
        """Weights ``[R, H]`` of the keys, in float32 at least."""
        owner, own = self._owner(target), values[target]
        query, bias = _linear(own, weights, f"query.{owner}"), self._key_bias(owner, weights)
        sources = [name for name in values if name != target]
        keys = [self._key(own, values[name], scores.get((target, name))) for name in sources]
        projected = [F.linear(key, weights[f"key.{owner}.weight"], bias) for key in keys]
        logits = [_per_head(query, key, self.num_heads) for key in projected]
        if self.noisy and len(logits) == 1:
            mine = logits[0].sigmoid()
            return [mine, 1 - mine]
        logits = [torch.zeros_like(logits[0]), *map(torch.neg, logits)] if self.noisy else logits
        mask = stack_masks([None if name == target else kept.get(name) for name in self._sources(target)])
        shares = masked_softmax(torch.stack(logits, -1), None if mask is None else mask[:, None])
        return list(shares.unbind(-1))

    def _key(self, own: Tensor, other: Tensor, score: Tensor | None) -> Tensor:
        """Another's key, or where there is an own key how far that lies above it, noise apart."""
        if score is None:
            return own - other if self.noisy else other
        return torch.addcmul(own, own, score, value=-1) if self.noisy else own * score

    def _key_bias(self, owner: str, weights: Mapping[str, Tensor]) -> Tensor | None:
        """What all projections of `_key` have in common."""
        return self._key_noise(owner, weights) if self.noisy else _zero(weights.get(f"key.{owner}.bias"))

    def _key_noise(self, owner: str, weights: Mapping[str, Tensor]) -> Tensor:
        noise = F.linear(weights[f"key_noise.{owner}"], weights[f"key.{owner}.weight"])
        zero = _zero(weights.get(f"key.{owner}.bias"))
        return noise if zero is None else noise + zero


def _zero(bias: Tensor | None) -> Tensor | None:
    # A bias stands in every key, so it cancels; the zero is reached by gradients all the same, or
    # distributed training would find a parameter that takes no part.
    return None if bias is None else bias - bias


def _linear(value: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    return F.linear(value, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _per_head(query: Tensor, key: Tensor, num_heads: int) -> Tensor:
    """Scaled product of each head, ``[R, H]``, in float32 at least."""
    wide = torch.promote_types(query.dtype, torch.float32)
    product = (query.to(wide) * key.to(wide)).view(*query.shape[:-1], num_heads, -1)  # [R, H, d]
    logits: Tensor = product.sum(-1) * product.shape[-1] ** -0.5
    return logits


def _mix(values: Sequence[Tensor], shares: Sequence[Tensor]) -> Tensor:
    """Values ``[R, inner]`` under the weights ``[R, H]`` of their keys; one value as it is."""
    if len(values) == 1:
        return values[0]
    heads = [value.view(*shares[0].shape, -1) for value in values]  # [R, H, d]
    parts = [share.to(values[0].dtype).unsqueeze(-1) for share in shares]
    if len(heads) == 2:
        return torch.lerp(heads[1], heads[0], parts[0]).flatten(-2)
    return reduce(torch.add, (part * head for part, head in zip(parts, heads, strict=True))).flatten(-2)


def _present(others: Sequence[str], target: str, kept: Masks) -> Tensor | None:
    """Rows where the target and another modality are there; None where that is everywhere."""
    own, given = kept.get(target), [kept[name] for name in others if name in kept]
    some = reduce(torch.logical_or, given) if len(given) == len(others) else None
    both = [mask for mask in (own, some) if mask is not None]
    return reduce(torch.logical_and, both) if both else None


def _where(share: Tensor, present: Tensor | None) -> Tensor:
    return share if present is None else share.masked_fill(~present[:, None], 0)


def _check_options(
    dims: Mapping[str, int], *, num_heads: int, sharing: str, noise: float | None, chunk: int | None
) -> None:
    if len(set(dims.values())) > 1:
        raise ModalityError(f"Widths must be equal, got {dims}. Give all encoders the same width.")
    if num_heads < 1:
        raise OptionError(f"num_heads must be at least 1, got {num_heads}.")
    if sharing not in get_args(Sharing):
        raise OptionError(f"sharing must be one of {sorted(get_args(Sharing))}, got {sharing!r}.")
    if noise is not None and noise < 0:
        raise OptionError(f"noise must be at least 0 or None, got {noise}.")
    if chunk is not None and chunk < 1:
        raise OptionError(f"chunk must be at least 1 or None, got {chunk}.")


_ROLES = ("query", "key", "value")


def convert_pixel_attention(state: Mapping[str, Tensor], dims: Mapping[str, int]) -> dict[str, Tensor]:
    """State dict of a faithful `PixelAttention` from one official fusion of two streams.

    Args:
        state: Keys ``cross_attn_0_to_1.*`` (which updates stream 0), ``cross_attn_1_to_0.*``,
            ``relation_judger.0.fc1.*``, ``relation_judger.0.fc2.*``, ``k_noise.weight``, ``v_noise.weight``.
        dims: The two modalities in the official order.

    Returns:
        What ``PixelAttention(dims, num_heads=8, faithful=True).load_state_dict`` takes; a key that is of
        none of these keeps its name, so that loading refuses it.
    """
    names = dict(zip(("cross_attn_0_to_1", "cross_attn_1_to_0"), dims, strict=True))
    layers = {"fc1": "hidden", "fc2": "out"}
    noise = {"k_noise": "key_noise", "v_noise": "value_noise"}
    converted: dict[str, Tensor] = {}
    for key, value in state.items():
        match key.split("."):
            case [owner, "in_proj_weight" | "in_proj_bias" as part] if owner in names:
                kind = part.removeprefix("in_proj_")
                parts = zip(_ROLES, value.chunk(3), strict=True)
                converted |= {f"{role}.{names[owner]}.{kind}": own for role, own in parts}
            case [owner, "out_proj", kind] if owner in names:
                converted[f"out.{names[owner]}.{kind}"] = value
            case ["relation_judger", "0", layer, kind] if layer in layers:
                converted[f"relation.{layers[layer]}.{kind}"] = value
            case [which, "weight"] if which in noise:
                rows = zip(dims, value.unbind(), strict=True)
                converted |= {f"{noise[which]}.{name}": row for name, row in rows}
            case _:
                converted[key] = value
    return converted


def official_pixel_attention(state: Mapping[str, Tensor], dims: Mapping[str, int]) -> dict[str, Tensor]:
    """The official names of a faithful `PixelAttention` of two streams: the inverse of the conversion.

    Args:
        state: Its state dict.
        dims: The two modalities in the official order.
    """
    first, second = dims
    found: dict[str, Tensor] = {}
    for owner, name in (("cross_attn_0_to_1", first), ("cross_attn_1_to_0", second)):
        for kind in ("weight", "bias"):
            found[f"{owner}.in_proj_{kind}"] = torch.cat([state[f"{role}.{name}.{kind}"] for role in _ROLES])
            found[f"{owner}.out_proj.{kind}"] = state[f"out.{name}.{kind}"]
    for theirs, ours in (("fc1", "hidden"), ("fc2", "out")):
        for kind in ("weight", "bias"):
            found[f"relation_judger.0.{theirs}.{kind}"] = state[f"relation.{ours}.{kind}"]
    for theirs, ours in (("k_noise", "key_noise"), ("v_noise", "value_noise")):
        found[f"{theirs}.weight"] = torch.stack([state[f"{ours}.{name}"] for name in dims])
    return found
