import io
import os
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ctonnx import Predictor
from ctonnx.errors import NotEnoughMemory
from ctonnx.prediction.results import Failure, Record
from ctonnx.system.files import sha256_of
from ctonnx_scale import actor
from ctonnx_scale.actor import ActorModel, PredictorActor, PredictorSettings, records_of
from ctonnx_scale.rows import unpacked

Bucket = Callable[[dict[str, bytes]], str]


class Calls:
    """A journal in which each batch and file has begun as often as `begun` has it."""

    def __init__(self, **begun: int) -> None:
        self.begun = Counter(begun)
        self.made: list[tuple[Any, ...]] = []

    def __call__(self, method: str, *arguments: Any, **options: Any) -> int:
        self.made.append((method, *arguments, *options.items()))
        key = str(arguments[-1]) if arguments else ""
        self.begun[key] += method == "begin"
        return self.begun[key]


def settings() -> PredictorSettings:
    return PredictorSettings(
        provider="cpu",
        threads=1,
        batch_size=None,
        check=True,
        folder=str(Path.cwd()),
        threshold=None,
        time=datetime(2026, 12, 1, tzinfo=UTC),
    )


def batch(*names: str) -> pa.Table:
    return pa.table({"batch": [3] * len(names), "name": pa.array(map(os.fsencode, names), pa.large_binary())})


def facts(record: Record) -> dict[str, Any]:
    return record.as_dict()


@pytest.fixture(scope="module")
def predictor(model: Path) -> Predictor:
    return Predictor(model, threads=1)


@pytest.fixture
def opened(model: Path) -> ActorModel:
    return ActorModel(path=str(model), sha256=sha256_of(model), content=model.read_bytes)


def test_batch_is_one_row_with_the_rows_of_its_images(opened: ActorModel, phantoms: Path) -> None:
    scans = sorted(map(str, (phantoms / "test").rglob("*.png")))[:3]
    calls = Calls()
    (row,) = PredictorActor(opened, settings(), calls)(batch(*scans, "missing.png")).to_pylist()
    rows = unpacked(row["rows"])
    assert row["files"] == 4
    assert sorted(rows["path"].to_pylist()) == sorted([*scans, "missing.png"])
    assert set(rows["model_sha256"].to_pylist()) == {opened.sha256}
    assert [entry["error"] for entry in rows.to_pylist() if entry["path"] == "missing.png"] == [
        "cannot be read: no such file"
    ]
    assert calls.made == [("opened",), ("begin", 3), ("end", 3, ("unread", 2))]


def test_repeated_batch_is_read_file_by_file_and_the_one_that_ends_processes_is_left_out(
    opened: ActorModel, phantoms: Path
) -> None:
    scans = sorted(map(str, (phantoms / "test").rglob("*.png")))[:3]
    calls = Calls(**{"3": 1, scans[1]: 2})
    rows = unpacked(PredictorActor(opened, settings(), calls)(batch(*scans))["rows"][0].as_py()).to_pylist()
    assert [row["error"] for row in rows] == [
        None,
        "the process that read it ended 2 times: killed, or out of memory",
        None,
    ]
    assert ("end", 3, scans[0]) in calls.made
    assert ("end", 3, scans[1]) not in calls.made


def test_batch_that_needs_too_much_memory_is_read_file_by_file(
    opened: ActorModel, phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = sorted(map(str, (phantoms / "test").rglob("*.png")))[:2]
    one = actor.records_of

    def small(found: Predictor, names: list[str], *rest: Any, **options: Any) -> Any:
        if len(names) > 1 or names == scans[1:]:
            raise NotEnoughMemory("too little memory")
        return one(found, names, *rest, **options)

    monkeypatch.setattr(actor, "records_of", small)
    rows = unpacked(PredictorActor(opened, settings(), Calls())(batch(*scans))["rows"][0].as_py()).to_pylist()
    assert [row["error"] for row in rows] == [None, "too little memory"]


def test_node_without_the_model_file_takes_its_bytes(model: Path, tmp_path: Path) -> None:
    content = model.read_bytes()
    other = tmp_path / "model.onnx"
    other.write_bytes(b"another model")
    for path in (tmp_path / "nothing.onnx", other):
        with ActorModel(path=str(path), sha256=sha256_of(content), content=lambda: content).file() as file:
            assert file != path
            assert file.read_bytes() == content
        assert not file.parent.exists()
    with ActorModel(path=str(model), sha256=sha256_of(model), content=bytes).file() as file:
        assert file == model


def test_files_of_the_store_have_the_records_of_the_same_files_here(
    predictor: Predictor, bucket: Bucket, phantoms: Path, dicom_file: bytes, tmp_path: Path
) -> None:
    contents = {scan.name: scan.read_bytes() for scan in sorted((phantoms / "test").rglob("*.png"))[:3]}
    contents |= {
        "slice.dcm": dicom_file,
        "frames.dcm": frames_of(dicom_file),
        "half.png": contents[next(iter(contents))][:200],
    }
    contents["empty.png"] = b""
    root = bucket(contents)
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    names = [*contents, "missing.png"]
    there, again = records_of(predictor, [f"{root}/{name}" for name in names], None, pauses=(0.0,))
    here, _ = records_of(predictor, [str(tmp_path / name) for name in names], None, pauses=())
    changed = [facts(record) | {"file": record.source.replace(root, str(tmp_path))} for record in there]
    assert changed == list(map(facts, here))
    assert again == 1
    assert len(here) == 9  # two frames


def test_file_that_comes_back_is_read_again(
    predictor: Predictor, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = next((phantoms / "test").rglob("*.png"))
    late, never = tmp_path / "late.png", tmp_path / "never.png"
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            late.write_bytes(scan.read_bytes())

    monkeypatch.setattr("time.sleep", sleep)
    records, again = records_of(predictor, [str(late), str(scan), str(never)], None)
    assert {record.source: isinstance(record, Failure) for record in records} == {
        str(late): False,
        str(scan): False,
        str(never): True,
    }
    assert (waited, again) == ([0.5, 2.0], 4)


def frames_of(dicom_file: bytes) -> bytes:
    from pydicom import dcmread

    data = dcmread(io.BytesIO(dicom_file))
    data.NumberOfFrames = 2
    data.PixelData = data.PixelData * 2
    content = io.BytesIO()
    data.save_as(content, enforce_file_format=True)
    return content.getvalue()


def test_signed_model_is_opened_from_the_bytes_of_the_driver(model: Path) -> None:
    """The file of a node could be exchanged between its comparison and its opening."""
    content = model.read_bytes()
    opened = ActorModel(path=str(model), sha256=sha256_of(content), content=lambda: content, is_signed=True)
    with opened.file() as path:
        assert path != model
        assert path.read_bytes() == content
    assert not path.exists()
