"""Images share a quarter of the memory while they are decoded: they wait, and too large ones are rejected."""

import platform
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.runtime.system.linux_files import write

from ctonnx.errors import ImageError, NotEnoughMemory
from ctonnx.images import load
from ctonnx.images.modes import bytes_per_pixel
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Failure, Prediction
from ctonnx.system import memory
from ctonnx.system.memory import enough_memory, largest, memory_limit, reserve_memory


def limit_to(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "largest", lambda: count)


@pytest.mark.parametrize(("bytes_there", "expected"), [(8_000_000_000, 2_000_000_000), (None, 1 << 30)])
def test_a_quarter_of_the_memory_is_shared(
    bytes_there: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "memory_limit", lambda: bytes_there)
    largest.cache_clear()
    try:
        assert largest() == expected
    finally:
        largest.cache_clear()


def test_images_wait_until_there_is_enough_and_all_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_to(1000, monkeypatch)
    taken: list[int] = []
    most: list[int] = []
    lock = threading.Lock()

    def read(needed: int) -> None:
        with reserve_memory((needed, 1), 1, "scan.png"):
            with lock:
                taken.append(needed)
                most.append(sum(taken))
            with lock:
                taken.remove(needed)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, [400, 1000, 10, 600, 999, 1] * 50))
    assert max(most) <= 1000
    assert memory._taken == []


def test_memory_is_released_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_to(1000, monkeypatch)
    for _ in range(3):
        with pytest.raises(KeyError), reserve_memory((10, 100), 1, "scan.png"):
            raise KeyError
    assert memory._taken == []


def test_image_over_the_limit_is_rejected_with_its_size_and_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_to(3_000_000, monkeypatch)
    with pytest.raises(ImageError) as caught:
        load(Image.new("F", (1000, 500)))
    assert str(caught.value) == (
        "image in memory: too large for the memory of this machine: 1000 x 500 pixels take 8 MB to read, "
        "and an image may take 3 MB; make it smaller"
    )
    assert load(Image.new("L", (1000, 500))).size == (1000, 500)
    with pytest.raises(ImageError, match=r"^array: too large for the memory of this machine: 1000 x 500 pixels"):
        load(np.zeros((500, 1000, 3), np.uint8))


def test_dicom_over_the_limit_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pydicom", reason="pydicom is not installed")
    from tests.runtime.images.dicom.dicom_files import HU, encoded, make

    limit_to(40 * 30 * 8, monkeypatch)
    assert load(encoded(make())).size == (40, 30)
    with pytest.raises(ImageError, match=r": too large for the memory of this machine: 40 x 30 pixels take 0 MB"):
        load(encoded(make(HU.astype(np.int32))))


def test_image_over_the_limit_is_one_record_of_many(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_to(200_000, monkeypatch)
    small, large = Image.new("L", (100, 100)), Image.new("RGB", (200, 200))
    with Predictor(model) as predictor:
        records = list(predictor.predict_many([small, large, small]))
    assert [type(record) for record in records] == [Prediction, Failure, Prediction]


def test_image_without_enough_free_memory_is_rejected_with_its_size_and_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise MemoryError

    limit_to(3_000_000, monkeypatch)
    monkeypatch.setattr("ctonnx.images.raster.decoding.to_8_bit", fail)
    with pytest.raises(ImageError) as caught:
        load(Image.new("L", (1000, 500)))
    assert str(caught.value) == (
        "image in memory: too large for the memory that is free: 1000 x 500 pixels need 2 MB to decode, of 3 MB for "
        "all images; make it smaller, or use fewer threads"
    )
    assert memory._taken == []


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (MemoryError(), "MemoryError"),
        (MemoryError("std::bad_alloc"), "std::bad_alloc"),
        (RuntimeError("can't start new thread"), "can't start new thread"),
        (RuntimeError("bad allocation\nat line 3"), "bad allocation"),
        (RuntimeError("of a node " * 40 + "Failed to allocate memory for 9"), "Failed to allocate memory"),
    ],
)
def test_exhausted_memory_is_an_error_with_advice(raised: Exception, message: str) -> None:
    with pytest.raises(NotEnoughMemory) as caught, enough_memory("load 'model.onnx'"):
        raise raised
    assert str(caught.value) == (
        f"not enough memory to load 'model.onnx' ({message}); use fewer threads (--threads) and smaller batches "
        "(--batch-size), end other programs, or raise this process's limit (ulimit -v, the container's)"
    )


def test_other_errors_are_not_about_memory() -> None:
    with pytest.raises(RuntimeError, match=r"^of another kind$"), enough_memory("load"):
        raise RuntimeError("of another kind")


