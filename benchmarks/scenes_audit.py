"""Do shortcuts tell the labels of the generated sets, on a seed that nobody tuned anything on?

Of each set examples of the training split are drawn with the settings that it is written with. From what a
lazy model could look at, each alone and all together, a logistic regression and gradient boosting learn a
label on a random half of them, and predict it for the other. (Folds that take turns would count each pair of
rows twice, which makes chance look rarer than it is.) Printed is the balanced accuracy, the mean over classes
of the share that is found, with its 95 % interval; it is one over the number of classes where nothing is
known. ``above`` stands where it is above that after Holm's correction for all tests of the label. The label
of a picture alone is held against what is seen alone, as texts say something of it by which pairs are kept.

    python benchmarks/scenes_audit.py
"""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from math import atan2, dist
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from program import publish, say
from scipy.stats import norm
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tables import about
from timing import environment

from fuseloom.data.scenes import COLOURS, KINDS, Scene, family_of, holds
from fuseloom.data.scenes.msa import MOODS, MsaExample, MsaScenes, msa_example
from fuseloom.data.scenes.ner import NerExample, NerScenes, ner_example
from fuseloom.data.scenes.ner_words import TYPES, Name, names_in
from fuseloom.data.scenes.render import Rendering
from fuseloom.data.scenes.seg import WARM, SegExample, SegScenes, seg_example
from fuseloom.data.scenes.writing import jpeg
from fuseloom.metrics.correction import holm

__all__ = ["Question", "audited", "main", "render"]

_RESULTS = Path(__file__).parent / "results" / "scenes_audit.json"
_SEED = 20261123
_ROWS = 8000
_ALPHA = 0.05
_TOGETHER = "all of these"
_SEG = SegScenes(pixels=64)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Facts = dict[str, Floats]


@dataclass(frozen=True, kw_only=True)
class Question:
    """A label, and what must not tell it."""

    set: str
    label: str
    answers: Sequence[str]
    """Class of each example."""
    facts: Mapping[str, Floats]
    """What a lazy model could look at -> numbers ``[N, F]``."""


def questions_of_names(rows: int, seed: int) -> Iterator[Question]:
    """The type of names that their sentence leaves open."""
    answers, facts = [], []
    for example, name in islice(_with_open_name(seed), 2 * rows):  # pictures are large: none is kept
        answers.append(example.tags[name.start].removeprefix("B-"))
        facts.append(_facts_of_name(example, name))
    label = "type of a name that the sentence leaves open"
    yield Question(set="scenes-ner", label=label, answers=answers, facts=_stacked(facts))


def questions_of_moods(rows: int, seed: int) -> Iterator[Question]:
    """The sentiment of pairs that readers keep, and that of their pictures."""
    every = (msa_example(MsaScenes(), seed, index) for index in count())
    answers, moods, facts, lengths = [], [], [], []
    for example in islice((one for one in every if one.sentiment), 2 * rows):
        answers.append(str(example.sentiment))
        moods.append(example.image_sentiment)
        facts.append(_facts_of_mood(example))
        lengths.append({"length of the text": _lengths(example.words)})
    seen, read = _stacked(facts), _stacked(lengths)
    yield Question(set="scenes-msa", label="sentiment of the pair", answers=answers, facts=read | seen)
    yield Question(set="scenes-msa", label="sentiment of the picture", answers=moods, facts=seen)


def questions_of_pixels(rows: int, seed: int) -> Iterator[Question]:
    """What a photograph must not tell of a thing, and what distances must not."""
    examples = (seg_example(_SEG, seed, index) for index in count())
    boards, seen = [], []
    colours, measured = [], []
    for example in examples:
        scene, shown = example.rendering.scene, example.rendering.shown
        place = int(np.argmax(shown))  # the thing that shows most of itself
        if shown[place] and len(boards) < 2 * rows:
            boards.append("board" if example.boards[place] else "thing")
            seen.append(_facts_of_picture(example.rendering, place) | _order_of(example.id))
        thing = scene.things[place]
        asked = shown[place] and not example.boards[place] and family_of(thing.kind) in ("vehicle", "toy")
        if asked and len(colours) < 2 * rows:
            colours.append("warm" if thing.colour in WARM else "cold")
            measured.append(_facts_of_depth(example, place) | _order_of(example.id))
        if len(boards) == len(colours) == 2 * rows:
            break
    label = "whether a thing is a board, by the photograph"
    yield Question(set="scenes-seg", label=label, answers=boards, facts=_stacked(seen))
    label = "whether a vehicle or toy is warm, by distances"
    yield Question(set="scenes-seg", label=label, answers=colours, facts=_stacked(measured))


