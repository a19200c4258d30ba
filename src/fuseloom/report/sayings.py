"""One sentence in plain words for each diagnosis, chosen by its numbers and their intervals.

What holds zero, as it is written beside the sentence, is never called an effect: there these rows do not
show one, which does not say that there is none.
"""

from collections.abc import Iterable, Mapping, Sequence

from fuseloom.diagnose.attention import Attention
from fuseloom.diagnose.complementarity import Complementarity
from fuseloom.diagnose.emap import Emap
from fuseloom.diagnose.interaction_parts import InteractionParts
from fuseloom.diagnose.modality_test import Gain, ModalityTest
from fuseloom.diagnose.pid import Pid, PidParts
from fuseloom.diagnose.reliance import Reliance
from fuseloom.diagnose.robustness import Robustness, RobustnessCurve
from fuseloom.diagnose.shapley import Shapley
from fuseloom.diagnose.shared_space import SharedSpace
from fuseloom.metrics.interval import Interval
from fuseloom.report.words import listed, range_text, score, shown_sign, signed

__all__ = [
    "BITS",
    "attention_saying",
    "complementarity_saying",
    "corruption_name",
    "emap_saying",
    "leading",
    "modality_test_saying",
    "orders_saying",
    "pid_saying",
    "reliance_saying",
    "robustness_saying",
    "shapley_saying",
    "shared_space_saying",
]

BITS = 3
"""Decimals of information, of shares and of correlations."""
_NEGLIGIBLE = 1e-6
_SIGNIFICANT = 0.05
_STAYS = "Whatever was tried on one modality, the model stays better than the best constant answer"


def emap_saying(one: Emap, decimals: int) -> str:
    """Whether the model uses interactions between its modalities.

    Example:
        >>> score = Interval(mean=0.9)
        >>> found = Emap(
        ...     model="m", metric="accuracy", rows=9, modalities=("a", "b"), before=score, after=score,
        ...     gap=Interval(mean=0.0, low=0.0, high=0.0), agreement=None, energy=0.0, form="additive",
        ...     combinations=0, standard_error=0.0, deviation=1.0,
        ... )
        >>> emap_saying(found, 2)
        'The model adds up what a and b say: there is no interaction between them to take away.'
    """
    names, sign = listed(one.modalities), shown_sign(one.gap, decimals)
    if one.energy < _NEGLIGIBLE and one.form != "monte carlo":
        return f"The model adds up what {names} say: there is no interaction between them to take away."
    between = f"interactions between {names}"
    before, after = score(one.before.mean, decimals), score(one.after.mean, decimals)
    if sign == 0:
        return (
            f"These rows do not show that the model gains by {between}: its {one.metric} is {before} with "
            f"them and {after} without, {_open(one.gap, decimals)}."
        )
    size = f"{score(abs(one.gap.mean), decimals)} ({_range(one.gap, decimals)}), from {before} to {after}"
    if sign > 0:
        return f"The model uses {between}: without them its {one.metric} gets worse by {size}."
    return f"On these rows {between} do harm: without them its {one.metric} gets better by {size}."


def _open(interval: Interval, decimals: int) -> str:
    if interval.low is None or interval.high is None:
        return "a difference without an interval that could tell"
    return f"and the difference may be chance ({_range(interval, decimals)})"


def _range(interval: Interval, decimals: int) -> str:
    return f"95 % interval {range_text(interval, decimals, write=signed)}"


def orders_saying(one: InteractionParts, decimals: int) -> str:
    """Whether modalities act in pairs, in threes, and so on."""
    higher = {_order(part.order): part.gain for part in one.orders if part.order > 1}
    better, worse, unclear = _sorted_by_sign(higher, decimals)
    if not better and not worse:
        what = listed(unclear, last="or")
        return f"These rows do not show that {what} add to what each modality says by itself."
    clauses = []
    if better:
        clauses.append(f"{_sized(better, higher, decimals)} make its {one.metric} better")
    if worse:
        clauses.append(f"{_sized(worse, higher, decimals)} make it worse")
    if unclear:
        clauses.append(f"that {listed(unclear, last='or')} change it is not shown")
    return f"Beyond what each modality says by itself, {'; '.join(clauses)}."


def _order(order: int) -> str:
    return {2: "pairs of modalities", 3: "threes"}.get(order, f"groups of {order}")


def _sorted_by_sign(
    found: Mapping[str, Interval], decimals: int
) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
    """Names of what is shown to lie above zero, below it, and neither."""
    above, below, neither = (
        [name for name, one in found.items() if shown_sign(one, decimals) == sign] for sign in (1, -1, 0)
    )
    return above, below, neither


def _sized(names: Iterable[str], found: Mapping[str, Interval], decimals: int) -> str:
    return listed(f"{name} ({signed(found[name].mean, decimals)})" for name in names)


