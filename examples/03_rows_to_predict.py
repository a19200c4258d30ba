"""Write a few of the embedded digits as the table that `fuseloom predict` reads.

Run it: python examples/03_rows_to_predict.py ROWS.csv
"""

import csv
import sys
from pathlib import Path

from fuseloom.data import load

ROWS = range(0, 1797, 225)


def main(path: Path) -> None:
    """An embedding stands in columns ``top_0``, ``top_1`` and so on; ``digit`` is what was drawn."""
    digits = load("digits")
    assert digits.target is not None
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        names = [f"{name}_{column}" for name in digits.modalities for column in range(32)]
        writer.writerow(["digit", *names])
        for row in ROWS:
            values = [v for modality in digits.modalities.values() for v in modality.values[row].tolist()]
            writer.writerow([digits.target[row], *values])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
