"""Runners of Mix Transformers of two streams, as GeminiFusion and TokenFusion have them, block to whole."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import DataError
from fuseloom.exchange import Exchange
from fuseloom.exchange.pixel_attention import PixelAttention
from fuseloom.exchange.token_exchange import TokenExchange
from fuseloom.heads.segformer import SegformerHead
from fuseloom.models.dense.geminifusion import (
    convert_geminifusion_mit,
    geminifusion_mit,
    official_geminifusion_mit,
)
from fuseloom.models.dense.inference import enlarged
from fuseloom.models.dense.mit import MitBlock, MitSize, MitStreams
from fuseloom.models.dense.mit_names import expand_mit
from fuseloom.models.dense.model import DenseModel
from fuseloom.models.dense.placed import Place, Placed
from fuseloom.models.dense.tokenfusion import convert_tokenfusion_mit, tokenfusion_mit
from fuseloom.testing.goldens._case import Given, GoldenCase, Runner, Stated, gradients, leaf
from fuseloom.testing.goldens._network import (
    NAMES,
    OUTPUTS,
    STAGES,
    called,
    drawn,
    of_sum,
    parameters,
    streams_of,
    training,
    under,
    weights_of,
)
from fuseloom.types import Streams, Trace

__all__ = ["RUNNERS"]

_IGNORED = 255
_BLOCK = "encoder.block1.0."

Convert = Callable[[Mapping[str, Tensor], tuple[str, str]], dict[str, Tensor]]


class _Alone(nn.Module):
    """A block by itself, or only its attention, with the exchange that stands in it."""

    def __init__(self, block: MitBlock, exchange: Exchange | None, at: Place) -> None:
        super().__init__()
        self.block, self.exchange, self.at = block, exchange, at
        self.changed: Streams = {}

    def forward(
        self,
        streams: Streams,
        size: tuple[int, int],
        *,
        whole: bool,
        trace: Trace | None = None,
        **reads: Any,
    ) -> Streams:
        def talk(place: Place, values: Tensor, inputs: Tensor) -> Tensor:
            if place != self.at or self.exchange is None:
                return values
            given = dict(zip(NAMES, values.unbind(), strict=True))
            known = {"inputs": dict(zip(NAMES, inputs.unbind(), strict=True)), **reads}
            read = {name: known[name] for name in self.exchange.card.reads if name in known}
            self.changed = self.exchange(given, trace=trace, **read)
            return torch.stack([self.changed[name] for name in NAMES])

        tokens = torch.stack([streams[name] for name in NAMES])
        if whole:
            out = self.block(tokens, size, talk)
        else:
            mixed = talk("before_projection", self.block.attend(tokens, size), tokens)
            out = talk("after_attention", self.block.project(mixed), tokens)
        return dict(zip(NAMES, out.unbind(), strict=True))


def _alone(given: Given, exchange: Exchange | None, at: Place, *, reduction: int, expansion: int) -> _Alone:
    heads = given.option("num_heads")
    block = MitBlock(NAMES, given.option("dim"), num_heads=heads, reduction=reduction, expansion=expansion)
    return _Alone(block.eval(), exchange, at)


def _state_alone(state: Mapping[str, Tensor], at: Place, *, norms: bool) -> dict[str, Tensor]:
    """That of `_Alone` from that of an encoder of one block; norms around it are there if it is whole."""
    block = {f"block.{name}": value for name, value in under(state, "encoder.stages.0.0.").items()}
    if not norms:
        dim = len(state["encoder.stages.0.0.query.bias"])
        for number in (1, 2):
            for name in NAMES:
                block[f"block.norm{number}.{name}.weight"] = torch.ones(dim)
                block[f"block.norm{number}.{name}.bias"] = torch.zeros(dim)
    return block | {f"exchange.{n}": v for n, v in under(state, f"encoder.exchanges.0_0_{at}.").items()}


def _unused_feedforward(given: Given, expansion: int) -> dict[str, Tensor]:
    """What a case of attention alone has no weights of."""
    part = MitBlock(NAMES, given.option("dim"), num_heads=1, reduction=1, expansion=expansion)
    kept = ("up.", "down.", "around.")
    return {f"block.{name}": value for name, value in part.state_dict().items() if name.startswith(kept)}


def _cotangents(given: Given, out: Streams) -> list[Tensor]:
    return [(out[name] * given.inputs[f"cotangent{i}"]).sum() for i, name in enumerate(NAMES)]


def _grid(given: Given) -> tuple[int, int]:
    return given.option("H"), given.option("W")


def _tokens(given: Given) -> Streams:
    """Streams of a block by itself.

    Raises:
        DataError: if they are not what config says.
    """
    streams, height, width = streams_of(given), *_grid(given)
    wanted = (height * width, given.option("dim"))
    for name, value in streams.items():
        if value.shape[1:] != wanted:
            raise DataError(
                f"{name} must have {wanted[0]} tokens of width {wanted[1]} as config says, "
                f"got {tuple(value.shape)}."
            )
    return streams


def _outputs(out: Streams) -> dict[str, Tensor]:
    return {f"output.y{i}": out[name] for i, name in enumerate(NAMES)}


def _gemini_attention(given: Given) -> dict[str, Tensor]:
    streams, weights = _tokens(given), weights_of(given)
    state = convert_geminifusion_mit({f"{_BLOCK}attn.{n}": w for n, w in weights.items()}, NAMES)
    part = _gemini_alone(given, expansion=1)
    full = _state_alone(state, part.at, norms=False) | _unused_feedforward(given, 1)
    out: Streams = called(part, full, (streams, _grid(given)), whole=False)
    found = {f"mid.fused_before_proj{i}": part.changed[name] for i, name in enumerate(NAMES)}
    return found | _outputs(out) | of_sum(_cotangents(given, out), streams | parameters(weights))


def _gemini_block(given: Given) -> dict[str, Tensor]:
    streams, weights = _tokens(given), weights_of(given)
    state = convert_geminifusion_mit({f"{_BLOCK}{n}": w for n, w in weights.items()}, NAMES)
    part = _gemini_alone(given, expansion=int(given.option("mlp_ratio")))
    out: Streams = called(part, _state_alone(state, part.at, norms=True), (streams, _grid(given)), whole=True)
    return _outputs(out) | of_sum(_cotangents(given, out), streams | parameters(weights))


def _gemini_alone(given: Given, *, expansion: int) -> _Alone:
    exchange = PixelAttention(
        dict.fromkeys(NAMES, given.option("dim")), num_heads=given.option("cross_heads"), faithful=True
    )
    reduction = given.option("sr_ratio")
    return _alone(given, exchange, "before_projection", reduction=reduction, expansion=expansion)


class _OneStage(nn.Module):
    """A stage of an encoder by itself."""

    def __init__(self, encoder: MitStreams, number: int) -> None:
        super().__init__()
        self.encoder, self.number = encoder, number

    def forward(self, streams: Streams) -> tuple[Streams, Tensor]:
        values = torch.stack([streams[name] for name in NAMES])
        embedded, size = self.encoder.embedded(self.number, values)
        found = self.encoder.run_stage(self.number, embedded, size, {}, None)
        return dict(zip(NAMES, found.unbind(), strict=True)), embedded


def _gemini_stage(given: Given) -> dict[str, Tensor]:
    streams, weights = streams_of(given), weights_of(given)
    later = given.option("patch") == 3
    number = int(later)
    dims = (given.option("in_chans"), given.option("dim"))[1 - number :]
    size = MitSize(
        dims=dims,
        depths=(given.option("depth"),) * len(dims),
        num_heads=(1, given.option("num_heads"))[1 - number :],
        reductions=(1, given.option("sr_ratio"))[1 - number :],
    )
    part = _OneStage(
        MitStreams(dict.fromkeys(NAMES, given.option("in_chans")), size, _gemini_placed(given)), number
    )
    official = {f"encoder.{_numbered(name, number + 1)}": value for name, value in weights.items()}
    state = convert_geminifusion_mit(official, NAMES)
    # What the case has no weights of is not run.
    state = {**part.encoder.state_dict(prefix="encoder."), **state}
    out, embedded = called(part.eval(), state, (streams,))
    found = {f"mid.embed{i}": value for i, value in enumerate(embedded.unbind())}
    return found | _outputs(out) | of_sum(_cotangents(given, out), streams | parameters(weights))


def _numbered(name: str, stage: int) -> str:
    """A name of a stage's weight by itself with the stage's number."""
    first, _, rest = name.partition(".")
    return f"{first}{stage}.{rest}"


def _gemini_placed(given: Given) -> list[Placed]:
    build = partial(PixelAttention, num_heads=given.option("cross_heads"), faithful=True)
    return [Placed(build=build, at="before_projection")]


def _gemini_backbone(given: Given) -> dict[str, Tensor]:
    streams, weights = streams_of(given), weights_of(given)
    encoder = MitStreams(_channels(given), _size(given), _gemini_placed(given))
    state = convert_geminifusion_mit({f"encoder.{n}": w for n, w in weights.items()}, NAMES)
    stages, _ = called(encoder.eval(), under(state, "encoder."), (streams,))
    found = {
        f"stream{i}.{stage}": maps[name]
        for stage, maps in zip(STAGES, stages, strict=True)
        for i, name in enumerate(NAMES)
    }
    terms = [(value * given.inputs[f"cotangent.{name}"]).sum() for name, value in found.items()]
    return {f"output.{n}": v for n, v in found.items()} | of_sum(terms, streams | parameters(weights))


def _head(given: Given) -> dict[str, Tensor]:
    weights = weights_of(given)
    stages = {name: leaf(given.inputs[name]) for name in STAGES}
    state = under(convert_geminifusion_mit({f"decoder.{n}": w for n, w in weights.items()}, NAMES), "head.")
    dims, labels = given.option("in_channels"), given.option("num_classes")
    head = SegformerHead(dims, labels, dim=given.option("embedding_dim"), dropout=0.0)
    logits = called(head.train(training(given)), state, ([*stages.values()],))
    found = {"output.logits": logits}
    if training(given):
        found |= {
            f"output.bn_{what}_after": state[f"norm.{what}"] for what in ("running_mean", "running_var")
        }
    return found | of_sum([(logits * given.inputs["cotangent"]).sum()], stages | parameters(weights))


def _gemini_whole(given: Given) -> dict[str, Tensor]:
    if "backbone" in given.config:
        return _gemini_full_size(given)
    streams, weights = streams_of(given), weights_of(given)
    state = convert_geminifusion_mit(weights, NAMES)
    outputs = called(_gemini(given, _size(given)).eval(), state, (streams,))
    found = {f"output.{name}": outputs[:, i] for i, name in enumerate(OUTPUTS)}
    losses = _cross_entropies(outputs, given.inputs["label"].long())
    found |= {"output.losses": losses, "output.loss": losses.sum()}
    sources = streams | {"alpha": weights["alpha"]} | parameters(weights)
    return found | of_sum([losses.sum()], sources)


def _gemini_full_size(given: Given) -> dict[str, Tensor]:
    """Of the published size; its weights are drawn by the rule that the case states."""
    size = given.option("backbone").removeprefix("mit_")
    model = _gemini(given, size).eval()
    names = official_geminifusion_mit(model.state_dict(), NAMES)
    weights = {name: drawn(name, value) for name, value in names.items()}
    model.load_state_dict(convert_geminifusion_mit(weights, NAMES))
    streams = {name: given.inputs[name] for name in NAMES}
    with torch.no_grad():
        outputs, (stages, _) = model(streams), model.encoder(streams)
    found = {f"output.{name}": outputs[:, i] for i, name in enumerate(OUTPUTS)}
    for stage, maps in zip(STAGES, stages, strict=True):
        found |= {
            f"mid.stream{i}.{stage}.mean_over_hw": maps[name].mean((2, 3)) for i, name in enumerate(NAMES)
        }
    return found


def _gemini(given: Given, size: str | MitSize) -> DenseModel:
    width = given.config.get("decoder_embedding_dim", 256)
    return geminifusion_mit(
        _channels(given),
        given.option("num_classes"),
        size=size,
        num_heads=given.option("cross_heads"),
        head_dim=width,
        faithful=True,
    )


def _expanded(given: Given) -> dict[str, Tensor]:
    official = official_geminifusion_mit(expand_mit(given.weights.under(""), NAMES), NAMES)
    return {name: official[name.replace("output.", "encoder.", 1)] for name in given.option("wanted")}


def _wanted(case: GoldenCase) -> Stated:
    """The few names whose weights are stored."""
    return Stated(given={"wanted": sorted(case.expected)})


def _copied_elsewhere(case: GoldenCase) -> tuple[str, ...]:
    """Weights of which no copy is stored."""
    mapping = case.header["mapping"]
    stored = {mapping[name.removeprefix("output.")] for name in case.expected}
    return tuple(sorted(set(case.weights) - stored))


def _cross_entropies(outputs: Tensor, target: Tensor) -> Tensor:
    whole = enlarged(outputs, target.shape[-2:])
    losses = [F.cross_entropy(own, target, ignore_index=_IGNORED) for own in whole.unbind(1)]
    return torch.stack(losses)


def _channels(given: Given) -> dict[str, int]:
    return {name: given.inputs[name].shape[1] for name in NAMES}


def _size(given: Given) -> MitSize:
    dims, depths, heads, reductions = (
        tuple(given.option(name)) for name in ("embed_dims", "depths", "num_heads", "sr_ratios")
    )
    return MitSize(dims=dims, depths=depths, num_heads=heads, reductions=reductions)


def _token_attention(given: Given) -> dict[str, Tensor]:
    streams, weights = _tokens(given), weights_of(given)
    state = convert_tokenfusion_mit({f"{_BLOCK}attn.{n}": w for n, w in weights.items()}, NAMES)
    exchange, masks = _given_scores(given) if given.option("masked") else (None, {})
    reads = {"keep": masks} if masks else {}
    part = _alone(given, exchange, "after_attention", reduction=given.option("sr_ratio"), expansion=1)
    full = (
        _state_alone(state, part.at, norms=False) | _unused_feedforward(given, 1) | _unused_scores(exchange)
    )
    out: Streams = called(part, full, (streams, _grid(given)), whole=False, **reads)
    sources = (
        streams | parameters(weights) | {f"mask{i}": masks[n] for i, n in enumerate(NAMES) if n in masks}
    )
    return _outputs(out) | of_sum(_cotangents(given, out), sources)


def _token_block(given: Given) -> dict[str, Tensor]:
    streams, weights = _tokens(given), weights_of(given)
    state = convert_tokenfusion_mit({f"{_BLOCK}{n}": w for n, w in weights.items()}, NAMES)
    exchange, masks = _given_scores(given)
    part = _token_alone(given, exchange)
    full = _state_alone(state, part.at, norms=True) | _unused_scores(exchange)
    out: Streams = called(part, full, (streams, _grid(given)), whole=True, keep=masks)
    sources = streams | parameters(weights) | {f"mask{i}": masks[n] for i, n in enumerate(NAMES)}
    return _outputs(out) | of_sum(_cotangents(given, out), sources)


def _token_scored_block(given: Given) -> dict[str, Tensor]:
    streams, weights, trace = _tokens(given), weights_of(given), Trace()
    official = {_BLOCK + name: value for name, value in under(weights, "block.").items()}
    scores = under(weights, "predictor.")
    official |= {f"encoder.score_predictor.0.{name}": value for name, value in scores.items()}
    state = convert_tokenfusion_mit(official, NAMES)
    part = _token_alone(given, TokenExchange(dict.fromkeys(NAMES, given.option("dim"))))
    full = _state_alone(state, part.at, norms=True)
    out: Streams = called(part, full, (streams, _grid(given)), whole=True, trace=trace)
    found = {f"mid.mask{i}": trace.records[f"{name}.scores"] for i, name in enumerate(NAMES)}
    return found | _outputs(out) | of_sum(_cotangents(given, out), streams | parameters(weights))


def _token_alone(given: Given, exchange: TokenExchange) -> _Alone:
    reduction, expansion = given.option("sr_ratio"), given.option("mlp_ratio")
    return _alone(given, exchange, "after_attention", reduction=reduction, expansion=expansion)


def _given_scores(given: Given) -> tuple[TokenExchange, Streams]:
    """An exchange, and the scores that it is given."""
    masks = {name: leaf(given.inputs[f"mask{i}"]) for i, name in enumerate(NAMES)}
    threshold = given.config.get("mask_threshold", 0.02)
    return TokenExchange(dict.fromkeys(NAMES, given.option("dim")), threshold=threshold), masks


def _unused_scores(exchange: TokenExchange | None) -> dict[str, Tensor]:
    """Weights of predictors that do not run where scores are given."""
    return {} if exchange is None else {f"exchange.{name}": v for name, v in exchange.state_dict().items()}


def _token_whole(given: Given) -> dict[str, Tensor]:
    streams, weights, trace = streams_of(given), weights_of(given), Trace()
    model = _tokenfusion(given)
    outputs = called(model.eval(), convert_tokenfusion_mit(weights, NAMES), (streams,), trace=trace)
    found = {f"output.logits{name}": outputs[:, i] for i, name in enumerate(("0", "1", "_ens"))}
    scopes = [name.rpartition(".x0.")[0] for name in trace.records if name.endswith(".x0.scores")]
    for block, scope in enumerate(scopes):
        found |= {
            f"mid.mask.{block}.{i}": trace.records[f"{scope}.{name}.scores"] for i, name in enumerate(NAMES)
        }
    terms = [(outputs[:, i] * given.inputs[f"cotangent{i}"]).sum() for i in range(3)]
    terms.append(given.inputs["lambda"] * torch.stack([*trace.losses.values()]).sum())
    return found | of_sum(terms, streams | parameters(weights))


def _token_step(given: Given) -> dict[str, Tensor]:
    streams, weights, trace = streams_of(given), weights_of(given), Trace(keep_records=False)
    model = _tokenfusion(given, fixed_statistics=given.option("freeze_bn"))
    state = convert_tokenfusion_mit(weights, NAMES)
    outputs = called(model.train(), state, (streams,), trace=trace)
    losses = _cross_entropies(outputs, given.inputs["target"].long())
    l1 = torch.stack([*trace.losses.values()]).sum()
    loss = losses.sum() + given.inputs["lambda"] * l1
    found = {f"output.ce_{name}": losses[i] for i, name in enumerate(OUTPUTS)}
    found |= {"output.l1": l1, "output.loss": loss}
    found |= {f"output.bn_{what}": state[f"head.norm.{what}"] for what in ("running_mean", "running_var")}
    return found | gradients(loss, torch.ones_like(loss), parameters(weights))


def _tokenfusion(given: Given, *, fixed_statistics: bool = False) -> DenseModel:
    return tokenfusion_mit(
        _channels(given),
        given.option("num_classes"),
        size=_size(given),
        threshold=given.config.get("mask_threshold", 0.02),
        sparsity_weight=1.0,
        reduction="sum",
        head_dim=given.option("embedding_dim"),
        drop_path=0.0,
        dropout=0.0,
        fixed_statistics=fixed_statistics,
    )


def _statistics(case: GoldenCase) -> tuple[str, ...]:
    """Running statistics, which training does not read, or which are as they were."""
    return ("*.running_*",) if str(case.mode).startswith("train, BatchNorm2d in train") else ()


def _counts(_: GoldenCase) -> tuple[str, ...]:
    """What the official head counts, and nothing reads."""
    return ("*.num_batches_tracked",)


RUNNERS: Mapping[str, Runner] = {
    "geminifusion/expand_state_dict": Runner(run=_expanded, idle=_copied_elsewhere, states=_wanted),
    "geminifusion/mit_attention": Runner(run=_gemini_attention),
    "geminifusion/mit_backbone": Runner(run=_gemini_backbone),
    "geminifusion/mit_block": Runner(run=_gemini_block),
    "geminifusion/mit_stage": Runner(run=_gemini_stage),
    "geminifusion/segformer_head": Runner(run=_head, idle=_counts),
    "geminifusion/wetr_mit": Runner(run=_gemini_whole, idle=_counts),
    "tokenfusion/attention": Runner(run=_token_attention),
    "tokenfusion/mit_block": Runner(run=_token_block),
    "tokenfusion/score_block": Runner(run=_token_scored_block),
    "tokenfusion/seg_net": Runner(run=_token_whole, idle=_counts),
    "tokenfusion/seg_train_step": Runner(run=_token_step, idle=_statistics),
}
