"""How much a model leans on each modality: what is lost when one is hidden or shuffled."""

from dataclasses import dataclass

__all__ = ["Reliance"]


@dataclass(frozen=True, kw_only=True)
class Reliance:
    """Loss of one model's score on held-out rows, per modality.

    A drop is in the units of the metric, positive where the score gets worse.
    """

    model: str
    metric: str
    score: float
    hidden: dict[str, float]
    """Drop where the modality is masked in every row."""
    shuffled: dict[str, float]
    """Mean drop where its rows are permuted, over several permutations."""
