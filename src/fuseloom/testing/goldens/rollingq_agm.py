"""Runner of the case of AGM: the paper's own way of changing gradients."""

from collections.abc import Collection, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from fuseloom.models.fusion import FusionModel
from fuseloom.testing.goldens._case import Given, Runner
from fuseloom.testing.goldens._tiny import Layout, classes, official_gradients, tiny_model
from fuseloom.train.remedies import Encoded, FusionView, ModalityView, Passage
from fuseloom.train.remedies.agm import error_sums, modality_shares, steering_loss
from fuseloom.types import Batch, Trace

__all__ = ["RUNNERS"]

_LETTERS = {"audio": "a", "visual": "v"}
_LAYOUT = Layout(encoder="net.{}_net.", fusion="net.fusion_module.fc_out.")


class _ZeroedView(ModalityView):
    """A modality is left out by zeros for its input, as officially; its encoder's biases remain."""

    def __init__(self, model: FusionModel) -> None:
        self.whole = FusionView(model)

    @property
    def dims(self) -> Mapping[str, int]:
        return self.whole.dims

    def encoder(self, modality: str) -> nn.Module:
        return self.whole.encoder(modality)

    def encode(self, batch: Batch) -> Encoded:
        return self.whole.encode(batch)

    def fuse(self, encoded: Encoded, trace: Trace | None = None) -> Tensor:
        return self.whole.fuse(encoded, trace)

    def without(self, encoded: Encoded, modalities: Collection[str]) -> Encoded:
        inputs = encoded.batch.inputs
        zeros = {name: torch.zeros_like(inputs[name]) for name in modalities}
        return self.encode(replace(encoded.batch, inputs={**inputs, **zeros}))


def _agm(given: Given) -> dict[str, Tensor]:
    model = tiny_model(given, layout=_LAYOUT)
    inputs = {name: given.inputs[letter] for name, letter in _LETTERS.items()}
    batch = Batch(inputs=inputs, target=given.inputs["label"])
    seen = Passage(_ZeroedView(model), batch, classes(model.merge.dim))
    shares = modality_shares(seen)
    factors = torch.stack([given.inputs[f"coeff_{letter}"] for letter in _LETTERS.values()])
    (seen.loss + steering_loss(seen, shares, factors)).backward()  # type: ignore[no-untyped-call]
    found = {
        "output.total": seen.outputs,
        "output.pad_visual": seen.outputs_of(["audio"]),
        "output.pad_audio": seen.outputs_of(["visual"]),
        "output.zero": seen.outputs_of([]),
        "output.out": torch.stack(list(shares.values())).sum(0),
    }
    for (name, letter), (total, rows) in zip(_LETTERS.items(), error_sums(seen, shares), strict=True):
        found |= {f"output.out_{letter}": shares[name], f"output.score_{letter}": total / rows}
    gradients = official_gradients(model, layout=_LAYOUT)
    return found | {f"grad.weight.{name}": value for name, value in gradients.items()}


RUNNERS: Mapping[str, Runner] = {"rollingq/agm_original": Runner(run=_agm)}
