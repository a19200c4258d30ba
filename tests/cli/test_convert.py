"""Official checkpoints, as golden cases hold them, converted, served and scored."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from fuseloom.cli.group import fuseloom
from fuseloom.data import read_rows
from fuseloom.train.fit import exact_outputs
from fuseloom.train.saved import SavedModel

CASES = ("mro_early2__mse_out2", "mro_early3__l1", "mro_tensor2__ce4", "mro_tensor3__l1")


def run(*arguments):
    return CliRunner().invoke(fuseloom, [str(argument) for argument in arguments])


def write_pt(weights, path):
    torch.save({"epoch": 7, "state_dict": {f"module.{n}": v for n, v in weights.items()}}, path)


def write_npz(weights, path):
    with path.open("wb") as file:
        np.savez(file, **{name: value.numpy() for name, value in weights.items()})


WRITERS = {".pth": write_pt, ".npz": write_npz, ".safetensors": save_file}


class Official:
    """A golden case of the authors' own code as files: a checkpoint, and rows as arrays."""

    def __init__(self, folder, case, place):
        tensors = load_file(folder / "lecture" / f"{case}.safetensors")
        self.config = json.loads((folder / "lecture" / f"{case}.json").read_text())["config"]
        self.weights = {n.removeprefix("weight."): v for n, v in tensors.items() if n.startswith("weight.")}
        self.expected = tensors["output.y_hat"]
        parts = torch.split(tensors["input.x"], self.config["input_sizes"], -1)
        self.rows = {f"m{i}": part.numpy() for i, part in enumerate(parts)}
        self.names = [f"{name}={part.shape[1]}" for name, part in self.rows.items()]
        self.answers = tensors["input.y"].numpy()
        self.place = place

    def checkpoint(self, ending=".pth"):
        path = self.place / f"official{ending}"
        WRITERS[ending](self.weights, path)
        return path

    def saved_rows(self, **more):
        np.savez(self.place / "rows.npz", **self.rows, **more)
        return self.place / "rows.npz"

    @property
    def outputs(self):
        """Options that name what the model gives."""
        if self.config["loss_function"] == "CrossEntropyLoss":
            return [part for name in "abcd" for part in ("--class", name)]
        return [part for name in ("calm", "joy")[: self.config["output_size"]] for part in ("--target", name)]

    def convert(self, *options, ending=".pth"):
        modalities = [part for name in self.names for part in ("--modality", name)]
        out = self.place / "model"
        asked = ("--system", "mro", *modalities, *self.outputs, *options)
        return run("convert", self.checkpoint(ending), out, *asked), out


@pytest.fixture
def official(goldens_dir, tmp_path):
    return lambda case: Official(goldens_dir, case, tmp_path)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("ending", WRITERS)
def test_a_converted_model_gives_the_outputs_of_the_official_code(official, case, ending):
    one = official(case)
    done, out = one.convert(ending=ending)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"{len(one.weights)} weights of official{ending} are in ")
    saved = SavedModel.load(out)
    outputs = exact_outputs(saved.model, saved.encode(read_rows(one.rows, saved.schema)))
    torch.testing.assert_close(torch.from_numpy(outputs), one.expected.double(), rtol=1e-5, atol=1e-6)


def test_it_is_served_and_scored_like_any_saved_model(official):
    one = official("mro_tensor2__ce4")
    _, out = one.convert("--target", "mood")
    answers = np.array(list("abcd"))[one.answers[:, 0]]
    rows = one.saved_rows(mood=answers)
    served = list(csv.DictReader(io.StringIO(run("predict", out, rows).stdout)))
    probabilities = one.expected.softmax(-1).numpy()
    assert [row["prediction"] for row in served] == ["abcd"[i] for i in one.expected.argmax(-1)]
    for name, column in zip("abcd", probabilities.T, strict=True):
        np.testing.assert_allclose([float(row[f"p_{name}"]) for row in served], column, rtol=1e-5)
    scored = json.loads(run("evaluate", out, rows, "--json").stdout)["all"]
    right = [row["prediction"] == answer for row, answer in zip(served, answers, strict=True)]
    assert scored["accuracy"] == pytest.approx(np.mean(right))
    assert scored["log_loss"] == pytest.approx(
        torch.nn.functional.cross_entropy(one.expected, torch.from_numpy(one.answers[:, 0])).item(), rel=1e-5
    )


