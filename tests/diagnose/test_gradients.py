import numpy as np
import pytest
import torch
from scipy.stats import t
from torch import nn

from fuseloom import Batch, create
from fuseloom.diagnose.gradients import GradientRecorder, encoder_parameters, gradients
from fuseloom.encoders.embedding import EmbeddingEncoder
from fuseloom.errors import DataError, OptionError
from fuseloom.heads import LinearHead
from fuseloom.models import FusionModel
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.regression import Regression
from fuseloom.train.fit import FitConfig, fit

TASK = Classification(["no", "yes"])


class Weighted(nn.Module):
    """One weight per modality and one bias for all; what is masked adds nothing."""

    def __init__(self, **weights):
        super().__init__()
        self.own = nn.ParameterDict({name: torch.tensor(value) for name, value in weights.items()})
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, inputs, masks=None, *, trace=None):
        total = self.bias
        for name, weight in self.own.items():
            there = masks[name].float() if masks and name in masks else 1.0
            total = total + weight * inputs[name][:, 0] * there
        return total[:, None]


def groups_of(model):
    return {name: [value] for name, value in model.own.items()}


def number_task():
    return Regression.from_state(Regression.learn(torch.tensor([-1.0, 1.0]).numpy()).state())


def model_and_rows(count=128):
    encoders = {name: EmbeddingEncoder(6, dim=8) for name in ("text", "image")}
    model = FusionModel(encoders, create("sum", dict.fromkeys(encoders, 8)), LinearHead(8, 2))
    inputs = {name: torch.randn(count, 6) for name in encoders}
    return model, Batch(inputs=inputs, target=torch.randint(2, (count,)))


def test_norms_are_those_of_the_backward_pass():
    model, rows = model_and_rows(32)
    found = gradients(model, rows, TASK, model="sum", part_size=32)
    TASK.loss(model.eval()(rows.inputs), rows.target).backward()
    for name, own in encoder_parameters(model).items():
        norm = torch.cat([value.grad.flatten() for value in own]).norm().item()
        assert found.norms[name].mean == pytest.approx(norm, rel=1e-5)
        assert found.norms[name].low is None  # one part: nothing to tell an interval from
    shares = [one.mean for one in found.shares.values()]
    assert sum(shares) == pytest.approx(1)
    norms = [one.mean for one in found.norms.values()]
    assert shares[0] == pytest.approx(norms[0] / sum(norms))


def test_a_modality_of_which_the_target_is_made_has_the_larger_share():
    rows = Batch(inputs={"a": torch.randn(512, 1), "b": torch.randn(512, 1)})
    rows = Batch(inputs=rows.inputs, target=rows.inputs["a"][:, 0])
    model = Weighted(a=0.0, b=0.0)
    found = gradients(model, rows, number_task(), model="w", groups=groups_of(model), part_size=64)
    assert found.shares["a"].low > 0.7
    assert found.shares["a"].low < found.shares["a"].mean < found.shares["a"].high


def test_modalities_that_want_the_opposite_of_a_shared_parameter_conflict():
    """Each is too high, or too low, by itself; the bias they share is to follow both."""
    ones = torch.ones(64, 1)
    rows = Batch(inputs={"a": ones, "b": ones}, target=torch.zeros(64))
    apart, agreed = Weighted(a=2.0, b=-1.0), Weighted(a=2.0, b=1.0)
    for model, cosine in ((apart, -1), (agreed, 1)):
        found = gradients(model, rows, number_task(), model="w", groups=groups_of(model))
        (conflict,) = found.conflicts
        assert (conflict.first, conflict.second) == ("a", "b")
        assert conflict.cosine.mean == pytest.approx(cosine)
    # With both the sum is 1: a's own step goes on that way, b's would have been the other way.
    found = gradients(apart, rows, number_task(), model="w", groups=groups_of(apart))
    assert found.with_fused["a"].mean == pytest.approx(1)
    assert found.with_fused["b"].mean == pytest.approx(-1)


def test_what_has_no_gradient_has_no_cosine():
    rows = Batch(inputs={"a": torch.ones(8, 1), "b": torch.zeros(8, 1)}, target=torch.full((8,), 3.0))
    model = Weighted(a=1.0, b=1.0)
    model.bias.requires_grad_(False)
    found = gradients(model, rows, number_task(), model="w", groups=groups_of(model))
    assert found.shares["a"].mean == 1
    assert "b" not in found.with_fused
    assert found.conflicts == ()


def test_intervals_are_over_parts_and_cover_all_rows():
    model, rows = model_and_rows(200)
    found = gradients(model, rows, TASK, model="sum", part_size=64)
    parts = [
        gradients(model, rows.take(part), TASK, model="part", part_size=99)
        for part in (slice(0, 66), slice(66, 133), slice(133, 200))
    ]
    norms = [one.norms["text"].mean for one in parts]
    assert (found.rows, found.parts) == (200, 3)
    assert found.norms["text"].mean == pytest.approx(sum(norms) / 3, rel=1e-5)
    low, high = t.interval(0.95, 2, loc=np.mean(norms), scale=np.std(norms, ddof=1) / 3**0.5)
    assert found.norms["text"].high == pytest.approx(high, rel=1e-4)
    assert found.norms["text"].low == pytest.approx(max(low, 0), rel=1e-4)


def test_intervals_stay_within_what_is_possible():
    model, rows = model_and_rows(40)
    found = gradients(model, rows, TASK, model="sum", part_size=20)
    assert found.parts == 2  # so that Student's intervals are very wide
    for one in found.shares.values():
        assert 0 <= one.low <= one.mean <= one.high <= 1
    cosines = [*found.with_fused.values(), *(one.cosine for one in found.conflicts)]
    assert all(-1 <= one.low <= one.mean <= one.high <= 1 for one in cosines)


