"""What each method's figure shows; a method without a scene of its own gets the one that its card tells."""

from collections.abc import Iterable

from figures import ExchangeFigure, Flow, MergeFigure, Place

from fuseloom.registry import Card

__all__ = ["figure_of"]

_TEXT, _AUDIO = 4, 3
_BOTH = (("text", "audio"), ("audio", "text"))


def figure_of(name: str, kind: str, card: Card) -> ExchangeFigure | MergeFigure:
    """The scene of a method."""
    if kind == "merge":
        return _MERGES.get(name) or MergeFigure(each=("pool",), joint=(name,), caption=(card.summary,))
    if name in _EXCHANGES:
        return _EXCHANGES[name]
    return _side_by_side(card.summary) if card.aligned else _all_to_one(card.summary)


def _flows(pairs: Iterable[tuple[Place, Place]]) -> tuple[Flow, ...]:
    return tuple(Flow(source=source, target=target) for source, target in pairs)


def _fan(target: Place, source: str, count: int) -> list[tuple[Place, Place]]:
    return [((source, place), target) for place in range(count)]


def _all_to_one(*caption: str) -> ExchangeFigure:
    """A token of each stream that reads all tokens of the other."""
    return ExchangeFigure(
        lengths={"text": _TEXT, "audio": _AUDIO},
        flows=_flows([*_fan(("text", 0), "audio", _AUDIO), *_fan(("audio", 2), "text", _TEXT)]),
        marked=(("text", 0), ("audio", 2)),
        made_of={("text", 0): "half audio", ("audio", 2): "half text"},
        caption=caption,
    )


def _side_by_side(*caption: str, own: bool = False) -> ExchangeFigure:
    """Tokens at the same place that read one another, and themselves as well."""
    across = [((source, n), (target, n)) for source, target in _BOTH for n in range(_TEXT)]
    loops = [((name, n), (name, n)) for name in ("text", "audio") for n in range(_TEXT)] if own else []
    return ExchangeFigure(
        lengths={"text": _TEXT, "audio": _TEXT},
        flows=_flows([*across, *loops]),
        made_of={(target, n): f"half {source}" for source, target in _BOTH for n in range(_TEXT)},
        caption=caption,
    )


_EXCHANGES = {
    "bottleneck": ExchangeFigure(
        lengths={"text": _TEXT, "shared": 2, "audio": _AUDIO},
        flows=_flows(
            [
                *_fan(("shared", 0), "text", _TEXT),
                *_fan(("shared", 1), "audio", _AUDIO),
                (("shared", 0), ("audio", 0)),
                (("shared", 1), ("text", 3)),
            ]
        ),
        marked=(("text", 3), ("audio", 0)),
        made_of={("text", 3): "half shared", ("audio", 0): "half shared"},
        caption=(
            "Each stream attends to itself and to the shared tokens, and changes a copy of them;",
            "the mean of the copies goes into the next layer. A few of the arrows are drawn.",
        ),
    ),
    "channel_exchange": ExchangeFigure(
        lengths={"text": 6, "audio": 6},
        heads={"text": "channels of text", "audio": "channels of audio"},
        flows=_flows([(("audio", 1), ("text", 1)), (("text", 4), ("audio", 4))]),
        marked=(("text", 1), ("audio", 4)),
        made_of={("text", 1): "all audio", ("audio", 4): "all text"},
        caption=(
            "Framed: a channel that its norm scales to almost nothing.",
            "At every position it becomes the other's same channel.",
        ),
    ),
    "cls_exchange": ExchangeFigure(
        lengths={"text": _TEXT + 1, "shared": 2, "audio": _AUDIO + 1},
        heads={"shared": "means"},
        flows=_flows(
            [
                *_fan(("shared", 0), "text", _TEXT + 1),
                *_fan(("shared", 1), "audio", _AUDIO + 1),
                (("shared", 0), ("audio", 2)),
                (("shared", 1), ("text", 3)),
            ]
        ),
        marked=(("text", 3), ("audio", 2)),
        made_of={
            ("text", 3): "half audio",
            ("audio", 2): "half text",
            ("shared", 0): "all text",
            ("shared", 1): "all audio",
        },
        letters={("text", 0): "cls", ("audio", 0): "cls"},
        caption=(
            "Framed: the token to which its cls attends least.",
            "The mean of the other stream is added to it, or replaces it.",
        ),
    ),
    "cross_attention": _all_to_one(
        "Every token attends to all tokens of the other streams; drawn for the framed ones."
    ),
    "feature_swap": ExchangeFigure(
        lengths={"text": _TEXT, "audio": _AUDIO},
        heads={"audio": "regions"},
        flows=_flows(
            [
                (("text", 1), ("audio", 2)),
                (("audio", 2), ("text", 1)),
                (("text", 3), ("audio", 0)),
                (("audio", 0), ("text", 3)),
            ]
        ),
        marked=(("text", 1), ("audio", 2), ("text", 3), ("audio", 0)),
        made_of={
            ("text", 1): "all audio",
            ("audio", 2): "all text",
            ("text", 3): "all audio",
            ("audio", 0): "all text",
        },
        caption=("Tokens that the alignment pairs take each other's features; the rest stay.",),
    ),
    "modality_shift": ExchangeFigure(
        lengths={"text": _TEXT, "audio": _TEXT},
        heads={"text": "text (primary)", "audio": "audio (secondary)"},
        flows=_flows([(("audio", n), ("text", n)) for n in range(_TEXT)]),
        made_of={("text", n): "half audio" for n in range(_TEXT)},
        caption=(
            "Each primary token is shifted by what the secondary says at its place,",
            "by no more than its own size. The secondary leaves as it came.",
        ),
    ),
    "mult": _all_to_one(
        "For every ordered pair a transformer: a token attends to all of the other stream,",
        "layer after layer, positions added. Drawn for the framed ones.",
    ),
    "pixel_attention": _side_by_side(
        "At every position: one key of its own, in learned noise,",
        "and one of each other stream, scored by how the two relate.",
        own=True,
    ),
    "token_exchange": ExchangeFigure(
        lengths={"text": _TEXT, "audio": _TEXT},
        flows=_flows([(("audio", 1), ("text", 1)), (("text", 3), ("audio", 3))]),
        marked=(("text", 1), ("audio", 3)),
        made_of={("text", 1): "all audio", ("audio", 3): "all text"},
        letters={
            **{("text", n): score for n, score in enumerate((".9", ".01", ".6", ".8"))},
            **{("audio", n): score for n, score in enumerate((".7", ".5", ".9", ".00"))},
        },
        caption=(
            "Each token has a predicted score. Framed: below the threshold,",
            "the token of the other stream at the same place stands in.",
        ),
    ),
}

