"""Schemas and preprocessors as plain values, for the configuration of a saved model."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fuseloom.data.dataset import ModalitySpec, Schema
from fuseloom.data.label_maps import LabelFormat
from fuseloom.data.maps import MapFormat
from fuseloom.data.preprocessing import PREPROCESSORS, Preprocessor
from fuseloom.errors import DataError

__all__ = ["preprocessors_from_state", "preprocessors_state", "schema_from_state", "schema_state"]


def preprocessors_state(preprocessors: Mapping[str, Preprocessor]) -> list[dict[str, Any]]:
    """Plain values for JSON; a list, because the order of modalities belongs to a model."""
    return [{"name": name, "kind": one.kind, "state": one.state()} for name, one in preprocessors.items()]


def preprocessors_from_state(state: Sequence[Mapping[str, Any]]) -> dict[str, Preprocessor]:
    """Rebuild preprocessors.

    Raises:
        DataError: the state is not one of `preprocessors_state`.
    """
    try:
        return {one["name"]: PREPROCESSORS[one["kind"]].from_state(one["state"]) for one in state}
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"The state of preprocessors must have name, kind and state, got one without: {error}."
        ) from None


def schema_state(schema: Schema) -> dict[str, Any]:
    """Plain values for JSON."""
    modalities = [
        {"name": name, "kind": spec.kind, "columns": [list(column) for column in spec.columns.items()]}
        for name, spec in schema.modalities.items()
    ]
    labels, numbers = schema.label_format, schema.map_format
    return {
        **vars(schema),
        "modalities": modalities,
        "label_format": None if labels is None else labels.state(),
        "map_format": None if numbers is None else asdict(numbers),
    }


def schema_from_state(state: Mapping[str, Any]) -> Schema:
    """Rebuild a schema.

    Raises:
        DataError: the state is not one of `schema_state`.
    """
    try:
        modalities = {
            one["name"]: ModalitySpec(kind=one["kind"], columns=dict(one["columns"]))
            for one in state["modalities"]
        }
        several = {name: tuple(state.get(name, ())) for name in ("fold_columns", "target_columns")}
        form = state.get("label_format")
        labels = None if form is None else LabelFormat.from_state(form)
        numbers = None if state.get("map_format") is None else MapFormat.from_state(state["map_format"])
        forms = {"label_format": labels, "map_format": numbers}
        return Schema(**{**state, "modalities": modalities, **several, **forms})
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"The state of a schema must have its entries, got one without: {error}.") from None
