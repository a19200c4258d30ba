"""Conditional random field of a linear chain: tags of a sequence that depend on their neighbours."""

import torch
from torch import Tensor, nn

from fuseloom.errors import DataError, MaskError, OptionError
from fuseloom.nn.crf_lattice import Chain
from fuseloom.nn.crf_paths import best_path, best_paths
from fuseloom.nn.crf_sums import log_likelihood, log_probability, tag_marginals
from fuseloom.nn.tag_scheme import TagConstraints

__all__ = ["LinearChainCrf"]


class LinearChainCrf(nn.Module):
    r"""Scores of neighbouring tags, and what follows from them and the scores of the tags themselves.

    .. math:: \log p(y \mid x) = s_{y_1} + \sum_t x_{t y_t} + \sum_t A_{y_{t-1} y_t} + e_{y_T} - \log Z(x)

    Emissions are ``[B, T, K]``, masks ``[B, T]``, True on the first positions of each sequence. A sequence
    without any has one path, the empty one, of probability 1. Everything is computed in float32 at least, a
    likelihood with 3 operations per time step and its gradient with none; no value is read. Exported, the
    batch may be of any size and ``T`` is fixed. Gradients and paths take the memory of ``B T K^2`` numbers.
    Parameters carry the names and the initial range of the package pytorch-crf.

    Paper: Lafferty et al., 2001, Conditional random fields.

    Args:
        num_tags: ``K``.
        constraints: What paths may be: see `tag_constraints`. What is not learnt is not saved with it.
        constrain: In ``decoding``, which is all but the likelihood, or ``always``. A path of training that
            breaks a constraint has a likelihood of almost nothing, so that one such label drowns all others.

    Raises:
        OptionError: no tag, constraints of another number of tags, or an unknown ``constrain``.

    Example:
        >>> crf = LinearChainCrf(3)
        >>> emissions = torch.tensor([[[4.0, 0.0, 0.0], [0.0, 0.0, 4.0]]])
        >>> crf.decode(emissions)
        tensor([[0, 2]])
    """

    def __init__(
        self,
        num_tags: int,
        *,
        constraints: TagConstraints | None = None,
        constrain: str = "decoding",
    ) -> None:
        super().__init__()
        _check_options(num_tags, constraints, constrain)
        self.num_tags = num_tags
        self.constrain = constrain
        self.start_transitions = nn.Parameter(torch.empty(num_tags).uniform_(-0.1, 0.1))
        self.end_transitions = nn.Parameter(torch.empty(num_tags).uniform_(-0.1, 0.1))
        self.transitions = nn.Parameter(torch.empty(num_tags, num_tags).uniform_(-0.1, 0.1))
        self.constrained = constraints is not None
        if constraints is not None:
            for name in _CONSTRAINED:
                self.register_buffer(f"allowed_{name}", getattr(constraints, name), persistent=False)

    def forward(self, emissions: Tensor, tags: Tensor, mask: Tensor | None = None) -> Tensor:
        """Log-likelihood ``[B]`` of the tags ``[B, T]``; what stands under False is not read.

        Raises:
            DataError: emissions or tags of another shape or type.
            MaskError: a mask that is not boolean, or of another shape.
        """
        self._check(emissions, mask)
        _check_tags(tags, emissions)
        chain = self.restricted() if self.constrain == "always" else self.chain()
        return log_likelihood(chain, emissions, tags, mask)

    def decode(self, emissions: Tensor, mask: Tensor | None = None, *, padding: int = -1) -> Tensor:
        """The most probable tags ``[B, T]``; ``padding`` where the mask is False."""
        self._check(emissions, mask)
        return best_path(self.restricted(), emissions, mask, padding=padding)

    def best_paths(
        self, emissions: Tensor, mask: Tensor | None = None, *, num_paths: int, padding: int = -1
    ) -> tuple[Tensor, Tensor]:
        """The most probable paths, all different: tags ``[B, N, T]`` and scores ``[B, N]``, best first.

        Where a sequence has fewer paths, the last ones are nothing but padding, and have the lowest score
        that their type can hold.
        """
        self._check(emissions, mask)
        if num_paths < 1:
            raise OptionError(f"num_paths must be at least 1, got {num_paths}.")
        return best_paths(self.restricted(), emissions, mask, num_paths=num_paths, padding=padding)

    def marginals(self, emissions: Tensor, mask: Tensor | None = None) -> Tensor:
        """Probability of each tag at each position ``[B, T, K]``; zero where the mask is False."""
        self._check(emissions, mask)
        return tag_marginals(self.restricted(), emissions, mask)

    def log_probability(self, emissions: Tensor, allowed: Tensor, mask: Tensor | None = None) -> Tensor:
        """Log-probability ``[B]`` that the tag at every position is one of those that ``[B, T, K]`` allows.

        Example:
            >>> crf = LinearChainCrf(2)
            >>> allowed = torch.tensor([[[True, True], [True, False]]])  # the second tag is the first one
            >>> emissions = torch.tensor([[[1.0, 2.0], [0.0, 50.0]]])
            >>> bool(crf.log_probability(emissions, allowed) < -40)
            True
        """
        self._check(emissions, mask)
        if allowed.dtype != torch.bool or allowed.shape != emissions.shape:
            raise DataError(
                f"allowed must be bool {list(emissions.shape)}, got {allowed.dtype} {list(allowed.shape)}."
            )
        return log_probability(self.restricted(), emissions, allowed, mask)

    def chain(self) -> Chain:
        """The scores that are learnt, for the functions of `crf_sums` and `crf_paths`."""
        return Chain(start=self.start_transitions, transitions=self.transitions, end=self.end_transitions)

    def restricted(self) -> Chain:
        """The same, under the constraints."""
        if not self.constrained:
            return self.chain()
        buffers = {name: getattr(self, f"allowed_{name}") for name in _CONSTRAINED}
        return self.chain().restrict(TagConstraints(**buffers))

    def extra_repr(self) -> str:
        """What the printed module shows."""
        return f"num_tags={self.num_tags}" + (f", constrain={self.constrain!r}" if self.constrained else "")

    def _check(self, emissions: Tensor, mask: Tensor | None) -> None:
        shape = list(emissions.shape)
        if emissions.ndim != 3 or shape[2] != self.num_tags or shape[1] == 0:
            raise DataError(
                f"emissions must be [B, T, {self.num_tags}] with a position or more, got {shape}. "
                "Give empty sequences a position that is masked."
            )
        if mask is not None and (mask.dtype != torch.bool or list(mask.shape) != shape[:2]):
            raise MaskError(f"mask must be bool {shape[:2]}, got {mask.dtype} {list(mask.shape)}.")


_CONSTRAINED = ("start", "transitions", "end")


def _check_options(num_tags: int, constraints: TagConstraints | None, constrain: str) -> None:
    if num_tags < 1:
        raise OptionError(f"num_tags must be at least 1, got {num_tags}.")
    if constrain not in ("decoding", "always"):
        raise OptionError(f"constrain must be 'decoding' or 'always', got {constrain!r}.")
    if constraints is not None and len(constraints.start) != num_tags:
        raise OptionError(f"constraints must be of {num_tags} tags, got {len(constraints.start)}.")


def _check_tags(tags: Tensor, emissions: Tensor) -> None:
    shape = list(emissions.shape[:2])
    if tags.dtype != torch.int64 or list(tags.shape) != shape:
        raise DataError(f"tags must be int64 {shape}, got {tags.dtype} {list(tags.shape)}.")
