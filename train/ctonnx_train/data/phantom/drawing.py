"""Chest-CT phantoms: drawings of axial slices.

A slice is painted in Hounsfield units, in the patient's axes (x to the patient's left, y to the back, the image 512
units wide), then blurred, noise is added, and a window is applied. Lesions are larger and clearer than real ones, so
that a network trained from scratch learns the classes within minutes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from ctonnx.errors import DataError

__all__ = ["CLASSES", "draw"]

CLASSES = ("normal", "small.peripheral", "large.central", "cavitating")

# Hounsfield units
_NOTHING, _AIR, _LUNG, _FAT, _SKIN, _SOFT, _BLOOD, _MARROW, _CORTEX = -1400, -1000, -860, -100, 0, 45, 145, 220, 560
_HU_STEP = 8  # per grey level of a canvas
_RIGHT, _LEFT = -1, 1
_LESION_RADII = {"small.peripheral": (22, 27), "large.central": (55, 70), "cavitating": (38, 50)}  # minimum and maximum

_Points = npt.NDArray[np.float64]


def draw(kind: str, rng: np.random.Generator, size: int = 512) -> Image.Image:
    """Draws an axial chest slice in a lung window, as an image of mode "L", `size` by `size` pixels.

    With generators in the same state, all kinds have the same chest and noise, and differ only in the lesion.

    Raises:
        DataError: `kind` is not one of `CLASSES`.
    """
    if kind not in CLASSES:
        raise DataError(f'expected one of {", ".join(CLASSES)}, found "{kind}"; choose one of them')
    of_chest, of_lesion, of_scan = rng.spawn(3)
    chest = _vary_chest(of_chest)
    ct = _Canvas.posed(of_chest, max(1024, 2 * size))
    _paint_air_and_table(ct, chest)
    _paint_chest_wall(ct, chest, of_chest)
    lungs = _Canvas(ct.image.width, ct.axes, _LUNG)
    for side in (_RIGHT, _LEFT):
        _paint_vessels(lungs, chest, side, of_chest)
    if kind != "normal":
        _paint_lesion(kind, ct, lungs, chest, of_lesion)
    ct.paste(lungs, chest.lungs.values())
    _paint_mediastinum(ct, chest, of_chest)
    _paint_spine(ct, chest, of_chest)
    _paint_ribs(ct, chest, of_chest)
    image = _scan(ct, size, of_scan)
    font = ImageFont.load_default(max(6, size / 36))
    ImageDraw.Draw(image).text((size / 64, size * 63 / 64), "SYNTHETIC PHANTOM", 130, font, anchor="ls")
    return image


class _Canvas:
    """A slice at twice its size or more, painted in the patient's axes; one grey level is 8 HU."""

    def __init__(self, side: int, axes: _Points, hu: float) -> None:
        self.axes = axes  # [2, 3]: turn and zoom, then shift, from units to pixels
        self.image = Image.new("L", (side, side), self._level(hu))
        self._pen = ImageDraw.Draw(self.image)

    @classmethod
    def posed(cls, rng: np.random.Generator, side: int) -> "_Canvas":
        turn, zoom = np.radians(rng.normal(0, 3)), rng.uniform(0.9, 1.03)
        cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
        x, y = 256 + rng.uniform(-9, 9, 2)
        return cls(side, np.array([[cos, -sin, x], [sin, cos, y]]) * side / 512, _NOTHING)

    def fill(self, contour: _Points, hu: float) -> None:
        self._pen.polygon(self._pixels(contour), fill=self._level(hu))

    def stroke(self, path: _Points, hu: float, width: float) -> None:
        pixels = max(1, round(width * float(np.hypot(*self.axes[:, 0]))))
        self._pen.line(self._pixels(path), self._level(hu), pixels, joint="curve" if pixels > 10 else None)

    def shell(self, centre: npt.ArrayLike, radii: npt.ArrayLike, rim: float, outer: float, inner: float) -> None:
        """Fills an ellipse with `inner`, and a rim of `outer` around it."""
        self.fill(_ellipse(centre, np.add(radii, rim)), outer)
        self.fill(_ellipse(centre, radii), inner)

    def paste(self, layer: "_Canvas", contours: Iterable[_Points]) -> None:
        """Copies the area inside the contours from `layer`."""
        mask = Image.new("1", self.image.size)
        for contour in contours:
            ImageDraw.Draw(mask).polygon(self._pixels(contour), fill=1)
        self.image.paste(layer.image, mask=mask)

    def _pixels(self, points: _Points) -> list[float]:
        pixels: list[float] = (points @ self.axes[:, :2].T + self.axes[:, 2]).ravel().tolist()
        return pixels

    @staticmethod
    def _level(hu: float) -> int:
        return round((hu - _NOTHING) / _HU_STEP)


