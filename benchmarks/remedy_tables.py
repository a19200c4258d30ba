"""Tables of what remedies did on many draws of rows, from the results of `remedies.py`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import t, ttest_1samp

from fuseloom.metrics.correction import holm

__all__ = ["PLAIN", "render", "summary"]

PLAIN = ""
"""Name of training without a remedy."""
_ALPHA = 0.025
_HEAD = "remedy         accuracy    gain     95 % interval           AIR  mass follows   more  95 % interval"


def render(results: Mapping[str, Any]) -> str:
    """A table for each setting, and what the results depend on."""
    about = ", ".join(f"{key} {value}" for key, value in results.items() if key not in _LEFT_OUT)
    return "\n".join([*tables(results["draws"]), "", about, ""])


_LEFT_OUT = ("draws", "format_version", "changed_files")


def summary(draws: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of the draws of one setting: for each remedy the means, and its difference to none."""
    names = list(draws[0]["runs"])
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        runs = [draw["runs"][name] for draw in draws]
        values = {
            key: [one[key] for one in runs if key in one] for key in ("accuracy", "air", "mass", "follows")
        }
        found[name] = {key: float(np.mean(some)) for key, some in values.items() if some}
        followed = [(run["follows"], none["follows"]) for run, none in _beside_plain(name, draws)]
        found[name]["more"] = _interval([one - other for one, other in followed]) if name and followed else {}
    pairs = {n: [d["runs"][n]["accuracy"] - d["runs"][PLAIN]["accuracy"] for d in draws] for n in names[1:]}
    for side, word in (("greater", "helps"), ("less", "harms")):
        p_values = [_p_value(some, side) for some in pairs.values()]
        for name, p_value in zip(pairs, holm(p_values), strict=True):
            if p_value <= _ALPHA:
                found[name]["verdict"] = word
    for name, some in pairs.items():
        found[name] |= _interval(some)
    return found


def _beside_plain(name: str, draws: Sequence[Mapping[str, Any]]) -> list[tuple[Any, Any]]:
    """Each run with a remedy and the one without on the same draw, where attention can be looked at."""
    pairs = [(draw["runs"][name], draw["runs"][PLAIN]) for draw in draws]
    return [pair for pair in pairs if all("follows" in run for run in pair)]


def _p_value(differences: Sequence[float], side: str) -> float:
    if np.ptp(differences) == 0:
        return 1.0
    return float(ttest_1samp(differences, 0.0, alternative=side).pvalue)


def _interval(differences: Sequence[float]) -> dict[str, float]:
    mean, count = float(np.mean(differences)), len(differences)
    wide = (
        float(t.ppf(1 - _ALPHA, count - 1) * np.std(differences, ddof=1) / np.sqrt(count)) if count > 1 else 0
    )
    return {"gain": mean, "gain_low": mean - wide, "gain_high": mean + wide}


def tables(draws: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A table for each setting."""
    for setting in dict.fromkeys(tuple(draw["setting"]) for draw in draws):
        own = [draw for draw in draws if tuple(draw["setting"]) == setting]
        known = {name: float(np.mean([draw["best"][name] for draw in own])) for name in own[0]["best"]}
        alone = {name: float(np.mean([draw["alone"][name] for draw in own])) for name in own[0]["alone"]}
        best = ", ".join(f"{name} {score:.3f}" for name, score in known.items())
        yield f"\n{setting}, {len(own)} draws; at most: {best or 'not known'}"
        yield f"alone: {', '.join(f'{name} {score:.3f}' for name, score in alone.items())}"
        yield _HEAD
        for name, one in summary(own).items():
            yield _line(name, one)


def _line(name: str, one: Mapping[str, Any]) -> str:
    gain = f"{one['gain']:+7.3f} {one['gain_low']:+.3f} to {one['gain_high']:+.3f}" if name else " " * 24
    seen = " ".join(
        f"{one[key]:{wide}.2f}" if key in one else " " * (wide - 1) + "-"
        for key, wide in (("air", 6), ("mass", 5), ("follows", 7))
    )
    more = one["more"]
    told = f" {more['gain']:+6.2f} {more['gain_low']:+.2f} to {more['gain_high']:+.2f}" if more else ""
    return f"{name or 'none':14} {one['accuracy']:8.3f} {gain:>25} {one.get('verdict', ''):6} {seen}{told}"


def render_costs(results: Mapping[str, Any]) -> str:
    """The table of `cooperation.py`, and what it depends on."""
    lines = [f"{'remedy':14} {'step / plain':>12} {'quartiles':>13} {'step':>9} {'between epochs':>15}"]
    lines += [
        f"{one['remedy'] or 'none':14} {one['ratio']:12.2f} {one['low']:6.2f} {one['high']:6.2f} "
        f"{one['step_ms']:6.2f} ms {one['between_epochs_ms']:12.1f} ms"
        for one in results["costs"]
    ]
    lines += ["", "RollingQ, counted:"]
    lines += [f"  {key.replace('_', ' ')}: {value}" for key, value in results["rolling"].items()]
    about = ", ".join(
        f"{key} {value}" for key, value in results.items() if key not in (*_LEFT_OUT, "costs", "rolling")
    )
    return "\n".join([*lines, "", about, ""])
