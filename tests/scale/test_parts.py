from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from ctonnx.errors import CtonnxError
from ctonnx.prediction.results import Failure
from ctonnx_scale.names import left_of, names_of
from ctonnx_scale.parts import Parts
from ctonnx_scale.rows import SCHEMA, table_of

MODEL = "a" * 64


def rows(*names: str, model: str = MODEL) -> pa.Table:
    origin = {"model_sha256": model, "threshold": None, "time": datetime(2026, 12, 1, tzinfo=UTC)}
    return table_of([Failure(name, "missing") for name in names], origin)


def read(folder: Path) -> list[str]:
    return [row["path"] for row in parquet.read_table(folder, columns=["path"]).to_pylist()]


def test_rows_are_written_and_a_later_run_adds_what_is_left(tmp_path: Path) -> None:
    with Parts(tmp_path / "new/rows", MODEL, resume=False).writer() as writer:
        writer.add(rows("a.png", "b\udcff.png"))
    parts = Parts(tmp_path / "new/rows", MODEL, resume=True)
    left = left_of(names_of(["a.png", "b\udcff.png", "b.png", "c.png"]), parts)
    assert left.to_pylist() == [b"b.png", b"c.png"]
    with parts.writer() as writer:
        writer.add(rows("b.png", "c.png"))
    assert [file.name for file in parts.files] == ["part-000000.parquet", "part-000001.parquet"]
    assert sorted(read(tmp_path / "new/rows")) == ["a.png", "b.png", "b\\udcff.png", "c.png"]
    assert parquet.read_schema(parts.files[0]).equals(SCHEMA)


def test_names_are_left_all_without_parts_and_each_once(tmp_path: Path) -> None:
    parts = Parts(tmp_path, MODEL, resume=True)
    assert left_of(names_of(["b", "a", "b"]), parts).to_pylist() == [b"b", b"a"]


def test_part_appears_after_a_second_then_after_longer(tmp_path: Path) -> None:
    now = 0.0
    parts = Parts(tmp_path, MODEL, resume=False)
    with parts.writer(lambda: now) as writer:
        counts = []
        for now in (0.5, 1.0, 2.0, 3.0, 6.0, 7.0, 20.0):
            writer.add(rows(f"{now}.png"))
            counts.append(len(parts.files))
    assert counts == [0, 1, 1, 2, 2, 3, 4]
    assert len(read(tmp_path)) == 7


def test_part_is_written_when_it_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctonnx_scale.parts._MOST_ROWS", 2)
    parts = Parts(tmp_path, MODEL, resume=False)
    with parts.writer(lambda: 0.0) as writer:
        writer.add(rows("a.png"))
        assert not parts.files
        writer.add(rows("b.png"))
        assert len(parts.files) == 1


def test_rows_so_far_are_kept_by_ctrl_c(tmp_path: Path) -> None:
    parts = Parts(tmp_path, MODEL, resume=False)

    def stopped() -> None:
        with parts.writer() as writer:
            writer.add(rows("a.png"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert read(tmp_path) == ["a.png"]


def test_half_written_part_of_a_killed_run_does_not_count(tmp_path: Path, leave_behind: Callable[[Path], Path]) -> None:
    leave_behind(tmp_path / "part-000000.parquet").write_bytes(b"PAR1")
    parts = Parts(tmp_path, MODEL, resume=True)
    assert (parts.files, list(tmp_path.iterdir())) == ([], [])


def test_folder_with_parts_needs_resume(tmp_path: Path) -> None:
    with Parts(tmp_path, MODEL, resume=False).writer() as writer:
        writer.add(rows("a.png"))
    with pytest.raises(CtonnxError) as caught:
        Parts(tmp_path, MODEL, resume=False)
    assert str(caught.value) == (
        f"expected a folder without parts for --output, found 1 part in '{tmp_path}'; add --resume to predict only "
        "what they lack, or name another folder"
    )


def test_parts_of_another_model_are_rejected(tmp_path: Path) -> None:
    with Parts(tmp_path, "b" * 64, resume=False).writer() as writer:
        writer.add(rows("a.png", model="b" * 64))
    with pytest.raises(CtonnxError) as caught:
        Parts(tmp_path, MODEL, resume=True)
    assert str(caught.value) == (
        f"expected parts of the model {'a' * 12}..., found '{tmp_path / 'part-000000.parquet'}' of {'b' * 12}...; name "
        "the model that they are of, or another folder"
    )


def test_other_or_damaged_file_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "part-000000.parquet"
    parquet.write_table(pa.table({"path": ["a.png"]}), file)
    with pytest.raises(CtonnxError, match=r"with other columns; name another folder$"):
        Parts(tmp_path, MODEL, resume=True)
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(CtonnxError, match=r"which is damaged; remove it, and --resume predicts its files again$"):
        Parts(tmp_path, MODEL, resume=True)
