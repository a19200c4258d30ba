from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The programs, which import one another as scripts do."""
    monkeypatch.syspath_prepend(FOLDER)
    return FOLDER


@pytest.fixture
def tiny() -> dict[str, Any]:
    """Sizes of MuSE with which its programs take seconds."""
    return {
        "batch": 3,
        "grid": 2,
        "dim": 16,
        "heads": 2,
        "layers": 3,
        "bert_layers": 1,
        "hidden": 8,
        "picture": 32,
        "body": "resnet18",
        "words": 20,
        "caption": 6,
        "width": 8,
        "painted": 8,
        "blocks": 1,
        "filters": 4,
        "tags": 5,
    }
