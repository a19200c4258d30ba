import torch

from fuseloom.nn import linear_each, stack_masks


def test_outputs_start_at_the_stated_size_whatever_the_width() -> None:
    linears = linear_each({"wide": 900, "narrow": 30}, 400, gain=3.0, bias=0.5)
    for name, linear in linears.items():
        out = linear(torch.randn(500, linear.in_features))
        assert abs(out.std() - 3.0) < 0.2, name
        assert linear.bias.equal(torch.full((400,), 0.5)), name


def test_masks_stand_side_by_side_and_none_keeps() -> None:
    first, last = torch.tensor([True, False]), torch.tensor([False, False])
    stacked = stack_masks([first, None, last])
    assert stacked is not None
    assert stacked.tolist() == [[True, True, False], [False, True, False]]


def test_without_any_mask_there_is_none() -> None:
    assert stack_masks([None, None]) is None
