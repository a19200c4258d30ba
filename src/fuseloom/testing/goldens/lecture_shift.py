"""Runners of MAG: the gate alone, and behind the embeddings of a small BERT."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from fuseloom.errors import DataError
from fuseloom.exchange.modality_shift import ModalityShift, convert_modality_shift
from fuseloom.nn import attend
from fuseloom.testing.goldens._case import Given, Runner, gradients, leaf
from fuseloom.types import Streams, Trace

__all__ = ["RUNNERS"]

_SECONDARIES = {"visual": "v", "acoustic": "a"}
_EPS = {"eps": 1e-6, "mag_layernorm_eps": 1e-5}


def _mag(given: Given) -> dict[str, Tensor]:
    streams = {"text": leaf(given.inputs["text_embedding"])} | _secondaries(given)
    trace = Trace()
    output = _shift(given, given.weights.under(""), streams, trace=trace)
    found = {"output.y": output, "mid.h_m": trace.records["shift"], "mid.alpha": trace.records["scale"]}
    found |= {f"mid.gate_{name}": trace.records[f"{name}.gate"] for name in _SECONDARIES}
    sources = {"text_embedding": streams["text"]} | {name: streams[name] for name in _SECONDARIES}
    return found | gradients(output, given.inputs["cotangent"], sources)


def _mag_bert(given: Given) -> dict[str, Tensor]:
    bert = _Bert(given=given, kept=given.inputs["attention_mask"].bool(), eps=given.option("layer_norm_eps"))
    secondaries = _secondaries(given)
    embedded = bert.embed(given.inputs["input_ids"], given.inputs["token_type_ids"])
    moved = _shift(given, given.weights.under("bert.MAG."), {"text": embedded} | secondaries)
    pooled = bert.pool(bert.encode(moved))
    logits = F.linear(pooled, **given.weights.under("classifier."))
    found = {"mid.text_embedding": embedded, "mid.mag_out": moved, "mid.pooled": pooled}
    return found | {"output.logits": logits} | gradients(logits, given.inputs["cotangent"], secondaries)


def _secondaries(given: Given) -> Streams:
    found = {name: leaf(given.inputs[name]) for name in _SECONDARIES}
    for name, value in found.items():
        width = given.option(f"{name}_dim")
        if value.shape[2] != width:
            raise DataError(f"{name} must have width {width} as config says, got {value.shape[2]}.")
    return found


def _shift(
    given: Given, official: Mapping[str, Tensor], streams: Streams, *, trace: Trace | None = None
) -> Tensor:
    for option, value in _EPS.items():
        if given.config.get(option, value) != value:
            raise DataError(f"{option} must be {value}, got {given.config[option]}.")
    with torch.device("meta"):
        part = ModalityShift(
            {name: value.shape[2] for name, value in streams.items()}, beta=given.option("beta_shift")
        )
    state = convert_modality_shift(official, _SECONDARIES)
    part.load_state_dict(state, assign=True)
    out: Streams = functional_call(
        part.train(given.training), state, (streams,), {"trace": trace}, strict=True
    )
    return out["text"]


@dataclass(frozen=True, kw_only=True)
class _Bert:
    """A BERT by its official weights, in evaluation mode."""

    given: Given
    kept: Tensor
    eps: float

    def embed(self, words: Tensor, types: Tensor) -> Tensor:
        """Word, position and type embeddings ``[B, T, D]``, normalised."""
        weights = self.given.weights
        places = weights["bert.embeddings.position_ids"][:, : words.shape[1]]
        parts = (("word", words), ("position", places), ("token_type", types))
        tables = [(weights[f"bert.embeddings.{name}_embeddings.weight"], index) for name, index in parts]
        return self._norm(
            torch.stack([table[i].expand(*words.shape, -1) for table, i in tables]).sum(0), "embeddings"
        )

    def encode(self, tokens: Tensor) -> Tensor:
        """All layers: attention and a feedforward map, each added and normalised."""
        heads = self.given.option("heads")
        for number in range(self.given.option("layers")):
            layer = f"encoder.layer.{number}"
            query, key, value = (
                self._linear(tokens, f"{layer}.attention.self.{name}") for name in ("query", "key", "value")
            )
            mixed = attend(query, key, value, num_heads=heads, mask=self.kept)
            update = self._linear(mixed, f"{layer}.attention.output.dense")
            tokens = self._norm(tokens + update, f"{layer}.attention.output")
            hidden = F.gelu(self._linear(tokens, f"{layer}.intermediate.dense"))
            tokens = self._norm(tokens + self._linear(hidden, f"{layer}.output.dense"), f"{layer}.output")
        return tokens

    def pool(self, tokens: Tensor) -> Tensor:
        """Token 0 through a linear map and a hyperbolic tangent."""
        return self._linear(tokens[:, 0], "pooler.dense").tanh()

    def _linear(self, values: Tensor, name: str) -> Tensor:
        return F.linear(values, **self.given.weights.under(f"bert.{name}."))

    def _norm(self, values: Tensor, name: str) -> Tensor:
        weights = self.given.weights.under(f"bert.{name}.LayerNorm.")
        return F.layer_norm(values, values.shape[-1:], **weights, eps=self.eps)


RUNNERS: Mapping[str, Runner] = {
    "lecture/mag": Runner(run=_mag),
    # What is added to all keys alike does not change a softmax.
    "lecture/mag_bert": Runner(run=_mag_bert, idle=lambda case: ("*.attention.self.key.bias",)),
}
