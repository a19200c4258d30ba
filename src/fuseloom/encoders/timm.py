"""Vision backbones of timm, by name or from a folder, stage by stage."""

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.encoders._backbones import (
    Backbone,
    PretrainedEncoder,
    is_folder,
    project,
    projection,
    unreachable,
)
from fuseloom.encoders._ends import check_choice
from fuseloom.encoders._shapes import check_shape
from fuseloom.encoders._timm import Cut, cut
from fuseloom.errors import DataError, MissingExtraError, OptionError, UnknownNameError
from fuseloom.part import zero_masked
from fuseloom.registry import register

__all__ = ["TimmEncoder"]

_FAILURES = (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError)
_BYTE = 255.0


@register("timm")
class TimmEncoder(PretrainedEncoder):
    """A vision model of timm without its classifier, over images of any size.

    Models of the families of ResNet, ConvNeXt, Swin and ViT are four stages, so that exchanges fit between
    them; any other is one. Images are normalised by the model's own mean and deviation, and resized where the
    model was built for one size. Batch norms keep the statistics they came with, as those of a batch would
    count absent images.

    Args:
        model: Name as in ``timm.list_models()``, or folder with ``config.json`` and weights.
        dim: Width of the stream.
        pretrained: Whether the weights are loaded; otherwise they are drawn.
        frozen: Whether the model keeps its weights and stays in evaluation mode.
        output: ``pooled`` as the model pools before its classifier, ``tokens`` (of a ViT also those before
            the patches) or ``map``.
        grid: Rows and columns that tokens or a map are averaged to; by default as the model has them.
        config: What `rebuild_options` gave: then nothing is loaded and ``model`` is only a label.
        dropout: Probability of dropping a feature before the last linear map.

    Shapes: images ``[B, 3, H, W]`` or grey ``[B, 1, H, W]``, uint8 or floating in [-1, 1], and mask ``[B]``
    to ``[B, dim]``, tokens ``[B, N, dim]`` or a map ``[B, dim, H', W']``, and their mask.

    Raises:
        DataError: the weights cannot be reached, or a folder holds no model.
        MissingExtraError: timm is not installed.
        OptionError: an unknown ``output``, or one that the model does not have; a ``grid`` below 1, or where
            nothing is left to average.
        UnknownNameError: timm has no such model.

    Example:
        >>> encoder = TimmEncoder("test_resnet", dim=8, pretrained=False, output="map")
        >>> encoder(torch.zeros(2, 3, 64, 96, dtype=torch.uint8))[0].shape
        torch.Size([2, 8, 2, 3])
    """

    def __init__(  # noqa: PLR0913  one option per choice
        self,
        model: str,
        *,
        dim: int = 64,
        pretrained: bool = True,
        frozen: bool = False,
        output: Literal["pooled", "tokens", "map"] = "pooled",
        grid: int | None = None,
        config: Mapping[str, Any] | None = None,
        dropout: float = 0.2,
    ) -> None:
        check_choice("output", output, ("pooled", "tokens", "map"))
        vision, self._config = _load(model, pretrained) if config is None else _build(config)
        pieces = cut(vision)
        if pieces.norm is None and output != "pooled":
            raise OptionError(
                f"output must be 'pooled' for {model!r}, got {output!r}. Models of the families of ResNet, "
                "ConvNeXt, Swin and ViT have tokens and maps."
            )
        if grid is not None and (grid < 1 or output == "pooled" or (output == "tokens" and pieces.prefix)):
            raise OptionError(
                f"grid must be at least 1, and for a map or tokens that are all patches, got {grid} for "
                f"output={output!r} of {model!r}."
            )
        inner = _Normalised(pieces.trunk[0], self._config)
        bodies = [Backbone(piece, frozen=frozen) for piece in (inner, *pieces.trunk[1:])]
        last: nn.Module = (
            _Pool(pieces, frozen) if output == "pooled" else _Spread(pieces, frozen, output, grid)
        )
        width = int(vision.num_features) if pieces.norm is not None else pieces.widths[-1]
        end = _End(last, projection(width, dim, dropout))
        super().__init__([*map(_Stage, bodies), end], [*pieces.widths, dim], feature_dim=width)

    def rebuild_options(self) -> dict[str, Any]:
        """The architecture, so that neither folder nor network is needed again."""
        return {"config": self._config}


