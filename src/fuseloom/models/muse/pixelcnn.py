"""PixelCNN++: the likelihood of an image given an embedding, pixel after pixel."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import ModalityError, OptionError
from fuseloom.losses.logistic_mixture import (
    count_mixture_logits,
    draw_uniforms,
    logistic_mixture_loss,
    sample_logistic_mixture,
    signed_pixels,
)
from fuseloom.models.muse.pixelcnn_layers import HalvedLevel, PixelLevel, PixelStart
from fuseloom.models.muse.pixelcnn_sampling import paint
from fuseloom.nn.shifted_convolution import pointwise

__all__ = ["PixelCnn"]

_HALVINGS = 2
_MULTIPLE = 2**_HALVINGS


class PixelCnn(nn.Module):
    r"""PixelCNN++: a mixture of logistics for each pixel, given those before it and, if wanted, an embedding.

    .. math:: p(x \mid z) = \prod_i p(x_i \mid x_{<i}, z)

    in the order of reading. As MuSE's text-to-image decoder its embedding is that of the sentence; as a head
    of its own it says how well any embedding describes an image, ``loss``, and paints images, ``sample``.
    Height and width are any multiples of four.

    Paper: Salimans et al., 2017, arXiv:1701.05517; MuSE: Zhu et al., 2023, arXiv:2309.02190. Differs from the
    official code (MuSE's ``ImageDecoder``): there the constant channel is kept from the first batch, so that
    no other batch size runs, an embedding needs square images, and targets are scaled by mean and deviation
    rather than from -1 to 1, which the likelihood does not expect; give ``loss`` such to repeat it.

    Args:
        embedding_dim: Width of the embedding ``D``; None for a model of images alone.
        channels: 3 for colours, 1 for grey.
        num_resnet: Blocks per stream before each halving of the resolution.
        num_filters: Channels ``F`` of the streams.
        num_mixtures: Logistics ``K`` per pixel.
        dropout: Probability of dropping a channel within a block.

    Raises:
        OptionError: ``channels`` neither 1 nor 3, or a number below one.

    Example:
        >>> model = PixelCnn(6, num_resnet=1, num_filters=4, num_mixtures=2)
        >>> model.loss(torch.zeros(5, 6), torch.zeros(5, 3, 8, 12)).shape
        torch.Size([5])
        >>> model.sample(torch.zeros(5, 6), (4, 8)).shape
        torch.Size([5, 3, 4, 8])
    """

    def __init__(
        self,
        embedding_dim: int | None = None,
        *,
        channels: int = 3,
        num_resnet: int = 5,
        num_filters: int = 80,
        num_mixtures: int = 10,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if min(num_resnet, num_filters) < 1:
            raise OptionError(
                f"num_resnet and num_filters must be positive, got {num_resnet} and {num_filters}."
            )
        self.embedding_dim, self.channels, self.num_mixtures = embedding_dim, channels, num_mixtures
        level = partial(
            PixelLevel, num_filters, num_resnet=num_resnet, embedding_dim=embedding_dim, dropout=dropout
        )
        self.out = pointwise(num_filters, count_mixture_logits(channels, num_mixtures))
        self.start = PixelStart(channels + 1, num_filters)
        self.level = level(coarser=None)
        for _ in range(_HALVINGS):
            self.level = level(coarser=HalvedLevel(num_filters, self.level))

    def forward(self, embedding: Tensor | None, images: Tensor) -> Tensor:
        """Logits of each pixel, which depend on the pixels before it only.

        Args:
            embedding: ``[B, D]``; None for a model without.
            images: ``[B, C, H, W]``, from -1 to 1.

        Returns:
            ``[B, P, H, W]``, as `logistic_mixture_loss` reads them.

        Raises:
            ModalityError: an embedding or images that do not fit the model.
        """
        given = self._checked_embedding(embedding)
        self._check_images(images, given)
        # Beyond the image stand zeros, also in this channel, which tells them from grey.
        marked = F.pad(images.to(self._like.dtype), (0, 0, 0, 0, 0, 1), value=1.0)
        _, horizontal = self.level(self.start(marked), given)
        logits: Tensor = self.out(F.elu(horizontal))
        return logits

    def loss(self, embedding: Tensor | None, images: Tensor) -> Tensor:
        """Negative log-likelihood of each image given its embedding, in nats.

        Args:
            embedding: ``[B, D]``; None for a model without.
            images: ``[B, C, H, W]``, bytes, or values from -1 to 1.

        Returns:
            ``[B]``, in float32 at least; `bits_per_dim` makes it comparable.

        Raises:
            ModalityError: as for ``forward``.
        """
        signed = images if images.is_floating_point() else signed_pixels(images)
        return logistic_mixture_loss(self(embedding, signed), signed)

    @torch.no_grad()
    def sample(
        self,
        embedding: Tensor | None,
        size: tuple[int, int] = (32, 32),
        *,
        num_images: int = 1,
        generator: torch.Generator | None = None,
        faithful: bool = False,
    ) -> Tensor:
        """Paint images, without dropout; a pixel costs each layer one step, whatever the size.

        Args:
            embedding: ``[B, D]``, for an image each; None for a model without.
            size: Height and width.
            num_images: How many images a model without an embedding paints.
            generator: Draws the noise; torch's global one where there is none.
            faithful: Leave values between the levels; see `sample_logistic_mixture`.

        Returns:
            ``[B, C, H, W]`` from -1 to 1; see `byte_pixels`.

        Raises:
            ModalityError: an embedding that does not fit the model.
            OptionError: a size that is not of multiples of four.
        """
        given = self._checked_embedding(embedding)
        if min(size) < 1 or any(side % _MULTIPLE for side in size):
            raise OptionError(f"size must be of positive multiples of {_MULTIPLE}, got {size}.")
        count = num_images if given is None else len(given)
        shape = (count, self.num_mixtures + self.channels, *size)
        return paint(
            (self.start, self.level, self.out),
            given,
            draw_uniforms(shape, generator=generator, device=self._like.device),
            partial(sample_logistic_mixture, channels=self.channels, faithful=faithful),
        )

    @property
    def _like(self) -> Tensor:
        """A parameter: of the type and on the device of all."""
        assert self.out.bias is not None
        return self.out.bias

    def _checked_embedding(self, embedding: Tensor | None) -> Tensor | None:
        wanted = "None" if self.embedding_dim is None else f"[B, {self.embedding_dim}]"
        got = None if embedding is None else list(embedding.shape)
        if (embedding is None) != (self.embedding_dim is None) or (
            embedding is not None and (embedding.ndim != 2 or embedding.shape[1] != self.embedding_dim)
        ):
            raise ModalityError(f"embedding must be {wanted}, got {got}. Set embedding_dim to its width.")
        return None if embedding is None else embedding.to(self._like.dtype)

    def _check_images(self, images: Tensor, embedding: Tensor | None) -> None:
        shape = list(images.shape)
        if len(shape) != 4 or shape[1] != self.channels or any(side % _MULTIPLE for side in shape[2:]):
            raise ModalityError(
                f"images must be [B, {self.channels}, H, W] with sides that are multiples of {_MULTIPLE}, "
                f"got {shape}. Resize them, or pad and crop."
            )
        if not images.is_floating_point():
            raise ModalityError(
                f"images must be floating, from -1 to 1, got {images.dtype}. Use signed_pixels for bytes."
            )
        # A length is a number, a shape may be a symbol: export keeps the batch open.
        if embedding is not None and embedding.shape[0] != images.shape[0]:
            raise ModalityError(f"images must be one per embedding, {embedding.shape[0]}, got {shape[0]}.")