def test_numbers_are_served_in_their_own_units_and_scored(official):
    one = official("mro_early2__mse_out2")
    _, out = one.convert()
    rows = one.saved_rows(calm=one.answers[:, 0], joy=one.answers[:, 1])
    served = list(csv.DictReader(io.StringIO(run("predict", out, rows).stdout)))
    for name, column in zip(("calm", "joy"), one.expected.numpy().T, strict=True):
        np.testing.assert_allclose([float(row[f"prediction_{name}"]) for row in served], column, rtol=1e-5)
    scored = json.loads(run("evaluate", out, rows, "--json").stdout)["all"]
    expected = np.abs(one.expected.numpy() - one.answers).mean(0)
    assert scored["mae_calm"] == pytest.approx(expected[0], rel=1e-5)
    assert scored["mae_joy"] == pytest.approx(expected[1], rel=1e-5)


def test_values_far_from_zero_are_not_cut(official):
    one = official("mro_early3__l1")
    _, out = one.convert()
    saved = SavedModel.load(out)
    far = {name: value * 1000 for name, value in one.rows.items()}
    batch = saved.encode(read_rows(far, saved.schema))
    for name, value in far.items():
        np.testing.assert_array_equal(batch.inputs[name], value)


def test_the_model_card_says_where_the_weights_are_from(official):
    done, out = official("mro_early3__l1").convert()
    assert done.exit_code == 0
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "twoertwein/MultimodalResidualOptimization" in card
    assert "`official.pth`, SHA-256 `" in card
    assert str(out.parent) not in card


def test_a_dry_run_prints_the_mapping_and_writes_nothing(official):
    one = official("mro_tensor3__l1")
    done, out = one.convert("--dry-run")
    assert done.exit_code == 0, done.output
    assert not out.exists()
    rows = [line.split() for line in done.stdout.splitlines()]
    assert {row[0] for row in rows} == set(one.weights)
    pairs = [row[2:] for row in rows if row[0] == "after.1.layers.0.weight"]
    assert pairs == [[f"merge.terms.part.{both}", "1x16"] for both in ("m0+m1", "m0+m2", "m1+m2")]
    first = next(row for row in rows if row[0] == "before.1.layers.0.weight")
    assert first[2:] == ["merge.terms.embed.m1.0.weight", "6x2"]


def test_a_folder_that_holds_something_is_kept(official):
    one = official("mro_early3__l1")
    _, out = one.convert()
    (out / "README.md").write_text("mine", encoding="utf-8")
    done, _ = one.convert()
    assert done.exit_code == 1
    assert "must be a new or empty folder, got one that holds something" in done.stderr
    assert (out / "README.md").read_text(encoding="utf-8") == "mine"
    assert one.convert("--overwrite")[0].exit_code == 0
    assert "MultimodalResidual" in (out / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--modality", "a=x"), 2, "must be NAME or NAME=WIDTH, got 'a=x'"),
        (("--modality", "a", "--modality", "a"), 2, "must name each modality once, got 'a'"),
        (("--modality", "a", "--system", "mrro"), 1, "Unknown converter 'mrro'. Did you mean 'mro'?"),
        (("--modality", "a"), 1, "checkpoint must be a file, got"),
    ],
)
def test_wrong_turns_are_answered(tmp_path, options, code, message):
    done = run("convert", tmp_path / "no.pth", tmp_path / "out", "--system", "mro", *options)
    assert done.exit_code == code
    assert message in done.stderr
    assert not Path(tmp_path, "out").exists()


def test_converters_are_listed():
    lines = run("list", "--kind", "converter").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        "cen",
        "cen_translation",
        "geminifusion",
        "mro",
        "muse",
        "tokenfusion",
        "tokenfusion_translation",
    ]
    assert " ".join(lines[3].split()).startswith("mro Multimodal residual optimisation")
