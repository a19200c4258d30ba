"""Several streams become one, pixel by pixel, those of them that have most to say."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fuseloom.types import Masks, Trace

__all__ = ["Collapse", "collapsed_there"]


class Collapse(nn.Module):
    r"""Each stream is scaled up where it is scored high, and the largest of each feature is passed on.

    .. math:: \tilde x_m = (1 + s_m)\, x_m, \quad s_m = \sigma\big(w_m^\top (K_m * x_m) + b_m\big), \quad
        y = \max_m \tilde x_m

    ``K_m`` is a convolution of each feature with its neighbours. A stream that a sample lacks is not among
    those of which the largest is taken.

    Papers: Zhang et al., 2023, "Delivering Arbitrary-Modal Semantic Segmentation", arXiv:2303.01480 (CMNeXt),
    of whose hub this is a plainer form; so it stands in the code of GeminiFusion for DeLiVER.

    Args:
        names: Of the modalities.
        dim: Width of the tokens.

    Records:
        ``<modality>.score``: ``[B, N]``.

    Example:
        >>> collapse = Collapse(["event", "lidar"], 4)
        >>> scaled, largest = collapse(torch.ones(2, 3, 6, 4), (2, 3), {})
        >>> scaled.shape, largest.shape
        (torch.Size([2, 3, 6, 4]), torch.Size([3, 6, 4]))
    """

    def __init__(self, names: Sequence[str], dim: int) -> None:
        super().__init__()
        self.around = nn.ModuleDict({n: nn.Conv2d(dim, dim, 3, padding=1, groups=dim) for n in names})
        self.score = nn.ModuleDict({name: nn.Conv2d(dim, 1, 1) for name in names})

    def forward(
        self, tokens: Tensor, size: tuple[int, int], there: Masks, *, trace: Trace | None = None
    ) -> tuple[Tensor, Tensor]:
        """Tokens ``[M, B, N, C]`` scaled by their scores, and the largest of them ``[B, N, C]``.

        Args:
            tokens: Of all modalities, in the order of ``names``.
            size: Of their grid.
            there: Modality name -> ``[B]``; one that is not in it is there in all samples.
            trace: Collects records.
        """
        scaled, offered = [], []
        for name, own in zip(self.score, tokens.unbind(), strict=True):
            grid = torch.unflatten(own.transpose(1, 2), 2, size)
            score = self.score[name](self.around[name](grid)).sigmoid().flatten(2).transpose(1, 2)
            scaled.append(own * (1 + score))
            real = there.get(name)
            absent = None if real is None else ~real[:, None, None]
            offered.append(scaled[-1] if absent is None else scaled[-1].masked_fill(absent, -torch.inf))
            if trace is not None:
                trace.scope(name).record("score", score.squeeze(-1))
        largest = torch.stack(offered).amax(0)
        return torch.stack(scaled), largest.masked_fill(largest == -torch.inf, 0)


def collapsed_there(there: Mapping[str, Tensor], names: Sequence[str]) -> Tensor | None:
    """Samples ``[B]`` that have one of these modalities; None where all do."""
    if any(name not in there for name in names):
        return None
    return torch.stack([there[name] for name in names]).any(0)
