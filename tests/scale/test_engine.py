"""Runs on a cluster of two actors with one CPU each."""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cloudpickle
import psutil
import pyarrow as pa
import pytest
from pyarrow import parquet

from ctonnx import Predictor
from ctonnx.prediction.results import Failure, Record
from ctonnx.system.files import sha256_of
from ctonnx_scale import actor
from ctonnx_scale.actor import PredictorActor, PredictorSettings
from ctonnx_scale.cluster import ActorResources
from ctonnx_scale.engine import EngineResult, predict_on_cluster
from ctonnx_scale.names import left_of, names_of
from ctonnx_scale.parts import Parts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("cluster"),
    pytest.mark.filterwarnings(
        "ignore:.*deprecated:DeprecationWarning"
    ),  # of Ray Data's own settings, as it makes them
]
Bucket = Callable[[dict[str, bytes]], str]


class CrashingActor(PredictorActor):
    """Its process ends without an error, as by a lack of memory, when it reads a file named `poison`."""

    def __call__(self, table: pa.Table) -> pa.Table:
        real = actor.records_of

        def read(predictor: Predictor, names: list[str], *rest: Any, **options: Any) -> tuple[list[Record], int]:
            if any("poison" in name for name in names):
                os._exit(9)
            return real(predictor, names, *rest, **options)

        actor.records_of = read  # type: ignore[assignment]
        try:
            return super().__call__(table)
        finally:
            actor.records_of = real


def predict(
    model: Path, files: list[str], folder: Path, progress: Callable[[int], None] = lambda files: None
) -> EngineResult:
    settings = PredictorSettings(
        provider="cpu",
        threads=1,
        batch_size=None,
        check=True,
        folder=str(Path.cwd()),
        threshold=None,
        time=datetime(2026, 12, 1, tzinfo=UTC),
    )
    parts = Parts(folder, sha256_of(model), resume=True)
    names = left_of(names_of(files), parts)
    resources = ActorResources(cpus=1, gpus=0, actors=2)
    return predict_on_cluster(model, names, parts, settings, resources, actors=2, progress=progress)


def rows(folder: Path) -> list[dict[str, Any]]:
    return sorted(parquet.read_table(folder).to_pylist(), key=lambda row: str(row["file"]))


def copies(phantoms: Path, folder: Path, count: int) -> list[str]:
    scans = sorted((phantoms / "test").rglob("*.png"))
    folder.mkdir()
    for number in range(count):
        os.link(shutil.copy(scans[number % len(scans)], folder / "copy"), folder / f"{number:04d}.png")
        (folder / "copy").unlink()
    return sorted(str(file) for file in folder.iterdir())


def test_rows_are_those_of_the_local_engine_wherever_the_files_are(
    model: Path, phantoms: Path, dicom_file: bytes, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    contents = {scan.name: scan.read_bytes() for scan in sorted((phantoms / "test").rglob("*.png"))[:8]}
    contents |= {"slice.dcm": dicom_file, "half.png": contents[min(contents)][:200]}
    (tmp_path / "scans").mkdir()
    for name, content in contents.items():
        (tmp_path / "scans" / name).write_bytes(content)
    root = bucket(contents)
    names = [*contents, "gone.png"]
    result = predict(model, [f"{place}/{name}" for name in names for place in ("scans", root)], tmp_path / "rows")
    with Predictor(model, threads=1) as predictor:
        here = list(predictor.predict_many([f"scans/{name}" for name in names]))
    expected = {}
    for record in here:
        row = record.as_dict()
        row["probabilities"] = list(row["probabilities"].items())
        expected[record.source] = row
    found = {row["file"]: row for row in rows(tmp_path / "rows")}
    assert len(found) == 2 * len(expected)
    for file, row in found.items():
        local = expected[file.replace(root, "scans")]
        assert {name: row[name] for name in local} == local | {"file": file}
    failed = sum(isinstance(record, Failure) for record in here)
    assert (result.predicted, result.failed) == (2 * (len(here) - failed), 2 * failed)
    assert (result.ended, result.report.repeated, result.report.unread) == (0, 0, 4)


def test_killed_actor_is_replaced_and_no_row_is_lost_or_doubled(model: Path, phantoms: Path, tmp_path: Path) -> None:
    files = copies(phantoms, tmp_path / "scans", 300)
    killed: list[int] = []

    def kill_one(_: int) -> None:
        if not killed:
            actors = [child for child in psutil.Process().children(recursive=True) if is_actor(child)]
            assert len(actors) == 2
            actors[0].send_signal(signal.SIGKILL)
            killed.append(actors[0].pid)

    result = predict(model, files, tmp_path / "rows", kill_one)
    assert [row["file"] for row in rows(tmp_path / "rows")] == files
    assert (result.predicted, result.failed, result.ended) == (300, 0, 1)
    assert result.report.repeated <= 1


def test_file_that_ends_its_process_gets_a_failure_and_the_others_their_rows(
    model: Path, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr("ctonnx_scale.engine.PredictorActor", CrashingActor)
    files = copies(phantoms, tmp_path / "scans", 24)
    poison = str(tmp_path / "scans/poison.png")
    result = predict(model, [*files[:5], poison, *files[5:]], tmp_path / "rows")
    found = {row["file"]: row["error"] for row in rows(tmp_path / "rows")}
    assert found == dict.fromkeys(files) | {poison: "the process that read it ended 2 times: killed, or out of memory"}
    assert (result.predicted, result.failed, result.ended) == (24, 1, 3)
    assert (result.report.repeated, result.report.given_up) == (1, 1)


def is_actor(process: psutil.Process) -> bool:
    try:
        return "MapWorker" in " ".join(process.cmdline())
    except psutil.Error:
        return False
