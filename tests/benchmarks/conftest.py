from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The programs, which import one another as scripts do."""
    monkeypatch.syspath_prepend(FOLDER)
    return FOLDER
