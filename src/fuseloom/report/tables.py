"""The numbers of a diagnosis as rows of text, the same on the page and in the terminal."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fuseloom.diagnose.attention import Attention
from fuseloom.diagnose.complementarity import Complementarity, Share
from fuseloom.diagnose.emap import Emap
from fuseloom.diagnose.interaction_parts import InteractionParts
from fuseloom.diagnose.modality_test import ModalityTest
from fuseloom.diagnose.pid import Pid, PidParts
from fuseloom.diagnose.reliance import Reliance
from fuseloom.diagnose.robustness import Robustness
from fuseloom.diagnose.shapley import Shapley
from fuseloom.diagnose.shared_space import AgainstChance, SharedSpace
from fuseloom.metrics.interval import Interval
from fuseloom.report.words import ABSENT, range_text, score, signed

__all__ = [
    "Table",
    "answer_name",
    "attention_details",
    "attention_table",
    "complementarity_table",
    "emap_table",
    "modality_test_table",
    "orders_table",
    "pid_table",
    "reliance_table",
    "robustness_table",
    "samples_table",
    "shapley_table",
    "shared_space_table",
]

_DIGITS = 3
_RANGE = "95 % interval"
Row = tuple[str, ...]
Write = Callable[[float | None, int], str]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A head and rows of text."""

    head: Row
    rows: tuple[Row, ...]
    words: int = 1
    """How many columns, from the left, hold words; the others hold numbers."""
    note: str = ""
    """What the table does not say, in a sentence."""


def _estimate(interval: Interval | None, decimals: int, write: Write = score) -> Row:
    if interval is None:
        return (ABSENT, ABSENT)
    return (write(interval.mean, decimals), range_text(interval, decimals, write=write))


def emap_table(one: Emap, decimals: int) -> Table:
    """Scores before and after, the gap, agreement and energy."""
    rows = [
        (f"{one.metric} of the model", *_estimate(one.before, decimals)),
        (f"{one.metric} without interactions", *_estimate(one.after, decimals)),
        ("lost without them", *_estimate(one.gap, decimals, signed)),
    ]
    if one.agreement is not None:
        rows.append(("rows decided alike", *_estimate(one.agreement, _DIGITS)))
    rows.append(("interaction energy", score(one.energy, _DIGITS), ABSENT))
    return Table(head=("On these rows", "Estimate", _RANGE), rows=tuple(rows), note=_how(one))


def _how(one: Emap) -> str:
    if one.form == "exact":
        return f"Computed exactly, from {one.combinations:,} combinations of modalities."
    if one.standard_error == 0:
        return f"Computed exactly, in closed form ({one.form})."
    return (
        "Partners of each row were drawn: a projected output has a standard error of "
        f"{one.standard_error:.2g}, where outputs vary by {one.deviation:.2g}."
    )


def orders_table(one: InteractionParts, decimals: int) -> Table:
    """What each number of modalities that act together adds."""
    rows = tuple(
        (str(part.order), *_estimate(part.gain, decimals, signed), score(part.energy, _DIGITS))
        for part in one.orders
    )
    drawn = f"Of {one.of_rows:,} rows {one.rows:,} were drawn." if one.rows < one.of_rows else ""
    return Table(head=("Acting together", f"Adds to {one.metric}", _RANGE, "Energy"), rows=rows, note=drawn)


def pid_table(one: Pid) -> Table:
    """The parts of what is told, in the data and in the predictions."""
    found = [_told_by(one.data), _told_by(one.model) if one.model is not None else {}]
    rows = tuple(
        (name, *(cell for parts in found for cell in _estimate(parts.get(name), _DIGITS)))
        for name in found[0]
    )
    clusters = ", ".join(f"{name} {one.num_symbols[name]}" for name in one.clustered)
    notes = [
        f"In {one.unit}, of {one.num_rows:,} rows.",
        f"Values became clusters: {clusters}." if clusters else "",
        f"Agreement of data and model: {score(one.agreement, _DIGITS)}." if one.agreement is not None else "",
    ]
    return Table(
        head=("Told by", "Data", _RANGE, "Model", _RANGE), rows=rows, note=" ".join(filter(None, notes))
    )


def _told_by(parts: PidParts) -> dict[str, Interval]:
    return {
        "either (redundant)": parts.redundant,
        **{f"only {name}": part for name, part in parts.unique.items()},
        "only both (synergistic)": parts.synergistic,
        "all of it": parts.total,
    }