@dataclass(frozen=True)
class _Chest:
    """Measures of one chest, which place its organs."""

    cage: _Points  # [2]: half axes of the inside of the rib cage
    fat: float  # thickness under the skin
    level: float  # height of the slice: 0 at the tracheal bifurcation, 1 at the ventricles
    lungs: dict[int, _Points]  # outline of each side's lung, from its front along the ribs and back at the mediastinum
    hila: dict[int, _Points]


def _vary_chest(rng: np.random.Generator) -> _Chest:
    cage = rng.uniform((155, 114), (178, 136))
    costal = 0.96 * np.exp(1j * np.radians([-64, -42, -20, 3, 26, 48]))
    medial = [0.42 + 0.83j, 0.24 + 0.68j, 0.2 + 0.42j, 0.27 + 0.17j, 0.25 - 0.1j, 0.2 - 0.4j, 0.09 - 0.7j, 0.16 - 0.88j]
    outline = np.hstack([costal, medial])
    knots = np.column_stack([outline.real, outline.imag])
    lungs = {s: _smooth((knots + rng.normal(0, 0.014, knots.shape)) * cage * [s, 1]) for s in (_RIGHT, _LEFT)}
    hila = {side: cage * [side * 0.27, 0.1] for side in (_RIGHT, _LEFT)}
    return _Chest(cage, fat=rng.uniform(7, 24), level=rng.uniform(0, 1), lungs=lungs, hila=hila)


def _paint_air_and_table(ct: _Canvas, chest: _Chest) -> None:
    ct.fill(_ellipse((0, 0), (262, 262)), _AIR)  # the scanner's field of view
    x = np.linspace(-170, 170, 40)
    for below in (40, 60):
        ct.stroke(np.column_stack([x, chest.cage[1] + chest.fat + below - (x / 170) ** 2 * 34]), -380, 3)


def _paint_chest_wall(ct: _Canvas, chest: _Chest, rng: np.random.Generator) -> None:
    wobble = _wobble(rng, 0.008)
    for thickness, hu in ((chest.fat + 31, _SKIN), (chest.fat + 28, _FAT), (28, _SOFT)):
        ct.fill(_ellipse((0, 0), chest.cage + thickness, power=2.25, wobble=wobble), hu)
    for side in (_RIGHT, _LEFT):  # fat under the pectoral muscle and under the shoulder blade's
        for arc in ((-75, -28), (12, 62)):
            layer = _ellipse((0, 0), chest.cage + 18, power=2.25, arc=arc) * [side, 1]
            ct.stroke(layer, _FAT, rng.uniform(2, 5))
    ct.fill(_ellipse((0, 0), chest.cage * [0.5, 0.93]), _FAT + 60)  # fat around the mediastinum


