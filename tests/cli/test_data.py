"""`fuseloom data`: read like `compare`, answered for people and for programs, with a status."""

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from fuseloom.cli.describing import check_text
from fuseloom.cli.group import fuseloom
from fuseloom.data import load
from fuseloom.data.av_digits import make_av_digits
from fuseloom.data.checks import CheckResult, Finding
from fuseloom.data.media import read_audio, read_image


def run(*arguments):
    return CliRunner().invoke(fuseloom, ["data", *(str(argument) for argument in arguments)])


@pytest.fixture
def posts(tmp_path):
    """A table without fault."""
    generator = np.random.default_rng(0)
    path = tmp_path / "posts.csv"
    rows = [f"k{row},a text number {row},{generator.normal():.4f},{row % 2}" for row in range(40)]
    path.write_text("\n".join(["id,words,size,y", *rows]), encoding="utf-8")
    return path


def test_describe_says_what_is_read_and_how_to_read_it_otherwise(posts):
    done = run("describe", posts, "--target", "y", "--kind", "y=category")
    assert done.exit_code == 0, done.output
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert lines[0] == "posts.csv: 40 rows, read as table"
    assert "y: classification, 2 classes" in lines
    assert "0 20 (50.0%), 1 20 (50.0%)" in lines
    assert "words: text, 4 words" in lines
    assert "e.g. a text number 0" in lines
    assert "none given: compare makes them" in lines
    assert lines[lines.index("ids: column 'id'") + 1] == "--id COLUMN"


def test_describe_as_json_is_the_same(posts):
    found = json.loads(run("describe", posts, "--target", "y", "--json").stdout)
    assert found["rows"] == 40
    assert {part["name"]: part["kind"] for part in found["modalities"]} == {
        "words": "text",
        "tabular": "table",
    }


def test_describe_the_embedded_digits_by_default():
    assert run("describe").stdout.startswith("digits: 1,797 rows, read as digits\n")


def test_check_of_good_data_is_silent_but_for_a_line(posts):
    done = run("check", posts, "--target", "y", "--strict")
    assert (done.exit_code, done.stdout) == (0, "posts.csv: 40 rows, nothing is wrong\n")


def test_a_warning_is_an_error_only_where_strict(posts):
    text = posts.read_text(encoding="utf-8").splitlines()
    posts.write_text("\n".join([f"{line},{'c' if n else 'colour'}" for n, line in enumerate(text)]))
    read = (posts, "--target", "y", "--tabular", "size,colour", "--text", "words")
    done = run("check", *read)
    assert done.exit_code == 0
    assert "WARNING constant (1): columns" in done.stdout
    assert "- tabular, column 'colour'" in done.stdout
    assert done.stdout.endswith("posts.csv: 40 rows, 0 errors, 1 warning\n")
    assert run("check", *read, "--strict").exit_code == 1


def test_an_error_sets_the_status_and_is_listed_with_its_place(posts):
    posts.write_text(posts.read_text(encoding="utf-8") + "\nonly,three,fields\n", encoding="utf-8")
    done = run("check", posts, "--target", "y")
    assert done.exit_code == 1
    assert "- posts.csv:42: the header has 4 fields, this row 3" in done.stdout
    (one,) = json.loads(run("check", posts, "--target", "y", "--json").stdout)["findings"]
    assert (one["severity"], one["kind"], one["count"]) == ("error", "unreadable", 1)


