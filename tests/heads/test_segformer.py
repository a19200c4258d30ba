"""SegFormer's head; that it is the published one is told by its golden cases."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fuseloom.errors import ModalityError, OptionError
from fuseloom.heads import SegformerHead

DIMS = [4, 8, 16]


def stages(height: int = 16, width: int = 24) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(3, dim, -(-height // 2**i), -(-width // 2**i)) for i, dim in enumerate(DIMS)]


def build(**options: object) -> SegformerHead:
    torch.manual_seed(0)
    return SegformerHead(DIMS, 5, dim=6, **options)  # type: ignore[arg-type]


def plain(head: SegformerHead, maps: list[Tensor]) -> Tensor:
    """As the paper writes it: every stage is mapped and enlarged before one matrix reads them all."""
    size = maps[0].shape[-2:]
    mapped = [
        F.interpolate(
            project(value.movedim(1, -1)).movedim(-1, 1), size, mode="bilinear", align_corners=False
        )
        for project, value in zip(head.project, maps, strict=True)
    ]
    logits: Tensor = head.classify(head.norm(head.join(torch.cat(mapped[::-1], 1))).relu())
    return logits


@pytest.mark.parametrize("size", [(16, 24), (17, 21), (1, 1)])
def test_mapping_at_the_own_stride_is_the_same_as_after_enlarging(size: tuple[int, int]) -> None:
    head, maps = build().eval(), stages(*size)
    assert head(maps).shape == (3, 5, *size)
    torch.testing.assert_close(head(maps), plain(head, maps), rtol=1e-4, atol=1e-5)


def test_every_stage_and_every_weight_matters() -> None:
    head, maps = build(dropout=0.0).train(), [value.requires_grad_() for value in stages()]
    (head(maps) * torch.randn(5, 1, 1)).square().sum().backward()
    assert all(value.grad is not None and value.grad.abs().max() > 0 for value in maps)
    assert all(weight.grad is not None for weight in head.parameters())


def test_statistics_are_those_of_samples_that_are_there() -> None:
    maps, real = stages(), torch.tensor([True, False, True])
    few, all_of_them = build(dropout=0.0).train(), build(dropout=0.0).train()
    found, expected = all_of_them(maps, real), few([value[real] for value in maps])
    torch.testing.assert_close(found[real], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(all_of_them.norm.running_var, few.norm.running_var)


def test_fixed_statistics_stay_as_they_are() -> None:
    for fixed in (True, False):
        head = build(fixed_statistics=fixed).train()
        head(stages())
        assert head.norm.running_mean.equal(torch.zeros(6)) == fixed


def test_what_does_not_fit_is_answered() -> None:
    with pytest.raises(ModalityError, match="stages must be 3 maps, got 2"):
        build()(stages()[:2])
    with pytest.raises(OptionError, match="dims must be of one stage at least, got none"):
        SegformerHead([], 5)
    with pytest.raises(OptionError, match="num_labels and dim must be at least 1, got 0 and 256"):
        SegformerHead(DIMS, 0)
