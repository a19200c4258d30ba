"""The authors' assembly and the names of their checkpoints; the goldens say that it computes the same."""

import pytest
import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.heads import LinearHead, TaggingHead
from fuseloom.models.fusion import FusionModel
from fuseloom.models.muse.captioner import Captioner
from fuseloom.models.muse.official import (
    OfficialImage,
    OfficialText,
    convert_muse,
    official_muse,
    official_muse_state,
)
from fuseloom.models.muse.pixelcnn import PixelCnn
from fuseloom.types import Trace

transformers = pytest.importorskip("transformers")


def build(*, decoders: bool = True, tags: bool = True) -> FusionModel:
    sizes = transformers.BertConfig(
        vocab_size=20, hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    text = OfficialText(transformers.BertModel(sizes, add_pooling_layer=False))
    image = OfficialImage(nn.Sequential(nn.Conv2d(3, 5, 3, bias=False), nn.BatchNorm2d(5)), 5, dim=12, grid=2)
    pair = {
        "captioner": Captioner(12, 9, attention_dim=4, embedding_dim=4, hidden_dim=4),
        "painter": PixelCnn(12, num_resnet=1, num_filters=3, num_mixtures=1),
    }
    head = TaggingHead(12, 3) if tags else LinearHead(12, 3)
    return official_muse(text, image, head, **(pair if decoders else {}), num_layers=2, layers=[1]).eval()


def rows() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    ids = torch.randint(1, 20, (2, 4))
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    return {"text": ids, "image": torch.randn(2, 3, 9, 9)}, {"text": mask}


@pytest.mark.parametrize("decoders", [True, False])
def test_official_names_and_back(decoders: bool) -> None:
    model = build(decoders=decoders)
    state = model.state_dict()
    official = official_muse_state(state)
    assert official["cls_t"].shape == official["cls_i"].shape == (1, 12)
    assert official["linear2.weight"].shape == (12, 24)
    assert "cross_transformer.layers.1.multihead_attn.in_proj_weight" in official
    assert ("text_decoder.embedding.weight" in official) == decoders
    back = convert_muse(official, decoders=decoders)
    assert back.keys() == state.keys()
    assert all(value.equal(state[name]) for name, value in back.items())


def test_decoders_of_a_checkpoint_can_be_left_behind() -> None:
    inputs, masks = rows()
    whole, bare = build(), build(decoders=False)
    old = {"text_encoder.bert.embeddings.position_ids": torch.arange(4)}
    bare.load_state_dict(convert_muse({**official_muse_state(whole.state_dict()), **old}, decoders=False))
    reads = {"positions": masks["text"]}
    torch.testing.assert_close(bare(inputs, masks, **reads), whole(inputs, masks, **reads))


def test_padding_is_real_to_the_transformer_and_positions_are_told() -> None:
    model, (inputs, masks) = build(), rows()
    other = {**inputs, "text": inputs["text"].clone()}
    other["text"][1, 3] = (inputs["text"][1, 3] + 1) % 20
    one, two = (model(given, masks, positions=masks["text"]) for given in (inputs, other))
    first_word = 5  # behind the transitions of three tags, their start and their end
    assert (one[1, first_word, :3] - two[1, first_word, :3]).abs().max() > 1e-4
    assert one[:, 5:, 3].tolist() == masks["text"].float().tolist()


def test_losses_of_both_decoders_in_training_and_the_head_of_rows() -> None:
    model, (inputs, masks) = build(tags=False), rows()
    trace = Trace()
    given = {"captions": torch.tensor([[1, 4, 2], [1, 2, 0]]), "pictures": torch.zeros(2, 3, 8, 8)}
    outputs = model(inputs, masks, trace=trace, **given)
    assert outputs.shape == (2, 3)
    assert trace.losses.keys() == {"exchange.2.captioning", "exchange.2.painting"}


def test_other_names_are_refused() -> None:
    with pytest.raises(OptionError, match=r"must be that of a MuSE model, got 'head\.weight'"):
        convert_muse({"head.weight": torch.zeros(1)})
    with pytest.raises(OptionError, match=r"must be that of official_muse, got 'other\.weight'"):
        official_muse_state({"other.weight": torch.zeros(1)})
