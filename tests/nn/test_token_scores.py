import pytest
import torch
from torch.nn import functional as F

from fuseloom.nn import TOKEN_SCORES, attention_weights, first_token_attention

TOKENS = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(1))
OTHER = torch.randn(3, 8, generator=torch.Generator().manual_seed(2))
MASK = torch.tensor([[True] * 6, [True, True, False, True, False, True], [False] * 6])


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("num_heads", [1, 4])
def test_attention_of_the_first_is_a_row_of_the_matrix_averaged_over_heads(
    num_heads: int, mask: torch.Tensor | None
) -> None:
    query, key = torch.randn(3, 5, 8), torch.randn(3, 6, 8)
    found = first_token_attention(query, key, num_heads=num_heads, mask=mask)
    weights = attention_weights(query, key, num_heads=num_heads, mask=mask)
    torch.testing.assert_close(found, weights[:, :, 0].mean(1))
    if mask is not None:
        assert not found[~mask].any()


def test_attention_of_the_first_is_in_full_precision_under_autocast() -> None:
    query, key = torch.randn(2, 3, 16), torch.randn(2, 300, 16)
    exact = first_token_attention(query.bfloat16(), key.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        found = first_token_attention(query.bfloat16(), key.bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=0)


def test_scores_are_what_their_names_say() -> None:
    def scored(name: str) -> torch.Tensor:
        found: torch.Tensor = TOKEN_SCORES[name](8)(TOKENS, None, OTHER)
        return found

    torch.testing.assert_close(scored("norm"), TOKENS.square().sum(-1).sqrt())
    torch.testing.assert_close(scored("cosine")[:, 0], torch.ones(3))
    torch.testing.assert_close(scored("cosine")[1, 2], F.cosine_similarity(TOKENS[1, 2], TOKENS[1, 0], 0))
    torch.testing.assert_close(scored("other_cls")[1, 2], F.cosine_similarity(TOKENS[1, 2], OTHER[1], 0))
    torch.testing.assert_close(
        scored("attention"), (TOKENS @ TOKENS[:, 0, :, None] / 8**0.5)[..., 0].softmax(1)
    )


def test_a_learned_score_is_a_share_with_a_gradient() -> None:
    score = TOKEN_SCORES["learned"](8)
    found = score(TOKENS, None, OTHER)
    assert bool(((found > 0) & (found < 1)).all())
    found.sum().backward()
    assert all(bool(parameter.grad.abs().sum() > 0) for parameter in score.parameters())


def test_random_scores_are_drawn_in_training_and_scattered_in_evaluation() -> None:
    score = TOKEN_SCORES["random"](8)
    first, second = score.train()(TOKENS, None, OTHER), score(TOKENS, None, OTHER)
    assert not first.equal(second)
    order = score.eval()(torch.zeros(2, 1000, 8), None, OTHER)
    assert order[0].equal(order[1])
    assert len(order[0].unique()) == 1000
    lowest = order[0].argsort()[:100]
    assert torch.histc(lowest.float(), 4, 0, 1000).min() > 15  # all over the stream
