"""Coupled tagging by name: spans are told from the text alone, and a pictureless sentence by its words."""

import numpy as np
import pytest
import torch

from fuseloom.errors import ModalityError, OptionError
from fuseloom.models import ModelConfig, build_model
from fuseloom.nn.crf_packing import unpack_chain
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.tagging import Tagging
from fuseloom.train.step import apply_model, training_loss
from fuseloom.types import Batch, Trace

REAL = torch.arange(6) < torch.tensor([[6], [4], [5]])


def config(**options):
    return ModelConfig(
        encoders={"photo": {"kind": "image", "channels": 3}, "text": {"kind": "words", "num_words": 5}},
        fusion="coupled_tagging",
        dim=8,
        dropout=0.0,
        options={"coupled_tagging": {"num_heads": 2, **options}},
        anchor="text",
    )


@pytest.fixture
def task():
    target = np.empty(2, dtype=object)
    target[:] = [("B-PER", "I-PER", "O"), ("O", "B-LOC")]
    return Tagging.learn(target)


@pytest.fixture
def rows(task):
    words = torch.randint(4, 90, (3, 6, 23))
    words[..., 0] = torch.randint(5, (3, 6))
    return Batch(
        inputs={"photo": torch.randint(256, (3, 3, 16, 16), dtype=torch.uint8), "text": words},
        masks={"text": REAL},
        target=torch.randint(task.num_outputs, (3, 6)).masked_fill(~REAL, -1),
    )


def test_spans_are_those_of_the_text_whatever_the_picture(task, rows):
    model, found = build_model(config(), task).eval(), []
    for seed in range(2):
        photo = torch.randint(256, (3, 3, 16, 16), generator=torch.Generator().manual_seed(seed))
        trace = Trace(keep_records=False)
        outputs = model({**rows.inputs, "photo": photo.to(torch.uint8)}, rows.masks, trace=trace)
        assert trace.prediction_weights == {"head.spans": 0.5}
        found.append((trace.predictions["head.spans"], outputs))
    (one, first), (other, second) = found
    assert one.equal(other)
    assert not torch.allclose(first, second)


def test_a_sentence_without_a_picture_is_tagged_by_its_words(task, rows):
    model = build_model(config(), task).eval()
    there = torch.tensor([True, False, True])
    masks = {"text": REAL, "photo": there[:, None, None].expand(3, 16, 16)}
    changed = torch.where(there[:, None, None, None], rows.inputs["photo"], rows.inputs["photo"].flip(-1))
    outputs = model(rows.inputs, masks)
    assert outputs.isfinite().all()
    assert outputs.equal(model({**rows.inputs, "photo": changed}, masks))
    streams, _ = model.encode_alone(rows.inputs, masks)
    words = torch.cat([streams["text"], torch.zeros_like(streams["text"])], -1)[1:2]
    alone = model.head(words, REAL[1:2])
    torch.testing.assert_close(unpack_chain(outputs)[1][1, :4], unpack_chain(alone)[1][0, :4])


def test_everything_learns_the_text_encoder_from_both_losses(task, rows):
    model = build_model(config(), task)
    text = [value for value in model.encoders["text"].parameters() if value.requires_grad]
    trace = Trace(keep_records=False)
    outputs = apply_model(model, rows, trace=trace)
    for each in (outputs, trace.predictions["head.spans"]):
        gradients = torch.autograd.grad(task.loss(each, rows.target), text, retain_graph=True)
        assert any(gradient.abs().sum() > 0 for gradient in gradients)
    training_loss(model, rows, task).backward()
    for part in (model.merge, model.head, model.anchor, model.exchanges):
        assert all(value.grad.abs().sum() > 0 for value in part.parameters())


def test_the_gate_is_recorded_and_closes_on_the_context(task, rows):
    model, trace = build_model(config(), task).eval(), Trace()
    model(rows.inputs, rows.masks, trace=trace)
    gate = trace.records["merge.gate"]
    assert gate.shape == (3, 6, 8)
    assert ((gate > 0) & (gate < 1)).all()
    torch.nn.init.constant_(model.merge.gate.bias, -1e4)
    streams, _ = model.encode_alone(rows.inputs, rows.masks)
    shut = model.head(torch.cat([streams["text"], torch.zeros_like(streams["text"])], -1), REAL)
    torch.testing.assert_close(model(rows.inputs, rows.masks)[REAL.any(1)], shut)


def test_what_it_cannot_take_is_refused(task):
    with pytest.raises(
        OptionError, match="coupled_tagging must have a task that tags words, got 'classification'"
    ):
        build_model(config(), Classification(["no", "yes"]))
    with pytest.raises(OptionError, match=r"no option 'weights'\. Did you mean 'weight'"):
        build_model(config(weights=1), task)
    alone = ModelConfig(
        encoders={"text": config().encoders["text"]},
        fusion="coupled_tagging",
        dim=8,
        options={},
        anchor="text",
    )
    with pytest.raises(ModalityError, match=r"text and image, got \['text'\]\. Train on one alone"):
        build_model(alone, task)
