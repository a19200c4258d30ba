"""The small models of the cases of remedies: an encoder per modality and one linear map."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from fuseloom.encoders import Encoder
from fuseloom.merge.concat import Concat, convert_concat
from fuseloom.models.fusion import FusionModel
from fuseloom.tasks.classification import Classification
from fuseloom.testing.goldens._case import Given
from fuseloom.types import Batch

__all__ = [
    "TOOLKIT",
    "Layout",
    "classes",
    "encoder_gradients",
    "gradient_of",
    "load_linear",
    "official_gradients",
    "perceptron",
    "tiny_batch",
    "tiny_encoders",
    "tiny_model",
    "vectors",
]

_NAMES = ("audio", "visual")


class _Stage(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return self.net(value), mask


def vectors(net: nn.Module, dim: int) -> Encoder:
    """Any network as an encoder of vectors ``[B, dim]``, of one stage."""
    return _Vectors([_Stage(net)], [dim])


class _Vectors(Encoder):
    """Without a mask of its own: a sample is there or not."""


def load_linear(state: Mapping[str, Tensor]) -> nn.Linear:
    """A linear layer of stored ``weight`` and ``bias``, trained on copies of them."""
    weight, bias = state["weight"], state.get("bias")
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.load_state_dict({name: value.clone() for name, value in state.items()}, assign=True)
    return layer.requires_grad_()


def perceptron(state: Mapping[str, Tensor]) -> Encoder:
    """Linear, Tanh and, where it is stored, Linear."""
    numbers = sorted({int(name.partition(".")[0]) for name in state})
    layers: list[nn.Module] = []
    for number in numbers:
        own = {n.partition(".")[2]: v for n, v in state.items() if n.startswith(f"{number}.")}
        layers += [load_linear(own), nn.Tanh()]
    layers = layers if len(numbers) == 1 else layers[:-1]
    return vectors(nn.Sequential(*layers), len(state[f"{numbers[-1]}.bias"]))


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the weights of a small model are called, and what its encoders are."""

    encoder: str = "modality_encoder.{}."
    """Prefix of the weights of a modality's encoder, by its name."""
    fusion: str = "fusion_module.fc_out."
    """Prefix of the linear map of the concatenated features."""
    build: Callable[[Mapping[str, Tensor]], Encoder] = perceptron
    """An encoder from its weights."""

    def official(self, name: str, key: str) -> str:
        """What a parameter of a modality's encoder is called."""
        return self.encoder.format(name) + key.removeprefix("stages.0.net.")


TOOLKIT = Layout()
"""Of BalanceMM."""


def tiny_encoders(
    given: Given, names: tuple[str, ...] = _NAMES, *, layout: Layout = TOOLKIT
) -> dict[str, Encoder]:
    """An encoder per modality."""
    return {name: layout.build(given.weights.under(layout.encoder.format(name))) for name in names}


def tiny_model(given: Given, names: tuple[str, ...] = _NAMES, *, layout: Layout = TOOLKIT) -> FusionModel:
    """The official model around its small encoders: one linear map of the concatenated features."""
    encoders = tiny_encoders(given, names, layout=layout)
    dims = {name: encoder.dims[-1] for name, encoder in encoders.items()}
    fused = given.weights.under(layout.fusion)
    merge = Concat(dims, len(fused["bias"]))
    merge.load_state_dict(convert_concat(fused["weight"], fused["bias"], dims))
    return FusionModel(encoders, merge, nn.Identity())


def tiny_batch(given: Given, prefix: str = "", names: tuple[str, ...] = _NAMES) -> Batch:
    """The stored rows."""
    inputs = {name: given.inputs[f"{prefix}{name}"] for name in names}
    return Batch(inputs=inputs, target=given.inputs[f"{prefix}label"])


def classes(number: int) -> Classification:
    """A task of so many classes."""
    return Classification([str(n) for n in range(number)])


def encoder_gradients(model: FusionModel, *, layout: Layout = TOOLKIT) -> dict[str, Tensor]:
    """The gradients of a model's `tiny_encoders` under their official names."""
    return {
        layout.official(name, key): gradient_of(value)
        for name, encoder in model.encoders.items()
        for key, value in encoder.named_parameters()
    }


def official_gradients(model: FusionModel, *, layout: Layout = TOOLKIT) -> dict[str, Tensor]:
    """The gradients of a `tiny_model` under their official names."""
    merge = cast(Concat, model.merge)
    weights = [gradient_of(merge.weight[name]) for name in model.encoders]
    return encoder_gradients(model, layout=layout) | {
        f"{layout.fusion}weight": torch.cat(weights, 1),
        f"{layout.fusion}bias": gradient_of(merge.bias),
    }


def gradient_of(parameter: Tensor) -> Tensor:
    """A copy of a parameter's gradient; zeros where it has none."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
