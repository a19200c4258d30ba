"""Runners of MuSE: the exchange step alone, and the transformer around it."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fuseloom.errors import DataError
from fuseloom.exchange.cls_exchange import ClsExchange
from fuseloom.models.exchange_transformer import ExchangeTransformer
from fuseloom.models.muse import convert_muse_transformer, muse_transformer
from fuseloom.nn import PostNormBlock, PreNormBlock
from fuseloom.testing.goldens._case import Given, Runner, leaf
from fuseloom.types import Streams, Trace

__all__ = ["RUNNERS"]

_NUMBERS = {"text": "1", "image": "2"}
_EPS = 1e-5


def _select(given: Given) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for case in given.option("cases"):
        found |= _selected(given, f"case{case['case']}", case)
    return found


def _selected(given: Given, name: str, config: Mapping[str, Any]) -> dict[str, Tensor]:
    inputs = {s: leaf(given.inputs[f"{name}.x{n}"]) for s, n in _NUMBERS.items()}
    scores = {s: given.inputs[f"{name}.attn{n}"][:, 0] for s, n in _NUMBERS.items()}
    exchange = ClsExchange(
        {s: value.shape[2] for s, value in inputs.items()},
        **_options(config["theta"], quantile=config["quant"], skip=config["skip"]),
    )
    trace = Trace()
    outputs = exchange(inputs, trace=trace, scores=scores)
    gradients = _gradients(given, outputs, inputs, f"{name}.")
    found: dict[str, Tensor] = {}
    for stream, number in _NUMBERS.items():
        found |= {
            f"output.{name}.x{number}": outputs[stream],
            f"output.{name}.selected{number}": trace.records[f"{stream}.selected"],
            f"mid.{name}.theta{number}": trace.records[f"{stream}.threshold"],
            f"grad.{name}.x{number}": gradients[stream],
        }
    return found


def _options(theta: float, *, quantile: bool, skip: bool) -> dict[str, Any]:
    return {
        "theta": theta,
        "rule": "quantile" if quantile else "threshold",
        "mode": "add" if skip else "replace",
        "faithful": True,
    }


def _gradients(
    given: Given, outputs: Streams, sources: Mapping[str, Tensor], case: str = ""
) -> dict[str, Tensor]:
    cotangents = [given.inputs[f"{case}cotangent{n}"] for n in _NUMBERS.values()]
    values = [outputs[stream] for stream in _NUMBERS]
    found = torch.autograd.grad(values, list(sources.values()), grad_outputs=cotangents)
    return dict(zip(sources, found, strict=True))


def _transformer(given: Given) -> dict[str, Tensor]:
    inputs = {stream: leaf(given.inputs[f"src{number}"]) for stream, number in _NUMBERS.items()}
    weights = {name: leaf(value) for name, value in given.weights.under("").items()}
    model = _model(given, given.option("num_layers"), final=given.option("final_norm"))
    seen: dict[str, tuple[Streams, Streams]] = {}
    for place, exchange in model.exchanges.items():
        exchange.register_forward_hook(partial(_see, seen, place))
    trace = Trace()
    outputs = _run(model, weights, inputs, _attended(given), trace)
    gradients = _gradients(given, outputs, inputs | {f"weight.{n}": v for n, v in weights.items()})
    found = {f"output.out{number}": outputs[stream] for stream, number in _NUMBERS.items()}
    found |= {f"grad.src{number}": gradients.pop(stream) for stream, number in _NUMBERS.items()}
    found |= {f"grad.{name}": value for name, value in gradients.items()}
    return found | _between_layers(given, weights, inputs) | _inside_exchanges(seen, trace)


def _model(given: Given, depth: int, *, final: bool) -> ExchangeTransformer:
    """The first layers of the case's transformer, with its final norm or without."""
    eps, activation = given.option("layer_norm_eps"), given.option("activation")
    if (eps, activation) != (_EPS, "relu"):
        raise DataError(
            f"config must have layer_norm_eps {_EPS} and activation 'relu', got {eps} and {activation!r}."
        )
    pre = given.option("norm_first")
    form = PreNormBlock if pre else PostNormBlock
    options = _options(
        given.option("theta"), quantile=given.option("use_quantile"), skip=given.option("skip_connection")
    )
    with torch.device("meta"):
        return muse_transformer(
            dict.fromkeys(_NUMBERS, given.option("d_model")),
            num_layers=depth,
            layers=range(given.option("replace_start"), min(given.option("replace_end") + 1, depth)),
            block=partial(form, num_heads=given.option("nhead"), hidden=given.option("dim_feedforward")),
            place="after_residual" if pre else "after_norm",
            norm=nn.LayerNorm if final else nn.Identity,
            **options,
        )


def _attended(given: Given) -> dict[str, Tensor]:
    """What the official key padding masks, which are True on padding, leave."""
    names = {stream: f"key_padding_mask{number}" for stream, number in _NUMBERS.items()}
    return {s: ~given.inputs[name].bool() for s, name in names.items() if name in given.inputs}


def _run(
    model: ExchangeTransformer,
    weights: Mapping[str, Tensor],
    inputs: Streams,
    attended: Mapping[str, Tensor],
    trace: Trace | None = None,
) -> Streams:
    """The streams behind the model, through which gradients reach the official weights."""
    state = convert_muse_transformer(weights)
    model.load_state_dict(state, assign=True)
    reads = {"trace": trace, "attended": dict(attended)}
    out: Streams = functional_call(model.eval(), state, (inputs,), reads, strict=True)
    return out


def _see(
    seen: dict[str, tuple[Streams, Streams]], place: str, _: nn.Module, args: tuple[Streams], out: Streams
) -> None:
    seen[place] = args[0], out


def _between_layers(given: Given, weights: Mapping[str, Tensor], inputs: Streams) -> dict[str, Tensor]:
    """What the first layers alone give, for any number of them."""
    found: dict[str, Tensor] = {}
    for layer in range(given.option("num_layers")):
        model = _model(given, layer + 1, final=False)
        names = tuple(f"layers.{number}." for number in range(layer + 1))
        own = {name: value for name, value in weights.items() if name.startswith(names)}
        outputs = _run(model, own, inputs, _attended(given))
        found |= {f"mid.layer{layer}.out{number}": outputs[s] for s, number in _NUMBERS.items()}
    return found


def _inside_exchanges(seen: Mapping[str, tuple[Streams, Streams]], trace: Trace) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for key, (before, after) in seen.items():
        layer, _, place = key.partition("_")
        for stream, number in _NUMBERS.items():
            scope = f"layer.{layer}.{place}.{stream}"
            tensors = {
                "before": before[stream],
                "after": after[stream],
                "sel": trace.records[f"{scope}.selected"],
                "theta": trace.records[f"{scope}.threshold"],
                "cls_attn": trace.records[f"{scope}.scores"],
            }
            found |= {f"mid.layer{layer}.{name}{number}": value for name, value in tensors.items()}
    return found


RUNNERS: Mapping[str, Runner] = {
    # Residual sums and norms behind norms: what is left of some values is rounding.
    "muse/ct": Runner(run=_transformer, cancelling=("output.*", "mid.*", "grad.*")),
    "muse/select": Runner(run=_select),
}