@pytest.mark.parametrize(("more", "status"), [("", 0), ("\nonly,three,fields\n", 1)])
def test_the_status_of_a_check_is_a_number_of_a_process(posts, more, status):
    posts.write_text(posts.read_text(encoding="utf-8") + more, encoding="utf-8")
    command = [sys.executable, "-m", "fuseloom", "data", "check", str(posts), "--target", "y"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == status
    with pytest.raises(SystemExit) as ended:
        fuseloom(command[3:], standalone_mode=False)
    assert repr(ended.value.code) == str(status)


def test_groups_and_splits_reach_the_checks(posts):
    words = ["train", "train", "test", "valid"]
    lines = posts.read_text(encoding="utf-8").splitlines()
    more = ["who,part", *(f"w{row % 3},{words[row % 4]}" for row in range(40))]
    posts.write_text("\n".join(f"{line},{own}" for line, own in zip(lines, more, strict=True)))
    read = ("--target", "y", "--text", "words", "--tabular", "size", "--split", "part", "--group", "who")
    done = run("check", posts, *read)
    assert done.exit_code == 1
    assert "ERROR   groups-across-splits (3): groups stand in two splits" in done.stdout


def test_data_that_cannot_be_read_at_all_are_answered_in_one_line(tmp_path):
    for name, rows in (("a", 3), ("b", 4)):
        np.save(tmp_path / f"{name}.npy", np.zeros((rows, 2)))
    done = run("check", tmp_path)
    assert done.exit_code == 1
    assert "same number of rows in every entry, got 'a' 3, 'b' 4" in done.stderr.splitlines()[-1]


def test_long_lists_are_cut_in_a_terminal():
    one = Finding(
        severity="error",
        kind="unreadable",
        what="rows cannot be read",
        where=tuple(f"rows.csv:{row}: \x1b[31mbroken" for row in range(14)),
        count=14,
        advice="Repair them.",
    )
    text = check_text(CheckResult(name="rows.csv", rows=3, findings=(one,)))
    assert text.count("rows.csv:") == 11
    assert "and 4 more (--json names all)" in text
    assert "\x1b" not in text


def test_pairs_under_noise_are_files_that_compare_reads(av_digits_twin, tmp_path):
    out = tmp_path / "noisy"
    noise = ("--image-noise", 0.3, "--audio-snr-db", -20, "--rows", 60)
    done = run("make", av_digits_twin, out, *noise)
    assert done.exit_code == 0, done.output
    assert "60 pairs in" in done.stdout
    rows, made = (
        load(out / "rows.csv", target="digit"),
        make_av_digits(av_digits_twin, image_noise=0.3, audio_snr_db=-20, rows=60),
    )
    assert (list(rows.ids), rows.split.tolist()) == (list(made.ids), made.split.tolist())
    assert [str(int(digit)) for digit in rows.target] == made.target.tolist()
    for row in (0, 59):
        np.testing.assert_array_equal(
            read_image(rows.modalities["image"].items[row])[..., 0], made.image[row]
        )
        samples, rate = read_audio(rows.modalities["audio"].items[row])
        np.testing.assert_array_equal(samples, made.audio[row].samples)
        assert rate == 8000
    assert run("check", out / "rows.csv", "--target", "digit").exit_code == 0
    again = run("make", av_digits_twin, out)
    assert again.exit_code == 1
    assert "noisy must be a new or an empty folder" in again.stderr


def test_without_noise_recordings_are_copied_as_they_are(av_digits_twin, tmp_path):
    assert (
        run("make", av_digits_twin, tmp_path / "clean", "--held-out", "recordings", "--rows", 12).exit_code
        == 0
    )
    for path in (tmp_path / "clean" / "recordings").iterdir():
        source = av_digits_twin / "recordings" / f"{path.stem.partition('-')[0]}.wav"
        assert path.read_bytes() == source.read_bytes()


def test_apples_are_a_folder_with_the_faults_that_check_finds(tmp_path):
    out = tmp_path / "my apples"
    done = run("make", "apples", out, "--rows", 60, "--seed", 3)
    assert done.exit_code == 0, done.output
    assert f"apples to learn from in {out / 'rows.csv'}" in done.stdout
    found = run("check", out / "rows.csv", "--target", "grade", "--json")
    assert found.exit_code == 1
    kinds = {one["kind"]: one["where"] for one in json.loads(found.stdout)["findings"]}
    assert kinds.keys() == {"unreadable", "unlabelled", "copies"}
    assert kinds["copies"] == ["0 = 60"]
    assert "rows.csv:5: photo: 0004.png: not a whole picture" in kinds["unreadable"][0]


@pytest.mark.parametrize("name", ["apples", "scenes-ner"])
def test_options_of_the_other_set_are_refused(name, tmp_path):
    done = run("make", name, tmp_path / "made", "--audio-snr-db", 3)
    assert done.exit_code == 2
    assert f"--audio-snr-db is for av-digits, {name} take --rows and --seed" in done.stderr
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("name", "score", "readers"),
    [
        ("scenes-ner", "span F1", ["text", "both"]),
        ("scenes-msa", "accuracy", ["text", "image", "both"]),
        ("scenes-things", "mean average precision", ["image"]),
    ],
)
def test_scenes_are_a_set_whose_ceilings_are_told(name, score, readers, tmp_path):
    out = tmp_path / "made"
    done = run("make", name, out, "--rows", 120, "--seed", 4)
    assert done.exit_code == 0, done.output
    title, head, *lines = done.stdout.splitlines()
    assert title == f"{name} in {out}; the best {score} that can be expected, by what is read:"
    assert head.split() == readers
    stated = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
    assert stated["seed"] == 4
    for line in lines:
        split, *cells = line.split()
        assert [float(cell) for cell in cells] == pytest.approx(
            [stated["ceilings"][split][reader] for reader in readers], abs=1e-4
        )
    assert done.stderr.splitlines() == ["[96/96] train", "[12/12] valid", "[12/12] test"]
    assert run("check", out).exit_code == 0
    described = run("describe", out).stdout
    assert f"{name}: " in described
    assert "image: image, 64 x 64 pixels" in described
    again = run("make", name, out)
    assert again.exit_code == 1
    assert "made must be a new or an empty folder" in again.stderr
