"""Whether attention follows the quality of what it looks at, in words, in a table and in figures."""

from collections.abc import Sequence

from fuseloom.diagnose.attention import AttentionQuality
from fuseloom.metrics.interval import Interval
from fuseloom.report.estimates import estimates
from fuseloom.report.tables import Table
from fuseloom.report.words import listed, range_text, shown_sign, signed

__all__ = ["quality_figures", "quality_saying", "quality_table"]

_DECIMALS = 2
_MOST_LAYERS = 12


def quality_saying(found: Sequence[AttentionQuality]) -> str:
    """Of which modalities attention follows the quality, and of which it does not.

    Example:
        >>> one = AttentionQuality(
        ...     model="m", modality="image", corruption="gaussian_noise", rows=90,
        ...     correlations={"merge.attention": Interval(mean=0.62, low=0.5, high=0.7)},
        ... )
        >>> quality_saying([one])
        'Attention follows the quality of image (correlation +0.62): the worse it gets, the less it weighs.'
    """
    follows = {one.modality: said for one in found if (said := _shown(one, 1))}
    against = {one.modality: said for one in found if (said := _shown(one, -1))}
    unclear = [one.modality for one in found if one.modality not in {*follows, *against}]
    clauses = []
    if follows:
        each = "it" if len(follows) == 1 else "one"
        clauses.append(
            f"attention follows the quality of {_sized(follows)}: the worse {each} gets, the less it weighs"
        )
    if against:
        each = "that" if len(against) == 1 else "one of these"
        clauses.append(f"the weight on {_sized(against)} grows the worse {each} gets")
    if unclear:
        what = "it follows" if follows else "attention follows"
        clauses.append(f"that {what} the quality of {listed(unclear, last='or')} is not shown")
    joined = "; ".join(clauses)
    return f"{joined[:1].upper()}{joined[1:]}."


def _sized(said: dict[str, str]) -> str:
    return listed(f"{modality} ({size})" for modality, size in said.items())


def _shown(one: AttentionQuality, sign: int) -> str:
    """In which layers a correlation is shown to have this sign, and how large it gets; empty for none."""
    shown = [layer.mean for layer in one.correlations.values() if shown_sign(layer, _DECIMALS) == sign]
    if not shown:
        return ""
    size = signed(sign * max(abs(mean) for mean in shown), _DECIMALS)
    if len(one.correlations) == 1:
        return f"correlation {size}"
    return f"in {len(shown)} of {len(one.correlations)} layers, correlation up to {size}"


def quality_table(found: Sequence[AttentionQuality]) -> Table:
    """The correlation of each layer's attention with the quality of each modality."""
    rows = tuple(
        (
            layer,
            one.modality,
            one.corruption.replace("_", " "),
            signed(correlation.mean, _DECIMALS),
            range_text(correlation, _DECIMALS, write=signed),
            f"{one.rows:,}",
        )
        for one in found
        for layer, correlation in one.correlations.items()
    )
    return Table(
        head=("Layer", "Modality", "Made worse by", "Correlation", "95 % interval", "Rows"),
        rows=rows,
        words=3,
        note="Spearman's correlation of the weight on a modality, the mean over heads, with its quality: 1 "
        "less the severity, which was drawn from 0 to 1 for each row.",
    )


def quality_figures(found: Sequence[AttentionQuality]) -> list[tuple[str, str]]:
    """A figure per layer, at most twelve: its name, and a correlation per modality as inline SVG.

    Args:
        found: Of one model.
    """
    layers: dict[str, dict[str, Interval]] = {}
    for one in found:
        for layer, correlation in one.correlations.items():
            layers.setdefault(layer, {})[one.modality] = correlation
    title = "correlation with quality"
    return [
        (layer, estimates(shown, title, _DECIMALS, zero=True))
        for layer, shown in list(layers.items())[:_MOST_LAYERS]
    ]
