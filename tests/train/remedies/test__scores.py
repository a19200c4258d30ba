import math

import pytest
import torch

from fuseloom.train.remedies import Passage, view_of
from fuseloom.train.remedies._scores import ScoreSums, score_ratios


def passage(problem, count=2, *, rows=slice(None)):
    torch.manual_seed(0)
    made = problem(count, dropout=0.0)
    return Passage(view_of(made.build()), made.train.take(rows), made.task)


def naive_scores(seen):
    """Mean probability of the true class of each modality's own outputs, row by row."""
    found = {}
    for name, outputs in seen.split().items():
        there = seen.present(name).tolist()
        rows = [row for row, here in zip(outputs.tolist(), there, strict=True) if here]
        labels = [label for label, here in zip(seen.target.tolist(), there, strict=True) if here]
        chances = [
            math.exp(row[label]) / sum(map(math.exp, row)) for row, label in zip(rows, labels, strict=True)
        ]
        found[name] = sum(chances) / len(chances)
    return found


def alone(values):
    return values


@pytest.mark.parametrize("count", [2, 3])
def test_a_score_is_the_mean_chance_of_the_true_class_over_rows_that_have_the_modality(problem, count):
    seen, sums = passage(problem, count), ScoreSums()
    sums.add(seen)
    wanted = naive_scores(seen)
    assert not seen.present("audio").all()
    assert {name: pytest.approx(value.item()) for name, value in sums.take(alone).items()} == wanted


def test_batches_of_any_size_count_by_their_rows(problem):
    whole, parts = ScoreSums(), ScoreSums()
    whole.add(passage(problem))
    for rows in (slice(0, 5), slice(5, None)):
        parts.add(passage(problem, rows=rows))
    torch.testing.assert_close(parts.take(alone), whole.take(alone))


def test_what_was_taken_counts_no_more(problem):
    sums, fresh = ScoreSums(), ScoreSums()
    sums.add(passage(problem, rows=slice(0, 20)))
    sums.take(alone)
    for one in (sums, fresh):
        one.add(passage(problem, rows=slice(20, None)))
    torch.testing.assert_close(sums.take(alone), fresh.take(alone))


def test_scores_of_several_processes_are_those_of_all_their_rows(problem):
    whole, mine, other = ScoreSums(), ScoreSums(), ScoreSums()
    whole.add(passage(problem))
    mine.add(passage(problem, rows=slice(0, 9)))
    other.add(passage(problem, rows=slice(9, None)))
    sent = []
    other.take(lambda values: sent.append(values) or values)
    torch.testing.assert_close(mine.take(lambda values: values + sent[0]), whole.take(alone))


def test_a_modality_that_no_row_has_scores_nothing(problem):
    seen = passage(problem)
    seen.batch.masks["audio"][:] = False
    sums = ScoreSums()
    sums.add(Passage(seen.view, seen.batch, seen.task))
    scores = sums.take(alone)
    assert scores["audio"] == 0
    assert 0 < scores["text"] < 1


def test_of_two_modalities_one_ratio_is_the_inverse_of_the_other():
    ratios = score_ratios({"text": torch.tensor(0.8), "audio": torch.tensor(0.5)})
    assert ratios["text"].item() == pytest.approx(1.6)
    assert (ratios["text"] * ratios["audio"]).item() == pytest.approx(1)


def test_of_three_it_is_the_mean_over_the_others_whatever_their_order():
    scores = {"text": 0.9, "audio": 0.3, "video": 0.6}
    wanted = {"text": (3 + 1.5) / 2, "audio": (1 / 3 + 0.5) / 2, "video": (2 / 3 + 2) / 2}
    for names in (sorted(scores), sorted(scores, reverse=True)):
        ratios = score_ratios({name: torch.tensor(scores[name]) for name in names})
        assert {name: pytest.approx(ratio.item()) for name, ratio in ratios.items()} == wanted


def test_a_modality_that_no_row_has_moves_no_ratio():
    scores = {"a": torch.tensor(3.0), "v": torch.tensor(1.5), "t": torch.tensor(0.0)}
    assert {name: ratio.item() for name, ratio in score_ratios(scores).items()} == {
        "a": 2.0,
        "v": 0.5,
        "t": 1.0,
    }
    for alone_there in (
        {"a": torch.tensor(0.4), "v": torch.tensor(0.0)},
        dict.fromkeys("av", torch.tensor(0.0)),
    ):
        assert {name: ratio.item() for name, ratio in score_ratios(alone_there).items()} == {
            "a": 1.0,
            "v": 1.0,
        }
