"""Clause on sizes: one, primes, four modalities, unequal lengths and widths, drawn by hypothesis."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fuseloom.errors import MissingExtraError
from fuseloom.registry import Rank
from fuseloom.testing._case import Case, Layout, modality_names
from fuseloom.testing._expect import expect_close, expect_equal
from fuseloom.testing._masks import fill_masked
from fuseloom.testing._values import expect_shapes

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

__all__ = ["any_sizes"]

_WIDTHS = (1, 2, 3, 5, 7, 13)
_LENGTHS = (1, 2, 3, 5, 11)
_AXES: dict[Rank, int] = {"embedding": 0, "tokens": 1, "feature_map": 2}


def any_sizes(case: Case) -> None:
    """Shapes, ignored masked values and independent samples hold at sizes that hypothesis draws.

    Raises:
        MissingExtraError: hypothesis is not installed.
    """
    try:
        import hypothesis
    except ImportError as error:
        raise MissingExtraError(
            "Drawing sizes needs hypothesis: pip install 'fuseloom[testing]', or skip=('any_sizes',)."
        ) from error
    settings = hypothesis.settings(
        max_examples=10,
        derandomize=True,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),
    )

    @settings
    @hypothesis.given(_layouts(case))
    @hypothesis.example(_layout(case, [case.card.ranks[0]] * case.counts()[-1], [1], [1], 1))
    def holds(layout: Layout) -> None:
        _expect_holds(case, layout)

    holds()


def _layouts(case: Case) -> "SearchStrategy[Layout]":
    from hypothesis import strategies

    @strategies.composite
    def layouts(draw: "DrawFn") -> Layout:
        count = draw(strategies.sampled_from(case.counts()))
        ranks = draw(
            strategies.lists(strategies.sampled_from(case.card.ranks), min_size=count, max_size=count)
        )
        widths = draw(strategies.lists(strategies.sampled_from(_WIDTHS), min_size=count, max_size=count))
        lengths = draw(strategies.lists(strategies.sampled_from(_LENGTHS), min_size=2, max_size=2 * count))
        return _layout(case, ranks, widths, lengths, draw(strategies.integers(1, 5)))

    return layouts()


def _layout(
    case: Case, ranks: Sequence[Rank], widths: Sequence[int], lengths: Sequence[int], batch: int
) -> Layout:
    names = modality_names(len(ranks))
    dims = {name: widths[0 if case.equal_widths else i % len(widths)] for i, name in enumerate(names)}
    positions = {}
    for i, name in enumerate(names):
        place = 0 if case.aligned else i
        axes = _AXES[ranks[place]]
        positions[name] = tuple(lengths[(place * 2 + axis) % len(lengths)] for axis in range(axes))
    return Layout(dims=dims, positions=positions, batch=batch)


def _expect_holds(case: Case, layout: Layout) -> None:
    part, streams, masks = case.fresh(layout), layout.draw(), layout.draw_masks()
    expect_shapes(case, part, layout, case.run(part, streams))
    output = case.run(part, fill_masked(streams, masks, 0.0), masks)
    expect_shapes(case, part, layout, output)
    noisy = case.run(part, fill_masked(streams, masks, float("nan")), masks)
    expect_equal(noisy, output, f"with NaN under False, for {layout}")
    last = {name: value[-1:] for name, value in streams.items()}
    alone = case.run(part, last, {name: mask[-1:] for name, mask in masks.items()})
    expect_close(alone, {n: v[-1:] for n, v in output.items()}, f"of a sample alone, for {layout}")
