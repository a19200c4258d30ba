import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuseloom.comparison.result import Comparison, Entry
from fuseloom.errors import OptionError, RunError
from fuseloom.metrics.interval import Interval
from fuseloom.report import from_json, to_json


def refuse(constant: str) -> None:
    raise AssertionError(constant)


def test_round_trip_is_exact(comparison: Comparison) -> None:
    text = to_json(comparison)
    assert from_json(text) == comparison
    assert to_json(from_json(text)) == text
    assert text.endswith("}\n")


def test_findings_of_numbers_and_gaps_in_them_come_back(numbers: Comparison) -> None:
    assert from_json(to_json(numbers)) == numbers
    found = numbers.findings
    diverged = replace(found.curves[0], train=(1.0, math.nan), valid=(math.nan, math.inf), best_epoch=0)
    again = from_json(to_json(replace(numbers, findings=replace(found, curves=(diverged,)))))
    (curve,) = again.findings.curves
    assert curve.train[0] == 1.0
    assert all(map(math.isnan, (curve.train[1], *curve.valid)))


def test_numbers_survive_to_the_last_bit(comparison: Comparison, make_entry: Callable[..., Entry]) -> None:
    entries = (make_entry("exact", [0.1 + 0.2, 1 / 3, 5e-324], parameters=2**63), *comparison.entries)
    assert from_json(to_json(replace(comparison, entries=entries))).entries[0] == entries[0]


def test_names_of_any_kind_survive_a_file(comparison: Comparison, tmp_path: Path) -> None:
    rows = (("größe\udce9.csv:1", '</script>"\\\n\u2028'), ("融合", "\x00"))
    odd = replace(comparison, data=replace(comparison.data, set_aside=rows))
    (tmp_path / "report.json").write_text(to_json(odd), encoding="utf-8")
    assert "größe" in to_json(odd)
    assert from_json((tmp_path / "report.json").read_text(encoding="utf-8")) == odd


def test_what_is_not_finite_is_null_and_comes_back_as_nan(
    comparison: Comparison, make_entry: Callable[..., Entry]
) -> None:
    gone = make_entry("diverged", [0.5], test=Interval(mean=math.nan, low=-math.inf), memory_mb=math.nan)
    odd = replace(comparison, entries=(gone,), config={"limit": math.inf})
    found = json.loads(to_json(odd), parse_constant=refuse)
    assert found["entries"][0]["test"] == {"mean": None, "low": None, "high": None}
    again = from_json(to_json(odd))
    assert math.isnan(again.entries[0].test.mean)
    assert again.entries[0].memory_mb is None
    assert again.config == {"limit": None}


def test_numbers_of_numpy_and_tuples_are_written_as_plain_values(comparison: Comparison) -> None:
    config = {"count": np.int64(3), "share": np.float32(0.5), "names": ("a", "b")}
    assert from_json(to_json(replace(comparison, config=config))).config == {
        "count": 3,
        "share": 0.5,
        "names": ["a", "b"],
    }


def test_a_value_json_has_no_word_for_is_named(comparison: Comparison) -> None:
    odd = replace(comparison, config={"train": {"folder": [Path("runs")]}})
    with pytest.raises(
        OptionError, match=r"comparison\.config\.train\.folder\[0\] must be a plain value, got"
    ):
        to_json(odd)


def test_a_key_that_is_no_string_is_named(comparison: Comparison) -> None:
    odd = replace(comparison, config={"lr": {1: 0.1}})
    with pytest.raises(OptionError, match=r"Keys of comparison\.config\.lr must be strings, got 1\."):
        to_json(odd)


@pytest.mark.parametrize("version", [0, 1, "2", None])
def test_another_version_is_refused(comparison: Comparison, version: object) -> None:
    found = json.loads(to_json(comparison)) | {"format_version": version}
    with pytest.raises(RunError, match=r"format_version must be 2, got .*Read it with the release"):
        from_json(json.dumps(found))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"format_version": NaN}', "9" * 5000])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(RunError, match="report must be valid JSON"):
        from_json(text)


@pytest.mark.parametrize("text", ["[]", "null", "{}", '"report"'])
def test_json_that_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(RunError, match=r"format_version must be 2, got None"):
        from_json(text)


def changed(found: Any, path: list[Any], value: object) -> str:
    place = found
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(found)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["entries", 3, "test", "mean"], "0.9", r"report\.entries\[3\]\.test\.mean must be a finite number"),
        (["entries", 0, "role"], "other", r"report\.entries\[0\]\.role must be one of \['baseline'"),
        (["entries", 1], None, r"report\.entries\[1\] must be an object, got None"),
        (["recommendation", "verdict"], "maybe", r"report\.recommendation\.verdict must be one of"),
        (["data", "set_aside", 0], ["a"], r"report\.data\.set_aside\[0\] must be an array of 2"),
        (["format_version"], 2.0, r"report\.format_version must be of type int, got 2.0"),
        (["extra"], 1, r"report must have the keys .* only, got 'extra' too"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(
    comparison: Comparison, path: list[Any], value: object, message: str
) -> None:
    with pytest.raises(RunError, match=message):
        from_json(changed(json.loads(to_json(comparison)), path, value))


def test_a_missing_key_is_refused(comparison: Comparison) -> None:
    found = json.loads(to_json(comparison))
    del found["entries"][2]["latency_ms"]
    with pytest.raises(RunError, match=r"report\.entries\[2\] must have the key 'latency_ms'"):
        from_json(json.dumps(found))
