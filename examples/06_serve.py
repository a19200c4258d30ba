"""A saved model behind HTTP: rows as JSON in, predictions out, and what is wrong with them as an answer.

Run it: python examples/06_serve.py RUN [PORT]
"""

import base64
import binascii
import json
import sys
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from fuseloom.data import read_rows
from fuseloom.data.media import read_image
from fuseloom.errors import DataError, FuseloomError
from fuseloom.train.saved import SavedModel

MOST_BYTES = 16_000_000


def columns_of(rows: Any, model: SavedModel) -> dict[str, list[Any]]:
    """Column -> a cell per row; a modality that no row has is left out."""
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(
            'The body must be a JSON list of rows, such as [{"note": "crisp"}], got something else.'
        )
    known: dict[str, dict[str, str]] = {
        name: {**spec.columns} or {name: spec.kind} for name, spec in model.schema.modalities.items()
    }
    columns = sorted(column for kinds in known.values() for column in kinds)
    if unknown := sorted({column for row in rows for column in row} - {*columns, *model.schema.targets}):
        raise DataError(f"A row must have columns of {columns}, got {unknown[0]!r}.")
    found: dict[str, list[Any]] = {}
    for kinds in known.values():
        if any(row.get(column) is not None for row in rows for column in kinds):
            found |= {c: [cell(c, kind, row.get(c)) for row in rows] for c, kind in kinds.items()}
    if not found:
        raise DataError("The body must hold a value in one of its rows at least, got none.")
    return found


def cell(column: str, kind: str, value: Any) -> Any:
    """A picture comes as base64: a path would let a stranger read what lies on this machine."""
    if kind not in ("image", "audio", "array") or value is None:
        return value
    if kind != "image":
        raise DataError(f"{column} must be left out, got a value: this example takes pictures only as files.")
    try:
        return read_image(base64.b64decode(value, validate=True))
    except (binascii.Error, TypeError):
        raise DataError(f"{column} must be the bytes of a file in base64, got something else.") from None


def answers(rows: Any, model: SavedModel) -> list[dict[str, Any]]:
    """A prediction for each row, in their order."""
    dataset = read_rows(columns_of(rows, model), model.schema)
    if dataset.set_aside:
        raise DataError(f"{dataset.set_aside[0].where}: {dataset.set_aside[0].reason}")
    predicted = {name: values.tolist() for name, values in model.predict(dataset).items()}
    return [dict(zip(predicted, row, strict=True)) for row in zip(*predicted.values(), strict=True)]


class Handler(BaseHTTPRequestHandler):
    """Answers POST with predictions, 400 with the message of an error."""

    def __init__(self, *arguments: Any, model: SavedModel) -> None:
        self.model = model
        super().__init__(*arguments)

    def do_POST(self) -> None:
        """Predict the rows of the body."""
        size = int(self.headers.get("Content-Length", 0))
        if size > MOST_BYTES:
            return self.say(413, {"error": f"The body must be at most {MOST_BYTES:,} bytes, got {size:,}."})
        try:
            return self.say(200, answers(json.loads(self.rfile.read(size)), self.model))
        except (FuseloomError, ValueError) as error:
            return self.say(400, {"error": str(error)})

    def say(self, status: int, what: Any) -> None:
        """Send JSON."""
        body = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    handler = partial(Handler, model=SavedModel.load(Path(sys.argv[1]) / "model"))
    with HTTPServer(("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 0), handler) as server:
        print(f"serving at http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
