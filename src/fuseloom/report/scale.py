"""Which models a score axis should span, so that one outlier does not hide how the others differ."""

import math

from fuseloom.comparison.result import Comparison, Entry

__all__ = ["in_scale"]


def in_scale(comparison: Comparison) -> list[Entry]:
    """The entries a score axis should span, best test score first; those far behind are left out.

    A baseline at chance or a diverged model would squeeze all others into one spot. The models that the
    answer is about, and the better half, are kept however far apart they are.
    """
    finite = [entry for entry in comparison.entries if math.isfinite(entry.test.mean)]
    ranked = sorted(finite, key=lambda entry: entry.test.mean, reverse=comparison.higher_is_better)
    answer = comparison.recommendation
    asked = {answer.name, answer.best_unimodal, answer.best_fusion}
    last_asked = max((rank for rank, entry in enumerate(ranked, start=1) if entry.name in asked), default=0)
    kept = ranked[: max(2, (len(ranked) + 1) // 2, last_asked)]
    for entry in ranked[len(kept) :]:
        best = kept[0].test.mean
        if abs(entry.test.mean - best) > 4 * max(abs(kept[-1].test.mean - best), 0.02 * abs(best)):
            break
        kept.append(entry)
    return kept
