"""Encoders that start from those of another run."""

import numpy as np
import pytest
import torch

from fuseloom.data import load
from fuseloom.errors import OptionError, RunError
from fuseloom.models import ModelConfig, build_model
from fuseloom.tasks.classification import Classification
from fuseloom.train.saved import SavedModel
from fuseloom.train.starting import start_from

TASK = Classification(["same", "different"])


def model_of(**encoders):
    kinds = {name: {"kind": "image", "channels": 1, **options} for name, options in encoders.items()}
    return build_model(ModelConfig(encoders=kinds, fusion="concat", dim=8), TASK).eval()


@pytest.fixture
def saved(tmp_path):
    """A folder with a model of two kinds of picture, whose encoders give vectors."""
    torch.manual_seed(1)
    options = {"norm": "batch", "places": True}
    config = ModelConfig(
        encoders={name: {"kind": "image", "channels": 1, **options} for name in ("photo", "sketch")},
        fusion="concat",
        dim=8,
    )
    rows = {name: np.zeros((4, 1, 8, 8), dtype=np.uint8) for name in ("photo", "sketch")}
    data = load(rows, target=np.array(["same", "different"] * 2))
    model = build_model(config, TASK)
    SavedModel(
        model=model, config=config, task=TASK, schema=data.schema, preprocessors={}, summary="made"
    ).save(tmp_path / "model")
    return tmp_path, model


def test_stages_are_taken_until_one_is_of_another_form(saved):
    folder, given = saved
    model = model_of(photo={"norm": "batch", "places": True, "output": "tokens"}, other={})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert start_from(model, {"photo": str(folder)}) == [f"photo: 3 of 4 stages start from {folder}"]
    theirs = given.state_dict()
    for name, value in model.state_dict().items():
        taken = name.startswith("encoders.photo.stages.") and name.split(".")[3] in "012"
        assert torch.equal(value, (theirs if taken else before)[name]), name


def test_what_is_drawn_behind_it_is_as_without(saved):
    folder, _ = saved
    drawn = []
    for sources in ({}, {"photo": str(folder / "model")}):
        torch.manual_seed(3)
        start_from(model_of(photo={"norm": "batch"}, other={}), sources)
        drawn.append(torch.rand(3))
    assert torch.equal(*drawn)


def test_what_cannot_be_started_from_is_answered(saved, tmp_path):
    folder, _ = saved
    model = model_of(photo={"norm": "group"}, sketch={"norm": "batch"}, other={})
    with pytest.raises(
        OptionError, match=r"other weights at the front of 'photo' .* the options that it has"
    ):
        start_from(model, {"photo": str(folder)})
    with pytest.raises(OptionError, match=r"modalities of the model, .* got 'phot'\. Did you mean 'photo'"):
        start_from(model, {"phot": str(folder)})
    with pytest.raises(OptionError, match=r"modalities of .*, \['photo', 'sketch'\], got 'other'"):
        start_from(model, {"other": str(folder)})
    with pytest.raises(RunError, match=r"no config\.json"):
        start_from(model, {"sketch": str(tmp_path / "model" / "nothing")})
