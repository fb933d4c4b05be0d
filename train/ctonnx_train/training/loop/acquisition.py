"""Training images as if they had been acquired otherwise: window, gamma, shape, sharpness, noise and compression."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Acquisition", "blurred", "compressed", "contrasted", "gamma_corrected", "with_noise"]

_MIDDLE = 128.0  # highest grey value that keeps its place when the contrast changes
_REACH = 2  # pixels to either side that a blur mixes
_BLOCK = 8

# Quantization of luminance at quality 50: ITU-T T.81, Annex K.1.
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """Random changes of a batch that another scanner, window, viewer or file format makes to the same scan.

    Each image has its own strengths. A share of the images, drawn again for each change, is changed; the others keep
    what they are, so that the network sees scans as they come, too. Inverted images are left out on purpose: they are
    not another acquisition but a mistake, and reported as novel.

    The strengths do not depend on the phase of a training. From scratch, the shares of changed images grow with the
    epochs, see `scaled`.

    Attributes:
        contrast: Largest factor of the contrast, and the reciprocal of the smallest. The grey value that keeps its
            place is drawn from black to middle grey: the contrast about the mean as well as the brightness change.
        offset: Maximum shift of the window, as a fraction of the range of grey values.
        gamma: Largest exponent, and the reciprocal of the smallest.
        tone_share: Share of the images whose tones (contrast, window and gamma) are changed.
        smallest_side: Smallest relative height or width of a padded image.
        largest_side: Largest relative height or width of a stretched and cropped image.
        shape_share: Share of the images that are padded or stretched.
        blur: Maximum standard deviation of a Gaussian blur, in pixels.
        blur_share: Share of the images that are blurred.
        noise: Maximum standard deviation of Gaussian noise, in grey values.
        noise_share: Share of the images with noise.
        lowest_quality: Lowest JPEG quality.
        highest_quality: Highest JPEG quality.
        jpeg_share: Share of the images that are compressed.
    """

    contrast: float = 1.3
    offset: float = 0.06
    gamma: float = 1.4
    tone_share: float = 0.4
    smallest_side: float = 0.65
    largest_side: float = 1.15
    shape_share: float = 0.25
    blur: float = 1.0
    blur_share: float = 0.125
    noise: float = 8.0
    noise_share: float = 0.125
    lowest_quality: float = 25.0
    highest_quality: float = 90.0
    jpeg_share: float = 0.125

    def scaled(self, progress: float) -> "Acquisition":
        """Returns the same changes of fewer images: their shares times `progress`, 0 to 1.

        A network from scratch learns on small images that are hardly changed first, as with the image size itself.
        Source: Tan and Le 2021, https://arxiv.org/abs/2104.00298 (progressive learning).
        """
        names = ("tone_share", "shape_share", "blur_share", "noise_share", "jpeg_share")
        return replace(self, **{name: progress * getattr(self, name) for name in names})

    def sides(self, batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Returns the relative width and height of each image, [batch]; one of the two is 1."""
        low, high = math.log(self.smallest_side), math.log(self.largest_side)
        side = (_uniform(batch, device) * (high - low) + low).exp()
        chance = _uniform(batch, device)
        width = torch.where(chance < self.shape_share / 2, side, 1.0)
        height = torch.where(chance > 1 - self.shape_share / 2, side, 1.0)
        return width, height

    def __call__(self, images: Tensor) -> Tensor:
        """Returns images whose tones, sharpness, noise and compression differ; may change `images` in place.

        Args:
            images: float32 from 0 to 255, [batch, channels, height, width].
        """
        device = images.device

        def between(count: int, low: float, high: float) -> Tensor:
            return _uniform(count, device) * (high - low) + low

        def tones(some: Tensor) -> Tensor:
            count = len(some)
            limit = math.log(self.contrast)
            factor, pivot = between(count, -limit, limit).exp(), between(count, 0, _MIDDLE)
            offset = 255 * between(count, -self.offset, self.offset)
            changed = contrasted(some, factor, pivot, offset)
            return _on_some(changed, 0.5, gammas)

        def gammas(some: Tensor) -> Tensor:
            limit = math.log(self.gamma)
            return gamma_corrected(some, between(len(some), -limit, limit).exp())

        images = _on_some(images, self.blur_share, lambda some: blurred(some, between(len(some), 0.3, self.blur)))
        images = _on_some(images, self.noise_share, lambda some: with_noise(some, between(len(some), 0, self.noise)))
        images = _on_some(images, self.tone_share, tones)
        return _on_some(
            images,
            self.jpeg_share,
            lambda some: compressed(some, between(len(some), self.lowest_quality, self.highest_quality)),
        )


