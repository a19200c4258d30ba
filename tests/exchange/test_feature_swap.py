from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from fuseloom.errors import ModalityError, OptionError
from fuseloom.exchange.feature_swap import FeatureSwap
from fuseloom.nn import TransformerEncoder
from fuseloom.nn.tokens import as_tokens
from fuseloom.registry import Card
from fuseloom.types import Alignment, Streams, Trace

PAIR = {"text": 4, "image": 4}
TRIPLE = {"text": 4, "image": 3, "sound": 5}
LENGTHS = {"text": 5, "image": 4, "sound": 3}
Array = NDArray[np.float64]


def drawn(dims: dict[str, int], **options: Any) -> FeatureSwap:
    """A part none of whose parameters is zero."""
    part = FeatureSwap(dims, **options)
    for parameter in part.parameters():
        nn.init.normal_(parameter)
    return part


def tokens(dims: dict[str, int], batch: int = 3) -> Streams:
    return {name: torch.randn(batch, LENGTHS[name], width) for name, width in dims.items()}


def random_pairs(source: int, target: int, batch: int = 3, count: int = 6) -> Alignment:
    return Alignment(
        source_index=torch.randint(-1, source + 1, (batch, count)),
        target_index=torch.randint(-1, target + 1, (batch, count)),
        weight=torch.rand(batch, count),
    )


def one_to_one(source: int, target: int, batch: int = 3) -> Alignment:
    count = min(source, target)
    index = [torch.stack([torch.randperm(n)[:count] for _ in range(batch)]) for n in (source, target)]
    return Alignment(source_index=index[0], target_index=index[1], weight=torch.rand(batch, count) + 0.1)


def all_pairs(dims: dict[str, int]) -> dict[str, Alignment]:
    names = list(dims)
    return {
        f"{target}_from_{source}": random_pairs(LENGTHS[source], LENGTHS[target])
        for i, source in enumerate(names)
        for target in names[i + 1 :]
    }


class Plain:
    """Per sample, target and token: the weighted mean of what its pairs bring, by loops."""

    def __init__(self, part: FeatureSwap, masks: dict[str, Tensor], pairs: dict[str, Alignment]) -> None:
        self.part, self.masks, self.pairs = part, masks, dict(pairs)
        self.state = {name: value.double().numpy() for name, value in part.state_dict().items()}
        for key, alignment in pairs.items():
            target, _, source = key.partition("_from_")
            self.pairs.setdefault(f"{source}_from_{target}", alignment.transpose())

    def __call__(self, streams: Streams) -> dict[str, Array]:
        values = {name: value.double().numpy() for name, value in streams.items()}
        out = {name: value * self.masks[name].numpy()[..., None] for name, value in values.items()}
        for target in self.part.targets:
            share = self.part.mix[target].share
            for b, i in zip(*np.nonzero(self.masks[target].numpy()), strict=True):
                found = [pair for source in values for pair in self.brought(values, target, source, (b, i))]
                if found:
                    mean = sum(w * x for w, x in found) / sum(w for w, _ in found)
                    out[target][b, i] = (1 - share) * values[target][b, i] + share * mean
        return out

    def brought(
        self, values: dict[str, Array], target: str, source: str, at: tuple[int, int]
    ) -> list[tuple[float, Array]]:
        key, (b, i) = f"{target}_from_{source}", at
        weight, bias = (self.state.get(f"bring.{key}.{kind}") for kind in ("weight", "bias"))
        taken = [
            (share, values[source][b, j])
            for j, k, share in listed(self.pairs.get(key), b)
            if k == i and 0 <= j < values[source].shape[1] and self.masks[source][b, j]
        ]
        return taken if weight is None else [(s, weight @ x + bias) for s, x in taken]


def listed(alignment: Alignment | None, sample: int) -> list[tuple[int, int, float]]:
    if alignment is None:
        return []
    columns = (alignment.source_index, alignment.target_index, alignment.weight)
    return list(zip(*(column[sample].tolist() for column in columns), strict=True))


@pytest.mark.parametrize(
    ("dims", "options"),
    [
        (PAIR, {}),
        (PAIR, {"mix": 0.3}),
        (PAIR, {"targets": ["image"]}),
        (TRIPLE, {"mix": {"text": 0.2, "sound": 1.0}, "targets": ["sound", "text"]}),
        (TRIPLE, {"mix": 0.6}),
    ],
)
def test_it_is_the_plain_loop_over_samples_tokens_and_pairs(
    dims: dict[str, int], options: dict[str, Any]
) -> None:
    part, streams, pairs = drawn(dims, **options), tokens(dims), all_pairs(dims)
    masks = {name: torch.rand(value.shape[:2]) < 0.8 for name, value in streams.items()}
    found, expected = part(streams, masks, alignment=pairs), Plain(part, masks, pairs)(streams)
    for name in dims:
        np.testing.assert_allclose(found[name].detach().numpy(), expected[name], rtol=1e-4, atol=1e-5)


