import pytest
import torch

from fuseloom.errors import DataError, ModalityError
from fuseloom.models.converters.muse import MuseConverter

transformers = pytest.importorskip("transformers")

BLOCKS = {4: 3, 5: 8, 6: 36, 7: 3}
"""Of ResNet-152."""
NAMED = {"text": None, "image": None}


@pytest.fixture
def language(tmp_path):
    transformers.BertConfig(hidden_size=12, num_attention_heads=2).save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.fixture
def official():
    """Names that tell the sizes, of a model 12 wide with four layers and two classes."""
    body = {
        f"image_encoder.resnet.{stage}.{block}.conv{one}.weight": torch.zeros(2**stage, 1)
        for stage, count in BLOCKS.items()
        for block in range(count)
        for one in (1, 2, 3)
    }
    layers = {f"cross_transformer.layers.{n}.linear1.weight": torch.zeros(20, 12) for n in range(4)}
    ends = {"image_encoder.fc.weight": torch.zeros(12, 512), "classifier.weight": torch.zeros(2, 12)}
    joined = {"linear2.weight": torch.arange(288.0).view(12, 24), "linear2.bias": torch.zeros(12)}
    return {**body, **layers, **ends, **joined, "text_encoder.bert.pooler.dense.bias": torch.zeros(12)}


def test_sizes_are_read_from_the_weights(official, language):
    found = MuseConverter(language=language, theta=0.2).convert(official, NAMED)
    image = found.config.encoders["image"]["config"]
    assert image["model_args"] == {"layers": [3, 8, 36, 3], "channels": [16, 32, 64, 128]}
    assert image["architecture"] == "resnet50"  # whose blocks have three convolutions
    told = found.config.options["official_muse"]
    assert (told["num_layers"], told["hidden"], told["theta"]) == (4, 20, 0.2)
    assert (found.config.dim, found.num_outputs) == (12, 2)
    assert found.config.encoders["text"]["config"]["num_attention_heads"] == 2
    assert found.preprocessing["text"]["state"] == {"model": language, "length": 64}


def test_the_map_over_both_modalities_is_split_and_decoders_are_left(official, language):
    pieces = MuseConverter(language=language).convert(official, NAMED).pieces
    (joined,) = (piece for piece in pieces if "linear2.weight" in piece.sources)
    assert set(joined.sources) == {"linear2.weight", "linear2.bias"}
    assert joined.weights["merge.weight.text"].equal(official["linear2.weight"][:, :12])
    assert joined.weights["merge.weight.image"].equal(official["linear2.weight"][:, 12:])
    (pooler,) = (piece for piece in pieces if "pooler" in piece.sources[0])
    assert pooler.weights == {}


def test_a_weight_that_the_system_does_not_have_is_left_out(official, language):
    pieces = MuseConverter(language=language).convert({**official, "fc.bias": torch.zeros(1)}, NAMED).pieces
    assert {name for piece in pieces for name in piece.sources} == set(official)


def test_a_checkpoint_of_another_system_is_refused():
    with pytest.raises(DataError, match=r"must be one of muse, with weights \[.*\], got \['fc\.weight'\]"):
        MuseConverter().convert({"fc.weight": torch.ones(2, 2)}, NAMED)


def test_an_image_encoder_that_is_no_resnet_is_refused(official, language):
    stem = {name: value for name, value in official.items() if "resnet" not in name}
    with pytest.raises(DataError, match=r"must be a ResNet with blocks in 4 stages, got \[0, 0, 0, 0\]"):
        MuseConverter(language=language).convert(stem, NAMED)


def test_modalities_are_text_and_image(official, language):
    with pytest.raises(ModalityError, match=r"modalities must be \['image', 'text'\], got \['text'\]"):
        MuseConverter(language=language).convert(official, {"text": None})
