import copy
import json
import math
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest

from fuseloom.comparison.result import Comparison
from fuseloom.report import to_json
from fuseloom.report.schema import report_schema, schema_text

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}

REGENERATE = (
    "import pathlib, fuseloom.report.schema as s; "
    "pathlib.Path('src/fuseloom/report/schema.json').write_text(s.schema_text(), encoding='utf-8')"
)


def fits(value: Any, schema: dict[str, Any], whole: dict[str, Any]) -> bool:
    """Check the few keywords of JSON Schema that the report's schema uses."""
    if "$ref" in schema:
        return fits(value, whole["$defs"][schema["$ref"].removeprefix("#/$defs/")], whole)
    if "anyOf" in schema:
        return any(fits(value, one, whole) for one in schema["anyOf"])
    plain = (
        value in schema.get("enum", [value])
        and value == schema.get("const", value)
        and has_type(value, schema.get("type", list(TYPES)))
    )
    inside = fits_object if isinstance(value, dict) else fits_array if isinstance(value, list) else None
    return plain and (inside is None or inside(value, schema, whole))


def has_type(value: Any, names: str | list[str]) -> bool:
    kinds = [kind for name in ([names] if isinstance(names, str) else names) for kind in TYPES[name]]
    return type(value) in kinds


def fits_object(value: dict[str, Any], schema: dict[str, Any], whole: dict[str, Any]) -> bool:
    named, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    return set(schema.get("required", [])) <= value.keys() and all(
        fits(item, named[key], whole) if key in named else others is not False and fits(item, others, whole)
        for key, item in value.items()
    )


def fits_array(value: list[Any], schema: dict[str, Any], whole: dict[str, Any]) -> bool:
    if "prefixItems" not in schema:
        return all(fits(item, schema.get("items", {}), whole) for item in value)
    return len(value) == schema["minItems"] == schema["maxItems"] and all(
        fits(item, kind, whole) for item, kind in zip(value, schema["prefixItems"], strict=True)
    )


def test_the_file_is_in_step_with_the_dataclasses() -> None:
    stored = files("fuseloom.report").joinpath("schema.json").read_text(encoding="utf-8")
    assert (
        stored == schema_text()
    ), f"""Regenerate it; where old reports no longer fit, raise FORMAT_VERSION too.
        python -c "{REGENERATE}"
    """


def test_a_report_fits(comparison: Comparison) -> None:
    schema = report_schema()
    assert fits(json.loads(to_json(comparison)), schema, schema)


def test_a_report_with_missing_numbers_fits(comparison: Comparison) -> None:
    schema = report_schema()
    gone = replace(comparison.entries[0], train_s=math.nan, memory_mb=None, learning_rate=None)
    assert fits(json.loads(to_json(replace(comparison, entries=(gone,)))), schema, schema)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["format_version"], 1),
        (["seeds"], 1.5),
        (["seeds"], None),
        (["higher_is_better"], "yes"),
        (["entries", 0, "role"], "other"),
        (["entries", 0, "test", "mean"], "0.9"),
        (["entries", 0, "extra"], 1),
        (["entries", 0], None),
        (["data", "rows", "train"], "many"),
        (["data", "set_aside", 0], ["a"]),
        (["reliance", 0, "hidden", "top"], 0.3),
    ],
)
def test_what_does_not_fit_the_dataclasses_does_not_fit_the_schema(
    comparison: Comparison, path: list[Any], value: object
) -> None:
    schema = report_schema()
    found = json.loads(to_json(comparison))
    place = found
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert not fits(found, schema, schema)


def test_a_missing_key_does_not_fit(comparison: Comparison) -> None:
    schema = report_schema()
    found = json.loads(to_json(comparison))
    for key in found:
        less = copy.copy(found)
        del less[key]
        assert not fits(less, schema, schema), key


def test_docstrings_of_fields_become_descriptions() -> None:
    definitions = report_schema()["$defs"]
    assert definitions["Entry"]["description"] == "One line of the leaderboard."
    assert definitions["Entry"]["properties"]["memory_mb"] == {
        "type": ["null", "number"],
        "description": "Peak megabytes of live tensors in one training step; None for a baseline.",
    }
    assert "description" not in definitions["Entry"]["properties"]["parameters"]