def pid_saying(one: Pid) -> str:
    """What two modalities tell of the target, and whether it is in the predictions too."""
    both = listed(one.sources)
    if shown_sign(one.data.total, BITS) <= 0:
        return f"These rows do not show that {both} tell anything of the target."
    data = _kinds(one.data)
    told, _, untold = _sorted_by_sign(data, BITS)
    amounts = [f"{score(data[kind].mean, BITS)} {kind}" for kind in told]
    total = f"{score(one.data.total.mean, BITS)} of the {score(one.target_entropy, BITS)} {one.unit}"
    parts = f": {listed(amounts)}" if amounts else ""
    clauses = [f"Together {both} tell {total} that there are to know of the target{parts}"]
    if untold:
        clauses.append(f"not shown is anything {listed(untold, last='or')}")
    if one.model is not None and told:
        clauses.append(_in_the_model(one.model, told))
    return f"{'; '.join(clauses)}."


def _kinds(parts: PidParts) -> dict[str, Interval]:
    unique = {f"that only {name} tells": part for name, part in parts.unique.items()}
    return {
        "that either tells (redundant)": parts.redundant,
        **unique,
        "that only both together tell (synergistic)": parts.synergistic,
    }


def _in_the_model(model: PidParts, told: Sequence[str]) -> str:
    found = _kinds(model)
    missed = [kind for kind in told if shown_sign(found[kind], BITS) <= 0]
    if not missed:
        return "the predictions of the model hold information of each of these kinds"
    return f"the predictions of the model are not shown to hold anything {listed(missed, last='or')}"


def reliance_saying(one: Reliance, decimals: int) -> str:
    """Which modalities the model uses, by what shuffling each costs."""
    drops = one.shuffled or one.hidden
    how = "shuffled between rows" if one.shuffled else "hidden"
    used, misled, unclear = _sorted_by_sign(drops, decimals)
    if not used and not misled:
        names = listed(unclear, last="or")
        return f"These rows do not show that the model uses {names}: {how}, {_as_good(one)}."
    clauses = []
    if used:
        sizes = listed(f"{name} ({score(drops[name].mean, decimals)})" for name in used)
        clauses.append(f"The model uses {sizes}: by so much its {one.metric} gets worse where it is {how}")
    if leader := leading(drops, used):
        clauses.append(f"it leans on {leader} most")
    if misled:
        clauses.append(f"it does better with {listed(misled)} {how}")
    if unclear:
        clauses.append(f"that it uses {listed(unclear, last='or')} is not shown")
    return f"{_sentence(clauses)}."


def _as_good(one: Reliance) -> str:
    return f"each leaves its {one.metric} as it was, as far as these rows can tell"


def _sentence(clauses: Sequence[str]) -> str:
    joined = "; ".join(clauses)
    return joined[:1].upper() + joined[1:] if joined.startswith(("it ", "that ")) else joined


def leading(found: Mapping[str, Interval], names: Iterable[str]) -> str | None:
    """The one of some names whose interval lies above those of all others.

    Example:
        >>> found = {"a": Interval(mean=0.5, low=0.4, high=0.6), "b": Interval(mean=0.1, low=0.0, high=0.3)}
        >>> leading(found, found)
        'a'
    """
    for name in names:
        low = found[name].low
        highs = [other.high for key, other in found.items() if key != name]
        if low is not None and highs and all(high is not None and low > high for high in highs):
            return name
    return None


def shapley_saying(one: Shapley, decimals: int) -> str:
    """What each modality brings."""
    brings, costs, unclear = _sorted_by_sign(one.values, decimals)
    if not brings and not costs:
        return f"These rows do not show that {listed(unclear, last='or')} brings the model anything."
    clauses = [f"gains by {_sized(brings, one.values, decimals)}"] if brings else []
    if leader := leading(one.values, brings):
        clauses.append(f"{leader} brings most")
    if costs:
        clauses.append(f"{'it ' if brings else ''}loses by {_sized(costs, one.values, decimals)}")
    if unclear:
        clauses.append(f"that {listed(unclear, last='or')} brings anything is not shown")
    return f"Shared fairly, the {one.metric} of the model {'; '.join(clauses)}."


def modality_test_saying(one: ModalityTest) -> str:
    """Which modalities are used, and which are needed, beyond chance."""
    without = {f"one trained without {name}": gain for name, gain in one.over_without.items()}
    clauses = _tested(one.over_permuted, "the model uses")
    clauses += _tested(without, "it is better than")
    joined = "; ".join(clauses)
    return f"{joined[:1].upper()}{joined[1:]}."


def _tested(gains: Mapping[str, Gain], what: str) -> list[str]:
    found = {name: one.p_holm for name, one in gains.items()}
    beyond = [name for name, p in found.items() if p < _SIGNIFICANT and gains[name].gain.mean > 0]
    others = [name for name in found if name not in beyond]
    clauses = []
    if beyond:
        p = max(found[name] for name in beyond)
        clauses.append(f"{what} {listed(beyond)}, beyond chance (corrected p at most {p:.2g})")
    if others:
        clauses.append(f"that {what} {listed(others, last='or')} is not shown")
    return clauses


