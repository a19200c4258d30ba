import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuseloom import Batch
from fuseloom.diagnose.corruptions import (
    CORRUPTIONS,
    block_mask,
    blur,
    character_noise,
    clipping,
    corrupt,
    feature_moments,
    gaussian_noise,
    missing,
    piece_noise,
    stream_kind,
    symbol_noise,
    token_dropout,
)

STREAMS = {
    "embedding": (torch.randn(40, 6), torch.arange(40) % 5 > 0),
    "tokens": (torch.randn(40, 8, 3), torch.rand(40, 8) < 0.7),
    "image": (torch.rand(40, 3, 9, 7), torch.arange(40) % 5 > 0),
    "waveform": (torch.randn(40, 100), torch.rand(40, 100) < 0.9),
    "text": (torch.randint(97, 123, (40, 12), dtype=torch.uint8), torch.rand(40, 12) < 0.8),
    "symbols": (torch.randint(500, (40, 12)), torch.rand(40, 12) < 0.8),
    "pieces": (torch.randint(500, (40, 12, 2)), torch.rand(40, 12) < 0.8),
}
CASES = [(kind, name) for kind, found in CORRUPTIONS.items() for name in found]


def apply(kind, name, severity, seed=0):
    value, mask = STREAMS[kind]
    strength = torch.full((len(value),), severity)
    return CORRUPTIONS[kind][name](value, mask, strength, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_is_known_by_type_and_shape(kind):
    assert stream_kind(*STREAMS[kind]) == kind


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_severity_zero_changes_nothing_and_no_input_is_modified(kind, name):
    value, mask = STREAMS[kind]
    before = value.clone(), mask.clone()
    worse, kept = apply(kind, name, 0.0)
    torch.testing.assert_close(worse, value)
    assert kept.equal(mask)
    apply(kind, name, 0.7)
    assert value.equal(before[0])
    assert mask.equal(before[1])


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_more_severity_is_more_damage_and_what_is_absent_stays_absent(kind, name):
    value, mask = STREAMS[kind]

    def damage(severity):
        worse, kept = apply(kind, name, severity)
        assert (worse.dtype, worse.shape) == (value.dtype, value.shape)
        assert not (kept & ~mask).any()
        return (worse.double() - value.double()).abs().mean() + (mask & ~kept).double().mean()

    levels = [damage(severity) for severity in (0.0, 0.2, 0.5, 0.9)]
    assert levels == sorted(levels)
    assert levels[0] < levels[1] < levels[3]


@pytest.mark.parametrize("name", ["token_dropout", "missing"])
def test_what_is_gone_at_a_lower_severity_is_gone_at_a_higher_one(name):
    _, some = apply("tokens", name, 0.3)
    _, fewer = apply("tokens", name, 0.6)
    assert not (fewer & ~some).any()
    _, none = apply("tokens", name, 1.0)
    assert not none.any()


def test_severity_is_of_each_row():
    value, mask = STREAMS["embedding"]
    severity = (torch.arange(40) < 20).float()
    worse, _ = gaussian_noise(value, mask, severity, torch.Generator().manual_seed(0))
    changed = (worse != value).any(1)
    assert changed.equal(severity > 0)
    _, kept = missing(value, torch.ones(40, dtype=torch.bool), severity, torch.Generator())
    assert kept.equal(severity == 0)


def test_noise_is_as_large_as_the_spread_of_each_feature():
    value = torch.randn(20_000, 2) * torch.tensor([0.1, 10.0])
    mask = torch.ones(20_000, dtype=torch.bool)
    worse, _ = gaussian_noise(value, mask, torch.full((20_000,), 0.5), torch.Generator().manual_seed(0))
    assert (worse - value).std(0).tolist() == pytest.approx([0.05, 5.0], rel=0.05)


def test_codes_are_drawn_again_and_gaps_stay_as_they_are():
    codes = torch.tensor([1.0, 4.0])[torch.randint(2, (4000, 1))]
    numbers = torch.randn(4000, 1).masked_fill(torch.arange(4000)[:, None] < 7, torch.nan)
    value, mask = torch.cat([codes, numbers], dim=1), torch.arange(4000) > 3
    worse, _ = gaussian_noise(value, mask, torch.full((4000,), 0.5), torch.Generator().manual_seed(0))
    assert set(worse[:, 0].tolist()) == {1, 4}
    assert (worse[:, 0] != codes[:, 0]).double().mean().item() == pytest.approx(0.25, abs=0.03)
    assert worse[:, 1].isnan().nonzero().flatten().tolist() == list(range(7))
    none, _ = gaussian_noise(value, mask & False, torch.ones(4000), torch.Generator().manual_seed(0))
    assert none[:, 0].equal(codes[:, 0])


def test_values_under_a_mask_do_not_count():
    value, mask = STREAMS["embedding"]
    mean, deviation = feature_moments(value.masked_fill(~mask[:, None], torch.nan), mask)
    torch.testing.assert_close(mean, value[mask].mean(0))
    torch.testing.assert_close(deviation, value[mask].std(0, correction=0))
    assert feature_moments(value, mask & False)[1].tolist() == [0] * 6


@given(st.floats(0, 1))
def test_blur_keeps_a_flat_picture_and_takes_the_spread_of_others(severity):
    flat = torch.full((2, 1, 8, 8), 0.3)
    strength, mask = torch.full((2,), severity), torch.ones(2).bool()
    torch.testing.assert_close(blur(flat, mask, strength, torch.Generator())[0], flat)
    dot = torch.zeros(2, 1, 9, 9)
    dot[:, :, 4, 4] = 1
    worse, _ = blur(dot, mask, strength, torch.Generator())
    torch.testing.assert_close(worse, worse.mT)
    assert worse.max() == worse[0, 0, 4, 4]


def test_a_blur_has_the_deviation_that_it_says():
    dot = torch.zeros(1, 1, 81, 81)
    dot[:, :, 40, 40] = 1
    worse, _ = blur(dot, torch.ones(1).bool(), torch.tensor([0.5]), torch.Generator())
    places = torch.arange(81.0) - 40
    assert (worse[0, 0].sum(0) * places.square()).sum().sqrt().item() == pytest.approx(0.5 * 81 / 8, rel=0.02)


@given(st.floats(0, 1))
def test_a_block_covers_its_share_by_the_mean(severity):
    value = torch.rand(3, 2, 40, 30)
    mask = torch.ones(3, dtype=torch.bool)
    worse, _ = block_mask(value, mask, torch.full((3,), severity), torch.Generator().manual_seed(0))
    covered = (worse != value).any(1).double().mean((1, 2))
    assert covered.tolist() == pytest.approx([severity] * 3, abs=0.06)
    inside = (worse != value).all(1)
    for channel in range(2):
        filled = worse[:, channel][inside]
        torch.testing.assert_close(filled, torch.full_like(filled, value[:, channel].mean().item()))


def test_clipping_flattens_peaks_and_leaves_silence_in_the_end():
    wave = torch.tensor([[0.1, -1.0, 0.5, 9.0]])
    mask = torch.tensor([[True, True, True, False]])
    worse, _ = clipping(wave, mask, torch.tensor([0.5]), torch.Generator())
    assert worse[mask].tolist() == pytest.approx([0.1, -0.5, 0.5])
    silent, _ = clipping(wave, mask, torch.ones(1), torch.Generator())
    assert silent[mask].abs().max() == 0
    whole, _ = clipping(wave, torch.tensor([True]), torch.tensor([0.5]), torch.Generator())
    assert whole.tolist() == [pytest.approx([0.1, -1.0, 0.5, 4.5])]


def test_characters_stay_printable_and_symbols_stay_in_the_vocabulary():
    value, mask = STREAMS["text"]
    worse, _ = character_noise(value, mask, torch.ones(40), torch.Generator().manual_seed(0))
    assert worse.min() >= 32
    assert worse.max() < 127
    symbols, real = STREAMS["symbols"]
    worse, _ = symbol_noise(symbols, real, torch.ones(40), torch.Generator().manual_seed(0))
    assert set(worse.flatten().tolist()) <= set(symbols[real].tolist())


def test_a_word_of_many_letters_is_replaced_as_a_whole_and_a_piece_stays_with_its_word():
    words = torch.arange(200)[:, None].expand(200, 7).reshape(40, 5, 7)
    real, half = torch.ones(40, 5).bool(), torch.full((40,), 0.5)
    worse, _ = symbol_noise(words, real, half, torch.Generator().manual_seed(0))
    assert (worse == worse[..., :1]).all()
    assert 0.3 < (worse != words).any(-1).double().mean() < 0.7
    pieces, real = STREAMS["pieces"]
    worse, _ = piece_noise(pieces, real, torch.ones(40), torch.Generator().manual_seed(0))
    assert worse[..., 1].equal(pieces[..., 1])
    assert not worse[..., 0].equal(pieces[..., 0])


@pytest.mark.parametrize("name", ["gaussian_noise", "blur", "block_mask"])
def test_a_picture_in_bytes_is_damaged_as_the_same_picture_in_numbers_and_stays_in_bytes(name):
    pixels = torch.randint(256, (30, 3, 8, 8), dtype=torch.uint8)
    rows = Batch(inputs={"bytes": pixels, "numbers": pixels.float()})
    worse = {
        key: corrupt(rows, key, CORRUPTIONS["image"][name], 0.5, torch.Generator().manual_seed(1)).inputs[key]
        for key in rows.inputs
    }
    assert worse["bytes"].dtype == torch.uint8
    assert stream_kind(pixels, rows.mask_of("bytes")) == "image"
    torch.testing.assert_close(worse["bytes"].float(), worse["numbers"].round().clamp(0, 255))


def test_the_same_generator_draws_the_same_and_rows_without_a_mask_get_one():
    rows = Batch(inputs={"a": torch.randn(30, 5, 2)})
    one, other = (
        corrupt(rows, "a", token_dropout, 0.5, torch.Generator().manual_seed(3)).masks["a"] for _ in range(2)
    )
    assert one.equal(other)
    assert one.shape == (30, 5)
    assert rows.masks == {}
