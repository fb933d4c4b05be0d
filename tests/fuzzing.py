"""Fuzz targets: what reads files and bytes from outside, given damaged ones: `make fuzz MINUTES=60`.

Each target has valid seeds, which are damaged at random: bytes changed, removed, repeated and inserted, some replaced
by extreme numbers. A target passes if it returns, or raises an error of its documentation, within a time limit. Inputs
that fail are written to a folder, one file each, with the error beside it; `--repeat FILE` runs one again.
"""

import argparse
import contextlib
import io
import json
import random
import sqlite3
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ctonnx.errors import CtonnxError
from ctonnx.server.transport.errors import RequestError

__all__ = ["TARGETS", "Failure", "Target", "damaged", "fuzz", "main"]

_LONGEST = 10.0  # seconds for one input
_MOST_KEPT = 20  # inputs of a target that failed
_EXTREME = (
    b"0",
    b"-1",
    b"255",
    b"4294967295",
    b"9" * 40,
    b"1e308",
    b"NaN",
    b"null",
    b"[" * 64,
    b"\x00" * 16,
    b"\xff" * 16,
)


class Target(NamedTuple):
    """A reader of bytes that is given damaged ones.

    Attributes:
        seeds: Valid inputs.
        run: Called with an input.
        allowed: Errors that it may raise.
    """

    seeds: Callable[[], Sequence[bytes]]
    run: Callable[[bytes], object]
    allowed: tuple[type[Exception], ...]


class Failure(NamedTuple):
    """An input that failed: the name of its target, the input, and the error."""

    target: str
    content: bytes
    error: str


def damaged(seed: bytes, draw: random.Random) -> bytes:
    """Returns a copy of a seed with one to eight damages."""
    content = bytearray(seed)
    for _ in range(draw.randint(1, 8)):
        start = draw.randrange(len(content) + 1)
        stop = min(len(content), start + draw.choice((1, 1, 2, 4, 8, 64, 1024)))
        kind = draw.randrange(6)
        if kind == 0:
            content[start:stop] = draw.randbytes(stop - start)
        elif kind == 1:
            del content[start:stop]
        elif kind == 2:
            content[start:start] = content[start:stop] * draw.choice((1, 2, 16))
        elif kind == 3:
            content[start:stop] = draw.choice(_EXTREME)
        elif kind == 4 and start < len(content):
            content[start] ^= 1 << draw.randrange(8)
        else:
            del content[draw.randrange(len(content) + 1) :]
    return bytes(content)


def fuzz(
    targets: Mapping[str, Target], *, seconds: float = float("inf"), inputs: int | None = None, seed: int = 0
) -> Iterator[tuple[str, Failure | None]]:
    """Gives each target damaged inputs in turn.

    Args:
        targets: Targets by name.
        seconds: Time limit.
        inputs: Number of inputs for each target; None has no limit.
        seed: Seed of the damages; the same seed gives the same inputs.

    Yields:
        The target of each input, with its failure if it failed.
    """
    draw, end = random.Random(seed), time.monotonic() + seconds  # noqa: S311  nothing is kept secret by it
    prepared = {name: target.seeds() for name, target in targets.items()}
    count = 0
    while (inputs is None or count < inputs) and time.monotonic() < end:
        for name, target in targets.items():
            yield name, _failure(name, target, damaged(draw.choice(prepared[name]), draw))
        count += 1


def _failure(name: str, target: Target, content: bytes) -> Failure | None:
    start = time.monotonic()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            target.run(content)
    except target.allowed:
        pass
    except Exception:
        return Failure(name, content, traceback.format_exc())
    if (taken := time.monotonic() - start) > _LONGEST:
        return Failure(name, content, f"it took {taken:.0f} s\n")
    return None


def _spec_seeds() -> list[bytes]:
    from tests.runtime.artifacts.specs import FULL, SMALL

    return [spec.to_json().encode() for spec in (FULL, SMALL)]


def _read_spec(content: bytes) -> object:
    from ctonnx.artifacts.spec import ModelSpec

    return ModelSpec.from_json(content.decode("utf-8", "surrogateescape"))


def _model_seeds() -> list[bytes]:
    import numpy as np
    import onnx

    from ctonnx.artifacts.onnx_file.metadata import METADATA_KEY

    weight = onnx.numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.float32), "w")
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        onnx.helper.make_node("Relu", ["y"], ["z"]),
    ]
    sides = [onnx.helper.make_tensor_value_info(name, 1, ["batch", None, 8, 8]) for name in ("x", "z")]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "g", sides[:1], sides[1:], [weight]),
        opset_imports=[onnx.helper.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.helper.set_model_props(model, {METADATA_KEY: _spec_seeds()[0].decode()})
    return [model.SerializeToString()]


def _read_model(content: bytes) -> object:
    from ctonnx.artifacts.onnx_file.integrity import content_checksum
    from ctonnx.artifacts.onnx_file.metadata import read_metadata, read_spec_facts
    from ctonnx.artifacts.onnx_file.operators import check_graph

    read_spec_facts(content)
    check_graph(content)
    return read_metadata(content), content_checksum(content)


def _image_seeds() -> list[bytes]:
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (24, 20), np.uint8)
    found = []
    for kind in ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM"):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind)
        found.append(file.getvalue())
    return found


