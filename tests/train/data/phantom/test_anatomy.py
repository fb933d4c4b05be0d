"""Painted chests: parts of the anatomy, tables, and localizers."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from ctonnx_train.data.phantom.anatomy import CLASSES, PARTS, Table, paint_chest, paint_scout, vary_chest
from ctonnx_train.data.phantom.canvas import HU_STEP, NOTHING

_SIDE = 256


def painted(kind: str = "normal", **options: float | Table) -> npt.NDArray[np.int64]:
    lung = float(options.pop("lung", -860))  # type: ignore[arg-type]
    chest = replace(vary_chest(np.random.default_rng(3)), lung=lung)
    canvas = paint_chest(chest, _SIDE, lambda part: np.random.default_rng(PARTS.index(part)), lesion=kind, **options)  # type: ignore[arg-type]
    return np.asarray(canvas.image, np.int64) * HU_STEP + NOTHING


def test_each_part_is_asked_for_once_in_order() -> None:
    parts: list[str] = []

    def rng_of(part: str) -> np.random.Generator:
        parts.append(part)
        return np.random.default_rng(0)

    chest = vary_chest(np.random.default_rng(0))
    paint_chest(chest, 64, rng_of, lesion="cavitating")
    assert tuple(parts) == PARTS
    parts.clear()
    paint_chest(chest, 64, rng_of)
    assert tuple(parts) == tuple(part for part in PARTS if part != "lesion")


def test_lesion_alone_is_added_and_shrinks_with_its_scale() -> None:
    normal = painted()
    areas = [[(painted(kind, lesion_scale=scale) != normal).sum() for scale in (0.6, 0.8, 1.0)] for kind in CLASSES[1:]]
    for area in areas:
        assert 0 < area[0] < area[1] < area[2] < 0.1 * _SIDE**2


@pytest.mark.parametrize("lung", [-895, -800])
def test_lung_between_the_vessels_has_the_density_of_the_chest(lung: int) -> None:
    values, counts = np.unique(painted(lung=lung)[64:192, 40:216], return_counts=True)
    inside = values < -600
    assert abs(values[inside][counts[inside].argmax()] - lung) <= HU_STEP


def test_table_has_the_shape_that_is_given() -> None:
    standard, wide = painted(), painted(table=Table((34, 66), 190, 52))
    rows = np.nonzero((standard != wide).any(axis=1))[0]
    assert 0.6 * _SIDE < rows.min() < rows.max() < 0.9 * _SIDE


def test_smaller_rib_cage_is_smaller_in_every_measure() -> None:
    large, small = (vary_chest(np.random.default_rng(0), scale) for scale in (1.0, 0.9))
    np.testing.assert_allclose(small.cage, 0.9 * large.cage)
    assert all(np.ptp(small.lungs[side]) < np.ptp(large.lungs[side]) for side in (-1, 1))


def test_scout_has_two_lungs_beside_a_bright_spine_and_the_heart_to_the_left() -> None:
    chest = vary_chest(np.random.default_rng(0))
    values = np.asarray(paint_scout(chest, _SIDE).image, np.int64) * HU_STEP + NOTHING
    right, left, spine = values[60:150, 70:100], values[60:150, 156:186], values[60:150, 124:132]
    assert max(np.median(right), np.median(left)) < -400
    assert spine.min() > 150
    assert (values[150:170, 60:120] > 0).mean() < (values[150:170, 136:196] > 0).mean()
    assert values[0, 0] == -1000
