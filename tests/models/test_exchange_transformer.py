from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fuseloom.errors import MaskError, ModalityError, OptionError
from fuseloom.exchange import Exchange
from fuseloom.exchange.cls_exchange import ClsExchange
from fuseloom.exchange.cross_attention import CrossAttention
from fuseloom.models.exchange_transformer import ExchangeTransformer, Place
from fuseloom.nn import PostNormBlock, PreNormBlock, attention_weights
from fuseloom.registry import Card
from fuseloom.testing import Case, Clause, exchange_clauses
from fuseloom.types import Masks, Streams, Trace

DIMS = {"text": 8, "image": 8}
PLACES: list[Place] = ["after_attention", "after_residual", "after_norm", "after_block"]
BLOCKS = [partial(PreNormBlock, num_heads=2), partial(PostNormBlock, num_heads=2)]


class Mixed(Exchange):
    """Adds the mean of all modalities, times what it reads."""

    card = Card(
        summary="Adds the mean of all.",
        interaction="additive",
        cost="none",
        parameters="none",
        ranks=("tokens",),
        reads=("factor",),
    )

    def exchange(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Streams:
        mean = torch.stack([value.mean(1) for value in streams.values()]).mean(0)
        if trace is not None:
            trace.record("mean", mean)
        return {n: v + reads.get("factor", 1.0) * mean[:, None] for n, v in streams.items()}


def drawn(text: int = 5, image: int = 7) -> Streams:
    return {"text": torch.randn(3, text, 8), "image": torch.randn(3, image, 8)}


def mixed(streams: Streams) -> Streams:
    return Mixed(DIMS)(streams)


def by_hand(model: ExchangeTransformer, streams: Streams, where: tuple[int, str]) -> Streams:
    """Each modality alone, but for one exchange."""

    def at(layer: int, place: str, values: Streams) -> Streams:
        return mixed(values) if (layer, place) == where else values

    for number, layer in enumerate(model.layers):
        block = {n: layer["shared" if model.shared else n] for n in streams}
        update = at(
            number, "after_attention", {n: block[n].attend(x, None).update for n, x in streams.items()}
        )
        streams = at(number, "after_residual", {n: x + update[n] for n, x in streams.items()})
        normal = at(number, "after_norm", {n: block[n].normalise(x) for n, x in streams.items()})
        fed = {n: block[n].feed(x, normal[n]) for n, x in streams.items()}
        streams = at(number, "after_block", fed)
    return {n: model.norms["shared" if model.shared else n](x) for n, x in streams.items()}


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("shared", "image"), [(False, 7), (True, 7), (True, 5)])
def test_an_exchange_changes_what_its_place_says(block: Any, place: Place, shared: bool, image: int) -> None:
    exchanges = {(-1, place): Mixed(DIMS)}
    model = ExchangeTransformer(DIMS, num_layers=2, block=block, exchanges=exchanges, shared=shared)
    streams = drawn(image=image)
    found, expected = model(streams), by_hand(model, streams, (1, place))
    for name in DIMS:
        torch.testing.assert_close(found[name], expected[name])
    plain = by_hand(model, streams, (-1, "nowhere"))
    assert not torch.allclose(found["text"], plain["text"])


def test_the_norm_at_the_end_is_that_of_the_blocks_unless_given() -> None:
    def norms(block: Any, **options: Any) -> set[type]:
        return {type(norm) for norm in ExchangeTransformer(DIMS, block=block, **options).norms.values()}

    assert norms(PreNormBlock) == {nn.LayerNorm}
    assert norms(PostNormBlock) == {nn.Identity}
    assert norms(PreNormBlock, norm=nn.Identity) == {nn.Identity}


@pytest.mark.parametrize("image", [5, 7])
def test_scores_are_the_attention_of_the_first_token_of_the_same_layer(image: int) -> None:
    streams, trace = drawn(image=image), Trace()
    masks = {name: torch.rand(value.shape[:2]) < 0.8 for name, value in streams.items()}
    exchanges = {(1, "after_norm"): ClsExchange(DIMS, theta=0.5)}
    block = partial(PostNormBlock, num_heads=4)
    ExchangeTransformer(DIMS, block=block, exchanges=exchanges, shared=True)(streams, masks, trace=trace)
    for name in DIMS:
        weights = trace.records[f"layer.1.{name}.attention"]
        assert weights.shape == (3, 4, *2 * streams[name].shape[1:2])
        torch.testing.assert_close(
            trace.records[f"layer.1.after_norm.{name}.scores"], weights[:, :, 0].mean(1)
        )
    assert f"layer.0.{'text'}.attention" in trace.records


