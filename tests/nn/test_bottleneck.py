import torch

from fuseloom.nn.bottleneck import join_shared, mean_of_present


def test_shared_tokens_stand_first_and_are_always_real() -> None:
    shared, tokens = torch.randn(2, 3, 4), torch.randn(2, 2, 4)
    mask = torch.tensor([[True, False], [False, False]])
    joined, real = join_shared(shared, tokens, mask)
    assert joined[:, :3].equal(shared)
    assert joined[:, 3:].equal(tokens)
    assert real is not None
    assert real.tolist() == [[True] * 3 + row for row in mask.tolist()]
    assert join_shared(shared, tokens)[1] is None


def test_the_mean_is_over_what_each_sample_has() -> None:
    one, two, before = (torch.randn(4, 3, 2, requires_grad=True) for _ in range(3))
    present = torch.tensor([[True, True], [True, False], [False, True], [False, False]])
    out = mean_of_present([one, two], present, before)
    torch.testing.assert_close(out[0], (one[0] + two[0]) / 2)
    for row, expected in enumerate((one[1], two[2], before[3]), start=1):
        assert out[row].equal(expected)
    torch.testing.assert_close(mean_of_present([one, two], None, before), (one + two) / 2)
    found = torch.autograd.grad(out.sum(), [one, two, before])
    expected = [[0.5, 1, 0, 0], [0.5, 0, 1, 0], [0, 0, 0, 1]]
    for gradient, wanted in zip(found, expected, strict=True):
        assert gradient.equal(torch.tensor(wanted)[:, None, None].expand(4, 3, 2))


def test_an_absent_sequence_of_nan_spoils_nothing() -> None:
    one, two = torch.ones(1, 1, 2, requires_grad=True), torch.full((1, 1, 2), float("nan"))
    out = mean_of_present([one, two], torch.tensor([[True, False]]), torch.zeros(1, 1, 2))
    assert out.tolist() == [[[1, 1]]]
    (gradient,) = torch.autograd.grad(out.sum(), one)
    assert gradient.tolist() == [[[1, 1]]]
