import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fuseloom import Batch
from fuseloom.encoders.embedding import EmbeddingEncoder
from fuseloom.errors import OptionError
from fuseloom.merge.concat import Concat
from fuseloom.models import FusionModel, ModelConfig, build_model
from fuseloom.tasks.classification import Classification
from fuseloom.train.fit import FitConfig, exact_outputs, fit
from fuseloom.train.remedies import Passage, Remedied, view_of
from fuseloom.train.remedies.mmcosine import MMCosine, cosines

TASK = Classification(["a", "b", "c"])
WIDTHS = {"text": 6, "audio": 4, "video": 3}


def model_of(names):
    torch.manual_seed(0)
    encoders = {name: EmbeddingEncoder(WIDTHS[name], dim=5, dropout=0.0) for name in names}
    return FusionModel(encoders, Concat(dict.fromkeys(names, 5), 3), nn.Identity())


def rows_of(names, *, tokens=0):
    generator = torch.Generator().manual_seed(1)
    inputs, masks = {}, {}
    for name in names:
        steps = (tokens,) if tokens else ()
        inputs[name] = torch.randn(30, *steps, WIDTHS[name], generator=generator)
        masks[name] = torch.rand(30, *steps, generator=generator) > 0.5
    return Batch(inputs=inputs, masks=masks, target=torch.randint(3, (30,), generator=generator))


@pytest.mark.parametrize("tokens", [0, 3])
@pytest.mark.parametrize("names", [("text", "audio"), tuple(WIDTHS)])
def test_outputs_are_scaled_sums_of_cosines_row_by_row(names, tokens):
    model, batch = model_of(names), rows_of(names, tokens=tokens)
    remedy = MMCosine(scale=7.0)
    remedied = Remedied(model, remedy, TASK)
    streams, _ = model.encode(batch.inputs, batch.masks)
    wanted = np.zeros((30, 3))
    for name in names:
        vectors = remedy.classes[name].weight.detach().double().numpy()
        for i in range(30):
            mask = batch.masks[name][i]
            if not mask.any():
                continue
            value = streams[name][i].detach().double().numpy()
            feature = value[mask.numpy()].mean(0) if tokens else value
            for k, vector in enumerate(vectors):
                wanted[i, k] += 7 * feature @ vector / np.linalg.norm(feature) / np.linalg.norm(vector)
    outputs = remedied(batch.inputs, batch.masks)
    np.testing.assert_allclose(outputs.detach().numpy(), wanted, atol=1e-4)
    torch.testing.assert_close(remedied.loss(batch), F.cross_entropy(outputs, batch.target))


def test_lengths_of_features_and_class_vectors_do_not_matter():
    torch.manual_seed(0)
    features, classes = torch.randn(9, 4), torch.randn(3, 4)
    found = cosines(features * torch.rand(9, 1).exp() * 100, classes * torch.tensor([[0.1], [3.0], [50.0]]))
    torch.testing.assert_close(found, cosines(features, classes))
    torch.testing.assert_close(found, F.cosine_similarity(features[:, None], classes[None], dim=-1))


def test_a_zero_vector_has_cosine_zero_and_gradients_stay_small():
    features = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    classes = torch.tensor([[0.0, 0.0], [1.0, 0.0]], requires_grad=True)
    found = cosines(features, classes)
    assert found.tolist() == [[0, 0], [0, pytest.approx(0.6)]]
    found.sum().backward()
    assert features.grad[0].tolist() == classes.grad[0].tolist() == [0, 0]
    assert features.grad[1].abs().max() > 0.01


def test_the_model_predicts_by_cosines_ever_after(problem):
    made = problem()
    build, train, valid, task = made.build, made.train, made.valid, made.task
    trained, _ = fit(build, train, valid, task, FitConfig(max_epochs=20, lr=1e-2), remedy=MMCosine())
    assert isinstance(trained, Remedied)
    outputs = exact_outputs(trained, valid)
    assert np.abs(outputs).max() <= 2 * 15
    assert np.abs(outputs - exact_outputs(trained.model, valid)).max() > 1
    assert (exact_outputs(trained, train).argmax(-1) == train.target.numpy()).mean() > 0.6
    again = Remedied(build(), MMCosine(), task).eval()
    again.load_state_dict(trained.state_dict())
    np.testing.assert_array_equal(exact_outputs(again, valid), outputs)


def test_merge_and_head_get_no_gradient_and_encoders_and_class_vectors_do():
    names = ("text", "audio")
    model, batch = model_of(names), rows_of(names)
    remedied = Remedied(model, MMCosine(), TASK)
    remedied.loss(batch).backward()
    assert all(value.grad is None for value in model.merge.parameters())
    for part in (model.encoders, remedied.remedy.classes):
        for name, value in part.named_parameters():
            assert value.grad.abs().sum() > 0, name


def test_what_an_absent_modality_holds_has_no_effect():
    names = ("text", "audio")
    model, batch = model_of(names), rows_of(names)
    other = Batch(inputs=dict(batch.inputs), masks=batch.masks, target=batch.target)
    other.inputs["audio"] = batch.inputs["audio"].masked_fill(~batch.masks["audio"][:, None], 99.0)
    remedied = Remedied(model, MMCosine(), TASK)
    assert remedied.loss(other).equal(remedied.loss(batch))
    parts = remedied.remedy.parts(Passage(view_of(model), batch, TASK))
    assert (parts["audio"] == 0).all(-1).equal(~batch.masks["audio"])


def test_feature_maps_have_cosines_too():
    encoder = {"kind": "image", "channels": 1}
    config = ModelConfig(encoders={"photo": encoder, "depth": encoder}, fusion="concat", dim=8, dropout=0.0)
    batch = Batch(inputs={n: torch.randn(4, 1, 8, 8) for n in config.encoders}, target=torch.arange(4) % 3)
    remedied = Remedied(build_model(config, TASK), MMCosine(scale=1.0), TASK)
    outputs = remedied(batch.inputs)
    assert outputs.abs().max() <= 2
    assert outputs.std(0).min() > 0


def test_a_scale_that_is_not_positive_is_refused():
    with pytest.raises(OptionError, match=r"scale must be positive, got 0."):
        MMCosine(scale=0)
