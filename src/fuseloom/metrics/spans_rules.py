"""What counts as an entity in a sequence of tags such as ``B-PER I-PER O``: one rule per published scorer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

__all__ = [
    "RULES",
    "Span",
    "SpanRule",
    "conll_spans",
    "muse_bios_spans",
    "muse_spans",
    "seqeval_spans",
    "strict_spans",
    "umt_spans",
]

SpanRule = Literal["conll", "muse", "muse_bios", "seqeval", "strict", "umt"]

_PREFIXES = {"B": "B", "I": "I", "E": "E", "L": "E", "S": "S", "U": "S"}
"""Of the schemes BIO, BIOES and BILOU, as BIOES has them."""
_UNTYPED = "_"


class Span(NamedTuple):
    """An entity: its type, its first word, and the word behind its last one."""

    type: str
    start: int
    end: int


def conll_spans(tags: Sequence[str]) -> list[Span]:
    """Spans by the lenient rule of conlleval: an ``I-`` of no open entity of its type opens one."""
    return _walked(map(_scheme_part, tags), orphans=True)


def strict_spans(tags: Sequence[str]) -> list[Span]:
    """Spans that a ``B-`` or ``S-`` opens, as IOB2 demands; an ``I-`` of no such entity is outside."""
    return _walked(map(_scheme_part, tags), orphans=False)


def umt_spans(tags: Sequence[str]) -> list[Span]:
    """Spans of UMT's ``get_chunks``: as conlleval, but any tag but ``O``, such as ``X``, is of an entity."""
    return _walked(map(_umt_part, tags), orphans=True)


def muse_spans(tags: Sequence[str]) -> list[Span]:
    """Spans of MuSE's ``bio`` scorer: only ``B-`` opens, an ``I-`` of another type inside is overlooked."""
    return _muse_walked(tags, bios=False)


def muse_bios_spans(tags: Sequence[str]) -> list[Span]:
    """Spans of MuSE's ``bios`` scorer, which it does not report: a ``B-`` alone is none, ``S-`` is."""
    return _muse_walked(tags, bios=True)


def seqeval_spans(tags: Iterable[str]) -> list[Span]:
    """Spans of seqeval in its default mode, which takes the first letter of any tag for its prefix.

    A tag without a type, such as ``X``, has the type ``_`` as ``O`` has: it opens an entity behind one or at
    the start only, and an ``O`` does not close it.
    """
    found, start = [], 0
    before, before_kind = "O", ""
    for place, tag in enumerate([*tags, "O"]):
        prefix, kind = tag[:1], tag[1:].split("-", 1)[-1] or _UNTYPED
        other = before_kind != kind
        closes = before in ("E", "S") or (before in ("B", "I") and prefix in ("B", "S", "O"))
        if closes or (before not in ("O", ".") and other):
            found.append(Span(before_kind, start, place))
        opens = prefix in ("B", "S") or (prefix in ("E", "I") and before in ("E", "S", "O"))
        if opens or (prefix not in ("O", ".") and other):
            start = place
        before, before_kind = prefix, kind
    return found


RULES: Mapping[SpanRule, Callable[[Sequence[str]], list[Span]]] = {
    "conll": conll_spans,
    "muse": muse_spans,
    "muse_bios": muse_bios_spans,
    "seqeval": seqeval_spans,
    "strict": strict_spans,
    "umt": umt_spans,
}
"""Name -> spans of a sequence of tags."""


def _walked(parts: Iterable[tuple[str, str]], *, orphans: bool) -> list[Span]:
    """Spans of prefixes, as BIOES has them, with types; orphans are what continues no entity."""
    found: list[Span] = []
    opened: tuple[str, int] | None = None
    place = -1
    for place, (prefix, kind) in enumerate(parts):
        continues = prefix in ("I", "E")
        inside = continues and opened is not None and opened[0] == kind
        if opened is not None and not inside:
            found.append(Span(*opened, place))
            opened = None
        if not inside and (prefix in ("B", "S") or (continues and orphans)):
            opened = kind, place
        if opened is not None and prefix in ("E", "S"):
            found.append(Span(*opened, place + 1))
            opened = None
    return found if opened is None else [*found, Span(*opened, place + 1)]


def _scheme_part(tag: str) -> tuple[str, str]:
    prefix, _, kind = tag.partition("-")
    return _PREFIXES.get(prefix, "O"), kind or _UNTYPED


def _umt_part(tag: str) -> tuple[str, str]:
    prefix = "O" if tag == "O" else "B" if tag.split("-", 1)[0] == "B" else "I"
    return prefix, tag.rpartition("-")[2]


def _muse_walked(tags: Sequence[str], *, bios: bool) -> list[Span]:
    """Spans of an open entity at a time; in ``bios`` it has no end, 0, before an ``I-`` of its type.

    At the end of the tags an ``I-`` closes the open entity even so.
    """
    found: list[Span] = []
    kind, start, end = "", -1, 0
    for place, tag in enumerate(tags):
        if tag.startswith("I-") and start >= 0:
            end = place + 1 if tag.split("-")[1] == kind else end
            continue
        if end:
            found.append(Span(kind, start, end))
        start, end = -1, 0
        if tag.startswith("B-"):
            kind, start, end = tag.split("-")[1], place, 0 if bios else place + 1
        elif bios and tag.startswith("S-"):
            found.append(Span(tag.split("-")[1], place, place + 1))
    closed = end > 0 or (start >= 0 and tags[-1].startswith("I-"))
    return [*found, Span(kind, start, end)] if closed else found