def test_an_alignment_of_each_direction_is_read_for_it() -> None:
    streams = tokens(PAIR)
    forth, back = Alignment.from_pairs([[(0, 1)]] * 3), Alignment.from_pairs([[(3, 2)]] * 3)
    out = FeatureSwap(PAIR)(streams, alignment={"image_from_text": forth, "text_from_image": back})
    assert out["image"][:, 1].equal(streams["text"][:, 0])
    assert out["text"][:, 2].equal(streams["image"][:, 3])
    assert out["text"][:, 0].equal(streams["text"][:, 0])


@given(seed=st.integers(0, 2**31), mix=st.floats(0, 1))
def test_an_empty_alignment_is_the_identity(seed: int, mix: float) -> None:
    torch.manual_seed(seed)
    streams = tokens(PAIR)
    holes = Alignment(
        source_index=torch.tensor([[-1, 0, -1]] * 3),
        target_index=torch.tensor([[0, -1, -1]] * 3),
        weight=torch.ones(3, 3),
    )
    for alignment in (holes, Alignment.from_pairs([[]] * 3), {}):
        out = FeatureSwap(PAIR, mix=mix)(streams, alignment=alignment)
        assert all(out[name].equal(value) for name, value in streams.items())


@given(seed=st.integers(0, 2**31))
def test_a_swap_twice_is_the_identity(seed: int) -> None:
    torch.manual_seed(seed)
    part, streams, pairs = FeatureSwap(PAIR), tokens(PAIR), one_to_one(5, 4)
    once = part(streams, alignment=pairs)
    twice = part(once, alignment=pairs)
    assert not any(once[name].equal(value) for name, value in streams.items())
    assert all(twice[name].equal(value) for name, value in streams.items())


@given(seed=st.integers(0, 2**31), choose=st.sampled_from(["mean", "first", "last"]))
def test_tokens_and_their_pairs_can_be_permuted_together(seed: int, choose: Any) -> None:
    torch.manual_seed(seed)
    part, streams, pairs = drawn(TRIPLE, choose=choose, mix="gated"), tokens(TRIPLE), all_pairs(TRIPLE)
    orders = {name: torch.randperm(value.shape[1]) for name, value in streams.items()}
    places = {name: order.argsort() for name, order in orders.items()}
    moved = {
        key: alignment.reindex(places[key.split("_from_")[1]], places[key.split("_from_")[0]])
        for key, alignment in pairs.items()
    }
    out = part({name: value[:, orders[name]] for name, value in streams.items()}, alignment=moved)
    for name, value in part(streams, alignment=pairs).items():
        torch.testing.assert_close(out[name], value[:, orders[name]])


@given(seed=st.integers(0, 2**31))
def test_a_whole_swap_keeps_the_multiset_of_tokens(seed: int) -> None:
    torch.manual_seed(seed)
    streams = tokens(PAIR)
    out = FeatureSwap(PAIR)(streams, alignment=one_to_one(5, 4))
    before, after = (torch.cat(list(values.values()), 1)[..., 0].sort(1).values for values in (streams, out))
    assert before.equal(after)


def test_gradients_cross_over_with_the_features() -> None:
    streams = {name: value.requires_grad_() for name, value in tokens(PAIR, 1).items()}
    out = FeatureSwap(PAIR)(streams, alignment=Alignment.from_pairs([[(1, 3)]]))
    cotangents = {name: torch.randn_like(value) for name, value in out.items()}
    total = torch.stack([(out[name] * cotangents[name]).sum() for name in out]).sum()
    text, image = torch.autograd.grad(total, [streams["text"], streams["image"]])
    assert text[0, 1].equal(cotangents["image"][0, 3])
    assert image[0, 3].equal(cotangents["text"][0, 1])
    assert text[0, 2:].equal(cotangents["text"][0, 2:])


@pytest.mark.parametrize(("choose", "taken"), [("first", 2), ("last", 0)])
def test_one_of_several_partners_may_be_chosen(choose: Any, taken: int) -> None:
    streams = tokens(PAIR, 1)
    pairs = Alignment.from_pairs([[(1, 1, 0.0), (2, 1, 0.1), (0, 1, 5.0), (9, 1, 1.0)]])
    out = FeatureSwap(PAIR, choose=choose, targets=["image"])(streams, alignment=pairs)
    assert out["image"][0, 1].equal(streams["text"][0, taken])


