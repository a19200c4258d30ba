"""Checkpoints of multimodal residual optimisation."""

import re
from collections.abc import Mapping

from torch import Tensor

from fuseloom.errors import DataError
from fuseloom.merge.mro import convert_mro
from fuseloom.models.config import ModelConfig
from fuseloom.models.converters._base import Converted, Converter, Piece, check_widths
from fuseloom.registry import register

__all__ = ["MroConverter"]

_EARLY = re.compile(r"(uni_modals\.before\.\d+|bi_[abc]_modal|tri_modal)\.layers\.\d+\.(weight|bias)")
_TENSOR = re.compile(r"(before|after)\.\d+\.layers\.\d+\.(weight|bias)")


@register("mro")
class MroConverter(Converter):
    """Multimodal residual optimisation on given vectors, early or tensor fusion, two or three modalities.

    Form, widths and number of outputs are read from the weights; the modalities are to be named in the order
    in which their features stood in the official input. The official features were standardised: give such.
    The joint baseline and the sequential form are of the same weights. The official code draws no dropout.
    """

    paper = "Wörtwein et al., 2022, Findings of EMNLP"
    code = "twoertwein/MultimodalResidualOptimization"

    def convert(self, state: Mapping[str, Tensor], modalities: Mapping[str, int | None]) -> Converted:
        early = "uni_modals.before.0.layers.0.weight" in state
        known = [name for name in state if (_EARLY if early else _TENSOR).fullmatch(name)]
        first = _layers(state, "uni_modals.before.{}" if early else "before.{}")
        if not first or not (early or "after.0.layers.0.weight" in state):
            raise DataError(
                "The checkpoint must be one of mro, with weights 'uni_modals.before.0.layers.0.weight' or "
                f"'before.0.layers.0.weight' and 'after.0.layers.0.weight', got {sorted(state)[:4]}."
            )
        dims = check_widths({name: state[name].shape[-1] for name in first}, modalities)
        last = _depth(state, first[0])
        hidden, outputs = (last[:-1], last[-1]) if early else (last, len(state["after.0.layers.0.weight"]))
        config = ModelConfig(
            encoders={name: {"kind": "identity", "in_dim": width} for name, width in dims.items()},
            fusion="mro",
            dim=hidden[-1],
            dropout=0.0,
            options={"mro": {"form": "early" if early else "tensor", "hidden": hidden}},
        )
        return Converted(
            config=config,
            num_outputs=outputs,
            pieces=[_piece(name, state[name], dims) for name in known],
            preprocessing={n: {"kind": "given", "state": {"width": width}} for n, width in dims.items()},
        )


def _layers(state: Mapping[str, Tensor], place: str) -> list[str]:
    """Names of the first layer's weight of each modality."""
    found: list[str] = []
    while (name := f"{place.format(len(found))}.layers.0.weight") in state:
        found.append(name)
    return found


def _depth(state: Mapping[str, Tensor], first: str) -> list[int]:
    """Widths of the outputs of all layers of a perceptron; ReLUs take every other place."""
    found: list[int] = []
    stem = first.removesuffix("0.weight")
    while (name := f"{stem}{2 * len(found)}.weight") in state:
        found.append(state[name].shape[0])
    return found


def _piece(name: str, value: Tensor, dims: Mapping[str, int]) -> Piece:
    converted = convert_mro({name: value}, dims)
    return Piece(sources=[name], weights={f"merge.{own}": one for own, one in converted.items()})
