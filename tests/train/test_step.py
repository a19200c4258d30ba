import torch
from torch import Tensor, nn

from fuseloom import Alignment, Batch, Trace
from fuseloom.models import ModelConfig, build_model
from fuseloom.tasks.classification import Classification
from fuseloom.train.fit import FitConfig, exact_outputs, fit
from fuseloom.train.step import apply_model

EXTRAS = {"scores.text": torch.ones(2, 3), "scores.image": torch.zeros(2, 4), "weight": torch.ones(2)}
ROWS = Batch(inputs={"text": torch.ones(2, 3)}, extras=EXTRAS)


class _Model(nn.Module):
    reads = ("scores", "alignment")

    def forward(self, inputs, masks, **given):
        self.given = given
        return inputs["text"]


class _Silent(nn.Module):
    def forward(self, inputs: dict[str, Tensor], masks: dict[str, Tensor]) -> Tensor:
        return inputs["text"]


def test_a_model_gets_the_extras_that_it_reads() -> None:
    model, trace = _Model(), Trace()
    apply_model(model, ROWS, trace=trace)
    assert model.given == {
        "scores": {"text": EXTRAS["scores.text"], "image": EXTRAS["scores.image"]},
        "trace": trace,
    }


def test_a_model_that_reads_nothing_gets_nothing() -> None:
    assert apply_model(_Silent(), ROWS) is ROWS.inputs["text"]


def test_a_model_learns_from_an_alignment_of_its_rows() -> None:
    """Which of three tokens tells the class, only the alignment says."""
    generator = torch.Generator().manual_seed(0)
    rows, token = torch.randn(400, 3, 2, generator=generator), torch.arange(400) % 3
    held = Batch(
        inputs={"text": rows, "mark": torch.ones(400, 1, 2)},
        extras={"alignment": Alignment.from_pairs([[(int(place), 0)] for place in token])},
        target=(rows[torch.arange(400), token, 0] > 0).long(),
    )
    encoder = {"kind": "embedding", "in_dim": 2}
    config = ModelConfig(
        encoders={"text": encoder, "mark": encoder}, fusion="feature_swap+concat", dim=8, dropout=0.0
    )
    task = Classification(["no", "yes"])
    train, test = held.take(slice(0, 300)), held.take(slice(300, 400))
    settings = FitConfig(max_epochs=20, lr=1e-2, batch_size=64)
    model, _ = fit(lambda: build_model(config, task), train, train, task, settings)
    right = exact_outputs(model, test).argmax(-1) == test.target.numpy()
    assert right.mean() > 0.9
