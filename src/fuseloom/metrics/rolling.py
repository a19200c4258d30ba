"""Where RollingQ turns a query to: between the mean keys of all modalities, nearer to the neglected ones."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import normalize

__all__ = ["rolling_shares", "rolling_target"]

_CANCELLED = 1e-9
"""Length of a sum of unit vectors, by shares, of which only rounding is left."""


def rolling_shares(cosines: Mapping[str, Tensor], *, rho: float) -> dict[str, Tensor]:
    r"""How much of the new direction each modality gives.

    .. math:: \alpha_m = \mathrm{softmax}_m(-2 \rho \, \bar c_m)

    Of two modalities that is the paper's :math:`(1 + \tanh(-\rho \, \mathrm{AIR})) / 2` for the first.

    Args:
        cosines: Modality name -> mean of `key_cosine` over rows, ``[...]``; NaN where no row has it.
        rho: How strongly the neglected are preferred; at 0 all modalities are alike.

    Returns:
        Modality name -> ``[...]``; they sum to one, those without a row have zero.

    Example:
        >>> rolling_shares({"audio": torch.tensor(0.5), "video": torch.tensor(-0.5)}, rho=0.5)
        {'audio': tensor(0.2689), 'video': tensor(0.7311)}
    """
    stacked = torch.stack(list(cosines.values()))
    scores = (-2 * rho * stacked).masked_fill(stacked.isnan(), -torch.inf)
    # Where no modality has a row, the softmax of nothing is NaN, and is zero like each of them.
    shares = scores.softmax(0).masked_fill(stacked.isnan(), 0)
    return dict(zip(cosines, shares.unbind(), strict=True))


def rolling_target(
    query: Tensor, keys: Mapping[str, Tensor], cosines: Mapping[str, Tensor], *, rho: float
) -> Tensor:
    r"""The query that RollingQ turns to, as long as the one it turns from.

    .. math:: t = |q| \frac{\sum_m \alpha_m k_m / |k_m|}{| \sum_m \alpha_m k_m / |k_m| |}

    with the :math:`\alpha_m` of `rolling_shares`. Several heads have a target each.

    Paper: RollingQ, ICML 2025, arXiv:2506.11465, for two modalities; the rule for more is ours.

    Args:
        query: Mean query ``[..., d]``.
        keys: Modality name -> mean of its keys, ``[..., d]``; not read where its cosine is NaN.
        cosines: Modality name -> mean of `key_cosine` over rows, ``[...]``; NaN where no row has it.
        rho: How strongly the neglected are preferred.

    Returns:
        ``[..., d]``; zero where shares and keys cancel out and leave no direction.

    Example:
        >>> keys = {"audio": torch.tensor([2.0, 0.0]), "video": torch.tensor([0.0, 1.0])}
        >>> rolling_target(torch.tensor([3.0, 0.0]), keys, dict.fromkeys(keys, torch.tensor(0.0)), rho=1)
        tensor([2.1213, 2.1213])
    """
    shares = rolling_shares({name: cosines[name] for name in keys}, rho=rho)
    total = torch.zeros_like(query)
    for name, key in keys.items():
        unit = normalize(key, dim=-1)
        known = ~cosines[name].isnan()[..., None]
        total = total + torch.where(known, shares[name][..., None] * unit, 0)
    total = total.masked_fill(total.norm(dim=-1, keepdim=True) < _CANCELLED, 0)
    target: Tensor = normalize(total, dim=-1) * query.norm(dim=-1, keepdim=True)
    return target
