"""Cuts a model of timm into the stages between which it computes one thing after another."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

__all__ = ["Cut", "cut"]

_VIT_STAGES = 4


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A model in pieces that together are the whole, each weight in one of them."""

    trunk: tuple[nn.Module, ...]
    """Images, then maps or tokens, from piece to piece."""
    widths: tuple[int, ...]
    """Width after each piece."""
    pool: nn.Module
    """What the model puts before its classifier: maps or tokens to one vector."""
    norm: nn.Module | None
    """What stands for it where maps or tokens are kept; None where the family is unknown."""
    prefix: int = 0
    """Tokens before those of the patches."""
    grid: tuple[int, int] | None = None
    """Rows and columns of patches, of tokens."""


def cut(model: Any) -> Cut:
    """Take a model apart, by family; one that is of none is one piece, pool included."""
    from timm.models import ConvNeXt, ResNet, SwinTransformer, VisionTransformer

    families: Mapping[Any, Callable[[Any], Cut]] = {
        ResNet: _cut_resnet,
        ConvNeXt: _cut_convnext,
        SwinTransformer: _cut_swin,
        VisionTransformer: _cut_vit,
    }
    for family, take_apart in families.items():
        # A subclass that computes its features in another way is not what its base is.
        own = getattr(type(model), "forward_features", None)
        if isinstance(model, family) and own is family.forward_features:
            return take_apart(model)
    width = int(getattr(model, "head_hidden_size", None) or model.num_features)
    return Cut(trunk=(_Whole(model),), widths=(width,), pool=nn.Identity(), norm=None)


def _cut_resnet(model: Any) -> Cut:
    first = nn.Sequential(model.conv1, model.bn1, model.act1, model.maxpool, model.layer1)
    return Cut(
        trunk=(first, model.layer2, model.layer3, model.layer4),
        widths=_widths(model)[-4:],
        pool=model.global_pool,
        norm=nn.Identity(),
    )


def _cut_convnext(model: Any) -> Cut:
    first, *middle, last = model.stages
    return Cut(
        trunk=(nn.Sequential(model.stem, first), *middle, nn.Sequential(last, model.norm_pre)),
        widths=_widths(model),
        pool=model.head,
        norm=model.head.norm,
    )


def _cut_swin(model: Any) -> Cut:
    first, *middle, last = model.layers
    return Cut(
        trunk=(
            _Moved(nn.Sequential(model.patch_embed, first), before=False),
            *(_Moved(layer) for layer in middle),
            _Moved(nn.Sequential(last, model.norm)),
        ),
        widths=_widths(model),
        pool=_Moved(model.head, after=False),
        norm=nn.Identity(),
    )


def _cut_vit(model: Any) -> Cut:
    blocks, count = list(model.blocks), min(_VIT_STAGES, len(model.blocks))
    ends = [len(blocks) * (number + 1) // count for number in range(count)]
    groups = [nn.Sequential(*blocks[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
    pool = _VitPool(model)
    norm = nn.Sequential(model.norm, model.fc_norm)
    prefix, grid = int(model.num_prefix_tokens), tuple(model.patch_embed.grid_size)
    # What is left computes the tokens and the first group of blocks.
    model.blocks, model.norm, model.fc_norm, model.attn_pool = groups[0], nn.Identity(), nn.Identity(), None
    return Cut(
        trunk=(_Features(model), *groups[1:]),
        widths=(int(model.embed_dim),) * count,
        pool=pool,
        norm=norm,
        prefix=prefix,
        grid=(int(grid[0]), int(grid[1])),
    )


def _widths(model: Any) -> tuple[int, ...]:
    return tuple(int(stage["num_chs"]) for stage in model.feature_info)


class _Features(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.model.forward_features(images)
        return out


class _Whole(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        features = self.model.forward_features(images)
        out: Tensor = self.model.forward_head(features, pre_logits=True)
        return out


class _Moved(nn.Module):
    """A module that has the width last, among maps that have it first."""

    def __init__(self, module: nn.Module, *, before: bool = True, after: bool = True) -> None:
        super().__init__()
        self.module, self.before, self.after = module, before, after

    def forward(self, value: Tensor) -> Tensor:
        out: Tensor = self.module(value.movedim(1, -1) if self.before else value)
        return out.movedim(-1, 1) if self.after else out


class _VitPool(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.norm, self.attend, self.scale = model.norm, model.attn_pool, model.fc_norm
        self.prefix = 0 if model.pool_include_prefix else int(model.num_prefix_tokens)
        self.kind = model.global_pool

    def forward(self, tokens: Tensor) -> Tensor:
        from timm.layers.pool1d import global_pool_nlc

        tokens = self.norm(tokens)
        if self.attend is not None:
            pooled = self.attend(tokens[:, self.prefix :])
        else:
            pooled = global_pool_nlc(tokens, pool_type=self.kind, num_prefix_tokens=self.prefix)
        out: Tensor = self.scale(pooled)
        return out
