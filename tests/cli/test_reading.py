import click
import pytest
from click.testing import CliRunner

from fuseloom.cli.reading import read_options, reading
from fuseloom.data import ReadOptions


def given(*arguments, **keywords):
    seen = []

    @click.command()
    @reading
    @click.option("--other")
    def command(**options):
        seen.append((read_options(options, **keywords), options))

    done = CliRunner().invoke(command, arguments)
    return done, seen


def test_every_option_reaches_the_reader():
    done, seen = given(
        *(
            "--target",
            "y",
            "--labels",
            "z.csv",
            "--text",
            "a",
            "--text",
            "n=b",
            "--tabular",
            "c,d",
            "--image",
            "e",
        ),
        *(
            "--audio",
            "f",
            "--array",
            "g",
            "--kind",
            "h=i=series",
            "--id",
            "j",
            "--split",
            "k",
            "--group",
            "l",
        ),
        *("--other", "own"),
        fold_columns=("m",),
    )
    assert done.exit_code == 0, done.output
    expected = ReadOptions(
        target="y",
        labels="z.csv",
        text=("a", "n=b"),
        tabular=("c,d",),
        image=("e",),
        audio=("f",),
        array=("g",),
        kinds={"h=i": "series"},
        id_column="j",
        split_column="k",
        group_column="l",
        fold_columns=("m",),
    )
    assert seen == [(expected, {"other": "own"})]


def test_without_options_everything_is_inferred():
    assert given()[1] == [(ReadOptions(), {"other": None})]


@pytest.mark.parametrize("pair", ["size", "size=length", "=", "size="])
def test_a_kind_that_is_none_is_wrong_usage(pair):
    done, _ = given("--kind", pair)
    assert done.exit_code == 2
    said = " ".join(done.output.split())
    kinds = "number, category, classes, labels, text, image, map, audio, array, series, embedding or ignore"
    assert f"must be COLUMN=KIND with {kinds}, got" in said
    assert f"got {pair!r}" in said
