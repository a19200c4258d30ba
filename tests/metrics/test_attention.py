import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuseloom.metrics.attention import (
    attention_entropy,
    attention_imbalance_rate,
    attention_mass,
    effective_tokens,
    key_cosine,
    mass_ratio,
)


def owners(*lengths, before=0):
    """Which of the tokens behind the first ``before`` are whose."""
    total, start, found = before + sum(lengths), before, {}
    for name, length in zip("abc", lengths, strict=False):
        found[name] = torch.zeros(total, dtype=torch.bool)
        found[name][start : start + length] = True
        start += length
    return found


@given(st.lists(st.integers(1, 6), min_size=2, max_size=3), st.integers(0, 2))
def test_mass_is_shared_among_modalities_and_is_the_uniform_share_where_attention_does_not_choose(
    lengths, before
):
    owned = owners(*lengths, before=before)
    count = before + sum(lengths)
    even = torch.full((2, count), 1 / count)
    drawn = torch.rand(2, count).softmax(-1)
    assert torch.stack(list(attention_mass(drawn, owned).values())).sum(0).tolist() == pytest.approx([1, 1])
    for name, length in zip("abc", lengths, strict=False):
        assert attention_mass(even, owned)[name].tolist() == pytest.approx([length / sum(lengths)] * 2)
        assert mass_ratio(even, owned)[name].tolist() == pytest.approx([1, 1])


def test_an_absent_modality_has_no_mass_and_no_ratio_and_nothing_has_neither():
    owned = owners(2, 2)
    owned["b"][:] = False
    weights = torch.tensor([0.5, 0.5, 0.0, 0.0])
    assert [one.item() for one in attention_mass(weights, owned).values()] == [1, 0]
    ratio = mass_ratio(weights, owned)
    assert ratio["a"] == 1
    assert ratio["b"].isnan()
    assert attention_mass(torch.zeros(4), owned)["a"].isnan()


@given(st.integers(1, 50), st.integers(0, 5))
def test_even_weights_attend_to_as_many_tokens_as_there_are(count, absent):
    weights = torch.cat([torch.full((count,), 1 / count, dtype=torch.float64), torch.zeros(absent)])
    assert effective_tokens(weights).item() == pytest.approx(count)
    assert attention_entropy(weights).item() == pytest.approx(math.log(count), abs=1e-9)


def test_one_token_with_all_the_weight_is_one_token():
    assert effective_tokens(torch.tensor([0.0, 1.0, 0.0])) == 1


def test_the_rate_of_two_modalities_is_rollingqs():
    query, audio, video = (torch.randn(5, 8, dtype=torch.float64) for _ in range(3))
    cosines = {"audio": key_cosine(query, audio), "video": key_cosine(query, video)}

    def unit(value):
        return value / value.norm(dim=-1, keepdim=True)

    expected = (unit(query) * (unit(audio) - unit(video))).sum(-1).mean()
    assert attention_imbalance_rate(cosines).item() == pytest.approx(expected.item())
    turned = dict(reversed(cosines.items()))
    assert attention_imbalance_rate(turned).item() == pytest.approx(-expected.item())


def test_rows_without_one_of_two_modalities_do_not_count():
    cosines = {"a": torch.tensor([0.5, 0.9]), "b": torch.tensor([0.25, math.nan])}
    assert attention_imbalance_rate(cosines) == 0.25


def test_of_three_modalities_it_is_the_range_of_their_means():
    cosines = {"a": torch.tensor([0.5, 0.25]), "b": torch.tensor([-0.5, 0.0]), "c": torch.zeros(2)}
    assert attention_imbalance_rate(cosines) == 0.625
