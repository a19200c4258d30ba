"""A tag for each word of a sentence, such as those of named entities."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import DataError, OptionError, did_you_mean
from fuseloom.heads import TaggingHead
from fuseloom.metrics.spans import Span, SpanRule, SpanScores, entity_spans, span_scores
from fuseloom.nn.crf_packing import unpack_chain
from fuseloom.nn.crf_paths import best_path
from fuseloom.nn.crf_sums import log_likelihood, log_probability, tag_marginals
from fuseloom.registry import register
from fuseloom.tasks._base import Floats, Metric, Task

__all__ = ["Tagging"]

_OUTSIDE = "O"
_PADDING = -1
_RULES: Mapping[str, SpanRule] = {
    "span_f1": "conll",
    "span_f1_strict": "strict",
    "span_f1_seqeval": "seqeval",
}
_CHUNK = 256


def _of_instance(predictions: Floats, target: NDArray[Any]) -> float:
    raise OptionError(
        "A metric of tags must be of a task that knows their names, got that of the class. Use "
        "Tagging(tags).metrics."
    )


@register("tagging")
class Tagging(Task):
    """Tags of words that mark entities (``B-PER``, ``I-PER``, ``O``), by a linear-chain CRF.

    The words are those of the one text modality, between single blanks; a target is a tuple of as many tags.
    Outputs are packed chains, see `fuseloom.nn.crf_packing.pack_chain`. Predictions ``[N, W, K + 2]`` hold
    for each word the probability of every tag, the tag of the best path (-1 behind the end), and at the first
    word of an entity of that path how probable just this entity is (NaN elsewhere).

    Args:
        tags: Names of the tags; ``O`` is none.

    Example:
        >>> target = np.empty(2, dtype=object)
        >>> target[:] = [("B-PER", "I-PER", "O"), ("O",)]
        >>> task = Tagging.learn(target)
        >>> task.tags, task.encode(target).tolist()
        (('O', 'B-PER', 'I-PER'), [[1, 2, 0], [0, -1, -1]])
    """

    metrics: Mapping[str, Metric] = {
        name: Metric(function=_of_instance, higher_is_better=better, bounded=better)
        for name, better in {
            **dict.fromkeys((*_RULES, "precision", "recall", "token_accuracy"), True),
            "log_loss": False,
        }.items()
    }
    """On an instance also the F1 of each type of entity."""
    default_metric = "span_f1"
    loss_metric = "log_loss"
    decision = "softmax"
    stratified = False
    positions_of = "text"

    def __init__(self, tags: Sequence[str]) -> None:
        self.tags = tuple(tags)
        types = sorted({tag.partition("-")[2] for tag in tags} - {""})
        self.metrics = {
            **{name: Metric(function=partial(self._f1, rule=rule)) for name, rule in _RULES.items()},
            "precision": Metric(function=self._precision),
            "recall": Metric(function=self._recall),
            **{f"f1_{name}": Metric(function=partial(self._f1_of, kind=name)) for name in types},
            "token_accuracy": Metric(function=self._token_accuracy),
            "log_loss": Metric(function=_log_loss, higher_is_better=False, bounded=False),
        }

    @classmethod
    def learn(cls, target: NDArray[Any], names: Sequence[str] | None = None) -> Self:
        tags = {str(tag) for tags in _sentences(target) for tag in tags}
        if not tags - {_OUTSIDE}:
            raise DataError(f"target must have tags other than 'O', got {sorted(tags)}.")
        kinds = sorted(tags - {_OUTSIDE}, key=lambda tag: (tag.partition("-")[2], tag))
        return cls([_OUTSIDE, *kinds])

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        return cls(state["tags"])

    def state(self) -> dict[str, Any]:
        return {"tags": list(self.tags)}

    @property
    def num_outputs(self) -> int:
        return len(self.tags)

    def encode(self, target: NDArray[Any]) -> NDArray[Any]:
        places = {tag: place for place, tag in enumerate(self.tags)}
        sentences = _sentences(target)
        encoded = np.full((len(sentences), max(map(len, sentences), default=0)), _PADDING, dtype=np.int64)
        for row, tags in enumerate(sentences):
            if unknown := sorted(set(tags) - places.keys()):
                raise DataError(
                    f"target must have tags of {list(self.tags)}, got {unknown[0]!r}."
                    f"{did_you_mean(unknown[0], self.tags)}"
                )
            encoded[row, : len(tags)] = [places[tag] for tag in tags]
        return encoded

    def balanced(self, target: NDArray[Any]) -> Self:
        raise OptionError("class_weight must be none for tagging, whose loss is of whole sentences, got it.")

    def blank_outputs(self, target: Tensor) -> Tensor:
        tags = self.num_outputs
        return torch.zeros(len(target), tags + 2 + target.shape[1], tags + 1)

    def errors(self, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Negative log-likelihood ``[B]`` of the tags of the words that the model has read."""
        chain, emissions, mask = unpack_chain(outputs)
        target = _as_long(target, emissions.shape[1])
        known = mask & (target >= 0)
        return -log_likelihood(chain, emissions, target.clamp(min=0), known), None

    def predict(self, outputs: Floats) -> Floats:
        parts = [
            self._predicted(torch.from_numpy(outputs[at : at + _CHUNK]))
            for at in range(0, len(outputs), _CHUNK)
        ]
        return np.concatenate(parts)

    def _predicted(self, outputs: Tensor) -> Floats:
        chain, emissions, mask = unpack_chain(outputs.double())
        path = best_path(chain, emissions, mask, padding=_PADDING)
        marginals = tag_marginals(chain, emissions, mask)
        sure = torch.full(path.shape, torch.nan, dtype=torch.float64)
        if found := [(row, span) for row, tags in enumerate(path) for span in self.entities(tags.numpy())]:
            rows = torch.tensor([row for row, _ in found])
            allowed = torch.stack([self._allowed(span, path[row]) for row, span in found])
            logs = log_probability(chain, emissions[rows], allowed, mask[rows])
            sure[rows, torch.tensor([span.start for _, span in found])] = logs.exp()
        return torch.cat([marginals, path[..., None].double(), sure[..., None]], -1).numpy()

    def _allowed(self, span: Span, path: Tensor) -> Tensor:
        """Which tags an entity leaves open ``[W, K]``: inside one each, behind it all that do not go on."""
        allowed = torch.ones(len(path), self.num_outputs, dtype=torch.bool)
        inside = slice(span.start, span.end)
        allowed[inside] = F.one_hot(path[inside], self.num_outputs).bool()
        if span.end < len(path):
            allowed[span.end, [tag == f"I-{span.type}" for tag in self.tags]] = False
        return allowed

    def entities(self, tags: NDArray[Any]) -> list[Span]:
        """Entities of the numbers of tags of a sentence, read up to the padding."""
        return entity_spans([self.tags[int(tag)] for tag in tags if tag >= 0])

    def columns(self, predictions: Floats) -> dict[str, NDArray[Any]]:
        """Tags between blanks; entities as JSON: type, first word, the word behind the last, confidence."""
        tags = [" ".join(sentence) for sentence in self._named(predictions[..., -2])]
        entities = [self._told(one) for one in predictions]
        return {"prediction": np.array(tags, dtype=object), "entities": np.array(entities, dtype=object)}

    def _told(self, prediction: Floats) -> str:
        spans = self.entities(prediction[:, -2])
        return json.dumps(
            [
                {
                    "type": span.type,
                    "start": span.start,
                    "end": span.end,
                    "confidence": round(float(prediction[span.start, -1]), 4),
                }
                for span in spans
            ]
        )

    def target_columns(self, target: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return {"target": np.array([" ".join(tags) for tags in _sentences(target)], dtype=object)}

    def head(self, dim: int, *, dropout: float = 0.0) -> nn.Module:
        return TaggingHead(dim, self.num_outputs, dropout=dropout)

    @property
    def baseline_name(self) -> str:
        return "none"

    def baselines(self, seed: int) -> list[Any]:
        return []

    def baseline_predict(self, estimator: Any, features: Any) -> Floats:
        raise OptionError("A baseline must be one of the task's, got one of another: tagging has none.")

    def _scores(self, predictions: Floats, target: NDArray[Any], rule: SpanRule = "conll") -> SpanScores:
        words = (target >= 0).sum(1)
        found = _as_long(torch.from_numpy(predictions[..., -2]).long(), target.shape[1]).numpy()
        found = np.where(
            found == _PADDING, self.tags.index(_OUTSIDE), found
        )  # what was not read is not found
        cut = [row[:count] for row, count in zip(found, words, strict=True)]
        return span_scores(list(self._named(cut)), list(self._named(target)), rule)

    def _named(self, numbers: Sequence[NDArray[Any]] | NDArray[Any]) -> Iterator[list[str]]:
        return ([self.tags[int(tag)] for tag in row if tag >= 0] for row in numbers)

    def _f1(self, predictions: Floats, target: NDArray[Any], rule: SpanRule) -> float:
        return self._scores(predictions, target, rule).overall.f1

    def _precision(self, predictions: Floats, target: NDArray[Any]) -> float:
        return self._scores(predictions, target).overall.precision

    def _recall(self, predictions: Floats, target: NDArray[Any]) -> float:
        return self._scores(predictions, target).overall.recall

    def _f1_of(self, predictions: Floats, target: NDArray[Any], kind: str) -> float:
        found = self._scores(predictions, target).per_type.get(kind)
        return found.f1 if found is not None else float("nan")

    def _token_accuracy(self, predictions: Floats, target: NDArray[Any]) -> float:
        return self._scores(predictions, target).token_accuracy


def _log_loss(predictions: Floats, target: NDArray[Any]) -> float:
    """Mean over words of minus the logarithm of the probability of the true tag; of words that were read."""
    target = target[:, : predictions.shape[1]]
    true = np.take_along_axis(predictions[:, : target.shape[1], :-2], np.maximum(target, 0)[..., None], -1)[
        ..., 0
    ]
    known = (target >= 0) & (predictions[:, : target.shape[1], -2] >= 0)
    return float(-np.log(np.maximum(true[known], np.finfo(np.float64).tiny)).mean())


def _as_long(target: Tensor, length: int) -> Tensor:
    """Cut or padded to a length."""
    return F.pad(target, (0, length - target.shape[1]), value=_PADDING)


def _sentences(target: NDArray[Any]) -> list[Sequence[str]]:
    wrong = [tags for tags in target if not isinstance(tags, tuple | list)]
    if wrong:
        raise DataError(f"target must be a tuple of tags in every row, got {wrong[0]!r}.")
    return list(target)