def _paint_vessels(lungs: _Canvas, chest: _Chest, side: int, rng: np.random.Generator) -> None:
    """Paints the arteries and veins of one lung: trees that fork and taper from the hilum to the pleura."""
    trunks = 6
    start = np.tile(chest.hila[side], (trunks, 1))
    angle = np.linspace(-1.5, 1.35, trunks) + rng.normal(0, 0.12, trunks)
    width = rng.uniform(5, 9, trunks)
    while len(start):
        bend, length = rng.normal(0, 0.24, len(start)), rng.uniform(13, 27, (len(start), 1))
        path = [start]
        for heading in (angle - bend, angle + bend):
            path.append(path[-1] + np.column_stack([side * np.cos(heading), np.sin(heading)]) * length / 2)
        for points, calibre in zip(np.stack(path, axis=1), width, strict=True):
            lungs.stroke(points, _LUNG + 600 * min(1.0, 0.15 + calibre / 7), calibre)
        fork = rng.choice([-1.0, 1.0], len(start))
        start = np.repeat(path[-1], 2, axis=0)
        angle = np.column_stack([angle - 0.12 * fork, angle + 0.62 * fork]).ravel()
        width = np.column_stack([0.82 * width, 0.56 * width]).ravel()
        start, angle, width = start[width > 1.2], angle[width > 1.2], width[width > 1.2]
    for x, y, radius in rng.uniform((0.3, -0.7, 1.2), (0.85, 0.7, 3.2), (24, 3)):  # vessels that cross the slice
        lungs.fill(_ellipse(chest.cage * [side * x, y], (radius, radius), count=12), _LUNG + 140 * radius)


def _paint_lesion(kind: str, ct: _Canvas, lungs: _Canvas, chest: _Chest, rng: np.random.Generator) -> None:
    side = int(rng.choice([_RIGHT, _LEFT]))
    radii = rng.uniform(*_LESION_RADII[kind]) * rng.uniform(0.92, 1.08, 2)
    if kind == "large.central":
        centre = chest.hila[side] + rng.uniform((12, -26), (30, 26)) * [side, 1]
    else:
        pleura = chest.lungs[side][rng.integers(2, 42)]
        inward = chest.lungs[side].mean(axis=0) - pleura
        centre = pleura + inward / np.hypot(*inward) * (radii.max() + rng.uniform(4, 12))
    for turn, reach in rng.uniform((0, 1.1), (2 * np.pi, 1.3), (14, 2)):  # spicules
        lungs.stroke(centre + np.outer((0.8, reach), (np.cos(turn), np.sin(turn))) * radii, -350, 2)
    outline, hu = _ellipse(centre, radii, wobble=_wobble(rng, 0.08)), _SOFT + rng.uniform(0, 40)
    for canvas in (ct, lungs):  # a central mass grows into the mediastinum
        canvas.fill(outline, hu)
    if kind == "cavitating":
        hole = radii * rng.uniform(0.5, 0.62)
        lungs.fill(_ellipse(centre + rng.uniform(-3, 3, 2), hole, wobble=_wobble(rng, 0.06)), _AIR)


def _paint_mediastinum(ct: _Canvas, chest: _Chest, rng: np.random.Generator) -> None:
    level, wobble, blood = chest.level, _wobble(rng, 0.025), _BLOOD + rng.uniform(-65, 65)
    centre = np.array([14 + 14 * level, 8 * level - 0.36 * chest.cage[1]])
    heart = np.array([46 + 24 * level, 40 + 18 * level])
    for pericardium, hu in ((5, _FAT + 40), (0, _SOFT)):
        ct.fill(_ellipse(centre, heart + pericardium, turn=0.5, wobble=wobble), hu)
    ventricles_and_atrium = ((-20, -8, 20, 26), (26, 2, 24, 20), (0, 30, 24, 12))
    aorta_cava_and_pulmonary_arteries = ((-14, -8, 17, 17), (-40, 6, 9, 11), (20, -10, 16, 14), (-4, 20, 36, 9))
    for x, y, rx, ry in ventricles_and_atrium if level > 0.5 else aorta_cava_and_pulmonary_arteries:
        ct.shell(np.add(centre, (x, y)), (rx, ry), 2, _FAT + 90, blood)
    before_spine = 0.62 * chest.cage[1] - 26
    for side in (_RIGHT, _LEFT):  # the main bronchi
        ct.shell((side * (15 + 12 * level) - 2, before_spine - 34), np.array([8, 6]) - 3 * level, 2, _SOFT, _AIR)
    ct.shell((30, before_spine), np.full(2, rng.uniform(12, 15)), 2, _SOFT, blood)  # the descending aorta


