"""Read an interaction off three regressions: does a smile mean the same from a critic?

Run it: python examples/04_reviews_regression.py
"""

import torch

from fuseloom import Batch
from fuseloom.data import load
from fuseloom.diagnose.interaction_regression import interaction_regression


def main() -> None:
    """Print the tables of a smile alone, of smile and profession, and of both with their product."""
    reviews = load("reviews")
    inputs = {name: torch.from_numpy(one.values) for name, one in reviews.modalities.items()}
    found = interaction_regression(Batch(inputs=inputs, target=torch.from_numpy(reviews.target)))
    for model in found.models:
        print(f"score ~ {model.formula}    R2 {model.r2:.3f}")
        for one in model.coefficients:
            name, weight = " x ".join(one.term) or "intercept", one.estimate.mean
            print(f"  {name:<17} {weight:6.2f}  (standard error {one.error:.2f}, p {one.p:.2g})")
        print()
    others, critics = (one.slope.mean for one in found.slopes if one.modality == "smiling")
    print(f"A smile more is worth {others:.2f} points, from a critic {critics:.2f}.")
    print(f"The product matters (t = {found.models[-1].coefficients[-1].statistic:.1f}): these modalities")
    print("interact, so an additive fusion cannot be the whole answer. See: fuseloom compare reviews")


if __name__ == "__main__":
    main()