def reliance_table(one: Reliance, decimals: int) -> Table:
    """What is lost by each modality, in three ways."""
    ways: Mapping[str, dict[str, Interval]] = {
        "hidden": one.hidden,
        "shuffled": one.shuffled,
        "noise": one.noise,
    }
    rows = tuple(
        (name, way, *_estimate(drops[name], decimals, signed))
        for name in one.hidden
        for way, drops in ways.items()
        if name in drops
    )
    return Table(head=("Modality", "Made", f"{one.metric} lost", _RANGE), rows=rows, words=2)


def shapley_table(one: Shapley, decimals: int) -> Table:
    """What each modality brings, and what there is to share."""
    rows = [(name, *_estimate(value, decimals, signed)) for name, value in one.values.items()]
    rows += [
        (f"{one.metric} with all", *_estimate(one.score, decimals)),
        (f"{one.metric} with none", *_estimate(one.empty, decimals)),
    ]
    return Table(head=("Modality", f"{one.metric} it brings", _RANGE), rows=tuple(rows))


def modality_test_table(one: ModalityTest, decimals: int) -> Table:
    """Gains with their p-values."""
    rows = tuple(
        (name, against, *_estimate(gain.gain, decimals, signed), f"{gain.p_holm:.2g}")
        for against, gains in (
            ("rows permuted", one.over_permuted),
            ("trained without", one.over_without),
        )
        for name, gain in gains.items()
    )
    return Table(head=("Modality", "Against", f"{one.metric} gained", _RANGE, "p"), rows=rows, words=2)


def attention_table(one: Attention) -> Table:
    """The weight on each modality, layer by layer and head by head."""
    rows = tuple(
        (layer.name, str(head.head), name, *_estimate(mass, _DIGITS), score(head.ratio[name].mean, 2))
        for layer in one.layers
        for head in layer.heads
        for name, mass in head.mass.items()
    )
    rates = ", ".join(
        f"{layer.name} {score(layer.imbalance_rate.mean, _DIGITS)} "
        f"({range_text(layer.imbalance_rate, _DIGITS)})"
        for layer in one.layers
        if layer.imbalance_rate is not None
    )
    return Table(
        head=("Layer", "Head", "Modality", "Weight", _RANGE, "Of even"),
        rows=rows,
        words=3,
        note=f"Attention imbalance rate (AIR): {rates}." if rates else "",
    )


def attention_details(one: Attention) -> Iterator[tuple[str, Table]]:
    """How narrowly each head looks, and the keys of the modalities where they are filed, under titles."""
    heads = tuple(
        (
            layer.name,
            str(head.head),
            *_estimate(head.entropy, 2),
            *_estimate(head.effective_tokens, 1),
            score(head.elsewhere.mean, _DIGITS),
        )
        for layer in one.layers
        for head in layer.heads
    )
    head: Row = ("Layer", "Head", "Entropy", _RANGE, "Tokens", _RANGE, "Elsewhere")
    yield (
        "How narrowly: nats, tokens of equal weight with that entropy",
        Table(head=head, rows=heads, words=2),
    )
    points = tuple(
        (layer.name, point.modality, *_estimate(point.angle, 1), *_estimate(point.norm, 2))
        for layer in one.layers
        for point in layer.points
    )
    gaps = tuple(
        (
            layer.name,
            f"{gap.first} / {gap.second}",
            *_estimate(gap.cosine, _DIGITS),
            *_estimate(gap.distance, 2),
        )
        for layer in one.layers
        for gap in layer.gaps
    )
    if points:
        head = ("Layer", "Modality", "Angle (°)", _RANGE, "Length", _RANGE)
        yield "Mean keys as seen from the query", Table(head=head, rows=points, words=2)
    if gaps:
        head = ("Layer", "Modalities", "Cosine", _RANGE, "Distance", _RANGE)
        yield "Between the mean keys", Table(head=head, rows=gaps, words=2)


def shared_space_table(found: tuple[SharedSpace, ...]) -> Table:
    """Each measure beside chance."""
    rows = tuple(
        (one.layer, " / ".join(one.modalities), name, *_against(measure))
        for one in found
        for name, measure in _measures(one)
    )
    return Table(head=("Layer", "Modalities", "Measure", "Found", "Chance", "p"), rows=rows, words=3)


