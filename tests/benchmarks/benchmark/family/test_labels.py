"""Labels of a plot do not overlap, and points of the same value are side by side."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctonnx_bench.benchmark.family.labels import Box, Disc, place_labels, side_by_side

INSIDE = Box(0.0, 0.0, 560.0, 200.0)


def test_single_label_is_beside_its_disc() -> None:
    disc = Disc(100.0, 100.0, 5.0)
    (box,) = place_labels([disc], [(80.0, 20.0)], [], INSIDE)
    assert 0 < box.distance(disc) <= 8
    assert (box.right - box.left, box.top - box.bottom) == (80.0, 20.0)


def test_labels_of_neighbouring_discs_do_not_overlap_and_stay_inside() -> None:
    discs = [Disc(200.0 + 12 * place, 100.0, 5.0) for place in range(6)]
    boxes = place_labels(discs, [(90.0, 20.0)] * 6, [], INSIDE)
    assert [one.overlap(other) for one, other in itertools.combinations(boxes, 2)] == [0.0] * 15
    assert all(box.overlap(INSIDE) == pytest.approx(box.area) for box in boxes)
    assert [box.overlap(disc.box) for box, disc in itertools.product(boxes, discs)] == [0.0] * 36


def test_label_at_the_edge_goes_to_the_other_side() -> None:
    (box,) = place_labels([Disc(555.0, 100.0, 4.0)], [(80.0, 20.0)], [], INSIDE)
    assert box.right <= 560


def test_label_does_not_cover_a_line_if_there_is_room() -> None:
    (box,) = place_labels([Disc(110.0, 100.0, 4.0)], [(80.0, 20.0)], [Box(120.0, 0.0, 122.0, 200.0)], INSIDE)
    assert box.right <= 120


def test_label_is_nearer_to_its_own_disc_than_to_another() -> None:
    discs = [Disc(100.0, 100.0, 5.0), Disc(111.0, 100.0, 5.0)]
    for number, box in enumerate(place_labels(discs, [(90.0, 20.0)] * 2, [], INSIDE)):
        assert box.distance(discs[number]) < box.distance(discs[1 - number])


@pytest.mark.parametrize("radii", [(5.0, 5.0, 3.0), (7.0, 3.0, 7.0), (5.0, 5.0, 5.0, 5.0, 5.0)])
def test_line_from_a_disc_to_its_label_crosses_no_other_disc(radii: tuple[float, ...]) -> None:
    discs = [Disc(200.0 + 15 * place, 100.0, radius) for place, radius in enumerate(radii)]
    bars = [Box(disc.x - 1.5, 20.0, disc.x + 1.5, 180.0) for disc in discs]
    for own, box in zip(discs, place_labels(discs, [(90.0, 20.0)] * len(discs), bars, INSIDE), strict=True):
        x, y = box.nearest(own)
        points = [(own.x + share / 50 * (x - own.x), own.y + share / 50 * (y - own.y)) for share in range(51)]
        others = [disc for disc in discs if disc is not own]
        assert not any(math.dist(point, other[:2]) < other.radius for point in points for other in others)


@pytest.mark.parametrize(
    ("values", "moved"),
    [
        ([], []),
        ([5.0], [5.0]),
        ([50.0, 1.0], [50.0, 1.0]),
        ([13.0, 13.0], [8.0, 18.0]),
        ([13.0, 13.0, 13.0], [3.0, 13.0, 23.0]),
        ([12.0, 10.0], [16.0, 6.0]),
    ],
)
def test_points_of_nearly_the_same_value_are_side_by_side(values: list[float], moved: list[float]) -> None:
    assert side_by_side(values, [1.0] * len(values), least=10.0) == pytest.approx(moved)


def test_large_discs_are_further_apart() -> None:
    assert side_by_side([10.0, 10.0], [9.0, 6.0], least=10.0) == pytest.approx([2.0, 18.0])


@given(st.lists(st.floats(min_value=0.0, max_value=500.0), max_size=8))
def test_order_and_least_distance_are_kept(values: list[float]) -> None:
    moved = side_by_side(values, [1.0] * len(values), least=10.0)
    ranked = [place for _, place in sorted(zip(values, moved, strict=True))]
    assert all(right - left > 10 - 1e-6 for left, right in itertools.pairwise(ranked))
