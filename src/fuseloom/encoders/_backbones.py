"""What pretrained backbones of other libraries share: where they are found, and what of them is trained."""

from abc import ABC
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from fuseloom.encoders._base import Encoder
from fuseloom.errors import DataError
from fuseloom.nn import Dropout

__all__ = ["Backbone", "PretrainedEncoder", "is_folder", "project", "projection", "unreachable"]

_LONGEST = 200


class Backbone(nn.Module):
    """A module whose running statistics stay those it came with; if frozen, everything of it.

    Statistics of a batch would count absent samples too. A frozen module lets gradients through, to an
    exchange before it, and has none itself.

    Args:
        module: What runs.
        frozen: Whether it keeps its weights and stays in evaluation mode.
    """

    def __init__(self, module: nn.Module, *, frozen: bool) -> None:
        super().__init__()
        self.module, self.frozen = module, frozen
        if frozen:
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Set the mode, except of what stays as it came."""
        super().train(mode)
        for part in self.module.modules():
            if self.frozen or getattr(part, "running_mean", None) is not None:
                part.training = False
        return self

    def forward(self, value: Tensor) -> Tensor:
        """What the module makes of a value."""
        out: Tensor = self.module(value)
        return out


def projection(width: int, dim: int, dropout: float) -> nn.Sequential:
    """From the width of a backbone to that of the stream."""
    return nn.Sequential(Dropout(dropout), nn.Linear(width, dim), nn.LayerNorm(dim))


def project(features: Tensor, layers: nn.Module) -> Tensor:
    """Apply layers to the features ``[B, D]``, ``[B, N, D]`` or, channels first, ``[B, D, H, W]``."""
    out: Tensor = layers(features.movedim(1, -1)).movedim(-1, 1) if features.dim() == 4 else layers(features)
    return out


class PretrainedEncoder(Encoder, ABC):
    """Stages of a pretrained model; the last one ends in `projection`, and has ``features`` before it.

    Args:
        stages: As of `Encoder`; the last one has a method ``features(value, mask)``.
        dims: Width of the stream after each stage.
        feature_dim: Width of the features.
    """

    def __init__(self, stages: Sequence[nn.Module], dims: Sequence[int], *, feature_dim: int) -> None:
        super().__init__(stages, dims)
        self.feature_dim = feature_dim

    def features(self, value: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """What the pretrained model gives, ``feature_dim`` wide, and its mask; maps have channels first."""
        for index in range(len(self.stages) - 1):
            value, mask = self.run_stage(index, value, mask)
        end: Any = self.stages[-1]
        found: tuple[Tensor, Tensor | None] = end.features(value, mask)
        return found


def is_folder(model: str, *, marks: Sequence[str] = ("config.json",)) -> bool:
    """Whether ``model`` names a folder with a configuration, any of ``marks``, and no model of a library.

    Raises:
        DataError: it looks like a folder, but there is no configuration in it.
    """
    folder = Path(model).expanduser()
    if any((folder / mark).is_file() for mark in marks):
        return True
    if folder.is_dir() or folder.is_absolute() or model.startswith((".", "~")):
        raise DataError(f"model must be a name or a folder with a config.json in it, got {model!r}.")
    return False


def unreachable(model: str, library: str, error: Exception) -> DataError:
    """The error for a model that is neither on this machine nor to be had."""
    reason = " ".join(str(error).split())[:_LONGEST].rstrip(". ") or type(error).__name__
    return DataError(
        f"model must be one that {library} can load, got {model!r}: {reason}. Check the name and the "
        "network; without a network, give the path of a folder that holds its config.json and its weights."
    )
