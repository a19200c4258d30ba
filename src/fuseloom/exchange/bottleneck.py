"""Bottleneck tokens (MBT): modalities talk through a few tokens that all of them share."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fuseloom.errors import ModalityError, OptionError
from fuseloom.exchange._base import Exchange
from fuseloom.nn.attention import attention_weights
from fuseloom.nn.attention_records import record_owners
from fuseloom.nn.bottleneck import join_shared, mean_of_present
from fuseloom.nn.embed import stack_masks
from fuseloom.nn.tokens import as_tokens, by_length, like_stream
from fuseloom.nn.vit import ViTBlock, convert_vit_block, run_block
from fuseloom.registry import Card, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["Bottleneck", "convert_bottleneck"]

_SHARED = "shared"
_SPREAD = 0.02


@register("bottleneck")
class Bottleneck(Exchange):
    r"""Each modality attends to itself and to a few shared tokens, which all of them change.

    .. math:: [b_m^{l+1}, x_m^{l+1}] = \mathrm{Block}_m^l([b^l, x_m^l]), \quad
        b^{l+1} = \frac{1}{|P|} \sum_{m \in P} b_m^{l+1}

    The first shared tokens ``b`` are learnt. In every layer each modality's block is given its tokens behind
    a copy of ``b``; the mean of the changed copies goes into the next layer. So what crosses must fit into
    ``b``, and the cost grows with the sum of the squared lengths, not with the square of their sum. ``P`` are
    the modalities a sample has: an absent one does not pull ``b``; where all are absent it stays. Class
    tokens, if any, are tokens of the streams like others. Positions are the streams' own.

    An embedding is one token, a feature map one token per pixel. The norm that ends a stack of such blocks
    belongs to what follows. With shared weights, modalities of equal length run as one batch.

    Paper: Nagrani et al., 2021, arXiv:2107.00135.
    Differs from the official code: masks and absent modalities, any number of modalities, shared weights.

    Args:
        dims: Modality name -> width ``D``, the same for all.
        num_tokens: Shared tokens ``n``.
        num_layers: Blocks per modality. In the first the shared tokens hold nothing of the sample yet, so two
            are the fewest through which modalities talk.
        num_heads: Attention heads; must divide ``D``.
        hidden: Width of each block's feedforward map; four times ``D`` by default.
        dropout: Probability of dropping an attention weight, a hidden feature or a feature of an update.
        shared: Use the same blocks for all modalities.

    Raises:
        ModalityError: fewer than two modalities, or unequal widths.
        OptionError: fewer than two layers, no shared token, ``num_heads`` that does not divide the width,
            ``hidden`` below one, or ``dropout`` outside [0, 1).

    Records:
        ``layer.<number>.<modality>.attention``: ``[B, H, n + N, n + N]``, the shared tokens first; and what
        `record_owners` files under that name.

    Example:
        >>> exchange = Bottleneck({"audio": 8, "video": 8}, num_heads=2)
        >>> out = exchange({"audio": torch.ones(2, 3, 8), "video": torch.ones(2, 5, 8)})
        >>> {name: tuple(value.shape) for name, value in out.items()}
        {'audio': (2, 3, 8), 'video': (2, 5, 8)}
    """

    card = Card(
        summary="Modalities talk through a few tokens that all of them share.",
        interaction="nonlinear",
        cost="L sum_m (12 (N_m + n) D^2 + 2 (N_m + n)^2 D), for L layers and n shared tokens",
        parameters="per modality, or shared",
        arity=(2, None),
        symmetric=True,
        paper="Nagrani et al., 2021, arXiv:2107.00135",
        code="https://github.com/GeWu-Lab/RollingQ_ICML2025",
        differs="masks and absent modalities, any number of modalities, shared weights",
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        num_tokens: int = 4,
        num_layers: int = 2,
        num_heads: int = 1,
        hidden: int | None = None,
        dropout: float = 0.0,
        shared: bool = False,
    ) -> None:
        super().__init__(dims)
        if len(set(self.dims.values())) > 1:
            raise ModalityError(f"Widths must be equal, got {self.dims}. Give all encoders the same width.")
        if num_layers < 2:
            raise OptionError(
                f"num_layers must be at least 2, got {num_layers}. In the first layer the shared tokens hold "
                "nothing of another modality yet."
            )
        if num_tokens < 1:
            raise OptionError(f"num_tokens must be at least 1, got {num_tokens}.")
        width = next(iter(self.dims.values()))
        self.shared = shared
        self.bottleneck = nn.Parameter(torch.randn(num_tokens, width) * _SPREAD)
        names = [_SHARED] if shared else list(self.dims)
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {n: ViTBlock(width, num_heads=num_heads, hidden=hidden, dropout=dropout) for n in names}
            )
            for _ in range(num_layers)
        )

    def exchange(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Streams:
        tokens = {name: as_tokens(value) for name, value in streams.items()}
        keys = {name: mask.unsqueeze(1).flatten(1) for name, mask in masks.items()}  # [B, N]
        present = stack_masks([keys[n].any(1) if n in keys else None for n in self.dims])  # [B, M]
        common = self.bottleneck.expand(next(iter(tokens.values())).shape[0], -1, -1)  # [B, n, D]
        for number, layer in enumerate(self.layers):
            scope = None if trace is None else trace.scope(f"layer.{number}")
            joined = {name: join_shared(common, value, keys.get(name)) for name, value in tokens.items()}
            run = self._run(layer, joined, scope)
            if scope is not None:
                _record(tokens, keys, common.shape[1], scope)
            split = {name: value.tensor_split([common.shape[1]], 1) for name, value in run.items()}
            tokens = {name: own for name, (_, own) in split.items()}
            if number + 1 < len(self.layers):
                common = mean_of_present([copy for copy, _ in split.values()], present, common)
        return {name: like_stream(value, streams[name]) for name, value in tokens.items()}

    def _run(
        self, layer: nn.Module, joined: Mapping[str, tuple[Tensor, Tensor | None]], trace: Trace | None
    ) -> Streams:
        """The tokens of all modalities through their blocks; those of one block and one length at once."""
        changed: Streams = {}
        lengths = {name: value.shape[1] for name, (value, _) in joined.items()}
        for names in by_length(lengths) if self.shared else [[name] for name in lengths]:
            block = layer.get_submodule(_SHARED if self.shared else names[0])
            assert isinstance(block, ViTBlock)
            tokens, mask = _stacked([joined[name] for name in names])
            out, attended = run_block(block, tokens, mask)
            changed |= zip(names, out.chunk(len(names)), strict=True)
            if trace is not None and trace.keep_records:
                weights = attention_weights(
                    attended.query, attended.key, num_heads=block.num_heads, mask=mask
                )
                for name, value in zip(names, weights.chunk(len(names)), strict=True):
                    trace.scope(name).record("attention", value)
        return {name: changed[name] for name in self.dims}


def _record(tokens: Streams, keys: Masks, num_shared: int, trace: Trace) -> None:
    for name, value in tokens.items():
        own = keys.get(name)
        shared = value.new_ones(value.shape[0], num_shared, dtype=torch.bool)
        mask = None if own is None else torch.cat([shared, own], 1)
        record_owners(
            trace.scope(name),
            "attention",
            {name: value.shape[1]},
            like=value,
            before=num_shared,
            mask=mask,
            asked=mask,
        )


def _stacked(joined: Sequence[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor | None]:
    if len(joined) == 1:
        return joined[0]
    mask = stack_masks([mask for _, mask in joined])  # [B, n + N, modality]
    tokens = torch.cat([tokens for tokens, _ in joined])
    return tokens, None if mask is None else torch.cat(mask.unbind(-1))


def convert_bottleneck(official: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """State dict of `Bottleneck` from the backbone of the RollingQ repository, an MBT of audio and video.

    Args:
        official: Keys ``bot_token`` ``[1, n, D]`` and ``bot_<modality>_blocks.<number>.*``; others, such as
            those of the blocks before and of the norms behind, are not used.
        names: Our name of a modality -> its name in the official keys.
    """
    converted = {"bottleneck": official["bot_token"].squeeze(0)}
    for name, theirs in names.items():
        prefix = f"bot_{theirs}_blocks."
        inner = [key.removeprefix(prefix) for key in official if key.startswith(prefix)]
        for number in sorted({key.partition(".")[0] for key in inner}):
            start = f"{prefix}{number}."
            block = {key.removeprefix(start): v for key, v in official.items() if key.startswith(start)}
            converted |= {
                f"layers.{number}.{name}.{key}": value for key, value in convert_vit_block(block).items()
            }
    return converted
