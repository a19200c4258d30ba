"""What an attention part files beside its weights, so that a diagnosis can tell whose tokens they are on."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import pad

from fuseloom.types import Trace

__all__ = ["record_keys", "record_owners"]


def record_owners(
    trace: Trace,
    name: str,
    lengths: Mapping[str, int],
    *,
    like: Tensor,
    before: int = 0,
    mask: Tensor | None = None,
    asked: Tensor | None = None,
) -> None:
    """File under ``name`` which of the attended tokens are whose, and which queries are real.

    Args:
        trace: Collects them.
        name: Of the record of the weights, or of a scope that holds several such records.
        lengths: Name of a modality -> how many tokens it has, in the order in which they stand.
        like: Any tensor ``[B, ...]`` on the device.
        before: Tokens of no modality that stand in front.
        mask: ``[B, before + N]``, True where a token is real; None where all are.
        asked: ``[B, Nq]``, True where a query is real; None where all are, or where there is one only.

    Records:
        ``<name>.of.<modality>``: bool ``[B, before + N]``; ``<name>.asked``: bool ``[B, Nq]``.
    """
    if not trace.keep_records:
        return
    total = before + sum(lengths.values())
    kept = mask if mask is not None else like.new_ones(like.shape[0], total).bool()
    start = before
    for modality, length in lengths.items():
        own = kept[:, start : start + length]
        trace.record(f"{name}.of.{modality}", pad(own, (start, total - start - length), value=False))
        start += length
    if asked is not None:
        trace.record(f"{name}.asked", asked)


def record_keys(
    trace: Trace, name: str, query: Tensor, keys: Mapping[str, Tensor], *, num_heads: int
) -> None:
    """File under ``name`` the queries and each modality's mean key, by which queries favour a modality.

    Args:
        trace: Collects them.
        name: Of the record of the weights.
        query: ``[B, H d]``, or ``[B, Nq, H d]``.
        keys: Name of a modality -> mean of its real keys, ``[B, H d]``, zero where it has none.
        num_heads: ``H``.

    Records:
        ``<name>.query``: ``[B, H, d]`` or ``[B, H, Nq, d]``; ``<name>.key.<modality>``: ``[B, H, d]``.
    """
    if not trace.keep_records:
        return
    split = _per_head(query, num_heads)
    trace.record(f"{name}.query", split.transpose(1, 2) if query.dim() == 3 else split)
    for modality, key in keys.items():
        trace.record(f"{name}.key.{modality}", _per_head(key, num_heads))


def _per_head(value: Tensor, num_heads: int) -> Tensor:
    return value.reshape(*value.shape[:-1], num_heads, -1)
