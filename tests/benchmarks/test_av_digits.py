"""The program runs on a twin of the set, and its claims are judged by their intervals."""

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fuseloom.comparison.statistics import Statistics
from fuseloom.data.media import Sound
from fuseloom.tasks.classification import Classification
from fuseloom.train.fit import FitConfig
from fuseloom.types import Batch

RIGHT = np.eye(2)[np.arange(400) % 2]


def wrong(*rows: slice) -> np.ndarray:
    outputs = RIGHT.copy()
    for part in rows:
        outputs[part] = 1 - outputs[part]
    return outputs


def deal_of(units: list[str]):
    target = torch.arange(len(units)) % 2
    batch = Batch(inputs={}, masks={}, target=target)
    return import_module("av_rows").Deal(
        splits={"test": batch},
        units=np.array(units, dtype=object),
        task=Classification.learn(np.array(["even", "odd"], dtype=object)),
    )


def trained(outputs: list[np.ndarray], **alone: list[np.ndarray]):
    return import_module("av_digits").Trained(models=[], outputs=outputs, alone=alone, epochs=1, epoch_s=1)


@pytest.mark.slow
def test_the_quick_run_prints_every_claim_and_writes_it(av_digits_twin: Path, tmp_path: Path) -> None:
    program, path = import_module("av_digits"), tmp_path / "found.json"
    done = CliRunner().invoke(program.main, [str(av_digits_twin), "--quick", "--json", str(path)])
    assert done.exit_code == 1, done.output  # one epoch on noise: no claim can hold
    found = json.loads(path.read_text("utf-8"))["held_out"]
    runs = {held_out: {len(scores) for scores in one["runs"].values()} for held_out, one in found.items()}
    assert runs == {"recordings": {1}, "speakers": {6}}  # each speaker is tested once
    for held_out, one in found.items():
        assert f"Held out: {held_out}" in done.stdout
        assert len(one["claims"]) == 6
        assert all(claim["what"] in done.stdout for claim in one["claims"])
    assert "NOT SO" in done.stdout
    assert all(f"  {speaker}" in done.stdout for speaker in "abcdef")


@pytest.mark.parametrize(
    ("lost", "verdict"), [(0, "so"), (4, "cannot tell"), (60, "not so")], ids=["none", "few", "many"]
)
def test_a_missing_modality_is_judged_by_its_interval(lost: int, verdict: str) -> None:
    program = import_module("av_digits")
    image, audio = wrong(slice(0, 60)), wrong(slice(100, 150))
    models = {
        "image": [trained([image])],
        "audio": [trained([audio])],
        "fused": [trained([wrong(slice(0, 4))], image=[wrong(slice(0, 60 + lost))], audio=[audio])],
    }
    found = Statistics(
        program.evidence(models, [deal_of([str(row) for row in range(400)])]),
        Classification.metrics["accuracy"],
    )
    judged = {claim.what: claim for claim in program.claims(found)}
    of_image = judged.pop("fused with image only - image alone: above -0.01")
    assert of_image.verdict == verdict
    assert of_image.found.mean == pytest.approx(-lost / 400)
    assert {claim.verdict for claim in judged.values()} == {"so"}


def test_a_mean_within_a_point_is_not_enough() -> None:
    program = import_module("av_digits")
    interval = import_module("fuseloom.comparison.result").Interval
    assert program._above(interval(mean=-0.005, low=-0.02, high=0.01), -0.01) == "cannot tell"
    assert program._above(interval(mean=-0.005, low=-0.009, high=0.01), -0.01) == "so"
    assert program._above(interval(mean=-0.05, low=-0.09, high=-0.02), -0.01) == "not so"
    assert program._above(interval(mean=0.05), -0.01) == "cannot tell"


def test_seeds_of_one_deal_are_compared_in_pairs() -> None:
    program = import_module("av_digits")
    # Seeds differ by ten points, and the fusion follows each of them: in pairs nothing varies.
    runs = [wrong(slice(0, count)) for count in (40, 60, 80)]
    models = {
        "image": [trained(runs)],
        "audio": [trained(runs)],
        "fused": [trained(runs, image=runs, audio=runs[::-1])],
    }
    found = Statistics(
        program.evidence(models, [deal_of([str(row) for row in range(400)])]),
        Classification.metrics["accuracy"],
    )
    same, shuffled = (found.difference(f"fused, {name} only", name).interval() for name in program.MODALITIES)
    assert same.mean == shuffled.mean == pytest.approx(0)
    assert shuffled.high - shuffled.low > 5 * (same.high - same.low)
    assert len(found.runs("fused")) == 3


