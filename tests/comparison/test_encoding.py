import numpy as np
import pytest

from fuseloom.comparison.config import CompareConfig, candidates
from fuseloom.comparison.encoding import EncoderSpec, chosen_encoders
from fuseloom.comparison.prepare import prepare
from fuseloom.data import ReadOptions, load
from fuseloom.data.preprocessing import ImagePreprocessor
from fuseloom.errors import OptionError
from fuseloom.models import build_model

GENERATOR = np.random.default_rng(0)
ROWS = {
    "photo": GENERATOR.integers(256, size=(60, 12, 10, 3)).astype(np.uint8),
    "steps": GENERATOR.normal(size=(60, 5, 2)).astype(np.float32),
    "words": [f"yes it is number {row}" for row in range(60)],
}
TARGET = ["a", "b"] * 30


def dataset(**kinds):
    return load(ROWS, ReadOptions(kinds=kinds), target=TARGET)


@pytest.mark.parametrize(
    ("text", "kind", "options"),
    [
        ("photo=image", "image", {}),
        ("photo = timm:resnet18 , frozen", "timm", {"model": "resnet18", "frozen": True}),
        ("words=hf:folder/of:mine,max_length=32", "hf", {"model": "folder/of:mine", "max_length": 32}),
        ("a=series,stride=2,body=conv,x=0.5,y=false", "series", None),
    ],
)
def test_a_spec_names_a_kind_a_model_and_options(text, kind, options):
    spec = EncoderSpec.parse(text)
    assert spec.kind == kind
    if options is None:
        options = {"stride": 2, "body": "conv", "x": 0.5, "y": False}
    assert dict(spec.options) == options


def test_every_kind_of_modality_has_an_encoder_of_its_own():
    specs = chosen_encoders(dataset(steps="series"), [], embedding_encoder="identity")
    assert {name: spec.kind for name, spec in specs.items()} == {
        "photo": "image",
        "steps": "series",
        "words": "text",
    }
    assert chosen_encoders(dataset(), [], embedding_encoder="identity")["steps"].kind == "identity"


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("photo", "encoder must be MODALITY=KIND"),
        ("photo=imag", "Known kinds: audio, .* Did you mean 'image'"),
        ("phot=image", "encoder must name a modality, got 'phot'. .* Did you mean 'photo'"),
        ("words=image", "'image' must get a modality of kind 'image', got 'words' of kind 'text'"),
        (
            "steps=series",
            "kind 'series', got 'steps' of kind 'embedding'. Read it as one with --kind NAME=series",
        ),
    ],
)
def test_what_does_not_fit_is_refused(named, message):
    with pytest.raises(OptionError, match=message):
        chosen_encoders(dataset(), [named], embedding_encoder="embedding")


def test_options_go_to_the_preprocessing_or_to_the_encoder():
    spec = EncoderSpec.parse("photo=image,size=16,body=patch,patch=4")
    assert spec.settings() == {"kind": "image", "size": 16}
    found = spec.encoder(ImagePreprocessor(size=16))
    assert found == {"kind": "image", "channels": 3, "body": "patch", "patch": 4}
    with pytest.raises(OptionError, match=r"Unknown option 'patc' .* Did you mean 'patch'"):
        EncoderSpec.parse("photo=image,patc=4").encoder(ImagePreprocessor(size=16))
    with pytest.raises(OptionError, match=r"channels of .*'image' must be left .* got 1.*set: frames, size"):
        EncoderSpec.parse("photo=image,channels=1").encoder(ImagePreprocessor(size=16))
    assert EncoderSpec.parse("photo=timm:resnet18").settings() == {"kind": "image", "size": 224, "frames": 1}


def test_models_are_built_with_the_encoders_that_were_named():
    named = ("photo=image,size=16,body=patch,patch=4,output=tokens", "steps=series,stride=2")
    config = CompareConfig(fusions=("attention_pool",), encoder=named, dim=8, folds=1)
    ready = prepare(dataset(steps="series"), config)[0]
    assert ready.rows.all.inputs["photo"].shape == (60, 3, 16, 16)
    fusion = candidates(ready.encoders, config)[-1]
    model = build_model(fusion.model, ready.task).eval()
    rows = ready.rows.take("valid", fusion.modalities).take(slice(None))
    streams, _ = model.encode(rows.inputs, rows.masks)
    assert streams["photo"].shape[1:] == (16, 8)
    assert streams["steps"].shape[1:] == (8,)
