"""The answer of a comparison in plain words."""

from collections.abc import Sequence
from dataclasses import dataclass

from fuseloom.comparison.result import Entry, Verdict
from fuseloom.metrics.interval import Interval

__all__ = ["Answered", "sentence"]


@dataclass(frozen=True, kw_only=True)
class Answered:
    """All that the sentence speaks of."""

    chosen: Entry
    best: Entry
    """On validation data."""
    alone: Entry
    fused: Entry
    rivals: tuple[str, ...]
    """Simpler models that the validation rows cannot tell from the best, where that is the chosen one."""
    gain: Interval
    verdict: Verdict
    rows_needed: int | None
    """About how many test rows would settle whether fusing pays."""
    metric: str
    higher_is_better: bool
    margin: float
    num_valid: int
    num_test: int


def sentence(answered: Answered) -> str:
    """What to use, why that model, and whether fusing pays, with the numbers."""
    chosen = answered.chosen
    fused = chosen.role == "fusion"
    what = f"{chosen.name} on {_listed(chosen.modalities)}" if fused else f"{chosen.name} alone"
    price = f"{_number(chosen.test.mean)} {answered.metric} on test data"
    return f"Use {what} ({price}): {_why(answered)}. {_pays(answered)}"


def _why(answered: Answered) -> str:
    if answered.chosen is not answered.best:
        return (
            f"it is the simplest model that validation data show to be as good as {answered.best.name}, the "
            f"best there, give or take {_number(answered.margin)}"
        )
    if not answered.rivals:
        return "it is the best on validation data, and nothing simpler is as good"
    first, *others = answered.rivals
    more = f" or {len(others)} more" if others else ""
    return (
        f"it is the best on validation data; {answered.num_valid:,} validation rows cannot tell whether the "
        f"simpler {first}{more} would be as good"
    )


def _pays(answered: Answered) -> str:
    against = f"{answered.fused.name} against {answered.alone.name} alone: {_gain(answered)}"
    single = answered.chosen.role == "unimodal"
    if answered.verdict == "fusing pays":
        doubt = ", which validation data did not show" if single else ""
        return f"{'Yet on test data fusing' if single else 'Fusing'} pays{doubt} ({against})."
    if answered.verdict == "fusing does not pay":
        instead = "" if single else f" {answered.alone.name} alone would do."
        return f"Fusing does not pay: it gains less than {_number(answered.margin)} ({against}).{instead}"
    return (
        f"Whether fusing pays, {answered.num_test:,} test rows cannot tell ({against}); {_settled(answered)}."
    )


def _settled(answered: Answered) -> str:
    if answered.gain.low is None:
        return "there are too few of them for an interval"
    if answered.rows_needed is None:
        return "the gain is so near to what would settle it that no number of rows in reach would"
    return f"about {answered.rows_needed:,} would"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"


def _gain(answered: Answered) -> str:
    gain, metric = answered.gain, answered.metric
    much = (
        f"{gain.mean:+.3f} {metric}" if answered.higher_is_better else f"{metric} lower by {gain.mean:+.3f}"
    )
    if gain.low is None or gain.high is None:
        return much
    return f"{much}, 95 % interval {gain.low:+.3f} to {gain.high:+.3f}"
