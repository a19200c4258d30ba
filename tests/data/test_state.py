import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fuseloom.data import (
    Schema,
    encode,
    fit_preprocessors,
    load,
    preprocessors_from_state,
    preprocessors_state,
    schema_from_state,
    schema_state,
)
from fuseloom.errors import DataError


def test_preprocessors_survive_json(reviews: Path) -> None:
    rows = load(reviews, target="score")
    rows = replace(
        rows,
        modalities={**rows.modalities, **load({"a": np.eye(4), "b": np.eye(4)}, target=[1] * 4).modalities},
    )
    fitted = fit_preprocessors(rows, np.arange(3))
    state = json.loads(json.dumps(preprocessors_state(fitted), sort_keys=True, allow_nan=False))
    again = preprocessors_from_state(state)
    assert again == fitted
    assert list(again) == list(fitted)
    for first, second in zip(encode(rows, fitted), encode(rows, again), strict=True):
        for name, value in first.items():
            np.testing.assert_array_equal(second[name], value)


def test_a_schema_survives_json(reviews: Path) -> None:
    schema = load(reviews, target="score").schema
    again = schema_from_state(json.loads(json.dumps(schema_state(schema), sort_keys=True)))
    assert again == schema
    assert list(again.modalities["tabular"].columns) == ["price", "stars", "colour"]


@pytest.mark.parametrize("state", [{}, {"modalities": [{"name": "a"}]}, {"modalities": [], "surprise": 1}])
def test_another_state_of_a_schema_is_refused(state) -> None:
    with pytest.raises(DataError, match="The state of a schema must have its entries, got one without"):
        schema_from_state(state)


@pytest.mark.parametrize("state", [[{}], [{"name": "a", "kind": "smell", "state": {}}], ["a"]])
def test_another_state_of_preprocessors_is_refused(state) -> None:
    with pytest.raises(DataError, match="The state of preprocessors must have name, kind and state"):
        preprocessors_from_state(state)


def test_a_preprocessor_without_its_entries_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"The state of a text preprocessor must have its entries, got \['size'\]"
    ):
        preprocessors_from_state([{"name": "a", "kind": "text", "state": {"size": 3}}])


def test_an_empty_schema_is_a_schema() -> None:
    schema = Schema(source_format="arrays", modalities={})
    assert schema_from_state(schema_state(schema)) == schema