def test_an_encoder_that_is_not_trained_has_no_share():
    model, rows = model_and_rows()
    model.encoders["image"].requires_grad_(False)
    found = gradients(model, rows, TASK, model="sum")
    assert found.untrained == ("image",)
    assert found.norms.keys() == found.shares.keys() == found.with_fused.keys() == {"text"}
    model.encoders["text"].requires_grad_(False)
    bare = gradients(model, rows, TASK, model="sum")
    assert (bare.norms, bare.shares, bare.untrained) == ({}, {}, ("text", "image"))
    assert bare.conflicts[0].cosine is not None  # on the head
    model.requires_grad_(False)
    assert gradients(model, rows, TASK, model="sum").conflicts == ()


def test_parameters_of_an_encoder_that_two_modalities_have_are_shared():
    one, inputs = EmbeddingEncoder(6, dim=8), {name: torch.randn(64, 6) for name in ("left", "right")}
    rows = Batch(inputs=inputs, target=torch.randint(2, (64,)))
    merge = create("sum", dict.fromkeys(inputs, 8))
    model = FusionModel(dict.fromkeys(inputs, one), merge, LinearHead(8, 2))
    found = gradients(model, rows, TASK, model="sum", part_size=64)
    assert found.untrained == ("left", "right")
    (conflict,) = found.conflicts
    asked = []
    for name in inputs:
        masks = {other: torch.full((64,), other == name) for other in inputs}
        loss = TASK.loss(model.eval()(inputs, masks), rows.target)
        asked.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]))
    cosine = torch.nn.functional.cosine_similarity(*asked, dim=0).item()
    assert conflict.cosine.mean == pytest.approx(cosine, abs=1e-5)


def test_nothing_of_the_model_is_changed():
    model, rows = model_and_rows()
    model.train()
    model.encoders["text"].eval()
    TASK.loss(model(rows.inputs), rows.target).backward()
    before = {name: (value.clone(), value.grad.clone()) for name, value in model.named_parameters()}
    modes, state = [part.training for part in model.modules()], torch.get_rng_state()
    recorder = GradientRecorder(rows, TASK, model="sum")
    with torch.no_grad():
        recorder(model)
    for name, value in model.named_parameters():
        assert value.equal(before[name][0])
        assert value.grad.equal(before[name][1])
    assert [part.training for part in model.modules()] == modes
    assert torch.get_rng_state().equal(state)
    assert not any(part._forward_hooks or part._backward_hooks for part in model.modules())


def test_a_recorder_follows_training():
    model, rows = model_and_rows()
    recorder = GradientRecorder(rows, TASK, model="sum")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        TASK.loss(model(rows.inputs), rows.target).backward()
        optimizer.step()
        recorder(model)
    assert len(recorder.history) == 3
    assert recorder.history[0] != recorder.history[2]
    assert recorder.history[2] == gradients(model, rows, TASK, model="sum")


def of_text(count, seed):
    """The class is in one feature of the text; the other modality is noise."""
    values = torch.randn(count, 12, generator=torch.Generator().manual_seed(seed))
    return Batch(
        inputs={"text": values[:, :6], "noise": values[:, 6:]},
        target=(values[:, 0] > 0).long(),
    )


def test_training_turns_from_a_modality_that_is_noise():
    rows = of_text(2048, 0)
    recorder = GradientRecorder(rows, TASK, model="sum", part_size=256)

    def build():
        encoders = {name: EmbeddingEncoder(6, dim=8) for name in rows.inputs}
        return FusionModel(encoders, create("sum", dict.fromkeys(encoders, 8)), LinearHead(8, 2))

    fit(build, rows, of_text(256, 1), TASK, FitConfig(max_epochs=6, lr=5e-3), after_epoch=recorder)
    noise = [one.shares["noise"] for one in recorder.history]
    assert len(noise) == 6
    assert noise[-1].high < noise[0].low
    assert noise[-1].mean < 0.15 < noise[0].mean < 0.5


def test_of_one_modality_all_is_its_own():
    encoders = {"text": EmbeddingEncoder(6, dim=8)}
    model = FusionModel(encoders, create("sum", {"text": 8}), LinearHead(8, 2))
    rows = Batch(inputs={"text": torch.randn(64, 6)}, target=torch.randint(2, (64,)))
    found = gradients(model, rows, TASK, model="one", part_size=32)
    assert found.shares["text"].mean == 1
    assert found.with_fused["text"].mean == pytest.approx(1)
    assert found.conflicts == ()


def test_parameters_may_be_named_by_how_they_begin():
    model, rows = Weighted(a=1.0, b=0.5), Batch(inputs={"a": torch.ones(4, 1), "b": torch.ones(4, 1)})
    rows = Batch(inputs=rows.inputs, target=torch.zeros(4))
    recorder = GradientRecorder(rows, number_task(), model="w", groups={"a": "own.a", "b": "own.b"})
    assert recorder(model) == gradients(model, rows, number_task(), model="w", groups=groups_of(model))


def test_what_cannot_be_done_is_said():
    model, rows = model_and_rows(4)
    with pytest.raises(OptionError, match=r"must have encoders by modality, got Linear\. Pass groups"):
        gradients(nn.Linear(2, 2), rows, TASK, model="linear")
    with pytest.raises(
        OptionError, match=r"groups must name the modalities \['image', 'text'\], got \['a'\]"
    ):
        gradients(model, rows, TASK, model="sum", groups={"a": []})
    with pytest.raises(DataError, match="rows must have a target"):
        gradients(model, Batch(inputs=rows.inputs), TASK, model="sum")
    with pytest.raises(DataError, match="rows must be at least one, got none"):
        gradients(model, rows.take(slice(0, 0)), TASK, model="sum")
