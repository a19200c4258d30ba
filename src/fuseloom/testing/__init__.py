"""Checks that a third party can run on parts of their own: `check_merge` and `check_exchange`."""

from fuseloom.testing._case import Case, Layout
from fuseloom.testing.contract import Clause, check_exchange, check_merge, exchange_clauses, merge_clauses

__all__ = [
    "Case",
    "Clause",
    "Layout",
    "check_exchange",
    "check_merge",
    "exchange_clauses",
    "merge_clauses",
]
