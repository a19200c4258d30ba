"""RollingQ's multimodal transformer: one encoder per modality, and a class token over all of their tokens."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from fuseloom.encoders import Encoder
from fuseloom.errors import ModalityError, OptionError
from fuseloom.heads import LinearHead
from fuseloom.merge.attention_pool import AttentionPool, convert_attention_pool
from fuseloom.models.fusion import FusionModel
from fuseloom.nn.blocks import EncoderBlock
from fuseloom.nn.vit import ViTBlock, convert_vit_block, run_block

__all__ = [
    "PATCH",
    "PatchEncoder",
    "convert_patch_encoder",
    "convert_rolling_transformer",
    "rolling_transformer",
]

PATCH = 16
"""Side of a patch."""
_SPREAD = 0.02
_EPS = 1e-6
_BLOCK = partial(ViTBlock, num_heads=12)


class PatchEncoder(Encoder):
    """A vision transformer over patches of one size of pictures, of frames, or of a spectrogram.

    Patches of 16 by 16 become tokens by a linear map, frame by frame and row by row; a class token stands
    before them, each has a learnt position, and blocks follow: that is the first stage. The second is a norm.
    What is left of a side that 16 does not divide is not read.

    Paper: the encoders of RollingQ, ICML 2025, arXiv:2506.11465.

    Args:
        channels: ``C``, 1 for a spectrogram, whose time axis comes first.
        size: ``(H, W)`` of pictures, or ``(T, H, W)`` of frames.
        dim: Width of the tokens.
        depth: Blocks.
        block: Builds a block from its width.

    Shapes: ``[B, C, H, W]`` or ``[B, C, T, H, W]``, floating, and a mask of its leading axes without ``C``,
    such as ``[B]`` or ``[B, T]``, to tokens ``[B, 1 + N, dim]``, the class token first, and their mask. A
    patch is real where any of it is, the class token where any patch is.

    Raises:
        OptionError: sides below 16, or another number of them.

    Example:
        >>> encoder = PatchEncoder(3, (2, 32, 48), dim=8, depth=1, block=ViTBlock)
        >>> encoder(torch.zeros(1, 3, 2, 32, 48))[0].shape
        torch.Size([1, 13, 8])
    """

    def __init__(
        self,
        channels: int,
        size: Sequence[int],
        *,
        dim: int = 768,
        depth: int = 4,
        block: Callable[[int], EncoderBlock] = _BLOCK,
    ) -> None:
        if len(size) not in (2, 3) or min(size[-2:]) < PATCH or min(size) < 1:
            raise OptionError(
                f"size must be (H, W) or (T, H, W) with H and W of at least {PATCH}, got {tuple(size)}."
            )
        first = _Blocks(channels, tuple(size), dim, [block(dim) for _ in range(depth)])
        super().__init__([first, _Norm(dim)], [dim, dim])


class _Blocks(nn.Module):
    def __init__(
        self, channels: int, size: tuple[int, ...], dim: int, blocks: Sequence[EncoderBlock]
    ) -> None:
        super().__init__()
        self.shape = (channels, *size)
        tokens = 1 + prod(size[:-2]) * (size[-2] // PATCH) * (size[-1] // PATCH)
        self.project = nn.Linear(channels * PATCH**2, dim)
        self.class_token = nn.Parameter(torch.zeros(dim))
        self.positions = nn.Parameter(nn.init.trunc_normal_(torch.empty(tokens, dim), std=_SPREAD))
        self.blocks = nn.ModuleList(blocks)

    def forward(self, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if value.shape[1:] != self.shape:
            raise ModalityError(
                f"The value must have shape [B, {', '.join(map(str, self.shape))}] as the encoder was built, "
                f"got {tuple(value.shape)}."
            )
        if mask is not None:
            missing = value.dim() - 1 - mask.dim()
            mask = mask.reshape(*mask.shape, *[1] * missing).expand(value.shape[0], *self.shape[1:])
            value = value.masked_fill(~mask[:, None], 0)
            real = _patches(mask[:, None]).any(-1)
            mask = torch.cat(
                [real.any(1, keepdim=True), real], 1
            )  # the class token is real where any patch is
        patches = self.project(_patches(value))
        tokens = torch.cat([self.class_token.to(patches.dtype).expand(value.shape[0], 1, -1), patches], 1)
        tokens = tokens + self.positions
        for block in self.blocks:
            assert isinstance(block, EncoderBlock)
            tokens, _ = run_block(block, tokens, mask)
        return tokens, mask


class _Norm(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=_EPS)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return self.norm(tokens), mask


def _patches(value: Tensor) -> Tensor:
    """``[B, C, ..., H, W]`` to one row per patch, ``[B, N, C 16 16]``."""
    rows, columns = (side // PATCH for side in value.shape[-2:])
    frames = value if value.dim() == 5 else value[:, :, None]
    cut = frames[..., : rows * PATCH, : columns * PATCH]
    squares = cut.reshape(*cut.shape[:3], rows, PATCH, columns, PATCH)  # [B, C, T, h, 16, w, 16]
    return squares.permute(0, 2, 3, 5, 1, 4, 6).flatten(4).flatten(1, 3)


def rolling_transformer(
    encoders: Mapping[str, Encoder], num_outputs: int, *, num_heads: int = 1, faithful: bool = False
) -> FusionModel:
    """The transformer of RollingQ: one attention layer, in which a class token asks all modalities' tokens.

    `fuseloom.train.rolling_query.RollingQuery` turns its query while it is trained.

    Args:
        encoders: Modality name -> what gives its tokens, such as a `PatchEncoder`; all as wide.
        num_outputs: Classes, or numbers to predict.
        num_heads: Of the attention layer.
        faithful: Heads as wide as the layer, for official weights.

    Raises:
        OptionError: fewer than one head.

    Example:
        >>> sizes = {"audio": (1, (48, 32)), "video": (3, (2, 32, 32))}
        >>> encoders = {n: PatchEncoder(*size, dim=8, depth=1, block=ViTBlock) for n, size in sizes.items()}
        >>> model = rolling_transformer(encoders, 6)
        >>> model({"audio": torch.zeros(2, 1, 48, 32), "video": torch.zeros(2, 3, 2, 32, 32)}).shape
        torch.Size([2, 6])
    """
    dims = {name: encoder.dims[-1] for name, encoder in encoders.items()}
    merge = AttentionPool(dims, num_heads=num_heads, faithful=faithful)
    return FusionModel(encoders, merge, LinearHead(merge.dim, num_outputs))


def convert_rolling_transformer(
    official: Mapping[str, Tensor], names: Sequence[str] = ("audio", "video")
) -> dict[str, Tensor]:
    """State dict of a faithful `rolling_transformer` of two `PatchEncoder` from an official checkpoint.

    A rotation that is not the identity acts: it is multiplied into the query's map, where the official code
    ignores it in a model that is loaded. The probes ``a_head`` and ``v_head`` and the bottleneck's
    ``bot_token`` are no part of the model and left out.

    Args:
        official: Without the ``module.`` of data parallelism, as `fuseloom.models.checkpoint.read_checkpoint`
            gives it.
        names: Ours of the official ``audio`` and ``video``.

    Raises:
        OptionError: another fusion than attention, blocks with a bottleneck, or a rotation of several heads.
    """
    fusion = _below(official, "fusion_module.")
    if "rotate" not in fusion or any(key.startswith("encoder.bot_audio") for key in official):
        raise OptionError(
            "official must be a transformer with attention fusion and no bottleneck blocks, got "
            f"{sorted(fusion)[:4]} in its fusion module."
        )
    width = fusion["cls_token"].shape[-1]
    merge = convert_attention_pool(fusion, dict.fromkeys(names, width))
    state = {f"merge.{key}": value for key, value in merge.items()}
    state |= {f"head.linear.{kind}": fusion[f"FC.{kind}"] for kind in ("weight", "bias")}
    encoder = _below(official, "encoder.")
    for ours, theirs in zip(names, ("audio", "video"), strict=True):
        own = convert_patch_encoder(encoder, theirs)
        state |= {f"encoders.{ours}.{key}": value for key, value in own.items()}
    return state


def convert_patch_encoder(official: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """State dict of `PatchEncoder` from the official backbone of both modalities.

    Args:
        official: Keys such as ``cls_token_audio``, ``audio_blocks.0.norm1.weight``; those of the other
            modality and of the bottleneck are not used.
        name: ``audio``, whose input is the official one with its last two axes swapped, or ``video``.
    """
    kernel, start = official[f"patch_embed_{name}.proj.weight"], f"{name}_blocks."
    state = {
        "stages.0.project.weight": kernel.flatten(1),
        "stages.0.project.bias": official[f"patch_embed_{name}.proj.bias"],
        "stages.0.class_token": official[f"cls_token_{name}"].flatten(),
        "stages.0.positions": official[f"pos_embed_{name}"].squeeze(0),
    }
    inner = _below(official, start)
    for number in sorted({key.partition(".")[0] for key in inner}):
        block = convert_vit_block(_below(inner, f"{number}."))
        state |= {f"stages.0.blocks.{number}.{key}": value for key, value in block.items()}
    norm = _below(official, f"norm_{name}.")
    return state | {f"stages.1.norm.{key}": value for key, value in norm.items()}


def _below(weights: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