def test_the_weight_of_a_pair_learns() -> None:
    weight = torch.tensor([[0.3, 0.7]], requires_grad=True)
    index = torch.tensor([[0, 1]])
    pairs = Alignment(source_index=index, target_index=torch.zeros_like(index), weight=weight)
    streams = tokens(PAIR, 1)
    out = FeatureSwap(PAIR, targets=["image"])(streams, alignment=pairs)
    (gradient,) = torch.autograd.grad(out["image"][0, 0, 0], weight)
    first, second = streams["text"][0, :2, 0]
    torch.testing.assert_close(gradient[0], torch.stack([0.7 * (first - second), 0.3 * (second - first)]))


def test_a_gate_reads_the_token_and_its_partner() -> None:
    part, streams, trace = drawn(PAIR, mix="gated"), tokens(PAIR, 1), Trace()
    out = part(streams, alignment=Alignment.from_pairs([[(1, 3)]]), trace=trace)
    own, other, gate = streams["text"][0, 1], streams["image"][0, 3], part.mix["text"]
    share = torch.sigmoid(gate.own.weight @ own + gate.own.bias + gate.partner.weight @ other)
    torch.testing.assert_close(out["text"][0, 1], (1 - share) * own + share * other)
    torch.testing.assert_close(trace.records["text.share"][0, 1], share)
    assert trace.records["text.swapped"].tolist() == [[False, True, False, False, False]]


def test_a_learned_share_starts_at_one_half() -> None:
    part, streams = FeatureSwap(PAIR, mix={"text": "learned", "image": 0.0}), tokens(PAIR, 1)
    out = part(streams, alignment=Alignment.from_pairs([[(1, 3)]]))
    torch.testing.assert_close(out["text"][0, 1], (streams["text"][0, 1] + streams["image"][0, 3]) / 2)
    assert out["image"].equal(streams["image"])


def test_pixels_and_embeddings_are_tokens() -> None:
    dims = {"image": 3, "sound": 3}
    streams = {"image": torch.randn(2, 3, 2, 4), "sound": torch.randn(2, 3)}
    out = FeatureSwap(dims)(streams, alignment=Alignment.from_pairs([[(5, 0)]] * 2))
    assert out["sound"].equal(streams["image"][:, :, 1, 1])
    assert out["image"][:, :, 1, 1].equal(streams["sound"])


def test_an_absent_sample_gives_and_takes_nothing() -> None:
    streams, present = tokens(PAIR, 2), torch.tensor([True, False])
    out = FeatureSwap(PAIR)(
        streams,
        {"image": present[:, None].expand(2, 4)},
        alignment=Alignment.from_pairs([[(0, 0)]] * 2),
    )
    assert out["text"][0, 0].equal(streams["image"][0, 0])
    assert out["text"][1].equal(streams["text"][1])
    assert not out["image"][1].any()


def test_infinity_where_a_hole_reads_stays_where_it_is() -> None:
    streams = tokens(PAIR, 1)
    streams["text"][0, 0] = torch.inf
    pairs = Alignment.from_pairs([[(-1, 2), (1, 1)]])
    out = FeatureSwap(PAIR, targets=["image"])(streams, alignment=pairs)
    assert out["image"].isfinite().all()


