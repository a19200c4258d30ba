import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuseloom.metrics.attention import attention_imbalance_rate, key_cosine
from fuseloom.metrics.rolling import rolling_shares, rolling_target

COSINE = st.floats(-1, 1, allow_nan=False)


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(first=COSINE, second=COSINE, rho=st.floats(0, 20))
def test_of_two_modalities_the_share_is_that_of_the_paper(first, second, rho):
    cosines = {name: torch.tensor(value).double() for name, value in (("a", first), ("v", second))}
    shares = rolling_shares(cosines, rho=rho)
    air = float(attention_imbalance_rate({name: value[None] for name, value in cosines.items()}))
    assert float(shares["a"]) == pytest.approx((1 + math.tanh(-rho * air)) / 2, abs=1e-12)
    assert float(sum(shares.values())) == pytest.approx(1)


@given(seed=st.integers(0, 999), rho=st.floats(0, 5), dim=st.integers(2, 9))
def test_of_two_modalities_the_target_is_that_of_the_paper(seed, rho, dim):
    query, audio, video = drawn(seed, 3, dim)
    cosines = {"a": key_cosine(query, audio), "v": key_cosine(query, video)}
    alpha = (1 + torch.tanh(-rho * (cosines["a"] - cosines["v"]))) / 2
    mixed = alpha * audio / audio.norm() + (1 - alpha) * video / video.norm()
    target = rolling_target(query, {"a": audio, "v": video}, cosines, rho=rho)
    torch.testing.assert_close(target, mixed * query.norm() / mixed.norm())


@given(seed=st.integers(0, 999), scale=st.floats(0.1, 10))
def test_the_target_is_as_long_as_the_query_and_knows_no_length_of_keys(seed, scale):
    query, *keys = drawn(seed, 4, 2, 5)
    named = dict(zip("abc", keys, strict=True))
    cosines = {name: key_cosine(query, key) for name, key in named.items()}
    target = rolling_target(query, named, cosines, rho=2.0)
    torch.testing.assert_close(target.norm(dim=-1), query.norm(dim=-1))
    longer = named | {"b": scale * named["b"]}
    torch.testing.assert_close(rolling_target(query, longer, cosines, rho=2.0), target)


def test_every_head_has_a_target_of_its_own():
    query, audio, video = drawn(3, 3, 2, 5)
    keys = {"a": audio, "v": video}
    cosines = {name: key_cosine(query, key) for name, key in keys.items()}
    together = rolling_target(query, keys, cosines, rho=1.5)
    for head in range(2):
        alone = rolling_target(
            query[head],
            {name: key[head] for name, key in keys.items()},
            {name: value[head] for name, value in cosines.items()},
            rho=1.5,
        )
        torch.testing.assert_close(together[head], alone)


def test_the_neglected_of_three_modalities_gets_the_largest_share():
    cosines = {name: torch.tensor(value) for name, value in (("a", 0.6), ("b", 0.1), ("c", -0.4))}
    shares = rolling_shares(cosines, rho=1.0)
    assert shares["c"] > shares["b"] > shares["a"]
    assert float(shares["c"] / shares["b"]) == pytest.approx(math.exp(2 * 0.5))


def test_a_modality_that_no_row_has_gives_nothing():
    query, audio, video = drawn(5, 3, 4)
    cosines = {"a": key_cosine(query, audio), "v": torch.tensor(torch.nan).double()}
    nothing = torch.full_like(video, torch.nan)
    target = rolling_target(query, {"a": audio, "v": nothing}, cosines, rho=1.0)
    torch.testing.assert_close(target, audio * query.norm() / audio.norm())


@pytest.mark.parametrize("known", [True, False])
def test_what_leaves_no_direction_is_zero(known):
    query, key = drawn(6, 2, 4)
    cosine = torch.tensor(0.0 if known else torch.nan).double()
    target = rolling_target(query, {"a": key, "v": -key}, {"a": cosine, "v": cosine}, rho=1.0)
    assert not target.any()
