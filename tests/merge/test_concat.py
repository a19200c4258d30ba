from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fuseloom.errors import ModalityError, OptionError
from fuseloom.merge.concat import Concat, convert_concat


def as_linear(merge: Concat) -> nn.Linear:
    linear = nn.Linear(sum(merge.dims.values()), merge.dim)
    with torch.no_grad():
        linear.weight.copy_(torch.cat([merge.weight[name] for name in merge.dims], 1))
        linear.bias.copy_(merge.bias)
    return linear


def test_it_is_one_linear_map_of_the_concatenation() -> None:
    merge = Concat({"text": 4, "audio": 3, "video": 2}, dim=5)
    streams = {"text": torch.randn(6, 4), "audio": torch.randn(6, 3), "video": torch.randn(6, 2)}
    joined = torch.cat(list(streams.values()), -1)
    torch.testing.assert_close(merge(streams), as_linear(merge)(joined))


def test_tokens_are_averaged_and_what_is_absent_contributes_zeros(case: Any) -> None:
    merge = Concat(case.dims, dim=5)
    joined = torch.from_numpy(np.concatenate(list(case.pooled.values()), 1)).float()
    torch.testing.assert_close(merge(case.streams, case.masks), as_linear(merge)(joined))


def test_positions_are_kept_where_nothing_pools() -> None:
    merge = Concat({"text": 4, "audio": 3}, dim=5, pool=None)
    streams = {"text": torch.randn(2, 7, 4), "audio": torch.randn(2, 7, 3)}
    torch.testing.assert_close(merge(streams), as_linear(merge)(torch.cat(list(streams.values()), -1)))


def test_pixels_are_kept_where_nothing_pools(maps: dict[str, Tensor], pixels: Tensor) -> None:
    merge = Concat({"rgb": 4, "depth": 3}, dim=5, pool=None)
    fused = merge(maps, {"rgb": pixels})
    joined = torch.cat([maps["rgb"] * pixels[:, None], maps["depth"]], 1)
    expected = as_linear(merge)(joined.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(fused, expected)


def test_a_pool_of_one_s_own_is_used(case: Any) -> None:
    def first(tokens: Tensor, mask: Tensor | None) -> Tensor:
        assert mask is not None
        return tokens[:, 0]

    merge = Concat(case.dims, dim=5, pool=first)
    values = torch.cat([case.streams["text"].nan_to_num()[:, 0], case.streams["audio"]], 1)
    masks = {**case.masks, "audio": torch.ones(4, dtype=torch.bool)}
    torch.testing.assert_close(merge(case.streams, masks), as_linear(merge)(values))


def test_the_output_is_as_wide_as_the_widest_input_by_default() -> None:
    assert Concat({"text": 4, "audio": 9}).dim == 9


def test_adding_a_modality_keeps_the_others_keys() -> None:
    few, many = Concat({"a": 2, "b": 3}, dim=4), Concat({"a": 2, "b": 3, "c": 5}, dim=4)
    missing, unexpected = many.load_state_dict(few.state_dict(), strict=False)
    assert (missing, unexpected) == (["weight.c"], [])


def test_it_starts_as_one_linear_map_over_the_concatenation() -> None:
    values = torch.cat(
        [p.detach().flatten() for p in Concat({"text": 500, "audio": 300}, dim=40).parameters()]
    )
    bound = 800**-0.5
    assert 0.99 * bound < values.abs().max() <= bound
    assert abs(values.std() - bound / 3**0.5) < 0.01 * bound


def test_a_linear_map_converts() -> None:
    linear, dims = nn.Linear(9, 5), {"video": 2, "text": 4, "audio": 3}
    merge = Concat(dims, dim=5)
    merge.load_state_dict(convert_concat(linear.weight.detach(), linear.bias.detach(), dims))
    streams = {name: torch.randn(6, width) for name, width in dims.items()}
    torch.testing.assert_close(merge(streams), linear(torch.cat(list(streams.values()), 1)))


def test_a_linear_map_of_another_width_does_not_convert() -> None:
    with pytest.raises(
        OptionError, match=r"^weight must have shape \[dim, 7\], the sum of dims, got \[5, 9\]\.$"
    ):
        convert_concat(torch.ones(5, 9), torch.ones(5), {"text": 4, "audio": 3})


def test_positions_that_differ_are_refused_where_nothing_pools() -> None:
    merge = Concat({"text": 4, "audio": 3}, pool=None)
    with pytest.raises(
        ModalityError, match=r"^Streams must share their positions where pool=None, got .*\. Pass a pool\.$"
    ):
        merge({"text": torch.ones(2, 7, 4), "audio": torch.ones(2, 6, 3)})


@pytest.mark.parametrize("dim", [0, -3])
def test_a_width_below_one_is_refused(dim: int) -> None:
    with pytest.raises(OptionError, match=rf"^dim must be at least 1, got {dim}\.$"):
        Concat({"text": 4}, dim=dim)


def test_a_keyword_it_does_not_read_is_refused() -> None:
    with pytest.raises(OptionError, match=r"^Concat does not read 'scores'\. Known: none\.$"):
        Concat({"text": 4})({"text": torch.ones(2, 4)}, scores={})
