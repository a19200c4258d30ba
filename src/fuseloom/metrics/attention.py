"""Where attention goes: weight per modality, its spread over tokens, and how queries stand to keys."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "attention_entropy",
    "attention_imbalance_rate",
    "attention_mass",
    "effective_tokens",
    "key_cosine",
    "mass_ratio",
]


def attention_mass(weights: Tensor, owned: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Share of the weight on each modality, of all that is on modalities; NaN where nothing is.

    Weight on tokens of no modality, such as a class token, is left out.

    Args:
        weights: ``[..., N]``, zero where a token is absent.
        owned: Modality name -> bool that broadcasts to ``[..., N]``: its real tokens.

    Returns:
        Modality name -> ``[...]``; they sum to one.

    Example:
        >>> owned = {"text": torch.tensor([False, True, True]), "image": torch.tensor([False, False, False])}
        >>> attention_mass(torch.tensor([0.5, 0.25, 0.25]), owned)
        {'text': tensor(1.), 'image': tensor(0.)}
    """
    sums = {name: (weights * own).sum(-1) for name, own in owned.items()}
    total = torch.stack(list(sums.values())).sum(0)
    return {name: one / total for name, one in sums.items()}


def mass_ratio(weights: Tensor, owned: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`attention_mass` over the share of the modality's tokens: 1 where attention does not choose.

    Args:
        weights: ``[..., N]``, zero where a token is absent.
        owned: Modality name -> bool that broadcasts to ``[..., N]``: its real tokens.

    Returns:
        Modality name -> ``[...]``; NaN where a modality has no token.

    Example:
        >>> owned = {"text": torch.tensor([True, False, False]), "image": torch.tensor([False, True, True])}
        >>> mass_ratio(torch.tensor([0.5, 0.25, 0.25]), owned)
        {'text': tensor(1.5000), 'image': tensor(0.7500)}
    """
    counts = {name: own.expand(weights.shape).sum(-1) for name, own in owned.items()}
    total = torch.stack(list(counts.values())).sum(0)
    return {name: mass * total / counts[name] for name, mass in attention_mass(weights, owned).items()}


def attention_entropy(weights: Tensor) -> Tensor:
    """Entropy of weights ``[..., N]`` in nats, ``[...]``: 0 where one token has all the weight, at most ln N.

    Example:
        >>> attention_entropy(torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
        tensor([0.0000, 0.6931])
    """
    terms: Tensor = torch.special.entr(weights)
    return terms.sum(-1).clamp(min=0)


def effective_tokens(weights: Tensor) -> Tensor:
    """How many tokens with equal weight would have the same entropy: from 1 to the number of tokens.

    Example:
        >>> effective_tokens(torch.tensor([0.25, 0.25, 0.25, 0.25, 0.0]))
        tensor(4.)
    """
    return attention_entropy(weights).exp()


def key_cosine(query: Tensor, key: Tensor) -> Tensor:
    """Cosine between a query and a modality's mean key, ``[..., d]`` each, to ``[...]``.

    Example:
        >>> key_cosine(torch.tensor([0.0, 2.0]), torch.tensor([3.0, 3.0]))
        tensor(0.7071)
    """
    return F.cosine_similarity(query, key, dim=-1)


def attention_imbalance_rate(cosines: Mapping[str, Tensor]) -> Tensor:
    """RollingQ's AIR: how much nearer the queries are to the keys of one modality than to those of another.

    Of two modalities it is the mean of the cosine of the first less that of the second, from -2 to 2,
    positive where the first is favoured. Of more it is the largest of the mean cosines less the smallest, of
    those modalities that any row has.

    Args:
        cosines: Modality name -> `key_cosine` of each row ``[B]``; NaN in rows that lack the modality.

    Returns:
        A scalar; NaN where no row has both of two, or fewer than two of more are there.

    Example:
        >>> attention_imbalance_rate({"audio": torch.tensor([0.5, 0.25]), "video": torch.tensor([0.0, 0.25])})
        tensor(0.2500)
    """
    if len(cosines) == 2:
        first, second = cosines.values()
        return torch.nanmean(first - second)
    means = torch.stack([torch.nanmean(one) for one in cosines.values()])
    known = ~means.isnan()
    spread = means.masked_fill(~known, -torch.inf).max() - means.masked_fill(~known, torch.inf).min()
    return torch.where(known.sum() > 1, spread, torch.nan)
