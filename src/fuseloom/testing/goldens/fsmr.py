"""Runners of FSMR: the attention and the pooling of its head, and the swap as its dossier specifies it."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.func import functional_call

from fuseloom.errors import DataError
from fuseloom.exchange.feature_swap import FeatureSwap
from fuseloom.nn.multihead import MultiHeadAttention, convert_multi_head_attention
from fuseloom.nn.pool import AttentionPool
from fuseloom.testing.goldens._case import Given, Runner, gradients, leaf, load_module
from fuseloom.types import Alignment, Streams, Trace

__all__ = ["RUNNERS"]

_NAMES = ("text", "vision")
_TARGETS: Mapping[str, list[str] | None] = {"both": None, "text": ["text"], "vision": ["vision"]}


def _attention(given: Given) -> dict[str, Tensor]:
    alone, dim = given.option("self_attention"), given.option("embed_dim")
    inputs = {name: leaf(given.inputs[name]) for name in ("query", *(() if alone else ("key_value",)))}
    streams = {name: value.transpose(0, 1) for name, value in inputs.items()}  # [B, N, D]
    masked = "key_padding_mask" in list(given.inputs)
    with torch.device("meta"):
        part = MultiHeadAttention(dim, num_heads=given.option("num_heads"), dropout=given.option("dropout"))
    state = convert_multi_head_attention(given.weights.under(""))
    load_module(part, state, training=_training(given))
    trace = Trace()
    mask = ~given.inputs["key_padding_mask"] if masked else None
    output = part(streams["query"], streams["query" if alone else "key_value"], mask, trace=trace)
    output = output.transpose(0, 1)
    found = {"output.attn_output": output}
    found["output.attn_weights_mean_over_heads"] = trace.records["attention"].mean(1)
    return found | gradients(output, given.inputs["cotangent"], inputs)


def _pool(given: Given) -> dict[str, Tensor]:
    tokens = leaf(given.inputs["x"])
    masked = "mask" in list(given.inputs)
    with torch.device("meta"):
        part = AttentionPool(given.option("hidden"), dropout=given.option("drop"), faithful=True)
    state = {f"score.{key}": value for key, value in given.weights.under("fc.0.").items()}
    load_module(part, state, training=_training(given))
    output = part(tokens, ~given.inputs["mask"] if masked else None)
    return {"output.pooled": output} | gradients(output, given.inputs["cotangent"], {"x": tokens})


def _training(given: Given) -> bool:
    """The files say behind the mode what it means; dropout at training could not be repeated."""
    if str(given.mode).split(" ")[0] != "eval":
        raise DataError(f"mode must be eval, got {given.mode!r}.")
    return False


def _swap(given: Given) -> dict[str, Tensor]:
    streams = {name: leaf(given.inputs[name]) for name in _NAMES}
    state = {
        f"bring.{target}_from_{source}.{key}": value
        for source, target in (_NAMES, _NAMES[::-1])
        for key, value in given.weights.under(f"{source}_to_{target}.").items()
    }
    if given.option("projection") != bool(state):
        raise DataError(
            f"projection must be {bool(state)} with {len(state)} stored weights, got the contrary."
        )
    with torch.device("meta"):
        part = FeatureSwap(
            {name: value.shape[2] for name, value in streams.items()},
            mix=given.option("alpha"),
            targets=_targets(given.option("direction")),
            choose=given.option("reduce"),
        )
    part.load_state_dict(state, assign=True)
    out: Streams = functional_call(part, state, (streams,), {"alignment": _alignment(given)}, strict=True)
    total = torch.stack([(out[n] * given.inputs[f"cotangent_{n}"]).sum() for n in _NAMES]).sum()
    found = {f"output.{name}": value for name, value in out.items()}
    return found | gradients(total, torch.ones_like(total), streams)


def _targets(direction: str) -> list[str] | None:
    if direction not in _TARGETS:
        raise DataError(f"direction must be one of {sorted(_TARGETS)}, got {direction!r}.")
    return _TARGETS[direction]


def _alignment(given: Given) -> Alignment:
    """Of the text's tokens (source) to those of the vision."""
    pairs = given.inputs["pairs"]  # [B, P, 2]
    weights = "pair_weights" in list(given.inputs)
    return Alignment(
        source_index=pairs[..., 0],
        target_index=pairs[..., 1],
        weight=given.inputs["pair_weights"] if weights else torch.ones(pairs.shape[:2]),
    )


RUNNERS: Mapping[str, Runner] = {
    "fsmr/attn_mha": Runner(run=_attention),
    "fsmr/attn_pool": Runner(run=_pool),
    "fsmr/spec_swap": Runner(run=_swap),
}
