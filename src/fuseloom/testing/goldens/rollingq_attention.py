"""Runner of RollingQ's fusion layer: a class token over the tokens of two modalities, its query turned."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from fuseloom.errors import DataError
from fuseloom.merge.attention_pool import AttentionPool, convert_attention_pool
from fuseloom.metrics.attention import attention_mass
from fuseloom.nn.attention import attention_weights
from fuseloom.nn.rotation import MatrixRotation, Rotation
from fuseloom.nn.turned_query import turn_query
from fuseloom.testing.goldens._case import Given, GoldenCase, Runner, apply_part, leaf

__all__ = ["RUNNERS", "all_weights", "stored_rotation", "turned_pool"]

_DEAD = "attn.layer_norm."
"""The official code has it and does not call it."""


def stored_rotation(rotate: Tensor, rows: int) -> MatrixRotation:
    """The rotation that a checkpoint holds, of queries of so many rows.

    Raises:
        DataError: it turns several heads, which the official code cannot.
    """
    rotation = MatrixRotation(rows)
    if rotate.equal(torch.eye(len(rotate))):
        return rotation
    if len(rotate) != rows:
        raise DataError(f"rotate must be the identity where there are several heads, got {len(rotate)} rows.")
    rotation.multiply(rotate[None])
    return rotation


def turned_pool(
    weights: Mapping[str, Tensor], dims: Mapping[str, int], rotation: MatrixRotation
) -> tuple[AttentionPool, dict[str, Tensor]]:
    """Our part for the official layer, its query turned by a rotation that stays apart from the weights.

    Args:
        weights: The official layer's; its ``rotate`` is not read.
        dims: Modality name -> width.
        rotation: Of all heads at once.

    Returns:
        The part, without values, and the state dict that it takes, through which gradients reach ``weights``.
    """
    width = weights["cls_token"].shape[-1]
    plain = convert_attention_pool({**weights, "rotate": torch.eye(width)}, dims)
    with torch.device("meta"):
        merge = AttentionPool(dims, num_heads=rotation.dim // width, faithful=True)
        turn_query(merge.query, MatrixRotation(rotation.dim))
    state = {f"{_HOME}.weight.0.rotation.{name}": value for name, value in rotation.state_dict().items()}
    for key, value in plain.items():
        kind = key.removeprefix("query.")
        state[key if kind == key else f"{_HOME}.{kind}.original"] = value
    return merge, state


_HOME = "query.parametrizations"


def all_weights(
    weights: Mapping[str, Tensor], inputs: Mapping[str, Tensor], rotation: MatrixRotation
) -> dict[str, Tensor]:
    """Queries, keys and values ``[B, N, H d]`` and attention ``[B, H, N, N]`` of all tokens.

    The official code makes them; no output depends on what other tokens than the class token attend to.
    """
    class_token = weights["cls_token"].expand(len(next(iter(inputs.values()))), -1, -1)
    tokens = torch.cat([class_token, *inputs.values()], 1)
    query, key, value = (
        F.linear(tokens, weights[f"attn.{name}.weight"], weights[f"attn.{name}.bias"])
        for name in ("w_qs", "w_ks", "w_vs")
    )
    query = torch.cat([rotation(query[:, :1, None])[:, :, 0], query[:, 1:]], 1)
    attention = attention_weights(query, key, num_heads=query.shape[-1] // tokens.shape[-1])
    return {"q": query, "k": key, "v": value, "attn": attention}


def _attn_fusion(given: Given) -> dict[str, Tensor]:
    inputs = {name: leaf(given.inputs[name]) for name in "xy"}
    weights = {name: leaf(given.weights[name]) for name in given.weights if name != "rotate"}
    rotation = stored_rotation(given.weights["rotate"], len(weights["attn.w_qs.bias"]))
    merge, state = turned_pool(weights, dict.fromkeys(inputs, given.option("embed_dim")), rotation)
    output = F.linear(apply_part(merge, state, inputs), weights["FC.weight"], weights["FC.bias"])
    learnt = {f"weight.{n}": v for n, v in weights.items() if not n.startswith(_DEAD)}
    found = _gradients(output, given.inputs["cotangent"], inputs | learnt)
    seen = all_weights(weights, inputs, rotation)
    lengths = {name: value.shape[1] for name, value in inputs.items()}
    _, first, second = seen["k"].split_with_sizes([1, *lengths.values()], 1)
    seen |= {"out": output, "q_cls": seen["q"][:, 0], "k_a": first, "k_v": second}
    shown = _shown(seen["attn"][0, 0].detach(), *lengths.values())
    found |= {f"output.{name}": value for name, value in seen.items()}
    return found | {f"output.diag.{name}": value for name, value in shown.items()} | _turns(given, weights)


def _gradients(output: Tensor, cotangent: Tensor, sources: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # No output depends on the bias of the keys, and our part does without it.
    found = torch.autograd.grad(
        output, list(sources.values()), grad_outputs=cotangent, allow_unused=True, materialize_grads=True
    )
    return {f"grad.{name}": value for name, value in zip(sources, found, strict=True)}


def _turns(given: Given, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One rotation after another: to the target by our smallest rotation, and on by the official matrix."""
    found: dict[str, Tensor] = {}
    rotation = MatrixRotation(len(weights["attn.w_qs.bias"]))
    plain = F.linear(weights["cls_token"][0], weights["attn.w_qs.weight"], weights["attn.w_qs.bias"]).detach()
    for number in range(given.option("rotations_applied")):
        query, smallest = rotation(plain), Rotation(rotation.dim)
        smallest.append(query, given.inputs[f"target_{number}"][None])
        rotation.multiply(given.inputs[f"rotation_{number}"][None])
        found |= {
            f"mid.query_before_{number}": query[0],
            f"mid.query_after_{number}": smallest(query)[0],
        }
    # The case noted the official parameter itself, so what it shows after each rotation is what it was last.
    numbers = range(given.option("rotations_applied"))
    return found | {f"mid.rotate_after_{number}": rotation.product[0].float() for number in numbers}


def _shown(weights: Tensor, first: int, second: int) -> dict[str, Tensor]:
    """What the official analysis shows of one row's attention ``[N, N]``, its class token in front."""
    places = {"A": slice(1, 1 + first), "V": slice(1 + first, 1 + first + second)}
    found = {"score_per_token": weights.sum(0)}
    owned = {name: torch.zeros(len(weights)).bool() for name in places}
    for name, place in places.items():
        owned[name][place] = True
    for name, place in places.items():
        shares = attention_mass(weights[place].sum(0), owned)
        found |= {f"avg_{name}{other}": weights[place, at].mean() for other, at in places.items()}
        found |= {f"sum_{name}{other}": share for other, share in shares.items()}
        found[f"cls_weight_{name.lower()}"] = weights[0, place]
    return found


def _idle(case: GoldenCase) -> tuple[str, ...]:
    return tuple(name for name in case.weights if name.startswith(_DEAD))


RUNNERS: Mapping[str, Runner] = {"rollingq/attn_fusion": Runner(run=_attn_fusion, idle=_idle)}
