"""Two views of a row of tokens: the class is how they pair, which no summary of a view alone can hold."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.generated import GeneratedRows, even_classes, generated_source, in_splits
from fuseloom.data.source import Source
from fuseloom.errors import OptionError

__all__ = ["Views", "make_views", "read_views"]

_NEAREST, _FARTHEST = 0.5, 1.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Views(GeneratedRows):
    """Rows of two views ``a`` and ``b`` of tokens ``[N, T, width]``.

    The target is ``shift_<k>``: by how much the second view's symbols are ahead of the first's.
    """

    symbols: Mapping[str, NDArray[np.int64]]
    """View -> the symbol that each token shows, ``[N, T]``."""
    num_classes: int
    """Symbols, and classes."""

    @property
    def pooled_accuracy(self) -> float:
        """Expected accuracy that no model can exceed whose summary of each view ignores its order."""
        return 1 / self.num_classes


def make_views(
    num_rows: int = 2000,
    *,
    num_classes: int = 2,
    num_tokens: int = 4,
    width: int = 8,
    seed: int = 0,
) -> Views:
    r"""Draw rows of two views whose class is which tokens of the views stand at the same place.

    Every view of every row shows each of ``K = num_classes`` symbols in ``T / K`` of its ``T`` tokens, in an
    order that is uniformly random. Of class ``k`` the second view shows at each place the symbol ``k`` steps
    behind that of the first: ``symbol_b[i] = symbol_a[i] + k mod K``. A token is its symbol's direction times
    a size uniform in 0.5 to 1.5, and standard normal features that say nothing, in a fixed random rotation
    of each view's own.

    **What must fail.** Any model that predicts from :math:`m(s_a(A), s_b(B))`, whatever the merge ``m``,
    where the summary ``s`` of a view does not depend on the order of its tokens: the mean, sum, maximum or
    any attention pooling of any map of the single tokens; a transformer without positions and its class
    token; a mean of linear maps even of tokens with positions added, as the mean of the positions is a
    constant. Its expected accuracy is ``1 / K``.

    *Proof.* Such a summary is a function of the unordered tokens of its view. Draw those of both views first:
    ``T / K`` tokens of each symbol, each with its own size and features, independent of one another. Then
    draw the class ``k`` uniformly, then an order of ``A`` uniformly, then place the tokens of ``B``: those of
    each symbol in random order at the places where the rule puts that symbol, which always are ``T / K``,
    because adding ``k`` permutes the symbols. The rows have the distribution above, as sizes and features are
    independent of places. So the class is independent of the pair of unordered views, and of what is
    computed from it: given the summaries all classes are equally probable, and no decision is right more
    often than ``1 / K``. The order of ``A`` is drawn without the class as well, so one of the two
    summaries may even know it.

    The same holds of a model that exchanges between the views before it pools them, as long as reordering
    the tokens of one view alone changes nothing behind the pooling: of cross-attention over tokens that
    nothing tells the place of.

    **What can succeed.** A single place tells the class, to whoever compares the two tokens there: an
    exchange between streams that share positions, or attention over tokens whose positions are known.

    Args:
        num_rows: Three fifths for training, a fifth each for validation and test.
        num_classes: ``K``, symbols and classes, at least 2.
        num_tokens: ``T``, tokens of each view, a multiple of ``num_classes``.
        width: Features of a token, at least ``num_classes``.
        seed: Of everything that is drawn.

    Raises:
        OptionError: an option is out of its range.

    Example:
        >>> data = make_views(200)
        >>> {name: tokens.shape for name, tokens in data.streams.items()}
        {'a': (200, 4, 8), 'b': (200, 4, 8)}
        >>> data.target[0], data.symbols["a"][0], data.symbols["b"][0]
        ('shift_1', array([1, 0, 1, 0]), array([0, 1, 0, 1]))
    """
    _check_options(num_rows, num_classes, num_tokens, width)
    generator = np.random.default_rng(seed)
    split = in_splits(num_rows)
    shift = even_classes(split, num_classes, generator)
    row = np.repeat(np.arange(num_classes), num_tokens // num_classes)
    first = generator.permuted(np.tile(row, (num_rows, 1)), axis=1)
    symbols = {"a": first, "b": (first + shift[:, None]) % num_classes}
    return Views(
        streams={name: _tokens(shown, num_classes, width, generator) for name, shown in symbols.items()},
        target=np.array([f"shift_{k}" for k in shift], dtype=object),
        split=split,
        symbols=symbols,
        num_classes=num_classes,
    )


def read_views() -> Source:
    """The embedded set ``views``: 2,000 rows of two views of four tokens, two classes."""
    return generated_source("views", make_views(), target="shift", labels={})


def _check_options(num_rows: int, num_classes: int, num_tokens: int, width: int) -> None:
    if num_classes < 2:
        raise OptionError(f"num_classes must be at least 2, got {num_classes}.")
    if num_rows < 5 * num_classes:
        raise OptionError(f"num_rows must be at least {5 * num_classes}, got {num_rows}.")
    if num_tokens < 1 or num_tokens % num_classes:
        raise OptionError(
            f"num_tokens must be a positive multiple of num_classes={num_classes}, got {num_tokens}."
        )
    if width < num_classes:
        raise OptionError(f"width must be at least num_classes={num_classes}, got {width}.")


def _tokens(
    symbols: NDArray[np.int64], num_classes: int, width: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Tokens ``[N, T, width]`` that show these symbols ``[N, T]``."""
    sizes = generator.uniform(_NEAREST, _FARTHEST, size=symbols.shape)
    told = np.eye(num_classes)[symbols] * sizes[..., None]
    others = generator.normal(size=(*symbols.shape, width - num_classes))
    rotation, _ = np.linalg.qr(generator.normal(size=(width, width)))
    latent = np.concatenate([told, others], axis=-1)
    tokens: NDArray[np.float32] = (latent @ rotation).astype(np.float32)
    return tokens
