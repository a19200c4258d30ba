"""TokenFusion for segmentation: a Mix Transformer in which small tokens give way to another modality's."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

from torch import Tensor

from fuseloom.exchange.token_exchange import TokenExchange
from fuseloom.heads.segformer import SegformerHead
from fuseloom.models.dense.ensemble import Ensemble, Weighting
from fuseloom.models.dense.mit import MitSize, MitStreams
from fuseloom.models.dense.mit_names import HEAD_RULES, MIT_RULES
from fuseloom.models.dense.model import DenseModel
from fuseloom.models.dense.placed import Place, Placed
from fuseloom.models.dense.renaming import Rule, renamed

__all__ = ["convert_tokenfusion_mit", "official_tokenfusion_mit", "tokenfusion_mit"]

_PLACE: Place = "after_attention"
_RULES = (
    *MIT_RULES,
    *HEAD_RULES,
    Rule(
        "encoder.score_predictor.{k}.score_nets.{modality}.{layer}.{what}",
        f"encoder.exchanges.{{k}}_0_{_PLACE}.predictor.{{modality}}.layers.{{layer}}.{{what}}",
    ),
)


def tokenfusion_mit(  # noqa: PLR0913  one option per choice
    channels: Mapping[str, int],
    num_labels: int,
    *,
    size: str | MitSize = "b3",
    threshold: float = 0.02,
    sparsity_weight: float = 0.03,
    reduction: Literal["mean", "sum"] = "mean",
    last: int | None = None,
    head_dim: int = 256,
    weighting: Weighting = "learned",
    drop_path: float = 0.1,
    dropout: float = 0.1,
    shared_norms: bool = False,
    fixed_statistics: bool = False,
    checkpointing: bool = False,
) -> DenseModel:
    """TokenFusion: `TokenExchange` of what attention adds, in a Mix Transformer, and the head of SegFormer.

    All blocks of a stage share one predictor of scores per modality, which reads what the block got.

    Paper: Wang et al., 2022, arXiv:2204.08721. The published segmentation runs do not train the weights of
    the ensemble (``weighting="frozen"``), nor the statistics of the head's norm (``fixed_statistics``), and
    sum their loss over all tokens with a coefficient of 1e-6 (``reduction="sum"``).

    Args:
        channels: Modality name -> channels of its map; any number of modalities.
        num_labels: ``K``.
        size: Of the backbone.
        threshold: Score below which a token gives way.
        sparsity_weight: Coefficient of the loss on scores.
        reduction: Of that loss, in each block.
        last: Exchange in so many blocks at the end only; in all of them by default.
        head_dim: Width of the head.
        weighting: Of the ensemble.
        drop_path: Of the last block.
        dropout: Of the head.
        shared_norms: As of `MitStreams`.
        fixed_statistics: Of the head's norm.
        checkpointing: Whether blocks are evaluated again in the backward pass, for memory.

    Example:
        >>> import torch
        >>> tiny = MitSize(dims=(8, 16), depths=(1, 1), num_heads=(1, 2), reductions=(2, 1))
        >>> model = tokenfusion_mit({"rgb": 3, "depth": 1}, 5, size=tiny, head_dim=8)
        >>> model({"rgb": torch.zeros(2, 3, 32, 48), "depth": torch.zeros(2, 1, 32, 48)}).shape
        torch.Size([2, 3, 5, 8, 12])
    """
    build = partial(TokenExchange, threshold=threshold, sparsity_weight=sparsity_weight, reduction=reduction)
    placed = [Placed(build=build, at=_PLACE, last=last, per_stage=True)] if len(channels) > 1 else []
    encoder = MitStreams(
        channels,
        size,
        placed,
        drop_path=drop_path,
        shared_norms=shared_norms,
        checkpointing=checkpointing,
    )
    head = SegformerHead(
        encoder.dims, num_labels, dim=head_dim, dropout=dropout, fixed_statistics=fixed_statistics
    )
    return DenseModel(encoder, head, Ensemble([*encoder.channels], weighting=weighting))


def convert_tokenfusion_mit(official: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """State dict of `tokenfusion_mit` from an official checkpoint.

    Args:
        official: Official name -> weight, also with the prefix of a model that ran on several devices.
        names: Of the modalities, in the order of the official numbers.

    Raises:
        OptionError: a name that the official model does not have.
    """
    return renamed(official, _RULES, names, to="ours", model="a TokenFusion MiT")


def official_tokenfusion_mit(state: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """State dict of the official model from that of `tokenfusion_mit`: the inverse of the conversion.

    Args:
        state: Our name -> weight.
        names: Of the modalities, in the order of the official numbers.

    Raises:
        OptionError: a name that our model does not have.
    """
    return renamed(state, _RULES, names, to="official", model="tokenfusion_mit")
