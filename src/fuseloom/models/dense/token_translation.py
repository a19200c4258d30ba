"""TokenFusion for image translation: a Mix Transformer there and back, and one that tells real from made."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.exchange.token_exchange import TokenExchange
from fuseloom.models.dense.ensemble import Ensemble, Weighting
from fuseloom.models.dense.mit import MitBlock, MitSize, MitStreams, start_mit
from fuseloom.models.dense.model import DenseModel, StreamDecoder
from fuseloom.models.dense.placed import PixelNorms, Placed, PlacedExchanges
from fuseloom.models.dense.renaming import Rule, renamed
from fuseloom.models.dense.stream_encoder import BuildExchange
from fuseloom.types import Masks, Streams

__all__ = [
    "TRANSLATION_SIZES",
    "MitDecoder",
    "MitDiscriminator",
    "convert_tokenfusion_discriminator",
    "convert_tokenfusion_translation",
    "official_tokenfusion_translation",
    "tokenfusion_translation",
]

_HEADS, _REDUCTIONS = (1, 2, 4, 8, 16), (16, 8, 4, 2, 1)
_STEM = (3, 2)


def _size(dim: int, *depths: int) -> MitSize:
    dims = tuple(dim * 2**stage for stage in range(len(depths)))
    return MitSize(dims=dims, depths=depths, num_heads=_HEADS, reductions=_REDUCTIONS, stem=_STEM)


TRANSLATION_SIZES: Mapping[str, MitSize] = {
    "b0": _size(32, 2, 2, 2, 2, 2),
    "b1": _size(64, 2, 2, 2, 2, 2),
    "b2": _size(64, 3, 4, 4, 6, 3),
    "b3": _size(64, 3, 4, 4, 18, 3),
}
"""Name -> size, as published; the published runs are of ``b2``."""


class MitDecoder(StreamDecoder):
    """From the coarsest map back to the picture: pixels are shuffled out, what the encoder saw is added.

    Each stage doubles the map, adds the map of the encoder there, and runs the blocks of its width; norms are
    per modality, and nothing is exchanged. An odd side is cut to that of the encoder's map.

    Args:
        names: Of the modalities.
        size: Of the encoder.
        channels: Of the pictures made.
        drop_path: Of the last block; it grows from zero, beginning with the coarsest.
    """

    def __init__(
        self, names: Sequence[str], size: MitSize, channels: int = 3, *, drop_path: float = 0.1
    ) -> None:
        super().__init__()
        self.names, dims, back = tuple(names), size.dims, list(range(len(size.dims) - 1))[::-1]
        count = sum(size.depths[stage] for stage in back)
        rates = iter([drop_path * number / max(count - 1, 1) for number in range(count)])
        ends = [*zip(dims[:0:-1], dims[-2::-1], strict=True), (dims[0], dims[0])]
        self.widen = nn.ModuleList(nn.Conv2d(into // 4, dim, 1) for into, dim in ends)
        self.stages = nn.ModuleList(
            nn.ModuleList(
                MitBlock(
                    names,
                    dims[stage],
                    num_heads=size.num_heads[stage],
                    reduction=size.reductions[stage],
                    expansion=size.expansion,
                    drop_path=next(rates),
                )
                for _ in range(size.depths[stage])
            )
            for stage in back
        )
        self.norms = nn.ModuleList(PixelNorms(names, dims[stage]) for stage in back)
        self.paint = nn.Conv2d(dims[0], channels, 1)
        self.apply(start_mit)
        self.exchanges = PlacedExchanges(names, (), (), ())

    def forward(self, stages: Sequence[Streams], there: Masks) -> Streams:
        """Maps after each stage to pictures ``[B, channels, H, W]`` in [-1, 1], as large as the input."""
        values = self._together(stages[-1])
        for index, (blocks, norm) in enumerate(zip(self.stages, self.norms, strict=True)):
            skip = self._together(stages[-2 - index])
            size = (skip.shape[-2], skip.shape[-1])
            wide = self._widened(index, values)[..., : size[0], : size[1]]
            tokens = (wide + skip).flatten(3).transpose(2, 3)
            assert isinstance(blocks, nn.ModuleList)
            tokens = self.exchanges.run_stage(
                index, blocks, tokens, size, there=there, trace=None, again=False
            )
            values = torch.unflatten(norm(tokens).transpose(2, 3), 3, size)
        painted = self.paint(self._widened(len(self.stages), values).flatten(0, 1)).tanh()
        return dict(zip(self.names, torch.unflatten(painted, 0, values.shape[:2]).unbind(), strict=True))

    def _together(self, streams: Streams) -> Tensor:
        return torch.stack([streams[name] for name in self.names])

    def _widened(self, index: int, values: Tensor) -> Tensor:
        """Twice as large, ``[M, B, C, 2 H, 2 W]``."""
        large = self.widen[index](F.pixel_shuffle(values.flatten(0, 1), 2))
        return torch.unflatten(large, 0, values.shape[:2])


def tokenfusion_translation(
    channels: Mapping[str, int],
    out_channels: int = 3,
    *,
    size: str | MitSize = "b2",
    exchange: BuildExchange | None = TokenExchange,
    weighting: Weighting = "learned",
    drop_path: float = 0.1,
    checkpointing: bool = False,
) -> DenseModel:
    """TokenFusion's generator: any set of maps to one picture, made by each and by their weighted mean.

    Tokens are exchanged in the last block of each stage of the encoder, after attention. The published runs
    sum the loss of the scores with a coefficient of 1e-3 (1e-4 in the paper).

    Paper: Wang et al., 2022, arXiv:2204.08721. GeminiFusion publishes translation numbers without code: with
    ``exchange=partial(PixelAttention, num_heads=8)`` this is our assembly of it, unverified.

    Args:
        channels: Modality name -> channels of its map.
        out_channels: Of the picture.
        size: One of `TRANSLATION_SIZES`, or one's own; one of ``stem`` (3, 2) makes pictures as large as the
            maps, whose sides must then be multiples of two to the number of stages, or lose what is beyond.
        exchange: Stands in the last block of each stage; None leaves the streams apart.
        weighting: Of the ensemble.
        drop_path: Of the last blocks of encoder and decoder.
        checkpointing: Whether blocks of the encoder are evaluated again in the backward pass, for memory.

    Example:
        >>> tiny = MitSize(dims=(8, 16), depths=(1, 1), num_heads=(1, 2), reductions=(2, 1), stem=(3, 2))
        >>> model = tokenfusion_translation({"depth": 1, "edges": 1}, size=tiny)
        >>> model({"depth": torch.zeros(2, 1, 32, 48), "edges": torch.zeros(2, 1, 32, 48)}).shape
        torch.Size([2, 3, 3, 32, 48])
    """
    wanted = TRANSLATION_SIZES[size] if isinstance(size, str) else size
    exchanging = len(channels) > 1 and exchange is not None
    placed = [Placed(build=exchange, stage_ends=True)] if exchanging and exchange is not None else []
    encoder = MitStreams(channels, wanted, placed, drop_path=drop_path, checkpointing=checkpointing)
    decoder = MitDecoder(encoder.names, wanted, out_channels, drop_path=drop_path)
    return DenseModel(encoder, decoder, Ensemble(encoder.names, weighting=weighting))


class MitDiscriminator(nn.Module):
    """Tells for each patch whether a picture is the real one of its input, by one network for all streams.

    Args:
        channels: Modality name -> channels of its map, all the same, or one.
        picture: Channels of the pictures.
        size: As of `tokenfusion_translation`.
        drop_path: Of the last block.

    Example:
        >>> tiny = MitSize(dims=(8, 16), depths=(1, 1), num_heads=(1, 2), reductions=(2, 1), stem=(3, 2))
        >>> judge = MitDiscriminator({"depth": 3, "edges": 3}, size=tiny)
        >>> images = {"depth": torch.zeros(2, 3, 32, 48), "edges": torch.zeros(2, 3, 32, 48)}
        >>> judge(images, images)["depth"].shape
        torch.Size([2, 1, 8, 12])
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        picture: int = 3,
        *,
        size: str | MitSize = "b2",
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        wanted = TRANSLATION_SIZES[size] if isinstance(size, str) else size
        both = {name: count + picture for name, count in channels.items()}
        self.encoder = MitStreams(both, wanted, drop_path=drop_path)
        self.judge = nn.Conv2d(wanted.dims[-1], 1, 1)
        start_mit(self.judge)

    def forward(self, inputs: Mapping[str, Tensor], pictures: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits ``[B, 1, h, w]`` of each stream that a picture is real.

        Args:
            inputs: Modality name -> ``[B, C, H, W]``.
            pictures: Modality name -> ``[B, picture, H, W]``, real ones or those that were made from it.
        """
        stages, _ = self.encoder({n: torch.cat([value, pictures[n]], 1) for n, value in inputs.items()})
        return {name: self.judge(stages[-1][name]) for name in inputs}


def _rules(embed: str, block: str, norm: str, *, ours: str, own_embed: str) -> list[Rule]:
    """Of a stack of stages, under its official names and under ours."""
    theirs, own = f"{block}.{{k}}.{{i}}.", f"{ours}.stages.{{k}}.{{i}}."
    return [
        Rule(f"{embed}.{{k}}.proj.module.{{what}}", f"{ours}.{own_embed}.{{k}}.{{what}}"),
        Rule(f"{theirs}norm{{n}}.lrnorm_{{modality}}.{{what}}", f"{own}norm{{n}}.{{modality}}.{{what}}"),
        Rule(f"{theirs}attn.q.module.{{what}}", f"{own}query.{{what}}"),
        Rule(f"{theirs}attn.kv.module.{{what}}", f"{own}key_value.{{what}}"),
        Rule(f"{theirs}attn.proj.module.{{what}}", f"{own}project.{{what}}"),
        Rule(f"{theirs}attn.sr.module.{{what}}", f"{own}reduce.{{what}}"),
        Rule(f"{theirs}attn.norm.lrnorm_{{modality}}.{{what}}", f"{own}reduce_norm.{{modality}}.{{what}}"),
        Rule(f"{theirs}mlp.fc1.module.{{what}}", f"{own}up.{{what}}"),
        Rule(f"{theirs}mlp.fc2.module.{{what}}", f"{own}down.{{what}}"),
        Rule(f"{theirs}mlp.dwconv.dwconv.module.{{what}}", f"{own}around.{{what}}"),
        Rule(f"{norm}.{{k}}.lrnorm_{{modality}}.{{what}}", f"{ours}.norms.{{k}}.{{modality}}.{{what}}"),
    ]


_ENCODER = [
    *_rules("patch_embed_enc", "block_enc", "norm_enc", ours="encoder", own_embed="embed"),
    Rule("patch_embed_enc.{k}.norm.lrnorm_{modality}.{what}", "encoder.embed_norms.{k}.{modality}.{what}"),
]
_GENERATOR = [
    *_ENCODER,
    *_rules("patch_embed_dec", "block_dec", "norm_dec", ours="head", own_embed="widen"),
    Rule("project.module.{what}", "head.paint.{what}"),
    Rule("alpha", "ensemble.alpha"),
]
_UNUSED = "patch_embed_dec."
_SCORES = "score_predictor.{k}.score_nets.{modality}.{layer}.{what}"


def _score_rule(depths: Sequence[int]) -> list[Rule]:
    """One rule per stage, as the exchange stands in its last block."""
    return [
        Rule(
            _SCORES.replace("{k}", str(stage)),
            f"encoder.exchanges.{stage}_{depth - 1}_after_attention.predictor.{{modality}}.layers.{{layer}}"
            ".{what}",
        )
        for stage, depth in enumerate(depths)
    ]


def _depths(keys: Sequence[str], prefix: str) -> list[int]:
    """Blocks of each stage, from the names of their weights."""
    places = [key.removeprefix(prefix).split(".")[:2] for key in keys if key.startswith(prefix)]
    found: dict[int, int] = {}
    for stage, block in places:
        found[int(stage)] = max(found.get(int(stage), 0), int(block) + 1)
    return [found[stage] for stage in sorted(found)]


def convert_tokenfusion_translation(
    official: Mapping[str, Tensor], names: Sequence[str]
) -> dict[str, Tensor]:
    """State dict of `tokenfusion_translation` from an official generator.

    Args:
        official: Official name -> weight, also with the prefix of a model that ran on several devices. The
            norms of the decoder's embeddings, which nothing reads, are left out.
        names: Of the modalities, in the order of the official numbers.

    Raises:
        OptionError: a name that the official model does not have.
    """
    bare = {key.removeprefix("module."): value for key, value in official.items()}
    used = {k: v for k, v in bare.items() if not (k.startswith(_UNUSED) and ".norm." in k)}
    rules = [*_GENERATOR, *_score_rule(_depths(list(bare), "block_enc."))]
    return renamed(used, rules, names, to="ours", model="a generator of TokenFusion")


def official_tokenfusion_translation(state: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """State dict of the official generator: the inverse; the norms that nothing reads are ones and zeros.

    Args:
        state: Our name -> weight.
        names: Of the modalities, in the order of the official numbers.

    Raises:
        OptionError: a name that our model does not have.
    """
    rules = [*_GENERATOR, *_score_rule(_depths(list(state), "encoder.stages."))]
    found = renamed(state, rules, names, to="official", model="our generator of TokenFusion")
    widths = {key: len(value) for key, value in found.items() if key.startswith(_UNUSED) and "bias" in key}
    for key, width in widths.items():
        for number in range(len(names)):
            norm = key.replace("proj.module.bias", f"norm.lrnorm_{number}.")
            found |= {f"{norm}weight": torch.ones(width), f"{norm}bias": torch.zeros(width)}
    return found


def convert_tokenfusion_discriminator(
    official: Mapping[str, Tensor], names: Sequence[str]
) -> dict[str, Tensor]:
    """State dict of `MitDiscriminator` from an official one.

    Arguments and errors are those of `convert_tokenfusion_translation`.
    """
    rules = [*_ENCODER, Rule("project.module.{what}", "judge.{what}")]
    return renamed(official, rules, names, to="ours", model="a discriminator of TokenFusion")