_MAPPED = ("pool", "linear")

_MERGES = {
    "attention_pool": MergeFigure(
        each=("linear",),
        joint=("class token", "attends over", "all tokens"),
        after=("linear",),
        caption=("The query is the class token's; one softmax runs over the tokens of all streams.",),
    ),
    "bilinear": MergeFigure(
        each=("pool",),
        joint=("xᵀ W y of", "each pair +", "linear of each"),
        caption=("Pairs multiply, and every modality is added by itself.",),
    ),
    "concat": MergeFigure(each=("pool",), joint=("concatenate",), after=("linear",)),
    "dynamic": MergeFigure(
        each=("pool",),
        joint=("experts: fusions", "of subsets,", "picked by a gate"),
        caption=("For each sample the gate weighs the experts, or lets one of them through.",),
    ),
    "early_transformer": MergeFigure(
        each=("linear",),
        joint=("add at each place,", "transformer,", "pool"),
        after=("linear",),
        caption=("Streams share their positions; the transformer sees all of them at once.",),
    ),
    "film": MergeFigure(
        each=("pool",),
        joint=("scale of text, shift:", "both from the others"),
        caption=("One modality is scaled and shifted; linear maps of all others say how.",),
    ),
    "gated": MergeFigure(
        each=("pool", "linear"),
        joint=("weigh by gates,", "add"),
        caption=("The gates look at the modalities, so each sample has its own weights.",),
    ),
    "late": MergeFigure(
        each=("pool", "head"),
        joint=("mean of", "predictions"),
        result="prediction",
        caption=("Every modality decides by itself: mean, weighted mean, product or maximum.",),
    ),
    "late_transformer": MergeFigure(
        each=("transformer", "pool"),
        joint=("linear of", "each, added"),
        caption=("Each stream has its own transformer; none is seen through another.",),
    ),
    "linear_logits": MergeFigure(
        each=("pool",),
        joint=("linear model", "+", "nonlinear one"),
        result="prediction",
        caption=("The nonlinear merge need not learn what is linear.",),
    ),
    "low_rank": MergeFigure(
        each=("pool", "R linear"),
        joint=("multiply", "within each", "rank"),
        after=("sum",),
        caption=("A one is appended to each, so lower products remain; the sum runs over R ranks.",),
    ),
    "max": MergeFigure(each=_MAPPED, joint=("maximum of", "each feature")),
    "mean": MergeFigure(each=_MAPPED, joint=("mean",)),
    "mlp": MergeFigure(each=("pool",), joint=("concatenate",), after=("layers",)),
    "mro": MergeFigure(
        each=("pool",),
        joint=("each, then pairs,", "then triples"),
        result="prediction",
        caption=("Predictions are added; each order fits what the lower ones leave.",),
    ),
    "multiplicative_interactions": MergeFigure(
        each=("pool",),
        joint=("weights from", "the others,", "applied to text"),
        caption=("The others generate the weights that the first modality is mapped by.",),
    ),
    "nl_gate": MergeFigure(
        each=("keys, values",),
        lanes={"text": ("queries",), "audio": ("keys, values",), "image": ("keys, values",)},
        joint=("text attends", "to each other,", "add"),
        after=("pool",),
        caption=("One modality asks; what it finds in each of the others is added to it.",),
    ),
    "polynomial": MergeFigure(
        each=_MAPPED,
        joint=("all monomials", "up to a degree"),
        after=("linear",),
        caption=("Own powers of features and products across modalities.",),
    ),
    "product": MergeFigure(each=_MAPPED, joint=("multiply",), after=("linear",)),
    "product_of_experts": MergeFigure(
        each=("pool", "Gaussian"),
        joint=("product with", "the prior,", "its mean"),
        caption=("Per feature, the surer a modality is, the more it counts.",),
    ),
    "routing": MergeFigure(
        each=("pool",),
        joint=("subsets vote", "on concepts,", "by routing"),
        after=("linear",),
        caption=("Votes that agree with a concept count more in the next round.",),
    ),
    "sum": MergeFigure(each=_MAPPED, joint=("add",)),
    "tensor": MergeFigure(
        each=("pool", "append 1"),
        joint=("outer", "product"),
        after=("linear",),
        caption=("Every product of features of the modalities, and through the ones every lower one.",),
    ),
    "weighted_sum": MergeFigure(
        each=_MAPPED,
        joint=("weigh, add",),
        caption=("The weights are learned, sum to one and are the same for all samples.",),
    ),
}
