import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Optional

import pytest

from fuseloom.errors import RunError
from fuseloom.report.decode import decode


@dataclass(frozen=True)
class Point:
    x: float
    tags: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (Point, {"x": 1, "tags": ["a"]}, Point(1.0, ("a",))),
        (tuple[Point, ...], [{"x": 0.5, "tags": []}], (Point(0.5),)),
        (tuple[str, int], ["a", 1], ("a", 1)),
        (dict[str, float], {"a": 2}, {"a": 2.0}),
        (Mapping[str, Sequence[float]], {"a": [2]}, {"a": (2.0,)}),
        (float | None, None, None),
        (float | None, 0.5, 0.5),
        (Optional[int], 3, 3),  # noqa: UP045
        (Literal["a", "b"], "b", "b"),
        (dict[str, Any], {"a": [None, {"b": True}]}, {"a": [None, {"b": True}]}),
        (bool, True, True),
    ],
)
def test_values_become_what_the_annotation_says(kind: Any, value: object, expected: object) -> None:
    found = decode(kind, value, where="here")
    assert found == expected
    assert type(found) is type(expected)


def test_null_for_a_number_is_nan() -> None:
    assert math.isnan(decode(float, None, where="here"))


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (Point, [1], r"here must be an object, got \[1\]\."),
        (Point, {"x": 1}, r"here must have the key 'tags', got \['x'\]\."),
        (Point, {"x": 1, "tags": [], "y": 2}, r"here must have the keys \['tags', 'x'\] only, got 'y' too\."),
        (Point, {"x": "1", "tags": []}, r"here\.x must be a finite number or null, got '1'\."),
        (tuple[float, ...], [1, True], r"here\[1\] must be a finite number or null, got True\."),
        (float, math.inf, r"here must be a finite number or null, got inf\."),
        (float, 10**400, r"here must be a finite number or null, got 1000"),
        (tuple[str, str], ["a"], r"here must be an array of 2, got \['a'\]\."),
        (tuple[str, ...], "ab", r"here must be an array, got 'ab'\."),
        (dict[str, int], [], r"here must be an object, got \[\]\."),
        (dict[str, int], {"a": 1.5}, r"here\.a must be of type int, got 1\.5\."),
        (int, True, r"here must be of type int, got True\."),
        (str, 1, r"here must be of type str, got 1\."),
        (Literal["a", "b"], ["a"], r"here must be one of \['a', 'b'\], got \['a'\]\."),
        (str, ["x" * 1000], r"got \['x{77}…\.$"),
        (Sequence[int], "12", "here must be an array, got '12'"),
    ],
)
def test_a_value_that_does_not_fit_is_named(kind: Any, value: object, message: str) -> None:
    with pytest.raises(RunError, match=message):
        decode(kind, value, where="here")
