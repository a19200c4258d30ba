"""The authors' MuSE by name; that it predicts what theirs does, the tests of `fuseloom convert` say."""

import re

import pytest
import torch

from fuseloom.encoders.identity import IdentityEncoder
from fuseloom.errors import ModalityError, OptionError
from fuseloom.models import ModelConfig, build_model
from fuseloom.models.systems.official_muse import OfficialMuseSystem
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.tagging import Tagging

pytest.importorskip("transformers")
pytest.importorskip("timm")

BERT = {"model_type": "bert", "vocab_size": 20, "hidden_size": 12, "num_hidden_layers": 1}
BERT |= {"num_attention_heads": 2, "intermediate_size": 16}
RESNET = {"architecture": "resnet18", "model_args": {"layers": [1, 1, 1, 1], "channels": [4, 4, 4, 4]}}
RESNET |= {"mean": [0.5] * 3, "std": [0.5] * 3, "size": None}
ENCODERS = {
    "text": {"kind": "hf", "model": "tiny", "config": BERT},
    "image": {"kind": "timm", "model": "tiny", "config": RESNET, "output": "map"},
}


def config(anchor: str = "") -> ModelConfig:
    options = {"num_layers": 2, "mu": 0, "eta": 1, "num_heads": 2, "hidden": 8, "grid": 2}
    return ModelConfig(
        encoders=ENCODERS,
        fusion="official_muse",
        dim=12,
        options={"official_muse": options},
        anchor=anchor,
    )


def test_padding_is_as_real_as_all_else() -> None:
    torch.manual_seed(0)
    model = build_model(config(), Classification(["no", "yes"])).eval()
    ids, picture = torch.tensor([[2, 5, 3, 0, 0]]), torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    mask = ids > 0
    padded, bare = (
        model({"text": ids[:, :length], "image": picture}, {"text": mask[:, :length]}) for length in (5, 3)
    )
    assert padded.shape == (1, 2)
    assert (padded - bare).abs().max() > 1e-4
    assert not [name for name in model.state_dict() if "pooler" in name]


def test_tags_of_words_are_refused() -> None:
    with pytest.raises(OptionError, match="must have a task of rows, such as classification, got 'tagging'"):
        build_model(config(anchor="text"), Tagging(["O", "B-PER"]))


def test_other_encoders_are_refused() -> None:
    encoders = {"text": IdentityEncoder(12), "image": IdentityEncoder(12)}
    message = "got {'image': 'IdentityEncoder', 'text': 'IdentityEncoder'}."
    with pytest.raises(ModalityError, match=re.escape(message)):
        OfficialMuseSystem().build(encoders, config(), Classification(["no", "yes"]))
