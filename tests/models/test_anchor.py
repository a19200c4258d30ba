import re

import pytest
import torch

from fuseloom.diagnose.attention import attention
from fuseloom.encoders.identity import IdentityEncoder
from fuseloom.errors import ModalityError, OptionError
from fuseloom.heads import TaggingHead
from fuseloom.merge.concat import Concat
from fuseloom.models import FusionModel
from fuseloom.models.anchor import Anchor, Context
from fuseloom.nn.masked import masked_softmax
from fuseloom.types import Batch, Trace

DIMS = {"text": 6, "image": 4, "price": 3}


def streams() -> dict[str, torch.Tensor]:
    return {"text": torch.randn(2, 5, 6), "image": torch.randn(2, 4, 3, 2), "price": torch.randn(2, 3)}


def masks() -> dict[str, torch.Tensor]:
    image = torch.ones(2, 3, 2, dtype=torch.bool)
    image[0, 1], image[1] = False, False
    return {"text": torch.arange(5) < torch.tensor([[5], [3]]), "image": image}


def test_attention_is_that_of_each_position_over_what_is_real() -> None:
    anchor = Anchor(DIMS, "text")
    given, kept = streams(), masks()
    found, real = anchor(given, kept)
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "text": (2, 5, 6),
        "image": (2, 5, 4),
        "price": (2, 5, 3),
    }
    bring = anchor.context["image"]
    tokens, mask = given["image"].flatten(2).mT, kept["image"].flatten(1)
    weights = masked_softmax(bring.query(given["text"]) @ bring.key(tokens).mT / 6**0.5, mask[:, None])
    expected = bring.out(weights @ bring.value(tokens))
    torch.testing.assert_close(found["image"][0], expected[0])
    assert found["image"][1].eq(0).all()
    assert found["text"].equal(given["text"])
    assert real["image"].tolist() == [[True] * 5, [False] * 5]
    assert real["price"].equal(kept["text"])


def test_the_mean_is_the_same_at_every_position() -> None:
    given, kept = streams(), masks()
    found, _ = Anchor(DIMS, "text", context="mean")(given, kept)
    pixels = given["image"][0].flatten(1)[:, kept["image"][0].flatten()]
    torch.testing.assert_close(found["image"][0], pixels.mean(1).expand(5, -1))
    torch.testing.assert_close(found["price"][0], given["price"][0].expand(5, -1))
    assert found["price"][1, 3:].eq(0).all()


def test_the_index_pairs_tokens_by_their_place_behind_a_prefix() -> None:
    anchor = Anchor({"text": 6, "image": 4}, "text", context="index", prefix=1)
    given = {"text": torch.randn(2, 5, 6), "image": torch.randn(2, 5, 4)}
    found, real = anchor(given, {"image": torch.tensor([[True, True, False, True, True]] * 2)})
    torch.testing.assert_close(found["text"], given["text"][:, 1:])
    assert found["image"][:, 1].eq(0).all()
    torch.testing.assert_close(found["image"][:, 2:], given["image"][:, 3:])
    assert real["image"].tolist() == [[True, False, True, True]] * 2
    with pytest.raises(ModalityError, match="of the anchor's length 4 with context='index', got 3"):
        anchor({**given, "image": torch.randn(2, 4, 4)}, {})


def test_heads_share_the_width_and_every_parameter_learns() -> None:
    given = streams()
    del given["price"]  # of one token there is nothing to choose
    anchor = Anchor({"text": 6, "image": 4}, "text", num_heads=3)
    found, _ = anchor(given, masks())
    sum(value.square().sum() for value in found.values()).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in anchor.parameters())


def test_what_is_masked_is_not_read() -> None:
    anchor, given, kept = Anchor(DIMS, "text"), streams(), masks()
    other = {name: value.clone() for name, value in given.items()}
    other["image"].movedim(1, -1)[~kept["image"]] = 7.0
    for name, value in anchor(given, kept)[0].items():
        torch.testing.assert_close(anchor(other, kept)[0][name], value)


@pytest.mark.parametrize(
    ("anchor", "options", "message"),
    [
        ("txt", {}, "anchor must be one of ['image', 'price', 'text'], got 'txt'. Did you mean 'text'?"),
        ("text", {"num_heads": 4}, "num_heads must divide the anchor's width 6, got 4."),
        ("text", {"context": "maen"}, "got 'maen'. Did you mean 'mean'?"),
        ("text", {"prefix": -1}, "prefix must be at least 0, got -1."),
    ],
)
def test_bad_options_are_refused(anchor: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        Anchor(DIMS, anchor, **options)


def test_an_anchor_without_positions_is_refused() -> None:
    with pytest.raises(ModalityError, match=r"'price' must be tokens \[B, N, D\] to have positions"):
        Anchor(DIMS, "price")(streams(), {})


def test_where_positions_look_is_filed_and_changes_nothing() -> None:
    anchor, given, kept, trace = Anchor(DIMS, "text", num_heads=2), streams(), masks(), Trace()
    plain, _ = anchor(given, kept)
    found, _ = anchor(given, kept, trace=trace)
    assert all(found[name].equal(value) for name, value in plain.items())
    bring, seen = anchor.context["image"], trace.records
    tokens, mask = given["image"].flatten(2).mT, kept["image"].flatten(1)
    weights = seen["image.attention"]
    assert weights.shape == (2, 2, 5, 6)
    value = bring.value(tokens).unflatten(-1, (2, -1)).movedim(2, 1)
    torch.testing.assert_close(bring.out((weights @ value).movedim(1, 2).flatten(2))[0], found["image"][0])
    assert seen["image.attention.of.image"].equal(mask)
    assert seen["image.attention.asked"].equal(kept["text"])
    assert seen["price.attention"].shape == (2, 2, 5, 1)
    assert seen["image.attention.query"].shape == (2, 2, 5, 3)


@pytest.mark.parametrize(
    ("context", "trace"),
    [("mean", Trace()), ("attention", Trace(keep_records=False))],
    ids=["mean", "losses"],
)
def test_nothing_is_filed_where_nothing_attends_or_nobody_asks(context: Context, trace: Trace) -> None:
    Anchor(DIMS, "text", context=context)(streams(), masks(), trace=trace)
    assert trace.records == {}


def test_a_model_of_words_shows_where_they_look() -> None:
    encoders = {"text": IdentityEncoder(6), "image": IdentityEncoder(4)}
    dims = {name: encoder.dims[-1] for name, encoder in encoders.items()}
    model = FusionModel(
        encoders, Concat(dims, 8, pool=None), TaggingHead(8, 3), anchor=Anchor(dims, "text")
    ).eval()
    rows = Batch(inputs={"text": torch.randn(4, 5, 6), "image": torch.randn(4, 9, 4)})
    (layer,) = attention(model, rows, model="tagger").layers
    assert layer.name == "anchor.image.attention"
    assert layer.heads[0].mass["image"].mean == pytest.approx(1)
    assert 1 < layer.heads[0].effective_tokens.mean < 9