def _dicom_seeds() -> list[bytes]:
    from tests.runtime.images.dicom.dicom_files import encoded, make

    return [encoded(make()), encoded(make(PatientName="A^B", WindowCenter="40", WindowWidth="400"))]


def _read_image(content: bytes) -> object:
    from ctonnx.images import load_frames

    return [found for _, found in load_frames(content, most_pixels=1 << 20, most_frames=4)]


def _multipart_seeds() -> list[bytes]:
    import numpy as np
    from tests.runtime.server.conftest import encoded, multipart

    return [multipart(encoded(np.zeros((4, 4), np.uint8)), b"second", boundary="x")[0]]


def _read_multipart(content: bytes) -> object:
    from tests.runtime.server.transport.test_multipart import contents

    return contents(content, "multipart/form-data; boundary=x")


def _spool_seeds() -> list[bytes]:
    from ctonnx.server.pacs.node.outbox import Outbox

    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder))
        outbox.finish("a", "c", 2, decision="positive", results=[("1.2", "sr")], destinations=["A@h:1"])
        outbox.close()
        return [Path(folder, "queue.sqlite").read_bytes()]


def _read_spool(content: bytes) -> object:
    from ctonnx.server.pacs.node.outbox import Outbox

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "queue.sqlite").write_bytes(content)
        outbox = Outbox(Path(folder))
        try:
            return outbox.counts(), outbox.due(10), outbox.starts()
        finally:
            outbox.close()


def _usage_seeds() -> list[bytes]:
    from ctonnx.server.monitoring.usage_log import UsageLog

    with tempfile.TemporaryDirectory() as folder:
        with UsageLog(Path(folder, "usage"), "m", lambda line: None) as log:
            log.add({"class": "a", "size": "1x1"})
        with contextlib.closing(sqlite3.connect(Path(folder, "usage"))) as database:
            database.execute("PRAGMA journal_mode = DELETE")
        return [Path(folder, "usage").read_bytes()]


def _read_usage(content: bytes) -> object:
    from ctonnx.server.monitoring.usage_log import days_in_use, models_in

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "usage").write_bytes(content)
        return models_in(Path(folder, "usage")), days_in_use(Path(folder, "usage"), "m")


def _signature_seeds() -> list[bytes]:
    payload = "eyJwcmVkaWNhdGUiOnsicmVzb3VyY2VzIjpbeyJuYW1lIjoiYSIsImRpZ2VzdCI6ImFiIiwiYWxnb3JpdGhtIjoic2hhMjU2In1dfX0="
    bundle = {"verificationMaterial": {"publicKey": {"hint": "ab" * 32}}, "dsseEnvelope": {"payload": payload}}
    return [json.dumps(bundle).encode()]


def _read_signature(content: bytes) -> object:
    from ctonnx.artifacts.provenance.signature import claims_in

    return claims_in(content)


TARGETS = {
    "spec": Target(_spec_seeds, _read_spec, (CtonnxError,)),
    "model": Target(_model_seeds, _read_model, (CtonnxError, ValueError)),
    "image": Target(_image_seeds, _read_image, (CtonnxError,)),
    "dicom": Target(_dicom_seeds, _read_image, (CtonnxError,)),
    "multipart": Target(_multipart_seeds, _read_multipart, (RequestError,)),
    "spool": Target(_spool_seeds, _read_spool, (CtonnxError, sqlite3.DatabaseError)),
    "usage": Target(_usage_seeds, _read_usage, (CtonnxError,)),
    "signature": Target(_signature_seeds, _read_signature, ()),
}
"""Targets by name."""


def main() -> None:
    """Runs the targets, and ends with exit code 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description="Run the fuzz targets.")
    parser.add_argument("--minutes", type=float, default=60.0, help="Time limit; default: 60")
    parser.add_argument("--seed", type=int, help="Seed of the damages; default: another one in each run")
    parser.add_argument("--target", choices=TARGETS, action="append", help="Target; may be repeated; default: all")
    parser.add_argument("--output", type=Path, default=Path("fuzz-failures"), help="Folder of the inputs that fail")
    parser.add_argument("--repeat", type=Path, metavar="FILE", help="Input to run again, TARGET-NUMBER.bin")
    given = parser.parse_args()
    if given.repeat is not None:
        TARGETS[given.repeat.name.partition("-")[0]].run(given.repeat.read_bytes())
        return
    seed = time.time_ns() % (1 << 32) if given.seed is None else given.seed
    targets = {name: TARGETS[name] for name in given.target or TARGETS}
    print(f"seed {seed}, {given.minutes:g} minutes: {', '.join(targets)}", flush=True)
    counts, failures = dict.fromkeys(targets, 0), dict.fromkeys(targets, 0)
    for name, failure in fuzz(targets, seconds=60 * given.minutes, seed=seed):
        counts[name] += 1
        if failure is not None:
            failures[name] += 1
            if failures[name] <= _MOST_KEPT:
                given.output.mkdir(parents=True, exist_ok=True)
                file = given.output / f"{name}-{counts[name]}.bin"
                file.write_bytes(failure.content)
                file.with_suffix(".txt").write_text(failure.error)
                print(f"{name}: {failure.error.strip().splitlines()[-1]}; {file}", flush=True)
    for name, count in counts.items():
        print(f"{name}: {count} inputs, {failures[name]} failed")
    if any(failures.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
