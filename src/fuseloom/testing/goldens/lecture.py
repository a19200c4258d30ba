"""Runners of the cases named in the lecture on multimodal fusion: LMF and MultiBench's fusions."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import DataError
from fuseloom.merge.concat import Concat, convert_concat
from fuseloom.merge.low_rank import LowRank, convert_low_rank
from fuseloom.testing.goldens._case import Given, GoldenCase, Runner, apply_part, gradients, leaf, load_module

__all__ = ["RUNNERS", "SubNet", "TextSubNet", "run_sub_nets"]

_MODALITIES = ("audio", "video", "text")


class SubNet(nn.Module):
    """Embedding of one time-averaged modality in LMF and TFN, ``[B, D]`` to ``[B, dim]``."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(in_dim)
        self.linear_1 = nn.Linear(in_dim, dim)
        self.linear_2 = nn.Linear(dim, dim)
        self.linear_3 = nn.Linear(dim, dim)

    def forward(self, values: Tensor) -> Tensor:
        """Normalise, then three linear maps with ReLU."""
        hidden: Tensor = self.norm(values)
        for linear in (self.linear_1, self.linear_2, self.linear_3):
            hidden = F.relu(linear(hidden))
        return hidden


class TextSubNet(nn.Module):
    """Embedding of the word vectors in LMF and TFN, ``[B, T, D]`` to ``[B, out_dim]``."""

    def __init__(self, in_dim: int, dim: int, out_dim: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(in_dim, dim, batch_first=True)
        self.linear_1 = nn.Linear(dim, out_dim)

    def forward(self, words: Tensor) -> Tensor:
        """Map the state after the last word."""
        _, (state, _) = self.rnn(words)
        out: Tensor = self.linear_1(state[-1])
        return out


def run_sub_nets(given: Given, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Embeddings of audio, video and text by the sub-nets that LMF and TFN share."""
    (audio, video, text), (audio_dim, video_dim, text_dim) = (
        given.option(name) for name in ("input_dims_audio_video_text", "hidden_dims")
    )
    with torch.device("meta"):
        nets: dict[str, nn.Module] = {
            "audio": SubNet(audio, audio_dim),
            "video": SubNet(video, video_dim),
            "text": TextSubNet(text, text_dim, given.option("text_out")),
        }
    embedded = {}
    for name, net in nets.items():
        state = given.weights.under(f"{name}_subnet.")
        _check_untrained(state)
        embedded[name] = load_module(net, state, training=given.training)(inputs[name])
    return embedded


def _check_untrained(state: Mapping[str, Tensor]) -> None:
    # No output depends on this count; but the cases come from freshly built models, so it is known.
    for name, value in state.items():
        if name.endswith("num_batches_tracked") and value != 0:
            raise DataError(f"{name!r} must be 0 in a freshly built model, got {value.item()}.")


def _lmf(given: Given) -> dict[str, Tensor]:
    inputs = {name: leaf(given.inputs[name]) for name in _MODALITIES}
    hidden = run_sub_nets(given, inputs)
    factors = {name: leaf(given.weights[f"{name}_factor"]) for name in _MODALITIES}
    shared = {name: leaf(given.weights[name]) for name in ("fusion_weights", "fusion_bias")}
    dims = {name: value.shape[-1] for name, value in hidden.items()}
    with torch.device("meta"):
        merge = LowRank(dims, given.option("output_dim"), rank=given.option("rank"))
    fused = apply_part(merge, convert_low_rank(factors, **shared), hidden)
    output = fused.softmax(-1) if given.option("use_softmax") else fused
    weights = {f"{name}_factor": factor for name, factor in factors.items()} | shared
    sources = inputs | {f"weight.{name}": value for name, value in weights.items()}
    mids = {f"mid.{name}_h": value for name, value in hidden.items()}
    return {"output.y": output} | mids | gradients(output, given.inputs["cotangent"], sources)


def _low_rank_tensor_fusion(given: Given) -> dict[str, Tensor]:
    inputs = _numbered(given)
    values = {n: v.flatten(1) if given.option("flatten") else v for n, v in inputs.items()}
    widths: list[int] = given.option("input_dims")
    with torch.device("meta"):
        merge = LowRank(
            dict(zip(inputs, widths, strict=True)), given.option("output_dim"), rank=given.option("rank")
        )
    factors = {name: given.weights[f"factors.{name[1:]}"] for name in inputs}
    state = convert_low_rank(factors, given.weights["fusion_weights"], given.weights["fusion_bias"])
    output = apply_part(merge, state, values)
    return {"output.y": output} | gradients(output, given.inputs["cotangent"], inputs)


def _concat(given: Given) -> dict[str, Tensor]:
    inputs = _numbered(given)
    values = {name: value.flatten(1) for name, value in inputs.items()}
    width = sum(value.shape[1] for value in values.values())
    # Without a linear map behind it, concatenation is ours with the identity.
    output = _apply_concat(values, torch.eye(width), torch.zeros(width))
    return {"output.y": output} | gradients(output, given.inputs["cotangent"], inputs)


def _concat_with_linear(given: Given) -> dict[str, Tensor]:
    inputs = _numbered(given)
    weight, bias = given.weights["fc.weight"], given.weights["fc.bias"]
    expected = [given.option("output_dim"), given.option("input_dim")]
    if list(weight.shape) != expected:
        raise DataError(f"'fc.weight' must have shape {expected} as config says, got {list(weight.shape)}.")
    if any(value.dim() != given.option("concat_dim") + 1 for value in inputs.values()):
        raise DataError(f"concat_dim must be the last axis of the inputs, got {given.option('concat_dim')}.")
    output = _apply_concat(inputs, weight, bias)
    return {"output.y": output} | gradients(output, given.inputs["cotangent"], inputs)


def _apply_concat(values: Mapping[str, Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    dims = {name: value.shape[-1] for name, value in values.items()}
    with torch.device("meta"):
        merge = Concat(dims, weight.shape[0], pool=None)
    return apply_part(merge, convert_concat(weight, bias, dims), dict(values))


def _numbered(given: Given) -> dict[str, Tensor]:
    """The inputs ``m0``, ``m1``, ... in the order of their numbers."""
    count = sum(name != "cotangent" for name in given.inputs)
    return {f"m{i}": leaf(given.inputs[f"m{i}"]) for i in range(count)}


def _idle_in_training(case: GoldenCase) -> tuple[str, ...]:
    # In training a BatchNorm normalises by the batch.
    return ("*.norm.running_mean", "*.norm.running_var") if case.mode == "train" else ()


RUNNERS: Mapping[str, Runner] = {
    "lecture/lmf": Runner(
        run=_lmf,
        idle=_idle_in_training,
    ),
    "lecture/mb_concat": Runner(run=_concat),
    "lecture/mb_concatwithlinear": Runner(run=_concat_with_linear),
    "lecture/mb_lowranktf": Runner(run=_low_rank_tensor_fusion),
}
