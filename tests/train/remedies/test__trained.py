"""Models from names that a remedy trains."""

from dataclasses import replace

import pytest
import torch

from fuseloom.models import FusionModel, ModelConfig
from fuseloom.registry import list_remedies
from fuseloom.tasks.classification import Classification
from fuseloom.train.remedies import (
    Remedied,
    build_trained,
    fusion_inside,
    named_remedy,
    needs_teachers,
    teachers_of,
)

TASK = Classification(["a", "b", "c"])
ENCODERS = {name: {"kind": "embedding", "in_dim": width} for name, width in {"text": 6, "audio": 4}.items()}
PLAIN = ModelConfig(encoders=ENCODERS, fusion="concat", dim=8)
OWN = {"mla", "mmcosine", "reconboost"}
"""Those with a part in predictions."""


@pytest.mark.parametrize("name", ["", *list_remedies()])
def test_what_is_built_again_holds_the_remedy_where_it_predicts(name):
    model = build_trained(replace(PLAIN, remedy=name), TASK)
    assert isinstance(model, Remedied if name in OWN else FusionModel)
    assert isinstance(fusion_inside(model), FusionModel)
    assert model({"text": torch.ones(2, 6), "audio": torch.ones(2, 4)}).shape == (2, 3)


def test_a_remedy_that_learns_from_teachers_gets_them():
    assert [name for name in list_remedies() if needs_teachers(replace(PLAIN, remedy=name))] == ["umt"]
    teachers = teachers_of(fusion_inside(build_trained(PLAIN, TASK)))
    remedy = named_remedy(replace(PLAIN, remedy="umt"), teachers)
    assert set(remedy.teachers) == {"text", "audio"}
    assert named_remedy(PLAIN, teachers) is None
    assert named_remedy(replace(PLAIN, remedy="ogm"), {}).name == "ogm"


def test_teachers_are_copies_that_end_where_modalities_meet():
    series = {name: {"kind": "image", "channels": 1} for name in ENCODERS}
    model = build_trained(ModelConfig(encoders=series, fusion="bottleneck@early+concat", dim=8), TASK)
    teachers = teachers_of(model)
    for name, teacher in teachers.items():
        assert len(teacher.stages) == model.stages_alone[name] < len(model.encoders[name].stages)
        assert teacher.dims[-1] == model.dims_alone[name]
        own = dict(model.encoders[name].named_parameters())
        for key, value in teacher.named_parameters():
            assert value.equal(own[key])
            assert value is not own[key]
