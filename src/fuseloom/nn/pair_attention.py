"""Attention of each row to itself and to the same row of one other, with its gradient written out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from fuseloom.nn.rowwise_gradient import Sums

__all__ = ["PairAttention"]

Weights = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class PairAttention:
    r"""Rows ``x_0`` and ``x_1``, each of which attends to itself and, as far as they relate, to the other.

    .. math::

        y_i = C_i x_i + c_i + O_i \big(p_i \odot (V_i (x_0 - x_1) + v_i)\big), \qquad
        p_i = \sigma\big({-d^{-1/2}} \textstyle\sum_d (Q_i x_i + q_i) \odot (K_i z_i + k_i)\big)

        z_i = x_i - x_i \odot s_i, \qquad
        s_i = \mathrm{softmax}\big(S\, \mathrm{GELU}(A (x_0 + x_1) + a \pm B (x_0 - x_1)) + s\big)

    There is one ``p_i`` per head, of ``d`` features: the weight of the other's key, which the own one exceeds
    by ``z_i``. ``C_i`` is the identity plus what the own value gives; ``V_i`` has the sign of ``x_j - x_i``.

    Of each ``i`` the forward keeps three tensors of the rows' size: the argument of GELU, ``s_i`` and what
    ``O_i`` multiplies. The backward makes queries and keys again. Where a mask among the rows is False
    ``y_i`` is ``x_i``.

    Example:
        >>> roles = ("query", "key", "value", "direct", "out")
        >>> names = ["total", "apart", "score", *(f"{i}.{role}" for i in (0, 1) for role in roles)]
        >>> given = {name: torch.eye(2) for name in names}
        >>> attention = PairAttention(num_heads=1, matrices=lambda weights: given | weights)
        >>> derived = attention.derive({f"{name}_bias": torch.zeros(2) for name in names})
        >>> rows, out = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])], torch.empty(2, 1, 2)
        >>> _, score, mixed, *_ = attention.forward(rows, derived, out)
        >>> weight = torch.sigmoid(-(1 - score[:, :1]) / 2**0.5)
        >>> torch.allclose(mixed, weight * (rows[0] - rows[1])), torch.allclose(out[0], rows[0] + mixed)
        (True, True)
    """

    num_heads: int
    """Heads ``H``."""
    matrices: Callable[[Weights], dict[str, Tensor]]
    """Makes what rows are multiplied by: ``total`` A, ``apart`` B, ``score`` S and, of each ``i``,
    ``i.query`` Q, ``i.key`` K, ``i.value`` V, ``i.direct`` C, ``i.out`` O, each ``[outputs, inputs]``; and
    the vectors, by the same names with ``_bias``. There is none of B and O."""

    def derive(self, weights: Weights) -> dict[str, Tensor]:
        """The matrices, and what sums over the features of a head and repeats a value over them."""
        found = self.matrices(weights)
        like = found["0.value"]
        features = like.shape[0] // self.num_heads
        eye = torch.eye(self.num_heads, dtype=like.dtype, device=like.device)
        constants = {
            "sum": like.new_full((features,), -(features**-0.5)),
            "repeat": eye.repeat_interleave(features, 1),
        }
        return found | constants

    def forward(self, rows: Sequence[Tensor], derived: Weights, out: Sequence[Tensor]) -> list[Tensor]:
        """Fill ``out``, and return what is kept of both directions."""
        first, second, *masks = rows
        apart = first - second
        both, gap = _linear(first + second, derived, "total"), F.linear(apart, derived["apart"])
        kept = []
        for i, argument in enumerate((both + gap, both - gap)):
            score = _linear(F.gelu(argument), derived, "score").softmax(-1)
            query, _, key = _compared(rows[i], score, derived, i)
            share = _share(query.mul_(key), derived) @ derived["repeat"]
            mixed = share.mul_(_linear(apart, derived, f"{i}.value"))
            torch.addmm(derived[f"{i}.direct_bias"], rows[i], derived[f"{i}.direct"].T, out=out[i])
            out[i].addmm_(mixed, derived[f"{i}.out"].T)
            if masks:
                torch.where(_present(masks), out[i], rows[i], out=out[i])
            kept += [argument, score, mixed]
        return kept

    def backward(
        self,
        rows: Sequence[Tensor],
        derived: Weights,
        kept: Sequence[Tensor],
        *,
        gradients: Sequence[Tensor],
        out: Sequence[Tensor],
        sums: Sums,
    ) -> None:
        """Fill ``out`` with gradients of both rows, and add those of matrices and vectors to ``sums``."""
        first, second, *masks = rows
        given = [value.masked_fill(~_present(masks), 0) if masks else value for value in gradients]
        apart, of_apart, of_arguments = first - second, list[Tensor](), list[Tensor]()
        for i in (0, 1):
            argument, score, mixed = kept[3 * i : 3 * i + 3]
            way = _Way(i, rows[i], derived, sums, out[i])
            way.direct(given[i])
            query, distance, key = _compared(rows[i], score, derived, i)
            slope, of_value = way.mixture(given[i], mixed, _share(query * key, derived))
            sums.linear(f"{i}.value", of_value, apart)
            of_apart.append(of_value)
            of_score = way.comparison(key.mul_(slope), query.mul_(slope), distance, score)
            of_arguments.append(way.score(of_score, score, argument))
        _first_layer(of_arguments, of_apart, [first + second, apart], derived, out=out, sums=sums)
        for i in (0, 1) if masks else ():
            torch.where(_present(masks), out[i], gradients[i], out=out[i])


@dataclass(frozen=True)
class _Way:
    """Gradients of one direction, from its end to its start."""

    index: int
    own: Tensor
    derived: Weights
    sums: Sums
    out: Tensor
    """Gradient of the own rows."""

    def direct(self, gradient: Tensor) -> None:
        """Start the gradient of the own rows."""
        name = f"{self.index}.direct"
        torch.mm(gradient, self.derived[name], out=self.out)
        self.sums.linear(name, gradient, self.own)

    def mixture(self, gradient: Tensor, mixed: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the logits, repeated over the features of their heads, and of the values."""
        out = f"{self.index}.out"
        self.sums.product(out, gradient, mixed)
        of_mixed = gradient @ self.derived[out]
        # Of a share it is the sum of gradients times values; the values times the share were kept.
        slope = _total(of_mixed * mixed, self.derived).mul_(1 - share)
        return slope @ self.derived["repeat"], of_mixed.mul_(share @ self.derived["repeat"])

    def comparison(self, of_query: Tensor, of_key: Tensor, distance: Tensor, score: Tensor) -> Tensor:
        """Gradient of the score."""
        query, key = f"{self.index}.query", f"{self.index}.key"
        self.sums.linear(query, of_query, self.own)
        self.sums.linear(key, of_key, distance)
        turned = torch.addmm(distance, of_key, self.derived[key], beta=0, alpha=-1)
        self.out.addmm_(of_query, self.derived[query]).sub_(turned).addcmul_(turned, score)
        return turned.mul_(self.own)

    def score(self, gradient: Tensor, score: Tensor, argument: Tensor) -> Tensor:
        """Gradient of the argument of GELU."""
        of_logits = torch.ops.aten._softmax_backward_data(gradient, score, -1, score.dtype)
        self.sums.linear("score", of_logits, F.gelu(argument))
        found: Tensor = torch.ops.aten.gelu_backward(of_logits @ self.derived["score"], argument)
        return found


