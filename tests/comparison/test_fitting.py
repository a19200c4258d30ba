"""Which fusions take part, where exchanges are added at depths of the encoders."""

from dataclasses import replace

import numpy as np
import pytest

from fuseloom.comparison.config import CompareConfig
from fuseloom.comparison.fitting import taking_part
from fuseloom.comparison.prepare import prepare
from fuseloom.comparison.run import run_comparison
from fuseloom.data import load
from fuseloom.errors import OptionError
from fuseloom.train.saved import SavedModel

SMALL = CompareConfig(fusions=("sum",), seeds=1, learning_rates=(1e-2,), max_epochs=2, dim=16, folds=1)


def asked(rows, *exchanges, **options):
    """Names of the fusions that take part, and the notes."""
    config = replace(SMALL, exchanges=exchanges, **options)
    ready = prepare(load(rows, target=np.arange(40) % 2), config)
    kept, notes = taking_part(ready, config)
    return [one.name for one in kept[0] if one.role == "fusion"], notes


@pytest.fixture
def pictures():
    generator = np.random.default_rng(0)
    return {name: list(generator.integers(0, 255, (40, 12, 12, 1), dtype=np.uint8)) for name in ("a", "b")}


def tokens(*lengths):
    generator = np.random.default_rng(0)
    return {name: generator.normal(size=(40, n, 5)) for name, n in zip("abc", lengths, strict=False)}


def test_pictures_meet_at_every_depth_and_behind_the_last_stage_as_tokens(pictures):
    names, notes = asked(pictures, "cross_attention")
    places = [f"cross_attention@{depth}+concat" for depth in ("late", "middle", "early")]
    assert names == ["sum", "concat", "concat@late", *places]
    (note,) = notes
    assert note.startswith("tokens: fusions with a part @late get tokens of a and b, the others one vector;")
    assert note.endswith("what an exchange adds there is its difference from concat@late")
    assert asked(pictures, "cross_attention", depths=("early",)) == (["sum", "concat", places[2]], [])


def test_places_that_are_the_same_are_tried_once():
    names, notes = asked(tokens(6, 6), "cross_attention")
    assert names == ["sum", "concat", "cross_attention@late+concat"]
    same = "not take part: On these data it is the same model as"
    assert notes == [
        f"concat@late does {same} concat.",
        f"cross_attention@middle+concat, cross_attention@early+concat do {same} cross_attention@late+concat.",
    ]
    names, _ = asked(tokens(6, 6), "cross_attention", fusions=("cross_attention+concat",))
    assert names == ["cross_attention+concat", "concat"]


@pytest.mark.parametrize(
    ("rows", "exchange", "reason"),
    [
        (tokens(6, 4), "token_exchange", r"must share their positions, got 'a' with \(1, 6\)"),
        (tokens(6, 6), "feature_swap", "alignment must say which tokens belong together"),
        (
            {n: v[:, 0] for n, v in tokens(6, 6).items()},
            "cross_attention",
            "No stream there has tokens or a map",
        ),
    ],
)
def test_what_cannot_take_the_data_is_left_out_of_all_and_refused_by_name(rows, exchange, reason):
    with pytest.raises(OptionError, match=f"{exchange} cannot take these data. .*{reason}"):
        asked(rows, exchange)
    names, notes = asked(rows, "all", depths=("late",))
    assert f"{exchange}@late+concat" not in names
    assert "concat" in names
    assert any(note.startswith(f"{exchange}@late") or f", {exchange}@late" in note for note in notes)


def test_an_exchange_that_fits_at_one_depth_is_tried_there(pictures):
    """Maps of the first stages are no tokens, and only those have a cls."""
    names, notes = asked(pictures, "cls_exchange")
    assert names[-1] == "cls_exchange@late+concat"
    assert [note for note in notes if "not take part" in note] == [
        f"cls_exchange@{depth}+concat does not take part: 'a' must be [B, N, D], got shape (1, 8, {n}, {n})."
        for depth, n in (("middle", 6), ("early", 12))
    ]


def test_a_fusion_that_was_named_is_refused_beside_exchanges_too(pictures):
    with pytest.raises(
        OptionError, match=r"attention_pool@early cannot take these data\. .* must keep positions"
    ):
        asked(pictures, "cross_attention", fusions=("attention_pool@early",))


def test_fusions_that_start_from_encoders_alone_need_the_same_ends(pictures):
    names, notes = asked(pictures, "cross_attention", depths=("early", "late"), encoders="pretrained")
    assert names == ["sum", "concat", "cross_attention@early+concat"]
    assert notes[-1].startswith(
        "concat@late, cross_attention@late+concat do not take part: It cannot take over"
    )


def order(rows=300):
    """Two sequences; the class is whether the same step stands out in both."""
    generator = np.random.default_rng(0)
    values = {name: generator.normal(size=(rows, 4, 4)) * 0.3 for name in ("a", "b")}
    where = {name: generator.integers(0, 2, rows) for name in values}
    for name, value in values.items():
        value[np.arange(rows), where[name], 0] += 3
    return values, np.where(where["a"] == where["b"], "same", "other")


@pytest.mark.slow
def test_exchanges_are_compared_and_the_best_is_saved_and_served(tmp_path):
    """The mean over steps does not say which one stood out, so only an exchange before it can know."""
    rows, target = order()
    config = replace(
        SMALL,
        fusions=("concat",),
        exchanges=("pixel_attention",),
        max_epochs=40,
        dropout=0.0,
        depths=("late",),
    )
    result = run_comparison(load(rows, target=target), tmp_path, config)
    scores = {entry.name: entry.test.mean for entry in result.entries}
    assert scores["pixel_attention@late+concat"] > scores["concat"] + 0.2
    assert result.recommendation.name == "pixel_attention@late+concat"
    saved = SavedModel.load(tmp_path / "model")
    served = saved.predict(load(rows, target=target))["prediction"]
    assert np.mean(served == target) > 0.8
    assert result.config["exchanges"] == ["pixel_attention"]


@pytest.mark.slow
def test_exchanges_and_merges_inside_the_encoders_are_trained_and_served(pictures, tmp_path):
    config = replace(
        SMALL, fusions=("sum@middle",), exchanges=("channel_exchange",), depths=("early", "late")
    )
    dataset = load(pictures, target=np.where([p.mean() > 127 for p in pictures["a"]], "light", "dark"))
    result = run_comparison(dataset, tmp_path, config)
    assert {e.name for e in result.entries if e.role == "fusion"} == {
        "sum@middle",
        "concat",
        "concat@late",
        "channel_exchange@late+concat",
        "channel_exchange@early+concat",
    }
    parameters = {entry.name: entry.parameters for entry in result.entries}
    assert parameters["sum@middle"] < parameters["concat"]  # one encoder of the two ends behind its middle
    assert set(SavedModel.load(tmp_path / "model").predict(dataset)["prediction"]) <= {"light", "dark"}
