"""The commands as a person uses them: a table of their own, with holes, and every wrong turn answered."""

import csv
import io
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

from fuseloom.cli.group import VERBS, fuseloom

QUICK = ["--seeds", "1", "--max-epochs", "2", "--workers", "1"]
ONCE = [*QUICK, "--folds", "1"]
HEADER = ["Übersicht", "Größe", "Farbe", "Urteil", "Nr"]


def run(*arguments):
    return CliRunner().invoke(fuseloom, [str(argument) for argument in arguments])


def read(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


@pytest.fixture
def shop(tmp_path):
    """Text, numbers, categories, holes, a broken row, and umlauts."""
    generator = np.random.default_rng(0)
    rows = [HEADER]
    for number in range(80):
        good = number % 2
        text = f"{'schön und günstig' if good else 'häßlich, teuer'} Nummer {number}"
        size = "" if number % 9 == 0 else f"{generator.normal() + good:.3f}"
        colour = "NA" if number % 11 == 0 else ["rot", "blau", "grün"][number % 3]
        rows.append(["" if number % 13 == 0 else text, size, colour, ["schlecht", "gut"][good], f"k{number}"])
    path = tmp_path / "shop.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
        file.write("nur,drei,Felder\n")
    return path


COLUMNS = ("--target", "Urteil", "--text", "Uebersicht=Übersicht", "--tabular", "Größe,Farbe", "--id", "Nr")


@pytest.fixture
def compared(shop, tmp_path):
    done = run("compare", shop, *COLUMNS, "--fusion", "sum", "--out", tmp_path / "run", *ONCE)
    assert done.exit_code == 0, done.output
    return done, tmp_path / "run"


def test_compare_answers_on_stdout_and_tells_its_progress_on_stderr(compared):
    done, out = compared
    assert "Recommendation: Use" in done.stdout
    assert "set aside shop.csv:82" in done.stderr
    assert "left" in done.stderr
    assert (out / "report.html").is_file()


def test_compare_takes_how_steps_are_taken(shop, tmp_path):
    steps = ["--schedule", "cosine", "--warmup", "0.25", "--clip-norm", "0"]
    done = run("compare", shop, *COLUMNS, "--fusion", "sum", "--out", tmp_path / "run", *ONCE, *steps)
    assert done.exit_code == 0, done.output
    assert "learning rate: cosine after a warm-up over 25% of the steps" in done.output
    assert "gradients: not clipped" in done.output


@pytest.mark.slow
def test_compare_adds_exchanges_at_depths(shop, tmp_path):
    where = ["--exchange", "cross_attention", "--depth", "early, late", "--json"]
    done = run("compare", shop, *COLUMNS, "--fusion", "sum", "--out", tmp_path / "run", *QUICK, *where)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    names = {entry["name"] for entry in found["entries"] if entry["role"] == "fusion"}
    assert names == {"sum", "concat", "cross_attention@late+concat"}
    assert found["config"]["depths"] == ["early", "late"]
    assert any("same model as cross_attention@late+concat" in note for note in found["data"]["notes"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--depth", "late"], "exchanges must be named for depths"),
        (["--exchange", "cross_attention", "--depth", "latter"], "got 'latter'. Did you mean 'late'?"),
        (["--exchange", "token_exchange"], "token_exchange cannot take these data."),
    ],
)
def test_compare_refuses_exchanges_that_have_no_place(shop, tmp_path, options, message):
    done = run("compare", shop, *COLUMNS, "--fusion", "sum", "--out", tmp_path / "run", *ONCE, *options)
    assert done.exit_code != 0
    assert message in " ".join(done.output.split())


def test_predict_gives_what_was_measured_in_any_order_and_without_the_target(compared, shop, tmp_path):
    _, out = compared
    stored = {row["id"]: row for row in read(out / "predictions.csv")}
    with shop.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["Nr"] in stored]
    new = tmp_path / "new.csv"
    with new.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(
            file, [name for name in HEADER[::-1] if name != "Urteil"], extrasaction="ignore"
        )
        writer.writeheader()
        writer.writerows(rows[::-1])
    done = run("predict", out, new)
    assert done.exit_code == 0, done.output
    found = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(found) == len(stored) > 10
    for row in found:
        assert row == {key: value for key, value in stored[row["id"]].items() if key != "target"}


def test_predict_serves_rows_that_lack_a_modality_and_sets_broken_ones_aside(compared, tmp_path):
    _, out = compared
    new = tmp_path / "new.csv"
    new.write_text("Nr,Größe,Farbe,Übersicht\n1,0.5,rot,\n2,,,schön\n3,,,\n4,1.0\n", encoding="utf-8")
    done = run("predict", out, new, "--out", tmp_path / "out.csv")
    assert done.exit_code == 0, done.output
    assert "set aside new.csv:5" in done.stderr
    assert [row["id"] for row in read(tmp_path / "out.csv")] == ["1", "2", "3"]
    alone = tmp_path / "alone.csv"
    alone.write_text("Übersicht\nschön\n", encoding="utf-8")
    assert run("predict", out / "model", alone).exit_code == 0


