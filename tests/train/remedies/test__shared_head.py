import pytest
import torch
from torch import nn

from fuseloom.encoders.identity import IdentityEncoder
from fuseloom.merge.concat import Concat
from fuseloom.models import FusionModel
from fuseloom.tasks.classification import Classification
from fuseloom.train.remedies import view_of
from fuseloom.train.remedies._shared_head import shared_head

TASK = Classification(["a", "b", "c"])


def view(**dims):
    encoders = {name: IdentityEncoder(dim) for name, dim in dims.items()}
    return view_of(FusionModel(encoders, Concat(dims, 3), nn.Identity()))


def test_it_maps_the_features_of_any_modality_to_outputs():
    head = shared_head(view(text=4, audio=4), TASK, who="Test")
    assert (head.in_features, head.out_features) == (4, 3)
    assert torch.isfinite(head(torch.ones(1, 4))).all()


def test_features_of_several_widths_are_refused():
    with pytest.raises(
        ValueError, match=r"Test must have features of one width .*, got \{'text': 4, 'audio': 5\}\. Give"
    ):
        shared_head(view(text=4, audio=5), TASK, who="Test")
