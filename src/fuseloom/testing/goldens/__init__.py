"""Golden cases: tensors of the authors' own code, and one short runner per kind that reproduces them.

A runner is added to the table of its system's module; `fuseloom.testing.verify` does the rest.
"""

from collections.abc import Mapping

from fuseloom.testing.goldens import lecture, lecture_generated, lecture_product, lecture_tensor
from fuseloom.testing.goldens._case import Given, GoldenCase, Ledger, Runner, Tolerance, read_case

__all__ = ["RUNNERS", "Given", "GoldenCase", "Ledger", "Runner", "Tolerance", "read_case"]

RUNNERS: Mapping[str, Runner] = {
    **lecture.RUNNERS,
    **lecture_generated.RUNNERS,
    **lecture_product.RUNNERS,
    **lecture_tensor.RUNNERS,
}
"""Kind -> runner, over all systems."""