_ASKED = (questions_of_names, questions_of_moods, questions_of_pixels)


def _with_open_name(seed: int) -> Iterator[tuple[NerExample, Name]]:
    for index in count():
        example = ner_example(NerScenes(), seed, index)
        for name in names_in(example.words):
            if name.type is None:
                yield example, name


def _facts_of_name(example: NerExample, name: Name) -> Facts:
    scene, words = example.rendering.scene, [*COLOURS, *KINDS]
    kinds = [thing.kind for thing in scene.things]
    looks = [(thing.colour, thing.kind) for thing in scene.things]
    fixed = looks.index((str(name.colour), str(name.kind)))
    bearers = [place for place, kind in enumerate(kinds) if family_of(kind) in TYPES.values()]
    (bearer,) = [place for place in bearers if holds(scene, place, str(name.relation), fixed)]
    return _facts_of_picture(example.rendering, bearer) | {
        "length of the sentence": _lengths(example.words),
        "place of the name": np.array([name.start, name.stop, len(example.words) - name.stop]),
        "thing that is named": np.array([word in (name.colour, name.kind) for word in words]),
        "file order": np.array([int(example.id.split("_")[1])]),
    }


def _facts_of_mood(example: MsaExample) -> Facts:
    kinds = [kind for own in MOODS.values() for kind in own]
    things = example.rendering.scene.things
    (bearer,) = [place for place, thing in enumerate(things) if thing.kind in kinds]
    return _facts_of_picture(example.rendering, bearer) | {"file order": np.array([int(example.id)])}


def _facts_of_depth(example: SegExample, answer: int) -> Facts:
    """What distances tell without knowing a thing, and the kind, place and size of the thing that answers."""
    depth = example.maps["depth"]
    known, scene = depth[np.isfinite(depth)], example.rendering.scene
    own = depth[example.rendering.instance == answer + 1]
    thing = scene.things[answer]
    return {
        "mean distance": np.array([known.mean(), known.std(), known.size]),
        "things that show": np.array([sum(shown > 0 for shown in example.rendering.shown)]),
        "answer: number in the scene": np.array([answer]),
        "answer: where it stands": _standing(scene, answer),
        "answer: distances": np.array([own.min(), own.mean(), own.std()]),
        "answer: pixels": np.array([own.size]),
        "answer: kind": np.array([thing.kind == kind for kind in KINDS]),
    }


def _order_of(name: str) -> Facts:
    return {"file order": np.array([int(name.split("_")[1])])}


def _lengths(words: Sequence[str]) -> Floats:
    return np.array([len(words), sum(map(len, words))], dtype=np.float64)


def _facts_of_picture(rendering: Rendering, answer: int) -> Facts:
    """What is plain to see without knowing a thing, and where the thing is that answers."""
    pixels = rendering.rgb / 255
    height, width, _ = pixels.shape
    standing_out = np.abs(pixels - np.median(pixels, axis=(0, 1))).sum(-1)
    down, across = np.mgrid[:height, :width]
    middle = [(standing_out * places).sum() / standing_out.sum() for places in (down, across)]
    return {
        "mean colour": pixels.mean((0, 1)),
        "contrast": pixels.std((0, 1)),
        "colours": np.histogramdd(pixels.reshape(-1, 3), bins=(2, 2, 2), range=[(0, 1)] * 3)[0].ravel(),
        "image size": np.array([height, width]),
        "bytes of the file": np.array([len(jpeg(rendering.rgb))]),
        "number of things": np.array([len(rendering.scene.things)]),
        "things that show": np.array([sum(shown > 0 for shown in rendering.shown)]),
        "what stands out: where": np.array(middle),
        "answer: number in the scene": np.array([answer]),
        "answer: where it stands": _standing(rendering.scene, answer),
    }


def _standing(scene: Scene, thing: int) -> Floats:
    """Metres along the ground from the camera, and the angle from its axis."""
    camera, place = scene.camera, scene.things[thing].place
    east, north, _ = (there - here for here, there in zip(camera.position, camera.target, strict=True))
    own_east, own_north = (there - here for here, there in zip(camera.position[:2], place, strict=True))
    angle = atan2(east * own_north - north * own_east, east * own_east + north * own_north)
    return np.array([dist(camera.position[:2], place), angle])


def _stacked(facts: Sequence[Facts]) -> Facts:
    return {name: np.stack([own[name] for own in facts]).astype(np.float64) for name in facts[0]}


