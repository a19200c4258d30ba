"""How sure each modality is of the true class, for the rules that compare modalities by it."""

from collections.abc import Callable

import torch
from torch import Tensor

from fuseloom.train.remedies._passage import Passage

__all__ = ["ScoreSums", "score_ratios"]


def score_ratios(scores: dict[str, Tensor]) -> dict[str, Tensor]:
    """Modality -> by how much its score exceeds the others': the mean of its ratios to each of them.

    Of two modalities it is the ratio of the OGM paper, and one is the inverse of the other.

    Example:
        >>> {m: r.item() for m, r in score_ratios({"a": torch.tensor(3.0), "v": torch.tensor(1.5)}).items()}
        {'a': 2.0, 'v': 0.5}
    """
    tiny = torch.finfo(torch.float32).tiny
    others = {name: [value for other, value in scores.items() if other != name] for name in scores}
    return {name: (scores[name] / torch.stack(others[name]).clamp(min=tiny)).mean() for name in scores}


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
