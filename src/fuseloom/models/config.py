"""What a model is built of, as names and numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

__all__ = ["ModelConfig"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What `build_model` needs; saved with the weights."""

    encoders: Mapping[str, Mapping[str, Any]]
    """Modality name -> ``kind`` of its encoder, and the encoder's own options."""
    fusion: str
    """As `FusionSpec.parse` reads it, or a published system of ``list_names(kind="system")``."""
    dim: int = 64
    """Width of every stream and of the fused value."""
    dropout: float = 0.2
    """In encoders and head."""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Part name, or that of the system -> its keyword options."""
    extras: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What a system learns from beside its inputs -> what the preprocessing of that found."""
    frozen: Sequence[str] = ()
    """Modalities whose encoders are not trained."""
    trunk: str | None = None
    """Modality whose encoder goes on behind a merge that stands ``@early`` or ``@middle``; by default the
    first of those with the most stages."""
    anchor: str = ""
    """Modality whose positions are predicted, by a task of positions; options of the `Anchor` are under the
    part name ``anchor``."""
    remedy: str = ""
    """What it is trained with, of `list_remedies`, and where its card says so predicts with."""

    def state(self) -> dict[str, Any]:
        """Plain JSON values that `from_state` takes."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Restore from `state`."""
        return cls(**state)