def test_json_is_the_whole_result(shop, tmp_path):
    done = run("compare", shop, *COLUMNS, "--fusion", "sum", "--out", tmp_path / "run", "--json", *ONCE)
    assert json.loads(done.stdout)["recommendation"]["name"]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("a,b,y\n1,2,x\n", ["--target", "z"], r"'z'.*Known"),
        ("", ["--target", "y"], r"empty"),
        ("a,b,y\n", ["--target", "y"], r"row"),
        (
            "a,b,y\n" + "1,2,x\n" * 30,
            ["--target", "y", "--tabular", "p=a", "--tabular", "q=b"],
            r"at least two classes",
        ),
        (
            "a,type,y\n" + "1,2,x\n3,4,z\n" * 9,
            ["--target", "y", "--tabular", "p=a", "--tabular", "type=type"],
            r"type",
        ),
        ("a,b,y\n" + "1,2,\n" * 9, ["--target", "y", "--tabular", "p=a", "--tabular", "q=b"], r"target"),
    ],
)
def test_bad_tables_are_answered_in_one_line(tmp_path, content, options, message):
    path = tmp_path / "rows.csv"
    path.write_text(content)
    done = run("compare", path, *options, "--out", tmp_path / "run", *QUICK)
    assert done.exit_code == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    assert re.search(message, last)


def test_bad_arrays_are_answered_in_one_line(tmp_path):
    folder = tmp_path / "arrays"
    folder.mkdir()
    np.save(folder / "text.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(folder / "labels.npy", np.zeros(1))
    done = run("compare", folder, "--out", tmp_path / "run")
    assert done.exit_code == 1
    assert "text.npy" in done.stderr
    assert "pickle" in done.stderr
    np.save(folder / "text.npy", np.zeros((3, 2)))
    np.save(folder / "audio.npy", np.zeros((4, 2)))
    done = run("compare", folder, "--out", tmp_path / "run")
    assert done.exit_code == 1
    assert "same number of rows in every entry, got 'audio' 4, 'text' 3" in done.stderr


def test_predict_of_no_model_and_of_no_rows(compared, tmp_path):
    _, out = compared
    done = run("predict", tmp_path / "nowhere", tmp_path / "rows.csv")
    assert done.exit_code == 1
    assert "must be a saved model" in done.stderr
    assert "No such file" in run("predict", out, tmp_path / "nowhere.csv").stderr


def test_debug_shows_the_traceback(tmp_path):
    done = run("--debug", "predict", tmp_path, "rows.csv")
    assert type(done.exception).__name__ == "RunError"


def test_a_kind_that_is_none_is_wrong_usage(shop):
    done = run("compare", shop, "--kind", "Größe=size")
    assert done.exit_code == 2
    assert "must be COLUMN=KIND" in done.stderr


def test_kinds_and_ids_reach_the_reader(shop, tmp_path):
    done = run(
        *(
            "compare",
            shop,
            "--target",
            "Urteil",
            "--kind",
            "Farbe=text",
            "--kind",
            "Nr=ignore",
            "--fusion",
            "sum",
        ),
        *("--out", tmp_path / "run", "--json", *ONCE),
    )
    assert done.exit_code == 0, done.output
    modalities = json.loads(done.stdout)["data"]["modalities"]
    assert {m["name"]: m["kind"] for m in modalities} == {
        "Ubersicht": "text",
        "Farbe": "text",
        "tabular": "table",
    }


def test_list_shows_parts_with_their_claims():
    assert run("list", "low_*").stdout.split()[:3] == ["low_rank", "merge", "multiplicative"]
    cards = json.loads(run("list", "--kind", "exchange", "--json").stdout)
    assert cards["cross_attention"]["interaction"] == "nonlinear"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(verb):
    done = run(verb, "--help")
    assert done.exit_code == 0
    assert f"$ fuseloom {verb}" in done.stdout


def test_an_unknown_verb_is_wrong_usage():
    done = run("comparee")
    assert done.exit_code == 2
    assert "No such command" in done.stderr


@pytest.mark.parametrize("folds", ["3", "fold*"])
def test_folds_are_made_or_read(shop, tmp_path, folds):
    path = shop
    if folds == "fold*":
        lines = shop.read_text(encoding="utf-8-sig").splitlines()
        words = ["train", "valid", "test"]
        given = [",".join(words[(row + fold) % 3] for fold in range(3)) for row in range(len(lines) - 1)]
        path = tmp_path / "given.csv"
        rows = [f"{line},{more}" for line, more in zip(lines, ["fold0,fold1,fold2", *given], strict=True)]
        path.write_text("\n".join(rows), encoding="utf-8")
    done = run(
        "compare", path, *COLUMNS, "--folds", folds, "--fusion", "sum", "--out", tmp_path / "r", *QUICK
    )
    assert done.exit_code == 0, done.output
    assert "3 folds, 1 seed" in done.stdout
    assert "95 % interval over test rows and training runs" in " ".join(done.stdout.split())
