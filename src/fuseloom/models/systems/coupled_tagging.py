"""Named entities in the style of UMT: attention both ways, and a head that is coupled with spans."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fuseloom.encoders import Encoder
from fuseloom.errors import ModalityError, OptionError
from fuseloom.exchange.cross_attention import CrossAttention
from fuseloom.heads import CoupledTaggingHead
from fuseloom.merge import Merge
from fuseloom.models.anchor import Anchor
from fuseloom.models.config import ModelConfig
from fuseloom.models.fusion import FusionModel
from fuseloom.models.systems._base import System
from fuseloom.registry import Card, register
from fuseloom.tasks import Task
from fuseloom.tasks.tagging import Tagging
from fuseloom.types import Masks, Streams, Trace

__all__ = ["CoupledTaggingSystem"]


@register("coupled_tagging")
@dataclass(frozen=True, kw_only=True)
class CoupledTaggingSystem(System):
    r"""Tags of words from words and image, with spans that the text alone tells.

    Patches attend to words, and words to those patches, as far as a gate lets them:

    .. math:: P = V + \mathrm{Attention}(V, R), \quad A = \mathrm{Attention}(R, P), \quad
        h = [R;\ \sigma(W_R R + W_A A + b) \odot A]

    `CoupledTaggingHead` tags ``h``, and finds spans in ``R`` alone. A sentence without a picture is tagged by
    its words.

    UMT-style, after the paper: Yu et al., 2020, Improving Multimodal Named Entity Recognition via Entity Span
    Detection with Unified Multimodal Transformer. Unverified against the authors' code. There each attention
    is a whole transformer layer, the words attend to the raw patches too, and the spans have a layer of
    self-attention of their own. The remedy ``umt`` is something else.

    Raises:
        ModalityError: not two modalities.
        OptionError: a share or weight out of its range, or a task that tags no words.
    """

    card = Card(
        summary="Words attend to patches that attend to words; spans of the text alone help to tag.",
        interaction="nonlinear",
        cost="that of cross-attention both ways and of a gate",
        parameters="per modality",
        arity=(2, 2),
        paper="Yu et al., 2020, ACL",
        differs="UMT-style: one attention each way, without feedforward layers.",
    )

    num_heads: int = 12
    """Of both attentions."""
    share: float = 0.5
    """Of the spans in the scores of the tags."""
    weight: float = 0.5
    """How much the loss of the spans counts beside that of the tags."""

    def build(self, encoders: Mapping[str, Encoder], config: ModelConfig, task: Task) -> FusionModel:
        if len(encoders) != 2:
            raise ModalityError(
                f"coupled_tagging must have two modalities, text and image, got {sorted(encoders)}. Train on "
                "one alone with the fusion 'concat'."
            )
        if not isinstance(task, Tagging) or not config.anchor:
            raise OptionError(f"coupled_tagging must have a task that tags words, got {task.name!r}.")
        dims = {name: encoder.dims[-1] for name, encoder in encoders.items()}
        text = config.anchor
        merge = _GatedContext(dims, text)
        head = CoupledTaggingHead(
            merge.dim,
            task.tags,
            text_dim=dims[text],
            share=self.share,
            weight=self.weight,
            dropout=config.dropout,
        )
        # Nothing is written to the text before the merge, so that the head can read it alone.
        seen = [name for name in dims if name != text]
        return FusionModel(
            encoders,
            merge,
            head,
            exchanges={-1: CrossAttention(dims, num_heads=self.num_heads, targets=seen)},
            anchor=Anchor(dims, text, num_heads=self.num_heads),
        )


class _GatedContext(Merge):
    """The text as it is, and beside it what was seen at its positions, as far as a gate lets it through."""

    card = Card(
        summary="The text, beside the others behind a gate.",
        interaction="nonlinear",
        cost="N D_c (D_t + D_c)",
        parameters="per modality",
        arity=(2, 2),
        aligned=True,
    )

    def __init__(self, dims: Mapping[str, int], text: str) -> None:
        super().__init__(dims)
        self.dim = sum(self.dims.values())
        (self.context,) = (name for name in dims if name != text)
        self.text = text
        self.gate = nn.Linear(self.dim, dims[self.context])

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        text, context = streams[self.text], streams[self.context]
        gate = self.gate(torch.cat([text, context], -1)).sigmoid()
        if trace is not None:
            trace.record("gate", gate)
        return torch.cat([text, gate * context], -1)