def test_speakers_are_drawn_whole() -> None:
    program = import_module("av_digits")
    dealt = [deal_of(["ann"] * 400), deal_of(["ben"] * 400)]
    one, other = trained([wrong(slice(0, 40))]), trained([wrong(slice(0, 200))])
    fused = [replace(run, alone={"image": run.outputs, "audio": run.outputs}) for run in (one, other)]
    models = {"image": [one, other], "audio": [one, other], "fused": fused}
    evidence = program.evidence(models, dealt)
    assert evidence.num_units == 2
    score = Statistics(evidence, Classification.metrics["accuracy"]).score("image")
    assert score.mean == pytest.approx(0.7)
    assert score.high - score.low > 0.4  # by rows it would be a tenth of that


def test_only_what_is_asked_for_is_present() -> None:
    program = import_module("av_digits")
    real = torch.tensor([True, False])
    rows = Batch(inputs={"a": torch.ones(2, 1), "b": torch.ones(2, 1)}, masks={"a": real, "b": real})
    alone = program._without_others(rows, "b")
    assert alone.masks["a"].tolist() == [False, False]
    assert alone.masks["b"].tolist() == [True, False]
    assert program._only(rows, ["a"]).inputs.keys() == {"a"}


def test_the_fusion_reads_the_streams_of_the_models_of_its_seed(av_digits_twin: Path) -> None:
    rows, program = import_module("av_rows"), import_module("av_digits")
    (deal,) = rows.deals(av_digits_twin, replace(rows.PLANS["recordings"], rows=60, noise={}))
    config = FitConfig(max_epochs=1, batch_size=16)
    alone = {
        name: program.trained_alone(deal, name, [config, replace(config, seed=1)])
        for name in program.MODALITIES
    }
    test = deal.splits["test"]
    streams = program._streams(test, {name: one.models[1] for name, one in alone.items()})
    for name, one in alone.items():
        said = one.models[1].eval().fuse({name: streams.inputs[name]}, {name: streams.masks[name]})
        np.testing.assert_allclose(said.detach().softmax(-1), one.outputs[1], atol=1e-5)


def test_every_speaker_is_tested_once_and_no_recording_twice(av_digits_twin: Path) -> None:
    rows = import_module("av_rows")
    plan = replace(rows.PLANS["speakers"], rows=None, noise={})
    tested = [deal.units.tolist() for deal in rows.deals(av_digits_twin, plan)]
    assert sorted(own[0] for own in tested) == list("abcdef")
    assert all(len(set(own)) == 1 for own in tested)


def test_training_recordings_alone_are_played_at_other_speeds(av_digits_twin: Path) -> None:
    rows = import_module("av_rows")
    made = rows.make_av_digits(av_digits_twin, held_out="speakers")
    data = rows._rows(made, np.arange(len(made.target)), 1.25)
    lengths = {name: set() for name in ("train", "valid", "test")}
    for sound, split in zip(data["audio"], data["split"], strict=True):
        lengths[split].add(len(sound.samples))
    assert lengths["valid"] == lengths["test"] == {400}
    assert min(lengths["train"]) >= 320
    assert max(lengths["train"]) <= 500
    assert len(lengths["train"]) > 10


@pytest.mark.parametrize("loudness", [0.002, 0.5])
@pytest.mark.parametrize("speed", [0.8, 1.0, 1.25])
def test_a_faster_recording_is_shorter_and_higher_and_equally_loud(loudness: float, speed: float) -> None:
    rows = import_module("av_rows")
    tone = loudness * np.sin(2 * np.pi * 500 * np.arange(4000) / 8000)
    played = rows._played(Sound(samples=tone, rate=8000), speed).samples
    spectrum = np.abs(np.fft.rfft(played))
    assert spectrum.argmax() * 8000 / len(played) == pytest.approx(500 * speed, abs=3)
    assert np.sqrt(np.square(played).mean()) == pytest.approx(0.1, rel=0.01)


def test_silence_stays_silence() -> None:
    rows = import_module("av_rows")
    assert not rows._played(Sound(samples=np.zeros(100), rate=8000), 1.0).samples.any()


def test_what_colours_a_whole_recording_goes() -> None:
    rows = import_module("av_rows")
    frames, mask = torch.randn(3, 9, 4), torch.arange(9) < torch.tensor([[9], [5], [0]])
    coloured = frames + torch.randn(3, 1, 4)
    found = rows._centred(coloured.masked_fill(~mask[..., None], torch.nan), mask)
    torch.testing.assert_close(found, rows._centred(frames, mask))
    torch.testing.assert_close(found.sum(1), torch.zeros(3, 4), atol=1e-5, rtol=0)
    assert not found[~mask].any()
