import pytest
import torch
from torch import Tensor

from fuseloom.alignment import align_similar
from fuseloom.errors import ModalityError, OptionError


def test_pairs_are_the_nearest_of_a_plain_loop() -> None:
    source, target = torch.randn(3, 5, 4), torch.randn(3, 6, 4)
    kept = torch.rand(3, 5) < 0.7, torch.rand(3, 6) < 0.7
    found = align_similar(source, target, top=2, least=0.1, source_mask=kept[0], target_mask=kept[1])
    for b in range(3):
        expected = {}
        for i in range(5):
            scores = {
                j: torch.cosine_similarity(source[b, i], target[b, j], 0).item()
                for j in range(6)
                if kept[0][b, i] and kept[1][b, j]
            }
            best = sorted(scores, key=scores.__getitem__, reverse=True)[:2]
            expected |= {(i, j): scores[j] for j in best if scores[j] > 0.1}
        columns = (found.source_index[b].tolist(), found.target_index[b].tolist(), found.weight[b].tolist())
        pairs = {(i, j): weight for i, j, weight in zip(*columns, strict=True) if i >= 0}
        assert pairs == pytest.approx(expected, rel=1e-4)


def test_weights_carry_gradients_to_both_streams() -> None:
    source, target = (torch.randn(1, n, 4, requires_grad=True) for n in (3, 2))
    found = align_similar(source, target)
    gradients = torch.autograd.grad(found.weight.sum(), [source, target])
    assert all(gradient.any() for gradient in gradients)


def test_a_token_of_zeros_is_aligned_with_nothing() -> None:
    found = align_similar(torch.zeros(1, 2, 3), torch.randn(1, 4, 3), top=9)
    assert found.source_index.shape == (1, 8)
    assert not found.real.any()


@pytest.mark.parametrize(
    ("target", "options", "error", "message"),
    [
        (torch.ones(1, 2, 4), {}, ModalityError, r"got \(1, 2, 3\) and \(1, 2, 4\)\. Project both"),
        (torch.ones(2, 2, 3), {}, ModalityError, "must agree in samples and width"),
        (torch.ones(1, 2, 3), {"top": 0}, OptionError, r"least in \[0, 1\), got 0 and 0\.0"),
        (torch.ones(1, 2, 3), {"least": -0.1}, OptionError, r"got 1 and -0\.1"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    target: Tensor, options: dict[str, float], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        align_similar(torch.ones(1, 2, 3), target, **options)
