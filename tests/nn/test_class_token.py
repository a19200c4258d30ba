import torch

from fuseloom.nn.class_token import ClassToken


def test_it_stands_first_and_is_real_where_any_token_is() -> None:
    token, tokens = ClassToken(4), torch.randn(3, 2, 4)
    mask = torch.tensor([[True, False], [False, False], [True, True]])
    more, real = token(tokens, mask)
    assert real.tolist() == [[True, True, False], [False] * 3, [True] * 3]
    torch.testing.assert_close(more[0, 0], token.token)
    assert more[1, 0].eq(0).all()
    torch.testing.assert_close(more[:, 1:], tokens)
    same, none = token(tokens)
    assert none is None
    torch.testing.assert_close(same[:, 0], token.token.expand(3, -1))


def test_its_spread_is_as_asked_and_it_learns() -> None:
    token = ClassToken(4000, std=3.0)
    assert 2.8 < token.token.std() < 3.2
    token(torch.randn(2, 1, 4000))[0].sum().backward()
    assert token.token.grad is not None
    assert token.token.grad.eq(2).all()
