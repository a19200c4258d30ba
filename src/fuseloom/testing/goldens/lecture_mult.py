"""Runners of MulT's positions, encoders, alignment and whole model, and of MultiBench's version of it."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from fuseloom.errors import DataError
from fuseloom.exchange.mult import Mult, convert_mult
from fuseloom.nn.crossmodal import MarkedPositions, PlacedTokens, convert_crossmodal, halved_waves, not_later
from fuseloom.nn.ctc import CtcAlignment
from fuseloom.nn.transformer import SinusoidalPositions, TransformerEncoder
from fuseloom.testing.goldens._case import Given, GoldenCase, Runner, gradients, leaf, load_module
from fuseloom.types import Trace

__all__ = ["RUNNERS"]

_LETTERS = ("l", "a", "v")
_TARGETS: Mapping[str, tuple[str, ...]] = {
    "all three": _LETTERS,
    **{f"{letter}only": (letter,) for letter in _LETTERS},
}
_FEWEST = 3
"""Layers of self-attention that MultiBench's model has at least."""
_STATELESS = ("*version", "*embed_positions._float_tensor")


def _positions(given: Given) -> dict[str, Tensor]:
    first = given.inputs["first_channel"]
    width = given.option("embedding_dim")
    values = F.pad(first[..., None], (0, width - 1))
    table = halved_waves(first.shape[1], width, first)
    # The table's first row is that of what is marked as padding.
    return {"output.pos": _marked()(values) - values, "output.table": F.pad(table, (0, 0, 1, 0))}


def _marked() -> MarkedPositions:
    return MarkedPositions(SinusoidalPositions(halved_waves))


def _ctc(given: Given) -> dict[str, Tensor]:
    tokens = leaf(given.inputs["x"])
    state = given.weights.under("pred_output_position_inclu_blank.")
    with torch.device("meta"):
        part = CtcAlignment(given.option("in_dim"), given.option("out_seq_len"))
    load_module(part, {f"predictor.{key}": value for key, value in state.items()}, training=given.training)
    output = part(tokens)
    found = {"output.aligned": output, "output.logits_incl_blank": part.scores(tokens)}
    return found | gradients(output, given.inputs["cotangent"], {"x": tokens})


def _encoder(given: Given) -> dict[str, Tensor]:
    inputs = {name: leaf(given.inputs[name]) for name in ("x", "kv") if name in given.inputs}
    place = PlacedTokens(positions=_marked())
    tokens = {name: place(value.transpose(0, 1)) for name, value in inputs.items()}
    target, source = tokens["x"], tokens.get("kv")
    encoder = _loaded(
        given, given.weights.under(""), width=given.option("embed_dim"), layers=given.option("layers")
    )
    mask, trace = _mask(given, target, target if source is None else source), Trace()
    output = encoder(target, mask, source=source, trace=trace).transpose(0, 1)
    after = encoder.layers[0](target, mask, None, source).transpose(0, 1)
    found = {"output.y": output, "mid.after_layer0": after}
    found["mid.attn_weights_layer0"] = trace.records["layer.0.attention"].mean(1)
    return found | gradients(output, given.inputs["cotangent"], inputs)


def _loaded(given: Given, official: Mapping[str, Tensor], *, width: int, layers: int) -> TransformerEncoder:
    with torch.device("meta"):
        encoder = TransformerEncoder(width, hidden=[4 * width] * layers, num_heads=given.option("num_heads"))
    load_module(encoder, convert_crossmodal(official), training=given.training)
    return encoder


def _mask(given: Given, target: Tensor, source: Tensor) -> Tensor | None:
    if not given.option("attn_mask"):
        return None
    return not_later(target.shape[1], source.shape[1], device=target.device)


def _model(given: Given) -> dict[str, Tensor]:
    targets = _targets(given)
    inputs = {f"x_{letter}": leaf(given.inputs[f"x_{letter}"]) for letter in _LETTERS}
    streams = {letter: inputs[f"x_{letter}"] for letter in _LETTERS}
    official = {key: given.weights[key] for key in given.weights}
    pairs = _pairs(given, official, streams, dim=given.option("d"))
    memory = []
    for target in targets:
        joined = torch.cat([pairs[f"{target}_from_{s}"] for s in _LETTERS if s != target], -1)
        state = given.weights.under(f"trans_{target}_mem.")
        memory.append(_remember(given, state, joined, layers=given.option("mem_layers"))[:, -1])
    last = torch.cat(memory, -1)
    output = _head(given, last)
    return {"output.y": output, "output.last_hs": last} | gradients(output, given.inputs["cotangent"], inputs)


def _targets(given: Given) -> tuple[str, ...]:
    mode = given.option("partial_mode")
    if mode not in _TARGETS:
        raise DataError(f"partial_mode must be one of {sorted(_TARGETS)}, got {mode!r}.")
    return _TARGETS[mode]


