"""The head of SegFormer: maps of several strides become one, by one linear map per pixel each."""

from collections.abc import Sequence
from typing import Self

from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import ModalityError, OptionError
from fuseloom.nn.channel_norm import MaskedBatchNorm

__all__ = ["SegformerHead"]


class SegformerHead(nn.Module):
    r"""Each stage is mapped to one width and enlarged to the finest; a map of all of them is classified.

    .. math:: y = W_c\, \mathrm{relu}\Big(\mathrm{norm}\Big(\sum_k W_k\, \mathrm{up}(P_k x_k + b_k)\Big)\Big)

    ``W_k`` are the columns of one matrix over all stages put beside each other. As enlarging and a map per
    pixel may change places, ``W_k P_k`` is multiplied once, and each stage is mapped at its own stride.

    Paper: Xie et al., 2021, "SegFormer: Simple and Efficient Design for Semantic Segmentation with
    Transformers", arXiv:2105.15203.

    Args:
        dims: Width after each stage of the backbone, coarsest last.
        num_labels: ``K``.
        dim: Width of the head.
        dropout: Of whole channels of what is classified.
        fixed_statistics: Whether the batch norm keeps the mean 0 and the variance 1 that it starts with, in
            training too, as the published GeminiFusion (NYUDv2, SUN RGB-D), TokenFusion and CEN runs do.

    Raises:
        OptionError: no stage, or a width or number of labels below one.

    Example:
        >>> import torch
        >>> head = SegformerHead([8, 16], num_labels=5, dim=4)
        >>> head([torch.ones(2, 8, 12, 16), torch.ones(2, 16, 6, 8)]).shape
        torch.Size([2, 5, 12, 16])
    """

    def __init__(
        self,
        dims: Sequence[int],
        num_labels: int,
        *,
        dim: int = 256,
        dropout: float = 0.1,
        fixed_statistics: bool = False,
    ) -> None:
        super().__init__()
        if not dims:
            raise OptionError("dims must be of one stage at least, got none.")
        if num_labels < 1 or dim < 1:
            raise OptionError(f"num_labels and dim must be at least 1, got {num_labels} and {dim}.")
        self.fixed_statistics = fixed_statistics
        self.project = nn.ModuleList(nn.Linear(own, dim) for own in dims)
        self.join = nn.Conv2d(dim * len(dims), dim, 1, bias=False)
        self.norm = MaskedBatchNorm(dim)
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(dim, num_labels, 1)

    def train(self, mode: bool = True) -> Self:
        """Training, or not; fixed statistics stay as they are either way."""
        super().train(mode)
        if self.fixed_statistics:
            self.norm.eval()
        return self

    def forward(self, stages: Sequence[Tensor], real: Tensor | None = None) -> Tensor:
        """Maps ``[B, C, H, W]`` after each stage, coarsest last, to logits ``[B, K, H, W]`` of the finest.

        Args:
            stages: One map per stage.
            real: ``[B]`` bool: the samples whose statistics count in training; all of them by default.

        Raises:
            ModalityError: other than one map per stage.
        """
        if len(stages) != len(self.project):
            raise ModalityError(f"stages must be {len(self.project)} maps, got {len(stages)}.")
        size = stages[0].shape[-2:]
        # The official columns begin with the coarsest stage, and checkpoints depend on it.
        columns = self.join.weight.flatten(1).chunk(len(stages), 1)[::-1]
        total: Tensor | None = None
        for stage, project, column in zip(stages, self.project, columns, strict=True):
            assert isinstance(project, nn.Linear)
            weight, bias = column @ project.weight, column @ project.bias
            mapped = F.conv2d(stage, weight[:, :, None, None], bias)
            if total is not None:
                mapped = F.interpolate(mapped, size, mode="bilinear", align_corners=False)
            total = mapped if total is None else total + mapped
        assert total is not None
        counted = None if real is None else real[:, None, None].expand(-1, *size)
        classified: Tensor = self.classify(self.dropout(self.norm(total, counted).relu()))
        return classified
