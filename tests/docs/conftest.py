import csv
from pathlib import Path

import pytest

WORDS = {
    "good": ["Warm, light, worth it.", "A joy to wear."],
    "bad": ["Torn after a week.", "Thin and far too dear."],
}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the files that the pages speak of, as the working directory."""
    monkeypatch.chdir(tmp_path)
    rows = [_review(number) for number in range(60)]
    rows[10]["price"] = "cheap"
    _write(tmp_path / "reviews.csv", rows)
    _write(tmp_path / "new.csv", [{k: v for k, v in _review(n).items() if k != "score"} for n in (3, 70, 71)])
    return tmp_path


def _review(number: int) -> dict[str, str]:
    score = ("good", "bad")[number % 2]
    text = WORDS[score][number // 2 % 2]
    stars = 5 - number % 3 if score == "good" else 1 + number % 3
    return {"review": text, "price": str(20 + 7 * number % 90), "stars": str(stars), "score": score}


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
