"""A tag for each word of a sentence, such as those of named entities."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import DataError, OptionError, did_you_mean
from fuseloom.heads import TaggingHead
from fuseloom.metrics.counted import OfCounts, f1_of, precision_of, ratio_of, recall_of
from fuseloom.metrics.spans import Span, SpanRule, entity_spans, span_scores
from fuseloom.nn.crf_packing import unpack_chain
from fuseloom.nn.crf_paths import best_path
from fuseloom.nn.crf_sums import log_likelihood, log_probability, tag_marginals
from fuseloom.nn.tag_scheme import TAG_SCHEMES, TagConstraints, tag_constraints
from fuseloom.registry import register
from fuseloom.tasks._base import Floats, Metric, Task
from fuseloom.tasks._joining import place_to_join

__all__ = ["Tagging"]

_OUTSIDE = "O"
_PADDING = -1
_CHUNK = 256
_F1_OF_TYPE = partial(f1_of, none=float("nan"))
_SPAN_SCORES = ("span_f1", "span_f1_strict", "span_f1_seqeval", "precision", "recall", "token_accuracy")


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
        constrained: Let the best path have no tag that its scheme does not allow behind the one before.
            Probabilities stay those of all paths, as the model has learnt them.

    Raises:
        OptionError: paths are constrained, and the tags are of no scheme or mark no first word.

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
            **dict.fromkeys(_SPAN_SCORES, True),
            "log_loss": False,
        }.items()
    }
    """On an instance also the F1 of each type of entity."""
    default_metric = "span_f1"
    loss_metric = "log_loss"
    decision = "softmax"
    stratified = False
    positions_of = "text"

    def __init__(self, tags: Sequence[str], *, constrained: bool = False) -> None:
        self.tags = tuple(tags)
        self.constraints = _constraints(self.tags) if constrained else None
        types = sorted({tag.partition("-")[2] for tag in tags} - {""})
        counted: dict[str, Callable[[Floats, NDArray[Any]], float]] = {
            "span_f1": OfCounts(self._counts, f1_of),
            "span_f1_strict": OfCounts(partial(self._counts, rule="strict"), f1_of),
            "span_f1_seqeval": self._seqeval_f1,
            "precision": OfCounts(self._counts, precision_of),
            "recall": OfCounts(self._counts, recall_of),
            **{f"f1_{name}": OfCounts(partial(self._counts, kind=name), _F1_OF_TYPE) for name in types},
            "token_accuracy": OfCounts(self._equal_tags, ratio_of),
        }
        self.metrics = {
            **{name: Metric(function=function) for name, function in counted.items()},
            "log_loss": Metric(function=OfCounts(_surprise, ratio_of), higher_is_better=False, bounded=False),
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
        return cls(state["tags"], constrained=state.get("constrained", False))

    def state(self) -> dict[str, Any]:
        return {"tags": list(self.tags), "constrained": self.constraints is not None}

    def configured(self, options: Mapping[str, Any]) -> Self:
        """The option is ``constrained``."""
        if unknown := sorted(options.keys() - {"constrained"}):
            hint = did_you_mean(unknown[0], ["constrained"])
            raise OptionError(f"Options of {self.name} must be of ['constrained'], got {unknown[0]!r}.{hint}")
        constrained = options.get("constrained", False)
        if not isinstance(constrained, bool):
            raise OptionError(f"constrained must be True or False, got {constrained!r}.")
        return type(self)(self.tags, constrained=constrained)

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
        allowed_chain = chain if self.constraints is None else chain.restrict(self.constraints)
        path = best_path(allowed_chain, emissions, mask, padding=_PADDING)
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

    def joined(
        self,
        predictions: Floats,
        of_windows: Floats,
        windows: Mapping[int, Sequence[tuple[int, int]]],
        lengths: Mapping[int, int],
    ) -> Floats:
        """The tags of a word are those of the window with most words around it, see `place_to_join`.

        A word that no window has read is outside, and every tag of it is as probable as any.
        """
        rows, width, columns = predictions.shape
        whole = np.zeros((rows, max(width, *lengths.values()), columns))
        whole[..., -2:] = _PADDING, np.nan
        whole[:, :width] = predictions
        at = 0
        for row, parts in windows.items():
            whole[row, : lengths[row]] = self._joined(of_windows[at : at + len(parts)], parts, lengths[row])
            at += len(parts)
        return whole

    def _joined(self, predictions: Floats, parts: Sequence[tuple[int, int]], length: int) -> Floats:
        unread = [*[1 / self.num_outputs] * self.num_outputs, self.tags.index(_OUTSIDE), np.nan]
        whole = np.tile(np.array(unread), (length, 1))
        before, end = 0, 0
        for (first, behind), prediction in zip(parts, predictions, strict=True):
            found = prediction[: behind - first]
            found = np.where(found[:, -2:-1] == _PADDING, unread, found)
            place = first
            if first < end:
                left, right = self._named([whole[before:end, -2], found[:, -2]])
                place = before + place_to_join(left, right, first - before)
                cut = place - first
                for span in self.entities(found[:, -2]):
                    if span.start < cut < span.end:  # it begins elsewhere now, as probable as before
                        found[cut, -1] = found[span.start, -1]
            whole[place:behind] = found[place - first :]
            before, end = first, behind
        return whole

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

    def _read(self, predictions: Floats, target: NDArray[Any]) -> Iterator[list[str]]:
        """Predicted tags of each sentence, one for each of its words; what was not read is not found."""
        found = _as_long(torch.from_numpy(predictions[..., -2]).long(), target.shape[1]).numpy()
        found = np.where(found == _PADDING, self.tags.index(_OUTSIDE), found)
        cut = [row[:count] for row, count in zip(found, (target >= 0).sum(1), strict=True)]
        return self._named(cut)

    def _named(self, numbers: Sequence[NDArray[Any]] | NDArray[Any]) -> Iterator[list[str]]:
        return ([self.tags[int(tag)] for tag in row if tag >= 0] for row in numbers)

    def _counts(
        self, predictions: Floats, target: NDArray[Any], *, rule: SpanRule = "conll", kind: str = ""
    ) -> NDArray[np.int64]:
        """Correct, predicted and true entities of each sentence ``[N, 3]``, of all types or of one."""
        rows = []
        for ours, theirs in zip(self._read(predictions, target), self._named(target), strict=True):
            scores = span_scores([ours], [theirs], rule)
            found = scores.per_type.get(kind) if kind else scores.overall
            rows.append((0, 0, 0) if found is None else (found.correct, found.predicted, found.support))
        return np.array(rows, dtype=np.int64)

    def _seqeval_f1(self, predictions: Floats, target: NDArray[Any]) -> float:
        """All sentences are one here, so that entities cannot be counted sentence by sentence."""
        ours, theirs = list(self._read(predictions, target)), list(self._named(target))
        return span_scores(ours, theirs, "seqeval").overall.f1

    def _equal_tags(self, predictions: Floats, target: NDArray[Any]) -> NDArray[np.int64]:
        """Words of each sentence whose tag is right, and all ``[N, 2]``."""
        pairs = zip(self._read(predictions, target), self._named(target), strict=True)
        return np.array([(sum(map(str.__eq__, *pair)), len(pair[1])) for pair in pairs], dtype=np.int64)


def _surprise(predictions: Floats, target: NDArray[Any]) -> Floats:
    """Minus the logarithm of the probability of the true tags, and how many words were read, ``[N, 2]``."""
    target = target[:, : predictions.shape[1]]
    chances, path = predictions[:, : target.shape[1], :-2], predictions[:, : target.shape[1], -2]
    true = np.take_along_axis(chances, np.maximum(target, 0)[..., None], -1)[..., 0]
    known = (target >= 0) & (path >= 0)
    logs = -np.log(np.maximum(true, np.finfo(np.float64).tiny))
    return np.stack([(logs * known).sum(1), known.sum(1)], axis=-1)


def _constraints(tags: Sequence[str]) -> TagConstraints:
    """What may follow what, by the first scheme that has the letters of the tags."""
    letters = {tag.partition("-")[0] for tag in tags} - {_OUTSIDE}
    scheme = next((name for name, known in TAG_SCHEMES.items() if letters <= known.keys()), None)
    if scheme is None or not letters & {"B", "S", "U"}:
        raise OptionError(
            f"constrained must be False for tags of no scheme, or that mark no first word, got {list(tags)}."
        )
    return tag_constraints(tags, scheme=scheme)


def _as_long(target: Tensor, length: int) -> Tensor:
    """Cut or padded to a length."""
    return F.pad(target, (0, length - target.shape[1]), value=_PADDING)


def _sentences(target: NDArray[Any]) -> list[Sequence[str]]:
    wrong = [tags for tags in target if not isinstance(tags, tuple | list)]
    if wrong:
        raise DataError(f"target must be a tuple of tags in every row, got {wrong[0]!r}.")
    return list(target)
