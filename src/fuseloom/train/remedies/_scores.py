"""How sure each modality is of the true class, for the rules that compare modalities by it."""

from collections.abc import Callable

import torch
from torch import Tensor

from fuseloom.train.remedies._passage import Passage

__all__ = ["ScoreSums", "score_ratios"]


def score_ratios(scores: dict[str, Tensor]) -> dict[str, Tensor]:
    """Modality -> by how much its score exceeds the others': the mean of its ratios to each of them.

    Of two modalities it is the ratio of the OGM paper, and one is the inverse of the other. A score of zero
    is that of a modality that no row has: its ratio is 1, and it counts in no other's.

    Example:
        >>> {m: r.item() for m, r in score_ratios({"a": torch.tensor(3.0), "v": torch.tensor(1.5)}).items()}
        {'a': 2.0, 'v': 0.5}
    """
    return {name: _ratio(own, [v for o, v in scores.items() if o != name]) for name, own in scores.items()}


def _ratio(own: Tensor, others: list[Tensor]) -> Tensor:
    other = torch.stack(others)
    there = (other > 0) & (own > 0)
    ratios = torch.where(there, own / other.clamp(min=torch.finfo(torch.float32).tiny), 0.0)
    return torch.where(there.any(), ratios.sum() / there.sum().clamp(min=1), 1.0)


class ScoreSums:
    """Scores of modalities, summed over the batches since they were last taken."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, seen: Passage) -> None:
        """Add a batch: the probability that each modality's own outputs give the true class.

        The score of a modality is a mean over the rows that have it, so that missing values count nowhere.
        """
        with torch.no_grad():
            for name, outputs in seen.split().items():
                right = outputs.float().softmax(-1).gather(1, seen.target[:, None])[:, 0]
                there = seen.present(name)
                row = torch.stack([(right * there).sum(), there.sum().to(right.dtype)])
                self._sums[name] = self._sums[name] + row if name in self._sums else row

    def take(self, summed: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """Modality -> mean score; then start anew."""
        sums = summed(torch.stack(list(self._sums.values())))
        scores = dict(zip(self._sums, sums[:, 0] / sums[:, 1].clamp(min=1), strict=True))
        self._sums = {}
        return scores
