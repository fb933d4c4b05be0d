"""Anatomy of a chest at one level: body, lungs and vessels, mediastinum, bones, and a lesion.

Lesions are larger and clearer than real ones, so that a network trained from scratch learns the classes within minutes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ctonnx_train.data.phantom.canvas import Canvas, Points, ellipse, smooth, wobble
from ctonnx_train.data.phantom.drift import Draws

__all__ = ["CLASSES", "PARTS", "Chest", "Table", "paint_chest", "paint_scout", "vary_chest"]

CLASSES = ("normal", "small.peripheral", "large.central", "cavitating")
"""Classes of slices: without a lesion, or with a lesion of one kind."""

PARTS = (
    "pose",
    "wall",
    "right vessels",
    "right crossings",
    "left vessels",
    "left crossings",
    "lesion",
    "mediastinum",
    "spine",
    "ribs",
)
"""Parts of the anatomy, each painted with draws of its own; crossings are vessels that cross the slice."""

# Hounsfield units
_AIR, _LUNG, _FAT, _SKIN, _SOFT, _BLOOD, _MARROW, _CORTEX = -1000, -860, -100, 0, 45, 145, 220, 560
_RIGHT, _LEFT = -1, 1
_LESION_RADII = {"small.peripheral": (22, 27), "large.central": (55, 70), "cavitating": (38, 50)}  # minimum and maximum


class Table(NamedTuple):
    """Shape of a scanner's table: distances of its two layers from the back, half width, and depth of its hollow."""

    below: tuple[int, int] = (40, 60)
    half_width: int = 170
    hollow: int = 34


@dataclass(frozen=True)
class Chest:
    """Measures of one chest, which place its organs."""

    cage: Points  # [2]: half axes of the inside of the rib cage
    fat: float  # thickness under the skin
    level: float  # height of the slice: 0 at the tracheal bifurcation, 1 at the ventricles
    lungs: dict[int, Points]  # outline of each side's lung, from its front along the ribs and back at the mediastinum
    hila: dict[int, Points]
    lung: float = _LUNG  # Hounsfield units of the lung between its vessels


def vary_chest(rng: Draws, scale: float = 1.0) -> Chest:
    """Draws the measures of a chest; `scale` is the size of its rib cage."""
    cage = rng.uniform((155, 114), (178, 136)) * scale
    costal = 0.96 * np.exp(1j * np.radians([-64, -42, -20, 3, 26, 48]))
    medial = [0.42 + 0.83j, 0.24 + 0.68j, 0.2 + 0.42j, 0.27 + 0.17j, 0.25 - 0.1j, 0.2 - 0.4j, 0.09 - 0.7j, 0.16 - 0.88j]
    outline = np.hstack([costal, medial])
    knots = np.column_stack([outline.real, outline.imag])
    lungs = {s: smooth((knots + rng.normal(0, 0.014, knots.shape)) * cage * [s, 1]) for s in (_RIGHT, _LEFT)}
    hila = {side: cage * [side * 0.27, 0.1] for side in (_RIGHT, _LEFT)}
    return Chest(cage, fat=rng.uniform(7, 24), level=rng.uniform(0, 1), lungs=lungs, hila=hila)


def paint_chest(
    chest: Chest,
    side: int,
    rng_of: Callable[[str], Draws],
    *,
    lesion: str = "normal",
    lesion_scale: float = 1.0,
    table: Table | None = None,
) -> Canvas:
    """Paints a slice.

    Args:
        chest: Measures of the chest.
        side: Width and height of the canvas in pixels.
        rng_of: Returns the draws of a part; called once for each of `PARTS`, in order, if the slice has it.
        lesion: Class of the slice.
        lesion_scale: Size of the lesion at this level, as a share of its largest.
        table: Table that the patient lies on.
    """
    ct = Canvas.posed(rng_of("pose"), side)
    _paint_air_and_table(ct, chest, table or Table())
    _paint_chest_wall(ct, chest, rng_of("wall"))
    lungs = Canvas(ct.image.width, ct.axes, chest.lung)
    for of_body, name in ((_RIGHT, "right"), (_LEFT, "left")):
        _paint_vessels(lungs, chest, of_body, rng_of(f"{name} vessels"))
        _paint_crossing_vessels(lungs, chest, of_body, rng_of(f"{name} crossings"))
    if lesion != "normal":
        _paint_lesion(lesion, lesion_scale, ct, lungs, chest, rng_of("lesion"))
    ct.paste(lungs, chest.lungs.values())
    _paint_mediastinum(ct, chest, rng_of("mediastinum"))
    _paint_spine(ct, chest, rng_of("spine"))
    _paint_ribs(ct, chest, rng_of("ribs"))
    return ct