def attention_saying(one: Attention) -> str:
    """Whether attention chooses between modalities."""
    heads = [head for layer in one.layers for head in layer.heads if len(head.ratio) > 1]
    if not heads:
        return "Every head sees one modality only, so attention has nothing to choose between."
    names = dict.fromkeys(name for head in heads for name in head.ratio)
    counts = {name: sum(_above_one(head.ratio.get(name)) for head in heads) for name in names}
    favoured = [name for name in names if counts[name]]
    if not favoured:
        there = "the only head" if len(heads) == 1 else f"any of the {len(heads)} heads"
        return (
            f"These rows do not show that {there} looks at a modality more than its share of the tokens asks."
        )
    if len(heads) == 1:
        (name,), (head,) = favoured[:1], heads
        mass = f"{score(head.mass[name].mean, 2)} of the weight, {score(head.ratio[name].mean, 2)} times"
        return f"Attention favours {name}, which gets {mass} what its share of the tokens asks."
    where = listed(f"{counts[name]} look{'s' * (counts[name] == 1)} at {name}" for name in favoured)
    return f"Of {len(heads)} heads, {where} more than its share of the tokens asks."


def _above_one(ratio: Interval | None) -> bool:
    return ratio is not None and ratio.low is not None and round(ratio.low, BITS) > 1


def shared_space_saying(found: Sequence[SharedSpace]) -> str:
    """Whether what is alike in one modality is alike in the other, at the last layer of each pair."""
    last = {listed(one.modalities): one for one in found}
    alike = [pair for pair, one in last.items() if one.cka.p < _SIGNIFICANT]
    others = [pair for pair in last if pair not in alike]
    layer = next(reversed(last.values())).layer
    clauses = []
    if alike:
        sizes = listed(
            f"{pair} (CKA {score(last[pair].cka.estimate.mean, 2)}, by chance "
            f"{score(last[pair].cka.chance, 2)})"
            for pair in alike
        )
        clauses.append(f"rows that are alike in one are alike in the other, beyond chance, for {sizes}")
    if others:
        clauses.append(f"that rows alike in one are alike in the other is not shown for {listed(others)}")
    return f"At the last place compared ({layer}), {'; '.join(clauses)}."


def robustness_saying(one: Robustness, decimals: int) -> str:
    """What breaks the model first."""
    curves = [curve for curve in one.curves if len(curve.modalities) == 1] or list(one.curves)
    broken = [(curve.collapse, curve) for curve in curves if curve.collapse is not None]
    if broken:
        level = min(found for found, _ in broken)
        return _collapse(one, [curve for found, curve in broken if found == level], level)
    halved = [(curve.half, curve) for curve in curves if curve.half is not None and _lost(curve, decimals)]
    if halved:
        level, first = min(halved, key=lambda found: found[0])
        return f"{_STAYS}; half of its lead is lost first by {corruption_name(first)}, at severity {level:g}."
    return _holds(one, curves, decimals)


def _lost(curve: RobustnessCurve, decimals: int) -> bool:
    """Whether a loss is shown where half of the lead is gone."""
    drops = dict(zip(curve.severities, curve.drops, strict=True))
    return curve.half is not None and shown_sign(drops[curve.half], decimals) > 0


def _collapse(one: Robustness, first: Sequence[RobustnessCurve], level: float) -> str:
    if level == 0:
        return (
            f"Even on clean rows the {one.metric} of the model is not shown to beat the best constant answer."
        )
    how = listed((corruption_name(curve) for curve in first), last="or")
    return (
        f"The model breaks first by {how}: from severity {level:g} on, its {one.metric} is not shown to beat "
        "the best constant answer."
    )


def _holds(one: Robustness, curves: Sequence[RobustnessCurve], decimals: int) -> str:
    worst = max(curves, key=lambda curve: curve.drops[-1].mean)
    if shown_sign(worst.drops[-1], decimals) <= 0:
        return f"These rows do not show that anything tried on one modality makes its {one.metric} worse."
    size = score(worst.drops[-1].mean, decimals)
    level = f"at severity {worst.severities[-1]:g}"
    costs = f"{corruption_name(worst)} costs most, {size} of its {one.metric} {level}"
    if one.constant is None:
        return f"Of what was tried on one modality, {costs}; no constant answer tells where the model breaks."
    return f"{_STAYS}; {costs}."


def corruption_name(curve: RobustnessCurve) -> str:
    """Such as ``gaussian noise on text``, or ``text missing``."""
    if curve.corruption == "missing":
        return f"{listed(curve.modalities)} missing"
    return f"{curve.corruption.replace('_', ' ')} on {listed(curve.modalities)}"


def complementarity_saying(one: Complementarity) -> str:
    """How often fusing rescues a row, and how often it does harm."""
    rescued = f"{one.rescued.rows:,} of {one.rows:,} rows"
    harmed, spoiled = f"{one.harmed.rows:,}", f"{one.spoiled.rows:,}"
    if one.measure == "accuracy":
        return (
            f"Fusing is right on {rescued} that every modality alone gets wrong (rescued), and wrong on "
            f"{harmed} that some modality alone gets right (harmed), on {spoiled} of which all are right "
            "(spoiled)."
        )
    return (
        f"Fusing errs less than every modality alone on {rescued} (rescued), and more than some modality on "
        f"{harmed} (harmed), on {spoiled} of which it errs more than every one (spoiled)."
    )
