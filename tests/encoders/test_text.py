import pytest
import torch

from fuseloom.encoders.text import TextEncoder, hash_ngrams
from fuseloom.errors import OptionError


def as_bytes(*texts, length=12):
    rows = [list(text.encode())[:length] for text in texts]
    text = torch.tensor([row + [0] * (length - len(row)) for row in rows], dtype=torch.uint8)
    return text, torch.tensor([[place < len(row) for place in range(length)] for row in rows])


def test_equal_ngrams_have_equal_buckets_wherever_they_stand():
    text, mask = as_bytes("the cat", "a cat")
    buckets, real = hash_ngrams(text, mask, 3, 1000)
    assert buckets[0, 6].equal(buckets[1, 4])  # "t", "at" and "cat" end there
    assert real[0, 6].all()


def test_an_ngram_that_reaches_before_the_text_or_over_padding_is_not_real():
    text, mask = as_bytes("ab")
    _, real = hash_ngrams(text, mask, 3, 1000)
    assert real[0, :3].tolist() == [[True, False, False], [True, True, False], [False, False, False]]


def test_buckets_spread_over_the_table():
    text = torch.randint(0, 256, (50, 100), dtype=torch.uint8)
    buckets, _ = hash_ngrams(text, torch.ones_like(text, dtype=torch.bool), 4, 64)
    counts = torch.bincount(buckets[..., 3].flatten(), minlength=64).float()
    assert buckets.min() >= 0
    assert counts.max() < 2 * counts.mean()


def test_padding_to_a_longer_batch_changes_nothing():
    encoder = TextEncoder(dim=8, window=4).eval()
    short, long = (encoder(*as_bytes("grüße", length=length)) for length in (8, 40))
    torch.testing.assert_close(short[0], long[0][:, :2])
    assert long[1].sum() == short[1].sum() == 2


def test_window_of_a_token_is_its_mean():
    encoder = TextEncoder(dim=8, max_n=1, window=4).eval()
    once, twice = (encoder(*as_bytes(text, length=4))[0] for text in ("ab", "abab"))
    torch.testing.assert_close(once, twice)


def test_options_below_one_are_refused():
    with pytest.raises(OptionError, match="must be at least 1, got 0, 16384 and 16"):
        TextEncoder(max_n=0)
