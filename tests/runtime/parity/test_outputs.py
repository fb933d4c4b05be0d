"""The arrays of a batch are counted, selected and concatenated together."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ctonnx.parity.outputs import NOVELTY, OUTPUT_NAMES, Outputs


def numbered(first: int, count: int) -> Outputs:
    """Returns outputs whose values are the numbers of their rows."""
    rows = np.arange(first, first + count, dtype=np.float32)
    return Outputs(
        rows[:, None].repeat(2, axis=1),
        rows[:, None].repeat(2, axis=1),
        np.tile(rows[:, None, None, None], (1, 2, 3, 3)),
        rows,
    )


def test_length_is_the_number_of_images() -> None:
    assert len(numbered(0, 3)) == 3


@pytest.mark.parametrize(("rows", "expected"), [(slice(1, 3), [1, 2]), (np.array([2, 0]), [2, 0])])
def test_rows_are_selected_in_every_array(rows: slice | NDArray[np.intp], expected: list[float]) -> None:
    selected = numbered(0, 4)[rows]
    for name in (*OUTPUT_NAMES, NOVELTY):
        assert getattr(selected, name).reshape(len(expected), -1)[:, 0].tolist() == expected


def test_batches_are_joined_in_their_order() -> None:
    joined = Outputs.concatenate([numbered(5, 2), numbered(0, 1)])
    for name in (*OUTPUT_NAMES, NOVELTY):
        assert getattr(joined, name).reshape(3, -1)[:, 0].tolist() == [5, 6, 0]


def test_names_are_the_fields_in_their_order() -> None:
    assert tuple(vars(numbered(0, 1))) == (*OUTPUT_NAMES, NOVELTY)


def test_outputs_of_a_graph_without_novelty_have_none() -> None:
    plain = [Outputs(rows.probabilities, rows.logits, rows.heatmap) for rows in (numbered(0, 2), numbered(2, 1))]
    assert Outputs.concatenate(plain).novelty is None
    assert plain[0][:1].novelty is None


def test_arrays_are_read_again_by_name() -> None:
    outputs = numbered(0, 2)
    assert tuple(outputs.arrays) == (*OUTPUT_NAMES, NOVELTY)
    read = Outputs.read({f"int8.{name}": array for name, array in outputs.arrays.items()}, "int8.")
    assert read.novelty is outputs.novelty
    plain = Outputs(outputs.probabilities, outputs.logits, outputs.heatmap)
    assert tuple(plain.arrays) == OUTPUT_NAMES
    assert Outputs.read(plain.arrays).novelty is None
