"""Which tags may follow one another: the rules of BIO, BIOES and their relatives, read from names of tags."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from fuseloom.errors import OptionError, UnknownNameError, did_you_mean

__all__ = ["TAG_SCHEMES", "TagConstraints", "tag_constraints"]

_Part = Literal["begin", "inside", "end", "single", "outside", "free"]

TAG_SCHEMES: Mapping[str, Mapping[str, _Part]] = {
    "bio": {"B": "begin", "I": "inside"},
    "bioes": {"B": "begin", "I": "inside", "E": "end", "S": "single"},
    "bilou": {"B": "begin", "I": "inside", "L": "end", "U": "single"},
    "bmes": {"B": "begin", "M": "inside", "E": "end", "S": "single"},
}
"""Name of a scheme -> letter before the hyphen of a tag -> part of a segment that it marks."""


@dataclass(frozen=True, kw_only=True)
class TagConstraints:
    """What a path of tags may be; True allows."""

    start: Bool[Tensor, " tag"]
    """Tags that may come first."""
    transitions: Bool[Tensor, "tag tag"]
    """``[K, K]``: the tag of the row may be followed by that of the column."""
    end: Bool[Tensor, " tag"]
    """Tags that may come last."""


def tag_constraints(
    tags: Sequence[str], *, scheme: str = "bio", free: Collection[str] = ()
) -> TagConstraints:
    """Read from the names of tags what may follow what.

    A segment's inside and end follow its begin or inside, of the same type. In schemes that mark the end, a
    segment that has begun must also be ended.

    Args:
        tags: ``O``, and letter, hyphen and type such as ``B-PER``; the place of each is its index.
        scheme: ``bio``, ``bioes``, ``bilou`` or ``bmes``.
        free: Tags outside the scheme that may stand anywhere, such as those of further word pieces or of
            special tokens. What stands on their two sides is not compared, as a chain of the first order
            sees neighbours only.

    Raises:
        UnknownNameError: a scheme that is not known.
        OptionError: no tag, one twice, or a tag that is neither in the scheme nor free.

    Example:
        >>> tag_constraints(["O", "B-PER", "I-PER"]).transitions
        tensor([[ True,  True, False],
                [ True,  True,  True],
                [ True,  True,  True]])
    """
    parts = _read(tags, scheme, free)
    closing = "end" in TAG_SCHEMES[scheme].values()
    every = range(len(parts))
    follows = [[_may_follow(parts[a], parts[b], closing=closing) for b in every] for a in every]
    # Before the first tag and after the last one nothing is open and nothing goes on, as at an ``O``.
    bound: tuple[_Part, str] = ("outside", "")
    return TagConstraints(
        start=torch.tensor([_may_follow(bound, part, closing=closing) for part in parts]),
        transitions=torch.tensor(follows),
        end=torch.tensor([_may_follow(part, bound, closing=closing) for part in parts]),
    )


def _may_follow(before: tuple[_Part, str], after: tuple[_Part, str], *, closing: bool) -> bool:
    if "free" in (before[0], after[0]):
        return True
    is_open = before[0] in ("begin", "inside")
    if after[0] in ("inside", "end"):
        return is_open and before[1] == after[1]
    return not (closing and is_open)


def _read(tags: Sequence[str], scheme: str, free: Collection[str]) -> list[tuple[_Part, str]]:
    """Part and type of each tag."""
    if scheme not in TAG_SCHEMES:
        raise UnknownNameError(f"Unknown tag scheme {scheme!r}.{did_you_mean(scheme, TAG_SCHEMES)}")
    if not tags or len(set(tags)) < len(tags):
        raise OptionError(f"tags must be one or more, each once, got {list(tags)}.")
    return [("free", "") if tag in free else _part(tag, scheme) for tag in tags]


def _part(tag: str, scheme: str) -> tuple[_Part, str]:
    if tag == "O":
        return "outside", ""
    letter, hyphen, kind = tag.partition("-")
    letters = TAG_SCHEMES[scheme]
    if letter not in letters or not hyphen:
        raise OptionError(
            f"tags must be 'O' or a type after one of {[f'{known}-' for known in letters]}, got {tag!r}. "
            "Name it in free if it may stand anywhere, or choose another scheme."
        )
    return letters[letter], kind
