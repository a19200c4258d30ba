"""Runners of MuSE's scores of entities: four scorers side by side, and the authors' evaluation with a CRF."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fuseloom.metrics.spans import SpanCounts, SpanRule, SpanScores, entity_spans, span_scores
from fuseloom.nn.crf import LinearChainCrf
from fuseloom.testing.goldens._case import (
    Given,
    GoldenCase,
    Runner,
    Stated,
    json_tensor,
    load_module,
)

__all__ = ["RUNNERS"]

_RULES: Mapping[str, SpanRule] = {
    "muse_bio": "muse",
    "muse_bios": "muse_bios",
    "seqeval_1.2.2_default": "seqeval",
    "umt_ner_evaluate": "umt",
}
"""Scorer as the case calls it -> as we do."""
_CHUNKS = "umt_ner_evaluate"
"""The one that says where an entity ends by the word behind it."""
_TYPES_OF_UMT = ("LOC", "MISC", "ORG", "PER")
_SIDES = {"gold": "gold_entities", "pred": "pred_entities"}
_NONE = SpanCounts(correct=0, predicted=0, support=0)
_DECIMALS = 4
"""That MuSE rounds scores of a type to."""


def _states_scores(case: GoldenCase) -> Stated:
    cases = case.header["cases"]
    given = [{"name": one["name"], "gold": one["gold"], "pred": one["pred"]} for one in cases]
    expected = {
        f"output.{one['name']}.{scorer}.{what}": value
        for one in cases
        for scorer in _RULES
        for what, value in _expected(one[scorer]).items()
    }
    return Stated(given={"cases": given}, expected=expected)


def _expected(scores: Mapping[str, Any]) -> dict[str, Tensor]:
    """What a scorer states of one case."""
    found = {"scores": _numbers([scores[name] for name in ("precision", "recall", "f1")])}
    for side, name in _SIDES.items():
        found[side] = json_tensor(scores[name if name in scores else f"{side}_chunks"])
    if "n_gold" in scores:
        found["counts"] = torch.tensor([scores[name] for name in ("n_right", "n_pred", "n_gold")])
    if "token_accuracy" in scores:
        found["token_accuracy"] = _numbers([scores["token_accuracy"]])
    return found | _stated_types(scores.get("per_class"), "precision")


def _stated_types(types: Mapping[str, Any] | None, precision: str) -> dict[str, Tensor]:
    if types is None:
        return {}
    names = sorted(types)
    rows = [number for name in names for number in (types[name][key] for key in (precision, "recall", "f1"))]
    return {"types": json_tensor(names), "per_type": _numbers(rows)}


def _scores(given: Given) -> dict[str, Tensor]:
    return {
        f"output.{case['name']}.{scorer}.{what}": value
        for case in given.option("cases")
        for scorer in _RULES
        for what, value in _scored(case, scorer).items()
    }


def _scored(case: Mapping[str, Any], scorer: str) -> dict[str, Tensor]:
    """The same by our scorer."""
    rule, umt = _RULES[scorer], scorer == _CHUNKS
    scores = span_scores(case["pred"], case["gold"], rule)
    found = {"scores": _ratios([scores.overall])}
    for side in _SIDES:
        spans = [entity_spans(tags, rule) for tags in case[side]]
        found[side] = json_tensor(
            [[[span.type, span.start, span.end - (not umt)] for span in one] for one in spans]
        )
    if scorer.startswith("muse"):
        found["counts"] = _counts(scores.overall)
        return found | _types(scores, [name for name, one in scores.per_type.items() if one.support])
    if umt:
        found["token_accuracy"] = _numbers([scores.token_accuracy])
        return found | _types(scores, _TYPES_OF_UMT, decimals=None)
    return found


def _types(scores: SpanScores, names: Sequence[str], decimals: int | None = _DECIMALS) -> dict[str, Tensor]:
    ratios = _ratios([scores.per_type.get(name, _NONE) for name in names])
    per_type = ratios if decimals is None else ratios.round(decimals=decimals)
    return {"types": json_tensor(sorted(names)), "per_type": per_type}


def _ratios(counts: Sequence[SpanCounts]) -> Tensor:
    return _numbers([number for one in counts for number in (one.precision, one.recall, one.f1)])


def _counts(counts: SpanCounts) -> Tensor:
    return torch.tensor([counts.correct, counts.predicted, counts.support])


def _numbers(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _states_evaluation(case: GoldenCase) -> Stated:
    results = case.header["results"]
    expected = {
        "scores": _numbers([results[name] for name in ("acc", "recall", "f1")]),
        "loss": _numbers([results["loss"]]),
        "counts": torch.tensor([case.header[name] for name in ("n_right", "n_pred", "n_gold")]),
        **_stated_types(case.header["per_class"], "acc"),
    }
    return Stated(expected={f"output.{name}": value for name, value in expected.items()})


def _evaluation(given: Given) -> dict[str, Tensor]:
    """Decode, leave out the marks of start and end, keep further pieces, and score whole batches."""
    emissions, mask = given.inputs["emissions"], given.inputs["mask"].bool()
    with torch.device("meta"):
        crf = LinearChainCrf(emissions.shape[2])
    load_module(crf, given.weights.under("crf."), training=False)
    labels, found = given.inputs["labels"], crf.decode(emissions, mask, padding=0)
    size, rows = given.option("batch_size"), len(emissions)
    scored = rows - rows % size if given.option("drop_last") else rows
    likelihoods = crf(emissions, labels, mask)[:scored].split(size)
    predicted, target = (_between_marks(given, tags[:scored]) for tags in (found, labels))
    scores = span_scores(predicted, target, "muse")
    loss = -torch.stack([batch.mean() for batch in likelihoods]).mean() / emissions.shape[1]
    outputs = {
        "tags": found,
        "scores": _ratios([scores.overall]),
        "loss": loss.detach().double()[None],
        "counts": _counts(scores.overall),
        **_types(scores, [name for name, one in scores.per_type.items() if one.support]),
    }
    return {f"output.{name}": value for name, value in outputs.items()}


def _between_marks(given: Given, tags: Tensor) -> list[list[str]]:
    """Names of the tags of each sentence, without those of the marks of its start and end."""
    names, lengths = given.option("id2label"), given.inputs["input_len"].tolist()
    return [
        [names[tag] for tag in row[1 : length - 1]]
        for row, length in zip(tags.tolist(), lengths[: len(tags)], strict=True)
    ]


RUNNERS: Mapping[str, Runner] = {
    "muse/mner_eval": Runner(run=_evaluation, states=_states_evaluation),
    "muse/ner_f1": Runner(run=_scores, states=_states_scores),
}