def test_an_exchange_that_scores_for_itself_is_given_none() -> None:
    streams, trace = drawn(), Trace()
    exchanges = {(0, "after_block"): ClsExchange(DIMS, score="norm")}
    ExchangeTransformer(DIMS, exchanges=exchanges)(streams, trace=trace)
    norms = trace.records["layer.0.after_block.text.scores"]
    assert norms.max() > 1  # no attention is


def test_what_an_exchange_reads_is_passed_on() -> None:
    exchanges = {(0, "after_block"): Mixed(DIMS), (1, "after_block"): CrossAttention(DIMS)}
    model, streams = ExchangeTransformer(DIMS, exchanges=exchanges), drawn()
    assert model.card.reads == ("attended", "factor")
    without = ExchangeTransformer(DIMS, exchanges={(1, "after_block"): exchanges[1, "after_block"]})
    without.load_state_dict(model.state_dict())
    torch.testing.assert_close(model(streams, factor=0.0), without(streams))
    with pytest.raises(OptionError, match="ExchangeTransformer does not read 'factr'"):
        model(streams, factr=1)


class Noting(Exchange):
    """Keeps what it is given as the inputs of the block."""

    card = Card(
        summary="Notes its inputs.",
        interaction="additive",
        cost="none",
        parameters="none",
        ranks=("tokens",),
        reads=("inputs",),
    )

    def exchange(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Streams:
        self.seen = reads["inputs"]
        return streams


@pytest.mark.parametrize("image", [5, 7])
def test_an_exchange_is_given_the_inputs_of_its_block(image: int) -> None:
    noting, streams = Noting(DIMS), drawn(image=image)
    blocks = {"num_layers": 2, "block": PreNormBlock, "shared": True}
    torch.manual_seed(0)
    model = ExchangeTransformer(DIMS, **blocks, exchanges={(1, "after_attention"): noting}, norm=nn.Identity)
    model(streams)
    torch.manual_seed(0)
    first = ExchangeTransformer(DIMS, **(blocks | {"num_layers": 1}), norm=nn.Identity)
    for name, value in first(streams).items():
        torch.testing.assert_close(noting.seen[name], value)
    assert "inputs" not in model.card.reads


@pytest.mark.parametrize("shared", [False, True])
def test_masked_tokens_change_nothing_and_come_out_as_zero(shared: bool) -> None:
    model = ExchangeTransformer(DIMS, exchanges={(0, "after_norm"): Mixed(DIMS)}, shared=shared)
    streams, masks = drawn(6, 6), {"image": torch.arange(6).expand(3, -1) < 4}
    noisy = streams | {"image": streams["image"].masked_fill(~masks["image"][..., None], float("nan"))}
    out = model(noisy, masks)
    zeroed = streams | {"image": streams["image"] * masks["image"][..., None]}
    torch.testing.assert_close(out, model(zeroed, masks))
    assert not out["image"][:, 4:].any()


def test_what_is_not_attended_is_no_key_but_keeps_its_place() -> None:
    model = ExchangeTransformer(DIMS, exchanges={(0, "after_norm"): Mixed(DIMS)}, shared=True)
    streams, attended = drawn(6, 6), {"image": torch.arange(6).expand(3, -1) < 4}
    trace = Trace()
    out = model(streams, attended=attended, trace=trace)
    weights = trace.records["layer.0.image.attention"]
    assert not weights[..., 4:].any()
    assert trace.records["layer.0.text.attention"][..., 4:].all()
    assert out["image"][:, 4:].any()
    with pytest.raises(MaskError, match=r"Mask of 'image' must be bool of shape \(3, 6\)"):
        model(streams, attended={"image": torch.ones(3, 5, dtype=torch.bool)})


def test_permuted_names_permute_the_outputs_of_shared_weights() -> None:
    exchanges = {(layer, "after_norm"): ClsExchange(DIMS, theta=0.5) for layer in range(2)}
    model = ExchangeTransformer(DIMS, exchanges=exchanges, shared=True)
    streams = drawn(6, 6)
    out = model(streams)
    turned = model({"text": streams["image"], "image": streams["text"]})
    torch.testing.assert_close(turned, {"text": out["image"], "image": out["text"]})


def test_one_exchange_at_several_places_has_its_weights_once() -> None:
    exchange = CrossAttention(DIMS)
    model = ExchangeTransformer(DIMS, exchanges={(i, "after_block"): exchange for i in range(2)})
    assert {
        key.partition(".")[2].partition(".")[0] for key in model.state_dict() if key.startswith("exch")
    } == {"0_after_block"}
    twin = ExchangeTransformer(DIMS, exchanges={(0, "after_block"): exchange})
    twin.load_state_dict(model.state_dict())
    streams = drawn()
    assert not torch.allclose(model(streams)["text"], twin(streams)["text"])


def test_the_card_follows_the_exchanges() -> None:
    assert not ExchangeTransformer(DIMS).card.discrete
    assert ExchangeTransformer(DIMS, exchanges={(0, "after_norm"): ClsExchange(DIMS)}).card.discrete


def separate(dims: dict[str, int]) -> ExchangeTransformer:
    exchanges = {
        (0, "after_norm"): ClsExchange(dims, theta=0.5),
        (-1, "after_attention"): CrossAttention(dims),
    }
    return ExchangeTransformer(dims, exchanges=exchanges)


def shared(dims: dict[str, int]) -> ExchangeTransformer:
    exchange = ClsExchange(dims, theta=0.5)
    exchanges = {(0, "after_norm"): exchange, (1, "after_residual"): exchange, (1, "after_block"): exchange}
    return ExchangeTransformer(dims, shared=True, block=partial(PostNormBlock, hidden=7), exchanges=exchanges)


def clauses() -> list[Any]:
    """All but those for a GPU; what compiles takes its time."""
    return [
        pytest.param(
            clause,
            id=clause.name,
            marks=[*(getattr(pytest.mark, m) for m in {*clause.marks, "slow"}), pytest.mark.timeout(900)]
            if clause.marks
            else [],
        )
        for clause in exchange_clauses()
        if "gpu" not in clause.marks
    ]


@pytest.mark.parametrize("clause", clauses())
@pytest.mark.parametrize("build", [separate, shared])
def test_the_contract_of_exchanges_holds(build: Any, clause: Clause) -> None:
    clause(Case.of(build, "exchange", equal_widths=build is shared))


@pytest.mark.compile
@pytest.mark.slow
def test_equal_lengths_run_as_one_batch_compiled_and_exported_too() -> None:
    model, streams = shared(DIMS).eval(), drawn(9, 9)
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    torch.testing.assert_close(compiled(streams), model(streams))
    dynamic = {name: dict.fromkeys(range(2), torch.export.Dim.DYNAMIC) for name in DIMS}
    exported = torch.export.export(model, (streams,), dynamic_shapes={"streams": dynamic})
    program = exported.module(check_guards=False)
    for other in (drawn(9, 9), drawn(4, 11)):
        torch.testing.assert_close(program(other), model(other))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_layers": 0}, OptionError, r"^num_layers must be at least 1, got 0\.$"),
        (
            {"exchanges": {(0, "after_nrm"): Mixed(DIMS)}},
            OptionError,
            r"^place must be inside a block, got 'after_nrm'\. Did you mean 'after_norm'",
        ),
        (
            {"exchanges": {(2, "after_norm"): Mixed(DIMS)}},
            OptionError,
            r"^layer of an exchange must be in \[-2, 2\), got 2\.$",
        ),
        (
            {"exchanges": {(1, "after_norm"): Mixed(DIMS), (-1, "after_norm"): Mixed(DIMS)}},
            OptionError,
            r"^exchanges must name each place once, got '1_after_norm' twice\.$",
        ),
        (
            {"exchanges": {(1, "after_norm"): Mixed({"text": 8, "audio": 8})}},
            ModalityError,
            r"^The exchange at '1_after_norm' must be built for .*, got one for .*audio",
        ),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ExchangeTransformer(DIMS, **options)


def test_shared_blocks_need_equal_widths() -> None:
    with pytest.raises(
        ModalityError, match=r"^Widths must be equal where shared=True, got .*\. Pass shared=False"
    ):
        ExchangeTransformer({"text": 8, "image": 6}, shared=True)


def test_records_of_attention_are_those_of_each_modality_alone() -> None:
    model, streams, trace = ExchangeTransformer(DIMS, num_layers=1, shared=True), drawn(6, 6), Trace()
    model(streams, trace=trace)
    block = model.layers[0]["shared"]
    for name, value in streams.items():
        one = block.attend(value, None)
        expected: Tensor = attention_weights(one.query, one.key)
        torch.testing.assert_close(trace.records[f"layer.0.{name}.attention"], expected)