def _linear(rows: Tensor, derived: Weights, name: str) -> Tensor:
    return F.linear(rows, derived[name], derived[f"{name}_bias"])


def _compared(own: Tensor, score: Tensor, derived: Weights, index: int) -> tuple[Tensor, Tensor, Tensor]:
    """Query, how far the own key lies above the other's, and that projected."""
    distance = torch.addcmul(own, own, score, value=-1)
    return _linear(own, derived, f"{index}.query"), distance, _linear(distance, derived, f"{index}.key")


def _share(product: Tensor, derived: Weights) -> Tensor:
    """Weights ``[R, H]`` of the other's key."""
    return _total(product, derived).sigmoid_()


def _total(product: Tensor, derived: Weights) -> Tensor:
    """Sum ``[R, H]`` over the features of each head, scaled, with its sign turned."""
    # A product with a vector takes half the time of a sum over so short an axis.
    features = derived["sum"].shape[0]
    return torch.mv(product.view(-1, features), derived["sum"]).view(-1, product.shape[-1] // features)


def _first_layer(
    of_arguments: Sequence[Tensor],
    of_apart: Sequence[Tensor],
    made: Sequence[Tensor],
    derived: Weights,
    *,
    out: Sequence[Tensor],
    sums: Sums,
) -> None:
    """Add to the gradients of both rows what comes through their sum and their difference."""
    both, gap = of_arguments[0] + of_arguments[1], of_arguments[0] - of_arguments[1]
    sums.linear("total", both, made[0])
    sums.product("apart", gap, made[1])
    total, apart = both @ derived["total"], gap @ derived["apart"]
    for i in (0, 1):
        apart.addmm_(of_apart[i], derived[f"{i}.value"])
    out[0].add_(total).add_(apart)
    out[1].add_(total).sub_(apart)


def _present(masks: Sequence[Tensor]) -> Tensor:
    return reduce(torch.logical_and, masks)[:, None]