def paint_scout(chest: Chest, side: int) -> Canvas:
    """Paints a localizer: the chest from the front, x to the patient's left and y to the feet, as it is projected."""
    ct = Canvas(side, np.array([[1, 0, 256], [0, 1, 256]]) * side / 512, _AIR)
    half = chest.cage[0] + chest.fat + 28
    shoulders = [[-52, -256], [-60, -225], [-half - 26, -190], [-half - 34, -120], [-half, -70], [-half, 256]]
    ct.fill(np.array([*shoulders, *([-x, y] for x, y in reversed(shoulders))]), _SOFT)
    knots = [[0.5, -178], [0.8, -110], [0.97, 40], [0.98, 142], [0.55, 104], [0.14, 128], [0.13, -20], [0.2, -150]]
    for of_body in (_RIGHT, _LEFT):
        ct.fill(smooth(np.array(knots) * [of_body * chest.cage[0], 1]), chest.lung + 340)
        for top in range(-150, 150, 34):
            rib = ellipse((0, top), (chest.cage[0] * (0.98 if top > -60 else 0.86), 46), arc=(-80, 24), count=20)
            ct.stroke(rib * [of_body, 1], _SOFT + 70, 8)
    ct.fill(ellipse((26, 62), (78, 74)), _SOFT + 40)
    ct.stroke(np.array([[0.0, -256.0], [0.0, 256.0]]), _MARROW, 40)
    return ct


def _paint_air_and_table(ct: Canvas, chest: Chest, table: Table) -> None:
    ct.fill(ellipse((0, 0), (262, 262)), _AIR)  # the scanner's field of view
    x = np.linspace(-table.half_width, table.half_width, 40)
    for below in table.below:
        y = chest.cage[1] + chest.fat + below - (x / table.half_width) ** 2 * table.hollow
        ct.stroke(np.column_stack([x, y]), -380, 3)


def _paint_chest_wall(ct: Canvas, chest: Chest, rng: Draws) -> None:
    waves = wobble(rng, 0.008)
    for thickness, hu in ((chest.fat + 31, _SKIN), (chest.fat + 28, _FAT), (28, _SOFT)):
        ct.fill(ellipse((0, 0), chest.cage + thickness, power=2.25, wobble=waves), hu)
    for side in (_RIGHT, _LEFT):  # fat under the pectoral muscle and under the shoulder blade's
        for arc in ((-75, -28), (12, 62)):
            layer = ellipse((0, 0), chest.cage + 18, power=2.25, arc=arc) * [side, 1]
            ct.stroke(layer, _FAT, rng.uniform(2, 5))
    ct.fill(ellipse((0, 0), chest.cage * [0.5, 0.93]), _FAT + 60)  # fat around the mediastinum


def _paint_vessels(lungs: Canvas, chest: Chest, side: int, rng: Draws) -> None:
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
            lungs.stroke(points, chest.lung + 600 * min(1.0, 0.15 + calibre / 7), calibre)
        fork = rng.choice([-1.0, 1.0], len(start))
        start = np.repeat(path[-1], 2, axis=0)
        angle = np.column_stack([angle - 0.12 * fork, angle + 0.62 * fork]).ravel()
        width = np.column_stack([0.82 * width, 0.56 * width]).ravel()
        start, angle, width = start[width > 1.2], angle[width > 1.2], width[width > 1.2]


def _paint_crossing_vessels(lungs: Canvas, chest: Chest, side: int, rng: Draws) -> None:
    for x, y, radius in rng.uniform((0.3, -0.7, 1.2), (0.85, 0.7, 3.2), (24, 3)):
        lungs.fill(ellipse(chest.cage * [side * x, y], (radius, radius), count=12), chest.lung + 140 * radius)


