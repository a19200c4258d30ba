"""Layouts: what the contract runs a part on."""

from typing import Any

import pytest
import torch

from fuseloom.merge import Merge
from fuseloom.merge.concat import Concat
from fuseloom.merge.sum import Sum
from fuseloom.registry import Card, Rank
from fuseloom.testing import Case, Layout
from fuseloom.testing._interaction import _without_names

LAYOUT = Layout(
    dims={"text": 5, "audio": 3, "rgb": 2}, positions={"text": (4,), "audio": (), "rgb": (2, 3)}, batch=5
)


def claiming(**claims: Any) -> Case:
    class Part(Merge):
        card = Card(summary="-", interaction="additive", cost="-", parameters="-", **claims)

    return Case.of(Part, "merge")


def test_shapes_follow_the_ranks() -> None:
    assert [LAYOUT.shape(name) for name in LAYOUT.dims] == [(5, 4, 5), (5, 3), (5, 2, 2, 3)]
    assert LAYOUT.shape("rgb", 9) == (5, 9, 2, 3)
    assert str(LAYOUT) == "text [5, 4, 5], audio [5, 3], rgb [5, 2, 2, 3]"
    assert {name: tuple(value.shape) for name, value in LAYOUT.draw().items()} == {
        name: LAYOUT.shape(name) for name in LAYOUT.dims
    }


def test_resizing_keeps_widths() -> None:
    larger = LAYOUT.resized(7, 2)
    assert [larger.shape(name) for name in larger.dims] == [(7, 6, 5), (7, 3), (7, 2, 4, 5)]


def test_gap_masks_hold_a_whole_sample_one_without_a_modality_and_one_without_any() -> None:
    masks = LAYOUT.gap_masks()
    assert {name: tuple(mask.shape) for name, mask in masks.items()} == {
        "text": (5, 4),
        "audio": (5,),
        "rgb": (5, 2, 3),
    }
    assert [bool(mask[0].all()) for mask in masks.values()] == [True, True, True]
    assert [bool(mask[1].any()) for mask in masks.values()] == [False, True, True]
    assert [bool(mask[2].any()) for mask in masks.values()] == [False, False, False]


@pytest.mark.parametrize(
    ("arity", "counts"),
    [
        ((1, None), [1, 2, 3, 4]),
        ((2, None), [2, 3, 4]),
        ((2, 2), [2]),
        ((6, None), [6]),
        ((1, 9), [1, 2, 3, 4]),
    ],
)
def test_numbers_of_modalities_stay_within_the_arity(
    arity: tuple[int, int | None], counts: list[int]
) -> None:
    assert claiming(arity=arity).counts() == counts


def test_many_modalities_have_names_of_their_own() -> None:
    layout = claiming(arity=(6, 6)).main_layout()
    assert (len(layout.dims), min(layout.dims.values())) == (6, 3)


def test_layouts_cover_every_rank_and_their_mixture() -> None:
    def ranks(layout: Layout) -> tuple[int, ...]:
        return tuple(len(where) for where in layout.positions.values())

    case = Case.of(Sum, "merge")
    assert [ranks(layout) for layout in case.layouts()] == [(0, 0), (1, 1), (2, 2), (1, 2, 0)]
    assert len(list(case.all_layouts())) == 3 + 9 + 27 + 3


def test_aligned_streams_share_positions_and_equal_widths_are_equal() -> None:
    case = Case.of(Concat, "merge", aligned=True, equal_widths=True)
    for layout in case.all_layouts():
        assert len(set(layout.positions.values())) == 1
        assert len(set(layout.dims.values())) == 1


@pytest.mark.parametrize("rank", ["tokens", "feature_map"])
def test_layouts_keep_to_the_ranks_of_the_card(rank: Rank) -> None:
    case = claiming(ranks=(rank,))
    shapes = {len(where) for layout in case.all_layouts() for where in layout.positions.values()}
    assert shapes == {{"tokens": 1, "feature_map": 2}[rank]}


def test_a_fresh_part_is_redrawn_and_repeatable() -> None:
    case = Case.of(Sum, "merge")
    layout = case.main_layout()
    first, again, other = case.fresh(layout), case.fresh(layout), case.fresh(layout, 1)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
        assert not torch.equal(value, other.state_dict()[name])
        assert value.abs().min() > 0


@pytest.mark.parametrize(
    ("key", "bare"),
    [
        ("embed.text.weight", "embed.*.weight"),
        ("value.text_from_audio", "value.*_from_*"),
        ("context.bias", "context.bias"),
    ],
)
def test_a_key_without_its_modalities(key: str, bare: str) -> None:
    assert _without_names(key, ["text", "audio"]) == bare
