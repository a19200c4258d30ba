"""What a model exchanges: a sentence, tables, and rows with their words marked and their patches shaded."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fuseloom.diagnose.exchanged import Exchanged, ExchangedSample, SampleLayer, SampleStream, Unit
from fuseloom.metrics.interval import Interval
from fuseloom.report.svg import element, figure, tooltip
from fuseloom.report.tables import Table
from fuseloom.report.words import ABSENT, listed, range_text, score, shown_sign, signed

__all__ = [
    "ExchangeCard",
    "ExchangeLook",
    "exchange_cards",
    "exchanged_details",
    "exchanged_saying",
    "exchanged_table",
    "layer_name",
]

_SIDE = 144.0
_STRIP = 12.0
_MOST_WIDE = 720.0
_SHARES = 3
_RANGE = "95 % interval"
_WHAT: Mapping[Unit, str] = {"positions": "", "channels": "the channels of ", "values": "the attention of "}
_NOTES: Mapping[Unit, str] = {
    "positions": "No attention of a class token is filed.",
    "channels": "Share of the channels that are another modality's; the same for every row.",
    "values": "What the keys of other modalities weigh, mean over heads and positions.",
}
_IN_BACKBONE = re.compile(r"encoder\.(stages|layers)\.(?P<block>\d+\.\d+)(\.\w+)?")
_IN_STACK = re.compile(r"exchange\.(?P<stack>[^.]+)\.layer\.(?P<layer>\d+)\.(?P<place>\w+)")


@dataclass(frozen=True, kw_only=True)
class ExchangeLook:
    """One modality of a row, once for each layer."""

    name: str
    lines: tuple[tuple[str, tuple[tuple[str, bool], ...]], ...] = ()
    """Layer, and each word with whether it is exchanged."""
    drawings: tuple[tuple[str, str], ...] = ()
    """Layer, and inline SVG."""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class ExchangeCard:
    """One row."""

    row: str
    looks: tuple[ExchangeLook, ...]


def layer_name(name: str) -> str:
    """Where an exchange stands, for a reader.

    Example:
        >>> layer_name("exchange.0.layer.1.after_norm"), layer_name("exchange.0_1")
        ('layer 1', 'exchange 0 1')
        >>> layer_name("encoder.stages.2.0.after_attention")
        'block 2.0'
    """
    if found := _IN_BACKBONE.fullmatch(name):
        return f"block {found['block']}"
    found = _IN_STACK.fullmatch(name)
    return f"layer {found['layer']}" if found else re.sub(r"[._]", " ", name)


def _names(one: Exchanged) -> dict[str, str]:
    """Layer -> what it is called; in full where two would be called the same."""
    short = {layer.layer: layer_name(layer.layer) for layer in one.layers}
    unique = len(set(short.values())) == len(short)
    return short if unique else {name: re.sub(r"[._]", " ", name) for name in short}


def exchanged_saying(one: Exchanged, decimals: int) -> str:
    """How much is exchanged, and whether the model does worse without it.

    Example:
        >>> from fuseloom.diagnose.exchanged import ExchangedLayer
        >>> tenth = Interval(mean=0.1, low=0.1, high=0.1)
        >>> layer = ExchangedLayer(
        ...     layer="exchange.0.layer.1.after_norm", modality="text", share=tenth, to_exchanged=None,
        ...     to_kept=None, to_class_token=None,
        ... )
        >>> lost = Interval(mean=0.2, low=0.15, high=0.25)
        >>> half = Interval(mean=0.5)
        >>> found = Exchanged(
        ...     model="muse", metric="f1", rows=90, layers=(layer,), overlaps=(), score=half,
        ...     without=half, lost=lost, changed=None,
        ... )
        >>> exchanged_saying(found, 2)
        'In 1 layer the model exchanges 10 % of text; without that its f1 gets worse by 0.20 (0.15 to 0.25).'
    """
    count = len({layer.layer for layer in one.layers})
    where = "1 layer" if count == 1 else f"{count} layers"
    of = _WHAT[one.layers[0].unit]
    shares = listed(f"{_percent(_mean_share(one, name))} of {of}{name}" for name in _modalities(one))
    return f"In {where} the model exchanges {shares}; {_worth(one, decimals)}{_changes(one)}."


def _modalities(one: Exchanged) -> list[str]:
    return list(dict.fromkeys(layer.modality for layer in one.layers))


def _mean_share(one: Exchanged, modality: str) -> float:
    shares = [layer.share.mean for layer in one.layers if layer.modality == modality]
    return sum(shares) / len(shares)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _worth(one: Exchanged, decimals: int) -> str:
    sign = shown_sign(one.lost, decimals)
    if sign == 0:
        return (
            f"these rows do not show that its {one.metric} depends on that "
            f"({signed(one.lost.mean, decimals)} lost without it, "
            f"{range_text(one.lost, decimals, write=signed)})"
        )
    size = score(abs(one.lost.mean), decimals)
    ends = Interval(mean=one.lost.mean, low=one.lost.low, high=one.lost.high)
    if sign < 0:
        ends = Interval(mean=-one.lost.mean, low=_negative(one.lost.high), high=_negative(one.lost.low))
    return (
        f"without that its {one.metric} gets {'worse' if sign > 0 else 'better'} by {size} "
        f"({range_text(ends, decimals)})"
    )


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


def _changes(one: Exchanged) -> str:
    if one.changed is None:
        return ""
    return f", and {_percent(one.changed.mean)} of the rows get another answer"


def exchanged_table(one: Exchanged) -> Table:
    """Layer by layer: what share is exchanged, and how much attention goes where."""
    names = _names(one)
    rows = tuple(
        (
            names[layer.layer],
            layer.modality,
            score(layer.share.mean, _SHARES),
            range_text(layer.share, _SHARES),
            _attention(layer.to_exchanged),
            _attention(layer.to_kept),
            _attention(layer.to_class_token),
        )
        for layer in one.layers
    )
    told = any(layer.to_kept is not None for layer in one.layers)
    return Table(
        head=("Layer", "Modality", "Exchanged", _RANGE, "To exch.", "To kept", "To cls"),
        rows=rows,
        words=2,
        note="Attention of the class token to an exchanged position and to a kept one, and of a position to "
        "the class token, averaged over heads."
        if told
        else _NOTES[one.layers[0].unit],
    )


def _estimate(interval: Interval, decimals: int) -> tuple[str, str]:
    return score(interval.mean, decimals), range_text(interval, decimals)


def _attention(interval: Interval | None) -> str:
    return ABSENT if interval is None else score(interval.mean, _SHARES + 1)


def exchanged_details(one: Exchanged, decimals: int) -> Iterator[tuple[str, Table]]:
    """With and without, attention with its intervals, and layers that exchange the same, under titles."""
    rows = [
        (f"{one.metric} of the model", *_estimate(one.score, decimals)),
        (f"{one.metric} without exchange", *_estimate(one.without, decimals)),
        ("lost without it", signed(one.lost.mean, decimals), range_text(one.lost, decimals, write=signed)),
    ]
    if one.changed is not None:
        rows.append(("rows with another answer", *_estimate(one.changed, _SHARES)))
    yield "With and without", Table(head=("On these rows", "Estimate", _RANGE), rows=tuple(rows))
    names = _names(one)
    if attention := tuple(_attentions(one, names)):
        yield (
            "Attention, averaged over heads",
            Table(head=("Layer", "Modality", "Attention", "Estimate", _RANGE), rows=attention, words=3),
        )
    again = tuple(
        (
            part.modality,
            names[part.earlier],
            names[part.later],
            score(part.again.mean, _SHARES),
            range_text(part.again, _SHARES),
            score(part.chance, _SHARES),
        )
        for part in one.overlaps
    )
    if again:
        yield (
            "The same positions again",
            Table(
                head=("Modality", "Exchanged in", "Again in", "Share", _RANGE, "By chance"),
                rows=again,
                words=3,
            ),
        )


def _attentions(one: Exchanged, names: dict[str, str]) -> Iterator[tuple[str, ...]]:
    for layer in one.layers:
        parts = {
            "cls to exchanged": layer.to_exchanged,
            "cls to kept": layer.to_kept,
            "to cls": layer.to_class_token,
        }
        for name, part in parts.items():
            if part is not None:
                digits = _SHARES + 1
                yield (
                    names[layer.layer],
                    layer.modality,
                    name,
                    score(part.mean, digits),
                    range_text(part, digits),
                )


def exchange_cards(one: Exchanged) -> tuple[ExchangeCard, ...]:
    """The rows that are shown; none where none has anything but numbers of positions."""
    names = _names(one)
    return tuple(_card(sample, names) for sample in one.samples if _has_inputs(sample))


def _has_inputs(sample: ExchangedSample) -> bool:
    return any(stream.words or stream.picture for stream in sample.streams)


def _card(sample: ExchangedSample, names: dict[str, str]) -> ExchangeCard:
    return ExchangeCard(row=sample.row, looks=tuple(_look(stream, names) for stream in sample.streams))


def _look(stream: SampleStream, names: dict[str, str]) -> ExchangeLook:
    if not stream.positions:
        return ExchangeLook(name=stream.modality, note="absent")
    if stream.words:
        lines = tuple(
            (
                names[layer.layer],
                tuple((word, place in layer.chosen) for place, word in enumerate(stream.words)),
            )
            for layer in stream.layers
        )
        return ExchangeLook(name=stream.modality, lines=lines)
    draw = _strip if stream.grid is None else _patches
    note = "" if stream.grid else "Positions in their order: they are no rectangle of patches or words."
    drawings = tuple((names[layer.layer], draw(stream, layer)) for layer in stream.layers)
    return ExchangeLook(name=stream.modality, drawings=drawings, note=note)


def _patches(stream: SampleStream, layer: SampleLayer) -> str:
    """The picture with exchanged patches shaded; a bare grid where there is no picture."""
    assert stream.grid is not None
    down, across = stream.grid
    found = stream.picture
    width = _SIDE
    height = width * (down / across if found is None else found.height / found.width)
    sheet: Sequence[str] = [element("rect", x=0, y=0, width=width, height=height, class_="sheet")]
    if found is not None:
        sheet = [element("image", href=found.picture, width=width, height=height, preserveAspectRatio="none")]
    boxes = [
        element(
            "rect",
            *([tooltip(f"score {layer.scores[place]:.4g}")] if layer.scores else []),
            x=place % across * width / across,
            y=place // across * height / down,
            width=width / across,
            height=height / down,
            class_="taken",
        )
        for place in layer.chosen
    ]
    return figure(_label(stream, layer), *sheet, *boxes, width=width, height=height, class_="patches")


def _strip(stream: SampleStream, layer: SampleLayer) -> str:
    width = min(_MOST_WIDE, _STRIP * stream.positions)
    step = width / stream.positions
    boxes = [
        element("rect", x=place * step, y=0, width=step, height=_STRIP, class_="taken")
        for place in layer.chosen
    ]
    sheet = element("rect", x=0, y=0, width=width, height=_STRIP, class_="sheet")
    return figure(_label(stream, layer), sheet, *boxes, width=width, height=_STRIP, class_="patches strip")


def _label(stream: SampleStream, layer: SampleLayer) -> str:
    where = ", ".join(str(place + 1) for place in layer.chosen)
    return f"{len(layer.chosen)} of {stream.positions} positions of {stream.modality} exchanged: {where}."