def contrasted(images: Tensor, factor: Tensor, pivot: Tensor, offset: Tensor) -> Tensor:
    """Returns images [batch, ...] whose distance from the grey value `pivot` grows by `factor`, then shifted."""
    change = torch.stack([factor, pivot * (1 - factor) + offset]).view(2, -1, 1, 1, 1)
    return torch.addcmul(change[1], images, change[0]).clamp_(0, 255)


def gamma_corrected(images: Tensor, exponent: Tensor) -> Tensor:
    """Returns images [batch, ...] from 0 to 255, as parts of 255 raised to an exponent per image."""
    return (images / 255).pow_(exponent.view(-1, 1, 1, 1)).mul_(255)


def blurred(images: Tensor, deviation: Tensor) -> Tensor:
    """Returns images [batch, ...] after a Gaussian blur with a standard deviation in pixels per image; 1.2 at most."""
    batch, channels, height, width = images.shape
    places = torch.arange(-_REACH, _REACH + 1, device=images.device)
    weights = (-(places**2) / (2 * deviation.view(-1, 1) ** 2)).exp()
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    padded = functional.pad(images, (_REACH,) * 4, mode="replicate").view(1, batch * channels, height + 4, width + 4)
    across = functional.conv2d(padded, weights.view(-1, 1, 1, 2 * _REACH + 1), groups=batch * channels)
    return functional.conv2d(across, weights.view(-1, 1, 2 * _REACH + 1, 1), groups=batch * channels).view_as(images)


def with_noise(images: Tensor, deviation: Tensor) -> Tensor:
    """Returns images [batch, ...] with Gaussian noise, the same in all channels, of a standard deviation per image."""
    noise = torch.randn((len(images), 1, *images.shape[2:]), device=images.device)
    return torch.addcmul(images, noise, deviation.view(-1, 1, 1, 1)).clamp_(0, 255)


def compressed(images: Tensor, quality: Tensor) -> Tensor:
    """Returns images [batch, ...] as JPEG of a quality per image leaves them: blocks of 8 x 8, quantized.

    Each channel is quantized as luminance, which is exact for greyscale images. The table is scaled as libjpeg does.
    Source: ITU-T T.81 | ISO/IEC 10918-1, https://www.w3.org/Graphics/JPEG/itu-t81.pdf.
    """
    batch, channels, height, width = images.shape
    rows, columns = math.ceil(height / _BLOCK), math.ceil(width / _BLOCK)
    more = (0, columns * _BLOCK - width, 0, rows * _BLOCK - height)
    padded = functional.pad(images - _MIDDLE, more, mode="replicate")
    blocks = padded.view(batch, channels, rows, _BLOCK, columns, _BLOCK).transpose(3, 4)
    steps, places = torch.meshgrid(*(torch.arange(_BLOCK, device=images.device),) * 2, indexing="ij")
    cosines = ((2 * places + 1) * steps * math.pi / (2 * _BLOCK)).cos() / 2
    cosines[0] /= math.sqrt(2)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality).view(-1, 1, 1) / 100
    table = (torch.tensor(_LUMINANCE, device=images.device) * scale).round().clamp(1, 255)
    table = table.view(batch, 1, 1, 1, _BLOCK, _BLOCK)
    found = ((cosines @ blocks @ cosines.T) / table).round() * table
    restored = (cosines.T @ found @ cosines).transpose(3, 4).reshape(padded.shape)[..., :height, :width]
    return (restored + _MIDDLE).clamp(0, 255)


def _on_some(images: Tensor, share: float, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Replaces a random share of the images by their changed copies, in place; one at least unless the share is 0."""
    count = max(1, round(share * len(images))) if share else 0
    if not count:
        return images
    # A number of images that is known beforehand: on a GPU, a mask would make the CPU wait for it.
    rows = torch.randperm(len(images), device=images.device)[:count]
    return images.index_copy_(0, rows, change(images[rows]))


def _uniform(count: int, device: torch.device) -> Tensor:
    return torch.rand(count, device=device)
