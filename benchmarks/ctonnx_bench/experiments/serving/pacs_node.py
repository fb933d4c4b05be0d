"""Measures `ctonnx node`: rate of reception, time to the results, memory.

    python -m ctonnx_bench.experiments.serving.pacs_node [MODEL] [--instances 1000] [--long 10000]

Instances of 512 x 512 pixels are sent by dcmtk's `storescu` over loopback, one association at a time. The reception is
compared, in turn, with a bare pynetdicom server that writes the bytes of each instance to a file, without and with
waiting for the disk; the node waits for it before each answer. The results go to a bare pynetdicom server, which notes
their times; the time from the end of the last series' wait is compared with `ctonnx predict` on the same files.
"""

import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import psutil

from ctonnx.prediction.model_selection import find_model
from ctonnx_bench.measurement.processes import compiled_environ

__all__ = ["main", "write_instances"]

_SIDE = 512
_PER_SERIES = 100
_SETTLE = 2.0  # seconds
_WAIT = 600.0
_BARE = """
import os, sys, time
from pathlib import Path
from pynetdicom import AE, AllStoragePresentationContexts, evt
out, port, syncs = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "sync"
log = open(out / "times", "a")
def store(event):
    with open(out / f"{event.request.AffectedSOPInstanceUID}.dcm", "wb") as file:
        file.write(event.encoded_dataset())
        if syncs:
            file.flush()
            os.fsync(file.fileno())
    print(time.time(), file=log, flush=True)
    return 0
entity = AE()
entity.supported_contexts = AllStoragePresentationContexts
entity.add_supported_context("1.2.840.10008.1.1")
entity.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, store)])
"""


def write_instances(folder: Path, count: int) -> list[Path]:
    """Writes CT instances of noise, in series of 100, with UIDs of their own; returns their files."""
    import numpy as np
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir()
    random = np.random.default_rng(0)
    noise = [random.integers(0, 2000, (_SIDE, _SIDE), np.int16).tobytes() for _ in range(10)]
    files = []
    for number in range(count):
        if number % _PER_SERIES == 0:
            study, series, frame = (generate_uid() for _ in range(3))
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, series, frame
        data.PatientName, data.PatientID = f"Phantom^{number // _PER_SERIES}", f"{number // _PER_SERIES}"
        data.PatientBirthDate = data.PatientSex = data.AccessionNumber = data.ReferringPhysicianName = ""
        data.StudyDate = data.ContentDate = "20260102"
        data.StudyTime = data.ContentTime = "030405"
        data.StudyID, data.SeriesNumber, data.InstanceNumber = "1", 1, number % _PER_SERIES + 1
        data.Modality, data.Manufacturer, data.ImageType = "CT", "Benchmark", ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.PositionReferenceIndicator, data.KVP, data.AcquisitionNumber = "", "120", 1
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, number % _PER_SERIES], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = [0.7, 0.7], 1
        data.Rows = data.Columns = _SIDE
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation = 15, 1
        data.RescaleIntercept, data.RescaleSlope = -1024, 1
        data.PixelData = noise[number % len(noise)]
        files.append(folder / f"{number:06}.dcm")
        data.save_as(files[-1], enforce_file_format=True)
    return files