class _Normalised(nn.Module):
    """Pixels to what the model was trained on, then its first piece."""

    mean: Tensor
    std: Tensor

    def __init__(self, then: nn.Module, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.then, self.size = then, config["size"]
        self.register_buffer("mean", _column(config["mean"]), persistent=False)
        self.register_buffer("std", _column(config["std"]), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        # In [0, 1], as mean and deviation are stated.
        unit = images.to(self.mean.dtype) / _BYTE if images.dtype == torch.uint8 else (images + 1) / 2
        if self.size is not None:
            unit = F.interpolate(unit, list(self.size), mode="bilinear", antialias=True)
        out: Tensor = self.then((unit - self.mean) / self.std)
        return out


class _Stage(nn.Module):
    """One piece; a sample is there or not, as a whole."""

    def __init__(self, body: Backbone) -> None:
        super().__init__()
        self.body = body

    def forward(self, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if value.dim() == 4 and isinstance(self.body.module, _Normalised):
            check_shape(value, "B", 1 if value.shape[1] == 1 else 3, "H", "W")
            value = value.expand(-1, 3, -1, -1)
        if mask is None:
            return self.body(value), None
        present = mask.flatten(1).any(1) if mask.dim() > 1 else mask
        shown = present.view(-1, *[1] * (value.dim() - 1))
        value = self.body(value.masked_fill(~shown, 0))
        space = value.shape[2:] if value.dim() == 4 else value.shape[1:-1]
        return value, present.view(-1, *[1] * len(space)).expand(-1, *space)


class _End(nn.Module):
    def __init__(self, last: nn.Module, project: nn.Module) -> None:
        super().__init__()
        self.last, self.project = last, project

    def forward(self, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        features, present = self.features(value, mask)
        return project(features, self.project), present

    def features(self, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What stands before the linear map."""
        known = value if mask is None else zero_masked(value, mask)
        features = self.last(known)  # [B, D], [B, N, D] or [B, H, W, D]
        present = mask if mask is None or mask.dim() == 1 else mask.flatten(1).any(1)
        if present is not None:
            space = features.shape[1:-1]
            present = present.view(-1, *[1] * len(space)).expand(-1, *space)
        return features.movedim(-1, 1) if features.dim() == 4 else features, present


class _Pool(nn.Module):
    def __init__(self, pieces: Cut, frozen: bool) -> None:
        super().__init__()
        self.body = Backbone(pieces.pool, frozen=frozen)

    def forward(self, value: Tensor) -> Tensor:
        out: Tensor = self.body(value)
        return out


class _Spread(nn.Module):
    """Tokens, or rows and columns of them, the width last."""

    def __init__(self, pieces: Cut, frozen: bool, output: str, cells: int | None) -> None:
        super().__init__()
        assert pieces.norm is not None
        self.body = Backbone(pieces.norm, frozen=frozen)
        self.output, self.prefix, self.grid, self.cells = output, pieces.prefix, pieces.grid, cells

    def forward(self, value: Tensor) -> Tensor:
        normal: Tensor = self.body(value)
        if self.grid is not None and self.output == "tokens" and self.cells is None:
            return normal
        if self.grid is not None:
            patches = normal[:, self.prefix :].reshape(-1, *self.grid, normal.shape[-1])
        else:
            patches = normal.movedim(1, -1)
        if self.cells is not None:
            patches = F.adaptive_avg_pool2d(patches.movedim(-1, 1), self.cells).movedim(1, -1)
        return patches.flatten(1, 2) if self.output == "tokens" else patches


def _load(model: str, pretrained: bool) -> tuple[Any, dict[str, Any]]:
    timm = _timm()
    folder = Path(model).expanduser() if is_folder(model) else None
    if folder is None and not model.startswith("hf-hub:") and not timm.is_model(model):
        near = get_close_matches(model, timm.list_models(), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UnknownNameError(
            f"model must be a model of timm or a folder, got {model!r}.{hint} timm.list_models() has all."
        )
    try:
        name = model if folder is None else f"local-dir:{folder}"
        vision = timm.create_model(name, pretrained=pretrained)
        given = {} if folder is None else json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except _FAILURES as error:
        raise unreachable(model, "timm", error) from error
    described = _config(vision, given)
    vision.reset_classifier(0)
    return vision, described


def _build(config: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    vision = _timm().create_model(config["architecture"], pretrained=False, **config["model_args"])
    vision.reset_classifier(0)
    return vision, dict(config)


def _config(vision: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a model is, without its weights, in types that JSON knows."""
    own = vision.pretrained_cfg
    fixed = own["input_size"][1:] if own.get("fixed_input_size") else None
    size = getattr(getattr(vision, "patch_embed", None), "img_size", fixed)
    if len(own["mean"]) != 3:
        raise DataError(f"model must read images of 3 channels, got {own['architecture']!r}. Choose another.")
    return {
        "architecture": own["architecture"],
        "model_args": dict(given.get("model_args", {})),
        "mean": list(own["mean"]),
        "std": list(own["std"]),
        "size": None if size is None else list(size),
    }


def _column(values: Sequence[float]) -> Tensor:
    return torch.tensor(list(values)).view(-1, 1, 1)


def _timm() -> Any:
    try:
        import timm
    except ImportError:
        raise MissingExtraError(
            "Encoders by name of timm need it. Install it with: pip install 'fuseloom[vision]'"
        ) from None
    return timm
