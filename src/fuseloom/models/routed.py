"""Conditional execution: a model whose gate picks experts, run with only what each sample needs."""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from fuseloom.encoders import Encoder
from fuseloom.errors import FuseloomError, ModalityError, OptionError
from fuseloom.merge.dynamic import Dynamic
from fuseloom.models.fusion import FusionModel
from fuseloom.types import Batch

__all__ = ["RoutedModel"]


class RoutedModel(nn.Module):
    """A model with a hard `dynamic` merge, its predictions made with only the encoders and expert they need.

    All rows pass the encoders that the gate reads; then the rows of each expert pass, as one smaller batch,
    the encoders that it needs besides, and the expert. The predictions are those of the model in evaluation.
    How many rows go where is read back once per call, so this form is neither compiled nor exported.

    Encoders must leave a modality that is there in the sample, and one that is absent out, as ours do.

    Args:
        model: Without exchanges: these let modalities see one another, so that none could be skipped.

    Raises:
        OptionError: the model has exchanges, or a merge that is not ``dynamic`` or whose gate is ``soft``.

    Example:
        >>> from fuseloom import create
        >>> from fuseloom.encoders.identity import IdentityEncoder
        >>> from fuseloom.heads import LinearHead
        >>> dims = {"text": 6, "image": 4}
        >>> encoders = {name: IdentityEncoder(width) for name, width in dims.items()}
        >>> model = FusionModel(encoders, create("dynamic", dims, dim=8), LinearHead(8, 3)).eval()
        >>> inputs = {"text": torch.randn(5, 6), "image": torch.randn(5, 4)}
        >>> torch.testing.assert_close(RoutedModel(model)(inputs), model(inputs))
    """

    def __init__(self, model: FusionModel) -> None:
        super().__init__()
        if not isinstance(model.merge, Dynamic):
            raise OptionError(
                f"merge of the model must be 'dynamic', got {model.merge.name!r}. It has no experts to skip."
            )
        if model.merge.gate_kind == "soft":
            raise OptionError(
                "kind of the gate must be hard, got 'soft', which mixes all experts. Load its weights into "
                "a model whose kind is 'straight_through'."
            )
        if model.exchanges:
            raise OptionError(
                f"exchanges of the model must be none, got some behind stages {sorted(model.exchanges)}. "
                "They need all modalities, so none could be skipped."
            )
        self.model = model
        self.train(model.training)

    @torch.no_grad()
    def forward(
        self, inputs: Mapping[str, Tensor], masks: Mapping[str, Tensor | None] | None = None
    ) -> Tensor:
        """Outputs ``[B, K]``, without a gradient, of what the encoders read.

        Raises:
            FuseloomError: in training mode.
            ModalityError: an input is missing.
        """
        if self.training or self.model.training:
            raise FuseloomError(
                "RoutedModel must be in evaluation mode, got training mode. It only predicts: train the "
                "model that it was made from, then set train(False) on this one."
            )
        if missing := sorted(self.model.encoders.keys() - inputs.keys()):
            raise ModalityError(f"Missing modality {missing}; got {sorted(inputs)}.")
        given = {name: mask for name, mask in (masks or {}).items() if mask is not None}
        raw = Batch(inputs=dict(inputs), masks=given)
        read = self._encode(_select(raw, self._merge.reads))
        rest = {name: mask for name, mask in given.items() if name not in read.inputs}
        chosen = self._merge.route(read.inputs, rest | read.masks)
        rows, fused = zip(*self._run_all(chosen, raw, read), strict=True)
        values = torch.cat(fused)
        outputs: Tensor = self.model.head(torch.empty_like(values).index_copy_(0, torch.cat(rows), values))
        return outputs

    @property
    def _merge(self) -> Dynamic:
        assert isinstance(self.model.merge, Dynamic)
        return self.model.merge

    def _run_all(self, chosen: Tensor, raw: Batch, read: Batch) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows of each group, and what its expert makes of them; ``read`` holds what is encoded already."""
        experts = list(self._merge.experts)
        counts = torch.bincount(chosen + 1, minlength=len(experts) + 1).tolist()
        groups = torch.split(chosen.argsort(stable=True), counts)
        if len(groups[0]):  # rows that have no modality
            weight = next(self._merge.parameters())
            yield groups[0], weight.new_zeros(len(groups[0]), self._merge.dim)
        for name, rows in zip(experts, groups[1:], strict=True):
            if len(rows):
                yield rows, self._run(name, rows, raw, read)

    def _run(self, name: str, rows: Tensor, raw: Batch, read: Batch) -> Tensor:
        needed = self._merge.experts[name]
        more = _select(raw, [modality for modality in needed if modality not in read.inputs])
        own = _select(read, needed)
        if len(rows) < len(raw):  # else they are all, in their order
            more, own = more.take(rows), own.take(rows)
        more = self._encode(more)
        return self._merge.run_expert(name, own.inputs | more.inputs, own.masks | more.masks)

    def _encode(self, batch: Batch) -> Batch:
        """Streams and masks of the modalities in the batch, after all stages."""
        encoded = Batch(inputs={})
        for name, value in batch.inputs.items():
            encoder = self.model.encoders[name]
            assert isinstance(encoder, Encoder)
            encoded.inputs[name], mask = encoder(value, batch.masks.get(name))
            if mask is not None:
                encoded.masks[name] = mask
        return encoded


def _select(batch: Batch, names: Iterable[str]) -> Batch:
    """Some of the modalities; those that are not there are left out."""
    inputs = {name: batch.inputs[name] for name in names if name in batch.inputs}
    return Batch(inputs=inputs, masks={name: mask for name, mask in batch.masks.items() if name in inputs})
