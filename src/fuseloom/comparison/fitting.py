"""Which models take part: those of the fusions that can take the data at all."""

from collections.abc import Sequence

import torch

from fuseloom.comparison.config import ALL_FUSIONS, Candidate, CompareConfig, candidates
from fuseloom.comparison.prepare import Prepared
from fuseloom.errors import ModalityError, OptionError
from fuseloom.models import build_model
from fuseloom.train.fit import seeded

__all__ = ["taking_part"]


def taking_part(folds: Sequence[Prepared], config: CompareConfig) -> tuple[list[list[Candidate]], list[str]]:
    """The candidates of each fold, and notes on the fusions that were left out.

    Each is built and run on one row: too many modalities for its mathematics, positions that differ, or a
    product that would exhaust the memory are what a part itself finds out. Of ``all`` fusions such ones are
    left out.

    Raises:
        OptionError: one that was named cannot take the data.
    """
    everyone = [candidates(fold.encoders, config) for fold in folds]
    reasons = {one.name: _refusal(one, folds[0]) for one in everyone[0]}
    refused = {name: reason for name, reason in reasons.items() if reason is not None}
    if refused and ALL_FUSIONS not in config.fusions:
        name, reason = next(iter(refused.items()))
        raise OptionError(f"{name} cannot take these data. {reason}")
    kept = [[one for one in fold if one.name not in refused] for fold in everyone]
    return kept, [f"{name} does not take part: {reason}" for name, reason in refused.items()]


def _refusal(candidate: Candidate, ready: Prepared) -> str | None:
    row = ready.rows.take("train", candidate.modalities).take(slice(0, 1))
    try:
        with seeded(0), torch.inference_mode():
            build_model(candidate.model, ready.task).eval()(row.inputs, row.masks)
    except (ModalityError, OptionError) as error:
        return str(error)
    return None