def _against(measure: AgainstChance) -> Row:
    return (
        score(measure.estimate.mean, _DIGITS),
        score(measure.chance, _DIGITS),
        f"{measure.p:.2g}",
    )


def _measures(one: SharedSpace) -> Iterator[tuple[str, AgainstChance]]:
    yield "CKA", one.cka
    yield "CCA", one.cca
    yield "neighbours", one.neighbours
    for recall in one.recall:
        yield f"recall@{recall.depth} of {recall.target}", recall.found
    if one.gap is not None:
        yield "modality gap", one.gap
    if one.matched is not None:
        yield "cosine, matched", one.matched


def robustness_table(one: Robustness, decimals: int) -> Table:
    """Each corruption at its worst, and where it breaks the model."""
    rows = tuple(
        (
            " + ".join(curve.modalities),
            curve.corruption.replace("_", " "),
            *_estimate(curve.drops[-1], decimals, signed),
            _severity(one, curve.half),
            _severity(one, curve.collapse),
        )
        for curve in one.curves
    )
    constant = (
        "" if one.constant is None else f", of the best constant answer {_mean(one.constant, decimals)}"
    )
    levels = one.curves[0].severities
    return Table(
        head=("Modality", "Corruption", "Lost at worst", _RANGE, "Halved", "Breaks"),
        rows=rows,
        words=2,
        note=f"{one.metric} without corruption: {_mean(one.score, decimals)}{constant}. "
        f"Severities: {', '.join(f'{level:g}' for level in levels)}.",
    )


def _mean(interval: Interval, decimals: int) -> str:
    return score(interval.mean, decimals)


def _severity(one: Robustness, level: float | None) -> str:
    """Where a curve falls to the best constant answer, or half of the way; unknown where there is none."""
    if one.constant is None:
        return ABSENT
    return "never" if level is None else f"{level:g}"


def complementarity_table(one: Complementarity, decimals: int) -> Table:
    """Kinds of rows, and scores with that of the oracle."""
    kinds = {
        "modalities differ": one.differ,
        "rescued": one.rescued,
        "harmed": one.harmed,
        "of these spoiled": one.spoiled,
    }
    scores = {
        **{f"{name} alone": found for name, found in one.alone.items()},
        "fusion": one.fused,
        "oracle of each row": one.oracle,
        "headroom": one.headroom,
    }
    rows = [_counted(name, share) for name, share in kinds.items()]
    rows += [(f"{one.measure}, {name}", "", *_estimate(found, decimals)) for name, found in scores.items()]
    left = f" {one.left_out:,} rows were left out." if one.left_out else ""
    return Table(
        head=("What", "Rows", "Estimate", _RANGE), rows=tuple(rows), note=f"Of {one.rows:,} rows.{left}"
    )


def _counted(name: str, share: Share) -> Row:
    return (name, f"{share.rows:,}", *_estimate(share.share, _DIGITS))


def answer_name(one: Complementarity, decimals: int, classes: Sequence[str] = ()) -> Callable[[float], str]:
    """What writes an answer of a sample in words: the name of a class, or a number.

    Args:
        one: Of one model.
        decimals: Of numbers that are predicted.
        classes: Their names, by number; where none are given the numbers stand.
    """

    def name(value: float) -> str:
        if one.measure == "mean absolute error" or value != value:
            return score(value, decimals)
        return classes[int(value)] if int(value) < len(classes) else f"class {int(value)}"

    return name


def samples_table(one: Complementarity, decimals: int, classes: Sequence[str] = ()) -> Table:
    """The rows on which fusing helps or harms most.

    Args:
        one: Of one model.
        decimals: Of numbers that are predicted.
        classes: Their names, by number; where none are given the numbers stand.
    """
    said = answer_name(one, decimals, classes)
    names = list(one.alone)
    rows = tuple(
        (
            sample.row,
            sample.kind,
            said(sample.target),
            *(said(sample.alone[name]) if name in sample.alone else "absent" for name in names),
            said(sample.fused),
            signed(sample.margin, _DIGITS),
        )
        for sample in one.samples
    )
    head = ("Row", "Kind", "True", *(f"{name} alone" for name in names), "Fusion", "Margin")
    return Table(head=head, rows=rows, words=len(head) - 1)
