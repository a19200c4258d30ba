"""The contract of exchanges and merges: one function per clause, run on any class or factory.

::

    from fuseloom.testing import check_merge
    check_merge(MyMerge)

A clause is a function of a `Case`; `merge_clauses` and `exchange_clauses` list them, for a test suite that
wants one test per clause.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from fuseloom.errors import ContractError, MissingExtraError, OptionError, did_you_mean
from fuseloom.testing import _claims as claims
from fuseloom.testing import _gradients as gradients
from fuseloom.testing import _graph as graph
from fuseloom.testing import _interaction as interaction
from fuseloom.testing import _masks as masks
from fuseloom.testing import _precision as precision
from fuseloom.testing import _sizes as sizes
from fuseloom.testing import _state as state
from fuseloom.testing import _values as values
from fuseloom.testing._case import Build, Case, Reads, isolated

__all__ = ["Clause", "check_exchange", "check_merge", "exchange_clauses", "merge_clauses"]


@dataclass(frozen=True)
class Clause:
    """One demand on every part.

    Args:
        check: Raises `ContractError` where a case breaks the demand.
        marks: Some of ``compile``, ``slow`` and ``gpu``, as a test suite may want to select them.
    """

    check: Callable[[Case], None]
    marks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What messages and ``skip`` call it."""
        return self.check.__name__

    def __call__(self, case: Case) -> None:
        """Check a case.

        Raises:
            ContractError: the case breaks the clause, or the part fails with an error of its own.
            MissingExtraError: the clause needs a package that is not installed.
        """
        blame = f"{case.label} breaks {self.name!r}"
        with isolated():
            torch.default_generator.manual_seed(0)
            try:
                self.check(case)
            except MissingExtraError:
                raise
            except ContractError as error:
                raise ContractError(f"{blame}: {error}") from None
            except Exception as error:
                raise ContractError(
                    f"{blame}: the part must run, got {type(error).__name__}: {error}"
                ) from error


_DOOR = (
    claims.claims_complete,
    claims.arity_respected,
    claims.wrong_dims_refused,
    claims.unknown_options_refused,
    values.shape_and_dtype,
    claims.wrong_input_refused,
)
_VALUES = (
    values.order_irrelevant,
    values.samples_independent,
    values.calls_do_not_interact,
    values.inputs_not_modified,
    values.trace_changes_nothing,
    masks.masked_values_ignored,
    masks.full_mask_is_no_mask,
    masks.mask_matters,
    masks.empty_sample_finite,
)
_LEARNING = (
    state.tensors_registered,
    gradients.gradient_reaches_inputs,
    gradients.gradient_reaches_parameters,
    gradients.parameters_learn,
    gradients.inert_without_influence,
    state.same_seed_same_part,
    state.state_round_trip,
    state.deepcopy_equal,
    state.safetensors_round_trip,
    state.keys_survive_new_modality,
)
_RUNNING = (
    interaction.interaction_as_claimed,
    interaction.symmetry_as_claimed,
    precision.double_runs,
    precision.low_precision_follows,
    precision.mixed_dtypes_accepted,
    precision.autocast_follows,
    graph.device_follows_input,
    graph.operations_constant,
    graph.no_scalar_read,
    sizes.any_sizes,
)
_COMPILING = (
    Clause(graph.compiles, ("compile",)),
    Clause(graph.exports, ("compile",)),
    Clause(graph.inductor_equal, ("compile", "slow")),
    Clause(graph.cuda_equal, ("gpu",)),
)
_SHARED = (*map(Clause, (*_DOOR, *_VALUES, *_LEARNING, *_RUNNING)), *_COMPILING)
_OF_EXCHANGES = (Clause(values.modalities_talk), Clause(masks.zero_under_mask))


def merge_clauses() -> tuple[Clause, ...]:
    """Every clause of a merge, the slow ones included.

    Example:
        >>> "order_irrelevant" in [clause.name for clause in merge_clauses()]
        True
    """
    return _SHARED


def exchange_clauses() -> tuple[Clause, ...]:
    """Every clause of an exchange, the slow ones included.

    Example:
        >>> sorted({c.name for c in exchange_clauses()} - {c.name for c in merge_clauses()})
        ['modalities_talk', 'zero_under_mask']
    """
    return (*_SHARED, *_OF_EXCHANGES)


def check_merge(
    build: Build,
    *,
    skip: Iterable[str] = (),
    aligned: bool | None = None,
    equal_widths: bool = False,
    reads: Reads | None = None,
) -> None:
    """Check a merge, a subclass or any factory ``dims -> Merge``, against every clause but the slow ones.

    Args:
        build: ``dims`` to the merge.
        skip: Names of clauses to leave out.
        aligned: Whether its streams must share their positions; what the card says by default.
        equal_widths: Whether its streams must share their width.
        reads: Streams and masks to what the card names under ``reads``, row by row.

    Raises:
        ContractError: a clause is broken; the message names it, what was expected and what came.
        OptionError: ``skip`` names no clause.
        MissingExtraError: a clause needs a package that is not installed.

    Example:
        >>> from fuseloom.merge.concat import Concat
        >>> check_merge(lambda dims: Concat(dims, pool=None), aligned=True, skip=("compiles", "exports"))
    """
    clauses = _selected(merge_clauses(), skip)
    case = Case.of(build, "merge", aligned=aligned, equal_widths=equal_widths, reads=reads)
    for clause in clauses:
        clause(case)


def check_exchange(
    build: Build,
    *,
    skip: Iterable[str] = (),
    aligned: bool | None = None,
    equal_widths: bool = False,
    reads: Reads | None = None,
) -> None:
    """Check an exchange, a subclass or any factory ``dims -> Exchange``; arguments as for `check_merge`.

    Raises:
        ContractError: a clause is broken; the message names it, what was expected and what came.
        OptionError: ``skip`` names no clause.
        MissingExtraError: a clause needs a package that is not installed.

    Example:
        >>> from fuseloom.exchange.cross_attention import CrossAttention
        >>> check_exchange(lambda dims: CrossAttention(dims, num_heads=2), skip=("compiles", "exports"))
    """
    clauses = _selected(exchange_clauses(), skip)
    case = Case.of(build, "exchange", aligned=aligned, equal_widths=equal_widths, reads=reads)
    for clause in clauses:
        clause(case)


def _selected(clauses: tuple[Clause, ...], skip: Iterable[str]) -> list[Clause]:
    left_out, names = set(skip), [clause.name for clause in clauses]
    if unknown := sorted(left_out.difference(names)):
        raise OptionError(f"skip must name clauses, got {unknown[0]!r}.{did_you_mean(unknown[0], names)}")
    barred = {"slow"} if torch.cuda.is_available() else {"slow", "gpu"}
    return [c for c in clauses if c.name not in left_out and barred.isdisjoint(c.marks)]