def _pairs(
    given: Given, official: Mapping[str, Tensor], streams: Mapping[str, Tensor], *, dim: int
) -> dict[str, Tensor]:
    """What the transformers of all ordered pairs give; zero parameters where the case has no such pair."""
    dims = {name: value.shape[2] for name, value in streams.items()}
    with torch.device("meta"):
        part = Mult(
            dims,
            dim=dim,
            hidden=[4 * dim] * given.option("layers"),
            num_heads=given.option("num_heads"),
            causal=given.option("attn_mask"),
            faithful=True,
        )
    blank = {key: torch.zeros(value.shape) for key, value in part.state_dict().items()}
    present = [p for p in part.out if f"trans_{p.replace('_from_', '_with_')}.layer_norm.bias" in official]
    out = {pair: blank[f"out.{pair}"] for pair in present}
    converted = convert_mult(official, dict(zip(dims, dims, strict=True)), out)
    load_module(part, blank | converted, training=given.training)
    return part.attend_pairs(streams)


def _remember(given: Given, official: Mapping[str, Tensor], joined: Tensor, *, layers: int) -> Tensor:
    """The self-attention that follows the concatenation over sources."""
    encoder = _loaded(given, official, width=joined.shape[2], layers=layers)
    tokens = PlacedTokens(positions=_marked())(joined)
    out: Tensor = encoder(tokens, _mask(given, tokens, tokens))
    return out


def _head(given: Given, hidden: Tensor) -> Tensor:
    first, second, last = (given.weights.under(f"{name}.") for name in ("proj1", "proj2", "out_layer"))
    if len(last["weight"]) != given.option("output_dim"):
        raise DataError(
            f"'out_layer.weight' must have {given.option('output_dim')} rows as config says, got "
            f"{len(last['weight'])}."
        )
    residual = F.linear(F.linear(hidden, **first).relu(), **second)
    return F.linear(hidden + residual, **last)


def _multibench(given: Given) -> dict[str, Tensor]:
    inputs = {f"m{i}": leaf(given.inputs[f"m{i}"]) for i in range(given.option("n_modalities"))}
    official = {_letter_key(key): given.weights[key] for key in given.weights}
    dim = given.option("embed_dim")
    pairs = _pairs(given, official, inputs, dim=dim)
    memory = []
    for i, target in enumerate(inputs):
        own = _attend_itself(given, inputs[target], i, dim=dim)
        sources = [own if s == target else pairs[f"{target}_from_{s}"] for s in inputs]
        state, layers = given.weights.under(f"trans_mems.{i}."), max(given.option("layers"), _FEWEST)
        memory.append(_remember(given, state, torch.cat(sources, -1), layers=layers))
    steps = torch.cat(memory, -1)
    output = _head(given, steps if given.option("all_steps") else steps[:, -1])
    return {"output.y": output} | gradients(output, given.inputs["cotangent"], inputs)


def _letter_key(key: str) -> str:
    """``proj.0.weight`` and ``trans.0.1.`` of MultiBench under the names of the original model."""
    match key.split("."):
        case ["proj", number, *rest]:
            return ".".join([f"proj_m{number}", *rest])
        case ["trans", target, source, *rest]:
            return ".".join([f"trans_m{target}_with_m{source}", *rest])
    return key


def _attend_itself(given: Given, value: Tensor, number: int, *, dim: int) -> Tensor:
    """The pair of a modality and itself, which only MultiBench has; all layers read the tokens as given."""
    embedded = F.linear(value, given.weights[f"proj.{number}.weight"].squeeze(2))
    tokens = PlacedTokens(positions=_marked())(embedded)
    state = given.weights.under(f"trans.{number}.{number}.")
    encoder = _loaded(given, state, width=dim, layers=given.option("layers"))
    out: Tensor = encoder(tokens, _mask(given, tokens, tokens), source=tokens)
    return out


def _idle_in_model(case: GoldenCase) -> tuple[str, ...]:
    # A modality that has the inner width already enters as it is.
    dim = case.config.get("d")
    skipped = [f"proj_{x}.weight" for x in _LETTERS if case.inputs[f"x_{x}"].shape[2] == dim]
    return (*_STATELESS, *skipped)


RUNNERS: Mapping[str, Runner] = {
    "lecture/mb_multmodel": Runner(run=_multibench, idle=lambda _: _STATELESS),
    "lecture/mult_ctc": Runner(run=_ctc),
    "lecture/mult_encoder_cross": Runner(run=_encoder, idle=lambda _: _STATELESS),
    "lecture/mult_encoder_self": Runner(run=_encoder, idle=lambda _: _STATELESS),
    "lecture/mult_model": Runner(run=_model, idle=_idle_in_model),
    "lecture/mult_posenc": Runner(run=_positions),
}
