"""JSON Schema of a report, generated from the dataclasses, so that the two cannot part.

``schema.json`` beside this file is its output, for programs that read reports without fuseloom.
"""

import ast
import dataclasses
import inspect
import json
from collections.abc import Callable
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from fuseloom.comparison.result import FORMAT_VERSION, Comparison

__all__ = ["report_schema", "schema_text"]

Schema = dict[str, Any]


def report_schema() -> Schema:
    """JSON Schema (2020-12) of what `to_json` writes; a number may be ``null`` where it was not finite."""
    definitions: dict[str, Schema] = {}
    _describe(Comparison, definitions)
    definitions["Comparison"]["properties"]["format_version"]["const"] = FORMAT_VERSION
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "fuseloom comparison report",
        "$ref": "#/$defs/Comparison",
        "$defs": dict(sorted(definitions.items())),
    }


def schema_text() -> str:
    """Content of ``schema.json``."""
    return json.dumps(report_schema(), indent=2, ensure_ascii=False) + "\n"


def _describe(kind: Any, definitions: dict[str, Schema]) -> Schema:
    if dataclasses.is_dataclass(kind):
        return _describe_dataclass(kind, definitions)
    return _DESCRIBERS[get_origin(kind) or kind](kind, definitions)


def _describe_dataclass(kind: Any, definitions: dict[str, Schema]) -> Schema:
    if kind.__name__ not in definitions:
        hints = get_type_hints(kind)
        notes = _field_notes(kind)
        definitions[kind.__name__] = {
            "description": inspect.cleandoc(kind.__doc__),
            "type": "object",
            "properties": {name: _describe(hint, definitions) | notes[name] for name, hint in hints.items()},
            "required": list(hints),
            "additionalProperties": False,
        }
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _field_notes(kind: Any) -> dict[str, Schema]:
    """Field name -> the docstring that follows it in the source."""
    (body,) = (
        node.body for node in ast.parse(inspect.getsource(kind)).body if isinstance(node, ast.ClassDef)
    )
    notes: dict[str, Schema] = {}
    for node, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            notes[node.target.id] = _note(following)
    return notes


def _note(node: ast.stmt | None) -> Schema:
    match node:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return {"description": inspect.cleandoc(text)}
        case _:
            return {}


def _describe_tuple(kind: Any, definitions: dict[str, Schema]) -> Schema:
    kinds = get_args(kind)
    if kinds[-1] is ...:
        return {"type": "array", "items": _describe(kinds[0], definitions)}
    items = [_describe(item, definitions) for item in kinds]
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}


def _describe_dict(kind: Any, definitions: dict[str, Schema]) -> Schema:
    return {"type": "object", "additionalProperties": _describe(get_args(kind)[1], definitions)}


def _describe_optional(kind: Any, definitions: dict[str, Schema]) -> Schema:
    (inner,) = (arg for arg in get_args(kind) if arg is not type(None))
    found = _describe(inner, definitions)
    if "$ref" in found:
        return {"anyOf": [found, {"type": "null"}]}
    types = found["type"] if isinstance(found["type"], list) else [found["type"]]
    return found | {"type": sorted({*types, "null"})}


def _describe_choice(kind: Any, _definitions: dict[str, Schema]) -> Schema:
    return {"enum": list(get_args(kind))}


def _describe_plain(kind: Any, _definitions: dict[str, Schema]) -> Schema:
    return {} if kind is Any else {"type": _TYPES[kind]}


_TYPES: dict[Any, str | list[str]] = {
    float: ["null", "number"],
    int: "integer",
    str: "string",
    bool: "boolean",
}
_DESCRIBERS: dict[Any, Callable[[Any, dict[str, Schema]], Schema]] = {
    tuple: _describe_tuple,
    dict: _describe_dict,
    UnionType: _describe_optional,
    Union: _describe_optional,
    Literal: _describe_choice,
    Any: _describe_plain,
    **dict.fromkeys(_TYPES, _describe_plain),
}