def audited(question: Question) -> dict[str, Any]:
    """How well each fact, and all together, tell the label: a line per fact, a score per model."""
    names, answers = np.unique(np.array(question.answers), return_inverse=True)
    together = np.concatenate(list(question.facts.values()), axis=1)
    halves = np.array_split(np.random.default_rng(0).permutation(len(answers)), 2)
    lines = []
    for fact, values in {**question.facts, _TOGETHER: together}.items():
        say(f"{question.set}, {question.label}: {fact}")
        scores = {name: _score(model, values, answers, halves) for name, model in _models().items()}
        lines.append({"fact": fact, "scores": scores})
    every = [score for line in lines for score in line["scores"].values()]
    for score, p_value in zip(every, holm([score["p"] for score in every]), strict=True):
        score["above"] = p_value <= _ALPHA
    return {
        "set": question.set,
        "label": question.label,
        "rows": len(halves[1]),
        "counts": {str(name): int((answers[halves[1]] == place).sum()) for place, name in enumerate(names)},
        "chance": 1 / len(names),
        "lines": lines,
    }


def _models() -> dict[str, Any]:
    regression = LogisticRegression(class_weight="balanced", max_iter=500)
    return {
        "logistic regression": make_pipeline(StandardScaler(), regression),
        "gradient boosting": HistGradientBoostingClassifier(
            class_weight="balanced", max_iter=50, early_stopping=False, random_state=0
        ),
    }


def _score(
    model: Any, values: Floats, answers: Integers, halves: Sequence[NDArray[np.intp]]
) -> dict[str, Any]:
    """Balanced accuracy of rows not fitted on, its normal interval, and the one-sided p-value of chance."""
    fitted, others = halves
    found = model.fit(values[fitted], answers[fitted]).predict(values[others])
    own = answers[others]
    counts = np.bincount(own)
    recalls = np.bincount(own[found == own], minlength=len(counts)) / counts
    mean = float(recalls.mean())
    error = float(np.sqrt((recalls * (1 - recalls) / counts).sum())) / len(counts)
    wide = float(norm.ppf(0.975)) * error
    by_chance = _error_of_chance(np.bincount(found, minlength=len(counts)), counts)
    p_value = float(norm.sf((mean - 1 / len(counts)) / by_chance)) if by_chance else 1.0
    return {"accuracy": mean, "low": mean - wide, "high": mean + wide, "p": p_value}


def _error_of_chance(predicted: Integers, counts: Integers) -> float:
    """Standard deviation of the balanced accuracy of these predictions, if answers were dealt anew."""
    rows = counts.sum()
    each = (predicted * (rows - counts) * (rows - predicted) / counts).sum()
    pairs = rows**2 - (predicted**2).sum()
    return float(np.sqrt((each + pairs) / (rows**2 * (rows - 1)))) / len(counts)


def render(results: Mapping[str, Any]) -> str:
    """A table per label, and what the results depend on."""
    parts = [_table(one) for one in results["questions"]]
    return "\n\n".join([*parts, about(results)]) + "\n"


def _table(one: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{name} {number:,}" for name, number in one["counts"].items())
    title = f"{one['set']}, {one['label']}: {one['rows']:,} rows ({counts}); chance is {one['chance']:.3f}"
    models = list(one["lines"][0]["scores"])
    head = f"{'':28}" + "".join(f"  {model:28}" for model in models)
    return "\n".join([title, head.rstrip(), *(_line(line) for line in one["lines"])])


def _line(line: Mapping[str, Any]) -> str:
    cells = "".join(
        f"  {score['accuracy']:.3f} ({score['low']:.3f} to {score['high']:.3f}) {'above' * score['above']:5}"
        for score in line["scores"].values()
    )
    return f"{line['fact']:28}{cells}".rstrip()


def main(arguments: Sequence[str] | None = None) -> None:
    """Audit, print the tables, write the JSON."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    start = time.perf_counter()
    questions = [audited(one) for asked in _ASKED for one in asked(options.rows, options.seed)]
    depends = environment(torch.device("cpu"), seed=options.seed)
    depends["seconds"] = round(time.perf_counter() - start)
    publish({"format_version": 1, "environment": depends, "questions": questions}, options.json, render)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Do shortcuts tell the labels of the generated sets?")
    parser.add_argument(
        "--rows",
        type=int,
        default=_ROWS,
        help="to fit on, and as many more to score",
    )
    parser.add_argument("--seed", type=int, default=_SEED)
    parser.add_argument("--json", type=Path, default=_RESULTS)
    return parser


if __name__ == "__main__":
    main()