def _paint_spine(ct: _Canvas, chest: _Chest, rng: np.random.Generator) -> None:
    body = rng.uniform((22, 17), (27, 21))
    y = 0.62 * chest.cage[1] + 6
    canal = y + body[1] + 12
    ct.fill(_ellipse((0, y), body + 8), _SOFT)
    for side in (_RIGHT, _LEFT):
        transverse_process = np.array([[side * 14, canal], [side * 36, canal + 9], [side * 50, canal + 8]])
        ct.stroke(transverse_process, _CORTEX, 9)
        ct.stroke(transverse_process, _MARROW, 4)
    ct.stroke(np.array([[0, canal + 8], [0, canal + 34]]), _CORTEX, 8)  # the spinous process
    ct.shell((0, canal), (11, 9), 7, _CORTEX, _SOFT)
    ct.shell((0, y), body, 3, _CORTEX, _MARROW)


def _paint_ribs(ct: _Canvas, chest: _Chest, rng: np.random.Generator) -> None:
    for side in (_RIGHT, _LEFT):
        for middle in np.linspace(-58, 62, 6) + rng.uniform(-6, 6, 6):
            half = rng.uniform(6, 11)
            rib = _ellipse((0, 0), chest.cage + 8, arc=(middle - half, middle + half), count=14)
            rib *= np.linspace(0.98, 1.025, 14)[:, None] * [side, 1]  # it slants out of the slice
            ct.stroke(rib, _CORTEX, 10)
            ct.stroke(rib, _MARROW, 5)
    ct.shell((0, -chest.cage[1] - 9), (22, 6), 3, _CORTEX, _MARROW)  # the sternum


def _scan(ct: _Canvas, size: int, rng: np.random.Generator) -> Image.Image:
    """Blurs the slice, adds noise that is correlated between neighbours as in a scanner, and applies a window."""
    blurred = ct.image.resize((size, size), Image.Resampling.BOX)
    blurred = blurred.filter(ImageFilter.GaussianBlur(rng.uniform(0.7, 1.2) * size / 512))
    hu = np.asarray(blurred, dtype=np.float32) * _HU_STEP + _NOTHING
    white = rng.standard_normal((size + 1, size + 1), dtype=np.float32)
    hu += (white[1:, 1:] + 0.6 * white[:-1, 1:] + 0.6 * white[1:, :-1]) * rng.uniform(16, 30)
    patches = Image.fromarray(rng.standard_normal((14, 14), dtype=np.float32)).resize((size, size))
    hu += np.asarray(patches) * 12
    centre, width = rng.uniform(-520, -400), rng.uniform(1450, 1800)
    return Image.fromarray(((hu - centre) * (255 / width) + 127.5).clip(0, 255).astype(np.uint8))


def _smooth(knots: _Points, steps: int = 8) -> _Points:
    """Returns the closed Catmull-Rom curve through the knots, with `steps` points per segment."""
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    a, b, c, d = (np.roll(knots, shift, axis=0)[:, None] for shift in (1, 0, -1, -2))
    curve = b + ((c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * (b - c) + d - a) * t**3) / 2
    return np.asarray(curve.reshape(-1, 2))


def _wobble(rng: np.random.Generator, amplitude: float) -> npt.NDArray[np.complex128]:
    """Returns the complex amplitudes of 2, 3, 4 and 5 waves per turn on the radius of an ellipse."""
    return np.asarray(rng.normal(0, amplitude, 4) * np.exp(2j * np.pi * rng.random(4)) / np.arange(1, 5))


def _ellipse(
    centre: npt.ArrayLike,
    radii: npt.ArrayLike,
    *,
    turn: float = 0,
    power: float = 2,
    wobble: npt.ArrayLike = (),
    arc: tuple[float, float] = (0, 360),
    count: int = 64,
) -> _Points:
    """Returns an ellipse, or an `arc` of it in degrees, turned by radians; a `power` above 2 makes it squarer."""
    t = np.radians(np.linspace(*arc, count))
    points = np.column_stack([np.cos(t), np.sin(t)])
    points = np.sign(points) * np.abs(points) ** (2 / power)
    for waves, amplitude in enumerate(np.asarray(wobble), start=2):
        points *= 1 + (amplitude * np.exp(1j * waves * t)).real[:, None]
    cos, sin = np.cos(turn), np.sin(turn)
    return np.asarray(centre + points * radii @ np.array([[cos, sin], [-sin, cos]]))