def test_threads_that_do_not_start_are_a_memory_error(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    with Predictor(model) as predictor:
        monkeypatch.setattr(threading.Thread, "start", fail)
        records = predictor.predict_many([np.zeros((4, 4), np.uint8)])
        with pytest.raises(NotEnoughMemory, match=r"^not enough memory to start \d+ threads that read images \("):
            next(records)


_MEASURE = """
import sys
from ctonnx.images import load

def told(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))

load(sys.argv[1])
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = told("VmRSS")
load(sys.argv[2])
print(told("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell of a process's peak")
@pytest.mark.parametrize(
    ("mode", "file_format", "turned"),
    [
        ("L", "PNG", True),
        ("I;16", "TIFF", False),
        ("F", "TIFF", False),
        ("RGB", "JPEG", True),
        ("RGBA", "PNG", True),
        ("RGBA", "WEBP", False),
        ("RGBA", "JPEG2000", False),
    ],
)
def test_reading_takes_no_more_memory_than_is_reserved(
    mode: str, file_format: str, turned: bool, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6 if turned else 1
    for name, side in (("small", 64), ("large", 2000)):
        image = Image.new(mode, (side, side))
        image.putpixel((0, 0), 9 if len(image.getbands()) == 1 else (9,) * len(image.getbands()))
        image.save(tmp_path / name, file_format, exif=exif)
    command = [sys.executable, "-c", _MEASURE, str(tmp_path / "small"), str(tmp_path / "large")]
    taken = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert taken <= bytes_per_pixel(mode, file_format) * 2000 * 2000


_BLOCKS = """
import sys
from ctonnx.system.memory import return_freed_memory
import psutil

if sys.argv[1] == "at once":
    return_freed_memory()
large = bytearray(30 << 20)
del large  # glibc raises its threshold to this size
before = psutil.Process().memory_info().rss
blocks = [bytearray(b"1") * (8 << 20) for _ in range(13)]
pin = bytearray(b"1") * 100_000  # above them, so that the heap cannot shrink
del blocks
print((psutil.Process().memory_info().rss - before) / 1e6)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="how glibc keeps memory")
def test_memory_of_large_blocks_is_returned_to_the_system() -> None:
    def kept(how: str) -> float:
        done = subprocess.run([sys.executable, "-c", _BLOCKS, how], check=True, capture_output=True, text=True)
        return float(done.stdout)

    assert kept("by itself") > 20
    assert kept("at once") < 10


def test_memory_is_that_of_the_machine_without_a_limit(tmp_path: Path) -> None:
    assert memory_limit(tmp_path) is None
    write(tmp_path / "proc/meminfo", "MemTotal:       16000 kB\nMemFree:         10 kB\n")
    assert memory_limit(tmp_path) == 16000 * 1024


@pytest.mark.parametrize(
    ("group", "file", "limit", "expected"),
    [
        ("0::/pod", "pod/memory.max", "4096000", 4096000),
        ("0::/pod", "pod/memory.max", "max", 16384000),
        ("4:memory:/pod", "memory/pod/memory.limit_in_bytes", "4096000", 4096000),
        ("4:memory:/pod", "memory/pod/memory.limit_in_bytes", "9223372036854771712", 16384000),
    ],
)
def test_group_limits_the_memory(group: str, file: str, limit: str, expected: int, tmp_path: Path) -> None:
    write(tmp_path / "proc/meminfo", "MemTotal:       16000 kB\n")
    write(tmp_path / "proc/self/cgroup", f"{group}\n")
    write(tmp_path / "sys/fs/cgroup" / file, f"{limit}\n")
    assert memory_limit(tmp_path) == expected


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is a setting of glibc")
def test_short_threads_share_a_few_heaps(tmp_path: Path) -> None:
    code = """
import ctypes, os, re, threading
from ctonnx.system.memory import return_freed_memory
return_freed_memory(arenas=ARENAS)
ready = threading.Barrier(9)
def allocate():
    block = bytearray(1000)
    ready.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = libc.fopen(b"FILE", b"w")
libc.malloc_info(0, ctypes.c_void_p(file))
libc.fclose(ctypes.c_void_p(file))
ready.wait()
"""
    counts = {}
    for arenas in (1, None):
        file = tmp_path / "info.xml"
        text = code.replace("ARENAS)", f"{arenas})").replace("FILE", str(file))
        subprocess.run([sys.executable, "-c", text], check=True)
        counts[arenas] = file.read_text().count("<heap ")
    assert counts[1] == 1 < counts[None]
