"""Golden inputs: the same bytes each time, read back exactly, and never unpickled."""

import gc
import os
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctonnx.artifacts.golden import FILE_NAME, Golden, load_golden, save_golden
from ctonnx.errors import ModelError
from ctonnx.parity.outputs import OUTPUT_NAMES, Outputs

random = np.random.default_rng(0)
GOLDEN = Golden(
    random.integers(0, 256, (2, 32, 32, 3)).astype(np.uint8),
    Outputs(
        random.random((2, 3), np.float32), random.random((2, 3), np.float32), random.random((2, 3, 1, 1), np.float32)
    ),
    "ab" * 32,
)
ARRAYS: dict[str, Any] = {
    "pixels": GOLDEN.pixels,
    "checkpoint_sha256": np.array(GOLDEN.checkpoint_sha256),
    **{name: getattr(GOLDEN.outputs, name) for name in OUTPUT_NAMES},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    saved = tmp_path / FILE_NAME
    save_golden(saved, GOLDEN)
    return saved


DAMAGED = "a file that is damaged or of another kind"


def error_of(file: Path) -> str:
    """Returns the found part of the error for a file."""
    with pytest.raises(ModelError) as caught:
        load_golden(file)
    found = re.fullmatch(
        rf"expected golden inputs in '{re.escape(str(file))}', found (.+); export the model again",
        str(caught.value),
        flags=re.DOTALL,
    )
    assert found, str(caught.value)
    return found.group(1)


def test_golden_inputs_are_read_back_exactly(file: Path) -> None:
    found = load_golden(file)
    assert found.pixels.dtype == np.uint8
    np.testing.assert_array_equal(found.pixels, GOLDEN.pixels)
    for name in OUTPUT_NAMES:
        assert getattr(found.outputs, name).dtype == np.float32
        np.testing.assert_array_equal(getattr(found.outputs, name), getattr(GOLDEN.outputs, name))
    assert found.checkpoint_sha256 == "ab" * 32


def test_same_golden_inputs_give_the_same_bytes(file: Path, tmp_path: Path) -> None:
    save_golden(tmp_path / "again.npz", load_golden(file))
    assert (tmp_path / "again.npz").read_bytes() == file.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.npz", "golden.npz"]


def test_missing_file_is_rejected(tmp_path: Path) -> None:
    assert error_of(tmp_path / "none.npz") == "that it cannot be read: no such file"


def test_folder_is_rejected(tmp_path: Path) -> None:
    assert error_of(tmp_path) == "that it cannot be read: is a directory"


@pytest.mark.parametrize("kept", [0, 1, 2, 100, 1000, -1])
def test_truncated_file_is_rejected_and_not_left_open(kept: int, file: Path) -> None:
    file.write_bytes(file.read_bytes()[:kept])
    gc.freeze()  # the objects of all other tests, which would take a second to look at
    try:
        assert error_of(file)
        gc.collect()  # a file that is still open would raise a warning, which fails a test
    finally:
        gc.unfreeze()


def test_file_with_objects_is_rejected_and_they_are_not_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
            return pytest.fail, ("an object was unpickled",)

    file = tmp_path / "objects.npz"
    np.savez(file, **{**ARRAYS, "logits": np.array([Trap()], dtype=object)})
    assert error_of(file) == DAMAGED


def test_pickle_is_rejected_and_not_unpickled(tmp_path: Path) -> None:
    file = tmp_path / "pickle.npz"
    file.write_bytes(b"cpytest\nfail\n(S'it was unpickled'\ntR.")
    assert error_of(file) == DAMAGED


@pytest.mark.parametrize("name", ARRAYS)
def test_file_without_one_of_its_arrays_is_rejected(name: str, tmp_path: Path) -> None:
    file = tmp_path / "less.npz"
    np.savez(file, **{key: value for key, value in ARRAYS.items() if key != name})
    assert error_of(file) == f"a file without '{name}'"


def test_file_of_a_single_array_is_rejected(tmp_path: Path) -> None:
    np.save(tmp_path / "single.npy", GOLDEN.pixels)
    assert error_of(tmp_path / "single.npy") == DAMAGED


def damage_the_compressed_bytes(file: Path) -> None:
    """Overwrites the start of the pixels' deflate stream with an invalid block type."""
    data = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        start = archive.getinfo("pixels.npy").header_offset
    name, extra = struct.unpack_from("<HH", data, start + 26)
    begin = start + 30 + name + extra
    data[begin : begin + 16] = b"\xff" * 16
    file.write_bytes(data)


def damage_the_checksum(file: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        checksum = archive.getinfo("pixels.npy").CRC
    data = file.read_bytes()
    file.write_bytes(data.replace(struct.pack("<I", checksum), struct.pack("<I", checksum ^ 1)))


def damage_an_arrays_header(file: Path) -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (\n"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("pixels.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)


@pytest.mark.parametrize("damage", [damage_the_compressed_bytes, damage_the_checksum, damage_an_arrays_header])
def test_damaged_file_is_rejected(damage: Callable[[Path], None], file: Path) -> None:
    damage(file)
    assert error_of(file)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("pixels", GOLDEN.pixels.astype(np.float32)),
        ("pixels", GOLDEN.pixels[0]),
        ("logits", GOLDEN.outputs.logits[:1]),
        ("probabilities", GOLDEN.outputs.probabilities.astype(np.float64)),
        ("checkpoint_sha256", np.zeros(3)),
        ("logits", GOLDEN.outputs.logits[:, :2]),
        ("heatmap", GOLDEN.outputs.heatmap[:, :2]),
        ("heatmap", GOLDEN.outputs.heatmap[:, :, 0, 0]),
        ("pixels", np.uint8(3)),
        ("pixels", GOLDEN.pixels[:0]),
    ],
    ids=[
        "float pixels",
        "one image",
        "fewer logits",
        "double probabilities",
        "no text",
        "logits of fewer classes",
        "heatmaps of fewer classes",
        "flat heatmaps",
        "a number",
        "other number of images",
    ],
)
def test_arrays_of_another_kind_are_rejected(name: str, array: Any, tmp_path: Path) -> None:
    file = tmp_path / "other.npz"
    np.savez(file, **{**ARRAYS, name: array})
    assert error_of(file)


def test_file_without_images_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "none.npz"
    np.savez(file, **{name: array[:0] if array.ndim else array for name, array in ARRAYS.items()})
    assert error_of(file) == "pixels of uint8 [0, 32, 32, 3]"


def test_model_outputs_of_another_heatmap_size_are_rejected(tmp_path: Path) -> None:
    file = tmp_path / "other.npz"
    answers = {f"int8.{name}": getattr(GOLDEN.outputs, name) for name in OUTPUT_NAMES}
    answers["int8.heatmap"] = np.zeros((2, 3, 7, 7), np.float32)
    np.savez(file, **{**ARRAYS, **answers, "int8.sha256": np.array("ab")})
    assert error_of(file) == "heatmaps of several sizes"


def test_file_that_would_fill_the_memory_is_rejected_before_it_is_unpacked(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctonnx.artifacts.golden._MOST", 1000)
    assert error_of(file) == DAMAGED


def test_array_with_a_shape_larger_than_its_data_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "claims.npz"
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 32, 32, 3), }"
    header += b" " * (117 - len(header)) + b"\n"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("pixels.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    assert error_of(file) == DAMAGED


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipe_is_rejected_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    assert error_of(tmp_path / "pipe.npz") == "that it cannot be read: not a regular file, so it is not opened"
