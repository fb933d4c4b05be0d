"""Changes of a decoded scan that another scanner, window, viewer or file format would make."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageStat

__all__ = ["TRANSFORMS", "Transform"]

_MARK = "R"
_SEED = 20240917  # of the noise; each image has its own


@dataclass(frozen=True, kw_only=True)
class Transform:
    """A change of a scan, in one to three strengths, from mild to strong.

    Attributes:
        name: Name in JSON documents.
        title: Name in tables and plots.
        strengths: Values that `change` takes.
        form: Format of a strength, as for `str.format`.
        is_mistake: Whether it makes a scan that no viewer should show: to refer it is right, and only a flip is wrong.
        change: Returns a changed copy of an image of mode `L` or `RGB`, for a strength and the number of the image.
    """

    name: str
    title: str
    strengths: tuple[float, ...]
    form: str
    change: Callable[[Image.Image, float, int], Image.Image]
    is_mistake: bool = False

    def shown(self, strength: float) -> str:
        """Returns a strength as text.

        >>> [TRANSFORMS[0].shown(strength) for strength in TRANSFORMS[0].strengths]
        ['x 0.8', 'x 0.6', 'x 0.4']
        """
        return self.form.format(strength)


def _with_levels(image: Image.Image, change: Callable[[np.ndarray], np.ndarray]) -> Image.Image:
    """Returns an image with each grey value replaced; `change` takes and returns values from 0 to 255."""
    levels = change(np.arange(256.0)).round().clip(0, 255).astype(int).tolist()
    return image.point(levels * len(image.getbands()))


def _contrast(image: Image.Image, factor: float, number: int) -> Image.Image:
    mean = ImageStat.Stat(image.convert("L")).mean[0]
    return _with_levels(image, lambda levels: mean + factor * (levels - mean))


def _brightness(image: Image.Image, factor: float, number: int) -> Image.Image:
    return _with_levels(image, lambda levels: factor * levels)


def _gamma(image: Image.Image, exponent: float, number: int) -> Image.Image:
    return _with_levels(image, lambda levels: 255 * (levels / 255) ** exponent)


def _window(image: Image.Image, share: float, number: int) -> Image.Image:
    return _with_levels(image, lambda levels: levels - 255 * share)


def _padded(image: Image.Image, margin: float, number: int) -> Image.Image:
    side = round(max(image.size) * (1 + 2 * margin))
    square = Image.new(image.mode, (side, side))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def _cropped(image: Image.Image, share: float, number: int) -> Image.Image:
    across, down = round(share * image.width), round(share * image.height)
    return image.crop((across, down, image.width - across, image.height - down))


def _resampled(image: Image.Image, share: float, number: int) -> Image.Image:
    width, height = (max(1, round(share * side)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _jpeg(image: Image.Image, quality: float, number: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=round(quality))
    with Image.open(file) as compressed:
        return compressed.convert(image.mode)


def _noise(image: Image.Image, deviation: float, number: int) -> Image.Image:
    noise = np.random.default_rng([_SEED, number]).standard_normal((image.height, image.width), np.float32)
    pixels = np.asarray(image, np.float32)
    noisy = pixels + deviation * (noise if pixels.ndim == 2 else noise[:, :, None])
    return Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8), image.mode)


def _blurred(image: Image.Image, percent: float, number: int) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(percent / 100 * max(image.size)))


def _rotated(image: Image.Image, degrees: float, number: int) -> Image.Image:
    return image.rotate(degrees if number % 2 else -degrees, Image.Resampling.BILINEAR)


def _mirrored(image: Image.Image, strength: float, number: int) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def _inverted(image: Image.Image, strength: float, number: int) -> Image.Image:
    return ImageChops.invert(image)


def _marked(image: Image.Image, share: float, number: int) -> Image.Image:
    marked = image.copy()
    margin = round(0.02 * max(image.size))
    white = 255 if image.mode == "L" else (255, 255, 255)
    font = ImageFont.load_default(size=max(4.0, share * image.height))
    ImageDraw.Draw(marked).text((margin, margin), _MARK, fill=white, font=font)
    return marked


def _transform(
    title: str,
    strengths: tuple[float, ...],
    form: str,
    change: Callable[[Image.Image, float, int], Image.Image],
    *,
    is_mistake: bool = False,
) -> Transform:
    name = title.lower().replace(" ", "_")
    return Transform(name=name, title=title, strengths=strengths, form=form, change=change, is_mistake=is_mistake)


TRANSFORMS = (
    _transform("lower contrast", (0.8, 0.6, 0.4), "x {:g}", _contrast),
    _transform("higher contrast", (1.25, 1.5, 2.0), "x {:g}", _contrast),
    _transform("darker", (0.8, 0.6, 0.4), "x {:g}", _brightness),
    _transform("brighter", (1.25, 1.5, 1.8), "x {:g}", _brightness),
    _transform("lower gamma", (0.8, 0.65, 0.5), "{:g}", _gamma),
    _transform("higher gamma", (1.25, 1.5, 2.0), "{:g}", _gamma),
    _transform("window up", (0.05, 0.1, 0.2), "{:.0%}", _window),
    _transform("window down", (-0.05, -0.1, -0.2), "{:.0%}", _window),
    _transform("padded", (0.0, 0.1, 0.25), "square + {:.0%}", _padded),
    _transform("cropped", (0.02, 0.05, 0.1), "{:.0%}", _cropped),
    _transform("resampled", (0.75, 0.5, 0.33), "{:.0%} of the size", _resampled),
    _transform("JPEG", (75, 50, 25), "quality {:g}", _jpeg),
    _transform("noise", (5, 10, 20), "{:g} grey values", _noise),
    _transform("blurred", (0.2, 0.4, 0.8), "{:g} % of the side", _blurred),
    _transform("rotated", (2, 5, 10), "{:g} degrees", _rotated),
    _transform("mirrored", (1,), "left to right", _mirrored),
    _transform("inverted", (1,), "black to white", _inverted, is_mistake=True),
    _transform("marked", (0.04, 0.08, 0.16), "letter of {:.0%}", _marked),
)
"""All changes of the stress test.

Contrast changes about the mean of the image, brightness as a product; gamma is the exponent of grey values as shares of
255. The window's level moves by a share of its width: up is darker. Padding adds black to a square, then a margin on
each side as a share of it. Cropping removes a share of the height and width at each border. Resampling stores the image
with a share of its height and width (Lanczos). Noise is Gaussian with a standard deviation in grey values, blur with
one relative to the longer side. Rotation turns half of the images to either side. The mark is a white letter in a
corner, whose height is a share of the image's. Mirroring and inversion have only one strength. An inverted scan is a
mistake, which a model should refer.
"""