@click.command()
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option("--instances", type=click.IntRange(2), default=1000, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--long", "long_run", type=click.IntRange(0), default=0, help="Instances of a long run, for the memory.")
def main(model: Path | None, instances: int, rounds: int, long_run: int) -> None:
    """Measures a node with MODEL (default: that of `ctonnx predict`)."""
    if shutil.which("storescu") is None:
        raise click.ClickException("expected storescu, found none; install dcmtk")
    model = find_model(model)
    with tempfile.TemporaryDirectory(prefix="ctonnx-") as name:
        root = Path(name)
        scans = root / "scans"
        write_instances(scans, instances)
        click.echo(
            f"{model.name}: {instances} instances of {_SIDE} x {_SIDE} pixels, medians of {rounds} rounds in turn"
        )
        _compare_reception(root, model, scans, instances, rounds)
        _measure_results(root, model, scans, instances, rounds)
        if long_run:
            _measure_memory(root, model, scans, instances, long_run)


def _compare_reception(root: Path, model: Path, scans: Path, instances: int, rounds: int) -> None:
    titles = {"bare": "bare server", "sync": "bare server, waits for the disk", "node": "node"}
    seconds: dict[str, list[float]] = {name: [] for name in titles}
    for number in range(rounds):
        for name in titles:
            folder = root / f"{name}{number}"
            server = (
                _node(folder, model, "--results", "none", "--settle", "600")
                if name == "node"
                else _bare(folder, syncs=name == "sync")
            )
            with server as (port, _):
                seconds[name].append(_send(port, scans))
            shutil.rmtree(folder)
    for name, title in titles.items():
        rate = instances / statistics.median(seconds[name])
        ratio = statistics.median(bare / own for bare, own in zip(seconds["bare"], seconds[name], strict=True))
        click.echo(f"reception, {title:32} {rate:6.1f} instances/s, {ratio:.3f} of the bare server's rate")


def _measure_results(root: Path, model: Path, scans: Path, instances: int, rounds: int) -> None:
    first, last, predicted = [], [], []
    for number in range(rounds):
        folder = root / f"results{number}"
        with (
            _bare(folder / "pacs", syncs=False) as (pacs, _),
            _node(folder / "node", model, "--send-to", f"PACS@127.0.0.1:{pacs}", "--settle", str(_SETTLE)) as (port, _),
        ):
            _send(port, scans)
            settled = time.time() + _SETTLE
            times = _wait_for(folder / "pacs" / "times", 2 * -(-instances // _PER_SERIES))
            first.append(min(times) - settled)
            last.append(max(times) - settled)
        shutil.rmtree(folder)
        command = [sys.executable, "-m", "ctonnx", "predict", "--by", "series", "--model", str(model), str(scans)]
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=compiled_environ())
        predicted.append(time.perf_counter() - start)
    ratio = statistics.median(own / other for own, other in zip(last, predicted, strict=True))
    click.echo(f"first result {statistics.median(first):+.1f} s after the last series settled")
    click.echo(
        f"all results {statistics.median(last):.1f} s after it, {ratio:.2f} of the "
        f"{statistics.median(predicted):.1f} s of ctonnx predict --by series"
    )


def _measure_memory(root: Path, model: Path, scans: Path, instances: int, long_run: int) -> None:
    folder = root / "long"
    memory = []
    with (
        _bare(folder / "pacs", syncs=False) as (pacs, _),
        _node(folder / "node", model, "--send-to", f"PACS@127.0.0.1:{pacs}", "--settle", "1", "--keep", "0.01") as (
            port,
            process,
        ),
    ):
        for _ in range(-(-long_run // instances)):
            shutil.rmtree(scans)
            write_instances(scans, instances)
            before = len(_times(folder / "pacs" / "times"))
            _send(port, scans)
            _wait_for(folder / "pacs" / "times", before + 2 * -(-instances // _PER_SERIES))
            memory.append(process.memory_info().rss / 1e6)
    steps = ", ".join(f"{megabytes:.0f}" for megabytes in memory)
    click.echo(f"memory {steps} MB, after each {instances} instances of {long_run}")


@contextmanager
def _node(folder: Path, model: Path, *options: str) -> Iterator[tuple[int, psutil.Process]]:
    folder.mkdir(parents=True)
    port = _free_port()
    command = [sys.executable, "-m", "ctonnx", "node", "--model", str(model), "--folder", str(folder / "node")]
    with _running([*command, "--port", str(port), *options], port) as process:
        yield port, process


@contextmanager
def _bare(folder: Path, *, syncs: bool) -> Iterator[tuple[int, psutil.Process]]:
    folder.mkdir(parents=True)
    port = _free_port()
    command = [sys.executable, "-c", _BARE, str(folder), str(port), "sync" if syncs else "plain"]
    with _running(command, port) as process:
        yield port, process


@contextmanager
def _running(command: Sequence[str], port: int) -> Iterator[psutil.Process]:
    """Runs a DICOM server until the block ends, from when it answers."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=compiled_environ()) as process:
        try:
            deadline = time.monotonic() + _WAIT
            while subprocess.run([_tool("echoscu"), "127.0.0.1", str(port)], capture_output=True).returncode != 0:
                if process.poll() is not None or time.monotonic() > deadline:
                    error = process.stderr.read() if process.stderr else ""
                    raise click.ClickException(f"expected a DICOM server, found that it ended: {error.strip()}")
                time.sleep(0.1)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.communicate(timeout=_WAIT)


def _send(port: int, scans: Path) -> float:
    """Sends a folder of instances, and returns the seconds."""
    start = time.perf_counter()
    subprocess.run([_tool("storescu"), "+sd", "127.0.0.1", str(port), str(scans)], check=True, capture_output=True)
    return time.perf_counter() - start


def _wait_for(file: Path, count: int) -> list[float]:
    deadline = time.monotonic() + _WAIT
    while len(times := _times(file)) < count:
        if time.monotonic() > deadline:
            raise click.ClickException(f"expected {count} results, found {len(times)} after {_WAIT:.0f} s")
        time.sleep(0.05)
    return times[-count:]


def _times(file: Path) -> list[float]:
    return [float(line) for line in file.read_text().split()] if file.exists() else []


def _tool(name: str) -> str:
    return shutil.which(name) or name


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


if __name__ == "__main__":
    main()
