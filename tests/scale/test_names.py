from pathlib import Path

import pyarrow as pa

from ctonnx_scale.names import left_of, names_of
from ctonnx_scale.parts import Parts


def test_names_take_little_more_memory_than_their_bytes() -> None:
    files = [f"s3://archive/study/{number:07d}.dcm" for number in range(40_000)]
    assert names_of(files).nbytes <= sum(map(len, files)) + 8 * (len(files) + 1)


def test_name_that_is_no_text_is_kept(tmp_path: Path) -> None:
    names = names_of(["a\udcff.png"])
    assert names.to_pylist() == [b"a\xff.png"]
    assert left_of(names, Parts(tmp_path, "0" * 64, resume=False)) == pa.array([b"a\xff.png"], pa.large_binary())
