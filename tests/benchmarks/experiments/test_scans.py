"""The generated scans have the usual size and are the same each time."""

from pathlib import Path

from ctonnx_bench.experiments.scans import draw_scans


def test_scans_are_grey_and_the_same_each_time(tmp_path: Path) -> None:
    first, second = (draw_scans(tmp_path / name, 2) for name in ("a", "b"))
    assert [file.name for file in first] == ["scan_00000.png", "scan_00001.png"]
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
    assert first[0].read_bytes()[16:26] == bytes([0, 0, 2, 0, 0, 0, 2, 0, 8, 0])  # 512 by 512, 8 bits, grey