class Joint(nn.Module):
    """Positions, an encoder over the tokens of both streams, and the mean of all."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = TransformerEncoder(4, hidden=(8, 8), num_heads=2).eval()
        self.positions = {name: torch.randn(LENGTHS[name], 4) for name in PAIR}

    def placed(self, streams: Streams) -> Streams:
        return {name: value + self.positions[name] for name, value in streams.items()}

    def forward(self, streams: Streams) -> Tensor:
        out: Tensor = self.encoder(torch.cat(list(streams.values()), 1)).mean(1)
        return out


def test_what_is_refused_changes_nothing_and_each_cure_changes_something() -> None:
    model, streams, pairs = Joint(), tokens(PAIR), one_to_one(5, 4)
    hidden = model.placed(streams)
    before = model(hidden)
    moved = FeatureSwap(PAIR, level="hidden", many_to_many=True)(hidden, alignment=pairs)
    torch.testing.assert_close(model(moved), before, rtol=1e-4, atol=1e-5)
    cures: list[dict[str, Any]] = [{"readd": "position"}, {"mix": 0.5}, {"targets": ["text"]}]
    changed = [model(FeatureSwap(PAIR, level="hidden", **cure)(hidden, alignment=pairs)) for cure in cures]
    changed.append(model(model.placed(FeatureSwap(PAIR)(streams, alignment=pairs))))
    assert all((after - before).abs().max() > 1e-2 for after in changed)


@pytest.mark.parametrize("options", [{}, {"mix": {"text": 1, "image": 1.0}}, {"targets": ["image", "text"]}])
def test_a_full_two_way_swap_behind_the_positions_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(
        OptionError, match=r"readd='position', a mix below 1, or targets=\[\.\.\.\] for one way"
    ):
        FeatureSwap(PAIR, level="hidden", **options)


def test_linear_maps_between_widths_make_a_hidden_swap_worth_its_while() -> None:
    assert sorted(FeatureSwap(TRIPLE, level="hidden").bring) == sorted(
        f"{a}_from_{b}" for a in TRIPLE for b in TRIPLE if a != b
    )


def test_given_positions_are_those_of_the_place_of_arrival() -> None:
    part, streams = FeatureSwap(PAIR, level="hidden", readd="position"), tokens(PAIR, 2)
    positions = {"text": torch.randn(5, 4), "image": torch.randn(2, 4, 4)}
    out = part(streams, alignment=Alignment.from_pairs([[(1, 3)]] * 2), positions=positions)
    torch.testing.assert_close(out["text"][:, 1], streams["image"][:, 3] + positions["text"][1])
    torch.testing.assert_close(out["image"][:, 3], streams["text"][:, 1] + positions["image"][:, 3])
    assert out["text"][:, 0].equal(streams["text"][:, 0])


def test_positions_are_sines_and_cosines_where_none_are_given() -> None:
    dims = {"text": 4, "image": 4}
    streams = {"text": torch.randn(1, 5, 4), "image": torch.randn(1, 4, 2, 3)}
    part = FeatureSwap(dims, readd="position", level="hidden")
    out = part(streams, alignment=Alignment.from_pairs([[(2, 4)]]))
    words = torch.tensor([2.0, 0.02])
    wave = torch.stack([words.sin(), words.cos()], 1).flatten()
    pixel = as_tokens(streams["image"])[0, 4]
    torch.testing.assert_close(out["text"][0, 2], pixel + wave)
    place = torch.ones(1)  # row 1 and column 1, each with half of the features
    wave = torch.cat([place.sin(), place.cos()] * 2)
    torch.testing.assert_close(as_tokens(out["image"])[0, 4], streams["text"][0, 2] + wave)


def test_the_card_follows_the_options() -> None:
    cards: list[Card] = [
        FeatureSwap(PAIR, **options).card
        for options in ({}, {"mix": {"text": "gated", "image": 1.0}}, {"readd": "position", "mix": "learned"})
    ]
    assert [card.interaction for card in cards] == ["additive", "nonlinear", "additive"]
    assert [card.reads for card in cards] == [("alignment",), ("alignment",), ("alignment", "positions")]


def test_without_an_alignment_it_says_what_is_missing() -> None:
    with pytest.raises(OptionError, match=r"got none\. Pass alignment=\{'image_from_text': \.\.\.\}"):
        FeatureSwap(PAIR)(tokens(PAIR))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mix": 1.1}, OptionError, r"^mix must be in \[0, 1\], got 1\.1\.$"),
        ({"mix": "half"}, OptionError, r"^mix must be a number or one of \['gated', 'learned'\], got 'half'"),
        ({"mix": {"text": 0.5}}, ModalityError, r"^mix must name \['image', 'text'\], got \['text'\]\.$"),
        ({"targets": ["imag"]}, ModalityError, r"got 'imag'\. Did you mean 'image'\?"),
        ({"targets": []}, OptionError, "^targets must be one modality at least, got none"),
        ({"choose": "best"}, OptionError, r"^choose must be one of \['first', 'last', 'mean'\], got 'best'"),
        ({"level": "deep"}, OptionError, r"^level must be one of \['content', 'hidden'\], got 'deep'"),
        ({"readd": "type"}, OptionError, r"^readd must be one of \[None, 'position'\], got 'type'"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        FeatureSwap(PAIR, **options)


@pytest.mark.parametrize(
    ("positions", "error", "message"),
    [
        ({"text": torch.ones(4, 4)}, OptionError, r"must have shape \(5, 4\) or \(1, 5, 4\), got \(4, 4\)"),
        ({"sound": torch.ones(5, 4)}, ModalityError, "got 'sound', which receives nothing"),
    ],
)
def test_wrong_positions_are_refused(
    positions: dict[str, Tensor], error: type[Exception], message: str
) -> None:
    part = FeatureSwap(PAIR, readd="position")
    with pytest.raises(error, match=message):
        part(tokens(PAIR, 1), alignment=Alignment.from_pairs([[(0, 0)]]), positions=positions)