def _paint_lesion(kind: str, scale: float, ct: Canvas, lungs: Canvas, chest: Chest, rng: Draws) -> None:
    side = int(rng.choice([_RIGHT, _LEFT]))
    radii = rng.uniform(*_LESION_RADII[kind]) * rng.uniform(0.92, 1.08, 2) * scale
    if kind == "large.central":
        centre = chest.hila[side] + rng.uniform((12, -26), (30, 26)) * [side, 1]
    else:
        pleura = chest.lungs[side][rng.integers(2, 42)]
        inward = chest.lungs[side].mean(axis=0) - pleura
        centre = pleura + inward / np.hypot(*inward) * (radii.max() + rng.uniform(4, 12))
    for turn, reach in rng.uniform((0, 1.1), (2 * np.pi, 1.3), (14, 2)):  # spicules
        lungs.stroke(centre + np.outer((0.8, reach), (np.cos(turn), np.sin(turn))) * radii, -350, 2)
    outline, hu = ellipse(centre, radii, wobble=wobble(rng, 0.08)), _SOFT + rng.uniform(0, 40)
    for canvas in (ct, lungs):  # a central mass grows into the mediastinum
        canvas.fill(outline, hu)
    if kind == "cavitating":
        hole = radii * rng.uniform(0.5, 0.62)
        lungs.fill(ellipse(centre + rng.uniform(-3, 3, 2), hole, wobble=wobble(rng, 0.06)), _AIR)


def _paint_mediastinum(ct: Canvas, chest: Chest, rng: Draws) -> None:
    level, waves, blood = chest.level, wobble(rng, 0.025), _BLOOD + rng.uniform(-65, 65)
    centre = np.array([14 + 14 * level, 8 * level - 0.36 * chest.cage[1]])
    heart = np.array([46 + 24 * level, 40 + 18 * level])
    for pericardium, hu in ((5, _FAT + 40), (0, _SOFT)):
        ct.fill(ellipse(centre, heart + pericardium, turn=0.5, wobble=waves), hu)
    ventricles_and_atrium = ((-20, -8, 20, 26), (26, 2, 24, 20), (0, 30, 24, 12))
    aorta_cava_and_pulmonary_arteries = ((-14, -8, 17, 17), (-40, 6, 9, 11), (20, -10, 16, 14), (-4, 20, 36, 9))
    for x, y, rx, ry in ventricles_and_atrium if level > 0.5 else aorta_cava_and_pulmonary_arteries:
        ct.shell(np.add(centre, (x, y)), (rx, ry), 2, _FAT + 90, blood)
    before_spine = 0.62 * chest.cage[1] - 26
    for side in (_RIGHT, _LEFT):  # the main bronchi
        ct.shell((side * (15 + 12 * level) - 2, before_spine - 34), np.array([8, 6]) - 3 * level, 2, _SOFT, _AIR)
    ct.shell((30, before_spine), np.full(2, rng.uniform(12, 15)), 2, _SOFT, blood)  # the descending aorta


def _paint_spine(ct: Canvas, chest: Chest, rng: Draws) -> None:
    body = rng.uniform((22, 17), (27, 21))
    y = 0.62 * chest.cage[1] + 6
    canal = y + body[1] + 12
    ct.fill(ellipse((0, y), body + 8), _SOFT)
    for side in (_RIGHT, _LEFT):
        transverse_process = np.array([[side * 14, canal], [side * 36, canal + 9], [side * 50, canal + 8]])
        ct.stroke(transverse_process, _CORTEX, 9)
        ct.stroke(transverse_process, _MARROW, 4)
    ct.stroke(np.array([[0, canal + 8], [0, canal + 34]]), _CORTEX, 8)  # the spinous process
    ct.shell((0, canal), (11, 9), 7, _CORTEX, _SOFT)
    ct.shell((0, y), body, 3, _CORTEX, _MARROW)


def _paint_ribs(ct: Canvas, chest: Chest, rng: Draws) -> None:
    for side in (_RIGHT, _LEFT):
        for middle in np.linspace(-58, 62, 6) + rng.uniform(-6, 6, 6):
            half = rng.uniform(6, 11)
            rib = ellipse((0, 0), chest.cage + 8, arc=(middle - half, middle + half), count=14)
            rib *= np.linspace(0.98, 1.025, 14)[:, None] * [side, 1]  # it slants out of the slice
            ct.stroke(rib, _CORTEX, 10)
            ct.stroke(rib, _MARROW, 5)
    ct.shell((0, -chest.cage[1] - 9), (22, 6), 3, _CORTEX, _MARROW)  # the sternum
