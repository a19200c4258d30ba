"""Read an interaction off three regressions: does a smile mean the same from a critic?

Run it: python examples/04_reviews_regression.py
"""

import numpy as np
import statsmodels.api as sm

from fuseloom.data import load


def main() -> None:
    """Print the tables of a smile alone, of smile and profession, and of both with their product."""
    reviews = load("reviews")
    smiling, critic = (
        reviews.modalities[name].values[:, 0].astype(np.float64) for name in ("smiling", "critic")
    )
    columns = {"smiling": smiling, "critic": critic, "smiling x critic": smiling * critic}
    for count in (1, 2, 3):
        names = list(columns)[:count]
        design = sm.add_constant(np.column_stack([columns[name] for name in names]))
        fitted = sm.OLS(reviews.target, design).fit()
        print(f"score ~ {' + '.join(names)}    R2 {fitted.rsquared:.3f}")
        for name, weight, error, p in zip(
            ["intercept", *names], fitted.params, fitted.bse, fitted.pvalues, strict=True
        ):
            print(f"  {name:<17} {weight:6.2f}  (standard error {error:.2f}, p {p:.2g})")
        print()
    _, slope, _, interaction = fitted.params
    print(f"A smile more is worth {slope:.2f} points, from a critic {slope + interaction:.2f}.")
    print(f"The product matters (t = {fitted.tvalues[3]:.1f}): these modalities interact, so an additive")
    print("fusion cannot be the whole answer. See: fuseloom compare reviews")


if __name__ == "__main__":
    main()
