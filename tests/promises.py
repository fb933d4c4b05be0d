"""Commands that README and docs promise for each extra, on small phantoms in an environment of `Workshop`."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.error import URLError

from tests.environments import CONSTRAINTS, REPOSITORY, CheckError, Environment, run

from ctonnx.cli.main import _COMMANDS

__all__ = [
    "FOLDER",
    "audit",
    "bench",
    "demo",
    "dicom",
    "dicom_phantoms",
    "dicom_results",
    "evaluate_file",
    "export",
    "journey",
    "make_run",
    "node",
    "offline",
    "openvino",
    "openvino_build",
    "other_commands_name_their_extras",
    "overlaid",
    "plugin",
    "predict",
    "ray_engine",
    "serve",
    "sign",
    "tensorboard",
    "tiff",
    "train",
    "trust",
    "used",
    "without_dicom",
    "without_pytorch",
    "without_ray",
    "without_signatures",
    "without_tiff",
]

MODEL = "runs/tiny/export/model.fp32.onnx"
FOLDER = "journey"
"""Environment whose run, export and phantoms the others use."""

_PHANTOMS = ("data", "phantom", "phantoms", "--per-class", "8", "--size", "96")
_PATIENTS = ("--patients", "4", "--slices", "2", "--size", "64")
_TRAIN = ("train", "phantoms", "--weights", "none", "--epochs", "4", "--image-size", "32", "--batch-size", "8")
# Loose gates: a network trained for a minute may lose one of its few images to rounding.
_GATES = ("--min-agreement", "75", "--max-drop", "25")
_ARGUMENTS = {  # of commands that must get as far as importing their libraries
    "data": ("data", "audit", "phantoms"),
    "train": ("train", "phantoms"),
    "evaluate": ("evaluate", MODEL, "phantoms"),
    "recalibrate": ("recalibrate", MODEL, "phantoms", "--output", "new/model.onnx"),
    "predict": ("predict", "phantoms/test"),
    "sign": ("sign", "--key", str(CONSTRAINTS)),
    "drift": ("drift", str(CONSTRAINTS)),
}


_INVOKE_ALL = """
import json, sys
from click.testing import CliRunner
from ctonnx.cli.main import main
done = [CliRunner().invoke(main, words, prog_name="ctonnx") for words in json.loads(sys.argv[1])]
print(json.dumps([[result.exit_code, result.stdout, result.stderr] for result in done]))
"""


def other_commands_name_their_extras(environment: Environment, extras: tuple[str, ...], module_of: str | None) -> None:
    """Checks that every command that needs another extra names it in its error message.

    The first runs in a process of its own, the others in one: each of them imports little but Python's own modules.

    Args:
        environment: Environment with the extras.
        extras: Installed extras.
        module_of: Distribution that provides onnxruntime; None if there is none.
    """
    contained = {"compress": ("train", "export", "evaluate"), "train": ("evaluate",)}
    there = {*extras, *(("cpu",) if module_of else ())}
    there |= {name for extra in extras for name in contained.get(extra, ())}
    expected: dict[tuple[str, ...], str] = {}
    for name, entry in _COMMANDS.items():
        needed = [extra for extra in entry.extras.split(",") if extra]
        missing = [f"'{extra}'" for extra in needed if extra not in there]
        if not missing:
            continue
        which = f"extra {missing[0]}, which is" if len(missing) == 1 else f"extras {' and '.join(missing)}, which are"
        named = ",".join(extra for extra in needed if extra != "cpu" or module_of in (None, "onnxruntime"))
        message = f"'ctonnx {name}' needs the {which} not installed; pip install \"ctonnx[{named}]\""
        expected[_ARGUMENTS.get(name, (name,))] = message
    if not expected:
        return
    first, *others = expected
    environment.fails(*first, message=expected[first])
    command = [str(environment.programs / "python"), "-c", _INVOKE_ALL, json.dumps(others)]
    found = json.loads(run(command, environment.work, environment.variables).stdout)
    for words, (code, out, error) in zip(others, found, strict=True):
        expect((words, code, out, error), (words, 2, "", f"Error: {expected[words]}\n"))


def journey(environment: Environment) -> None:
    """Trains, exports every precision, verifies, predicts and benchmarks."""
    make_run(environment)
    used(environment)


def make_run(environment: Environment) -> None:
    """Generates phantoms, trains on them and exports every precision."""
    environment.ctonnx(*_PHANTOMS)
    environment.ctonnx(*_TRAIN, "--name", "tiny")
    output = environment.ctonnx("export", "--precision", "all", *_GATES).stdout
    passed = [line.partition(":")[0] for line in output.splitlines() if ": gate passed: " in line]
    expect(passed, ["fp32", "fp16", "int8"], output)


def used(environment: Environment) -> None:
    """Inspects the export, verifies, predicts and benchmarks."""
    facts = json.loads(environment.ctonnx("inspect", MODEL, "--json").stdout)
    expect("onnxruntime-gpu" in facts["versions"], True)
    predict(environment)
    bench(environment, (MODEL, "--peers", "pytorch"))


def predict(environment: Environment) -> None:
    """Verifies and inspects the model, predicts with it, and runs `ctonnx doctor`."""
    for precision in ("fp32", "int8"):
        output = environment.ctonnx("verify", MODEL.replace("fp32", precision)).stdout
        expect(output.splitlines()[-1].strip(), "verified")
    environment.ctonnx("inspect")
    rows = environment.ctonnx("predict", "phantoms/test", "--format", "csv").stdout.splitlines()[1:]
    expect(len(rows), len(list((environment.work / "phantoms/test").rglob("*.png"))))
    doctor = json.loads(environment.ctonnx("doctor", "--json").stdout)
    expect(doctor["fault"], None)


def overlaid(environment: Environment) -> None:
    """Checks that `ctonnx doctor` finds onnxruntime installed over onnxruntime-gpu."""
    done = environment.ctonnx("doctor", "--json", exit_code=1)
    fault = json.loads(done.stdout)["fault"]
    found = re.fullmatch(
        r"onnxruntime [\d.]+ and onnxruntime-gpu [\d.]+ are installed over each other, in one folder, where each has "
        r"some of the files; pip uninstall --yes onnxruntime onnxruntime-gpu, then pip install \"ctonnx\[(cpu|gpu)\]\"",
        fault,
    )
    expect(bool(found), True, fault)


def dicom(environment: Environment) -> None:
    """Predicts a compressed DICOM file."""
    rows = environment.ctonnx("predict", str(_scan(environment)), "--format", "jsonl").stdout.splitlines()
    expect([json.loads(row)["error"] for row in rows], [None])


def dicom_phantoms(environment: Environment) -> None:
    """Generates the DICOM studies of phantoms."""
    environment.ctonnx("data", "phantom", "hospital", *_PATIENTS, "--format", "dicom")


def dicom_results(environment: Environment) -> None:
    """Writes the report and the picture of a series as DICOM objects."""
    series = environment.work / "series"
    series.mkdir()
    _scan(environment, study="1.2", series="1.2.1").rename(series / "scan.dcm")
    output = environment.ctonnx("predict", "series", "--dicom-out", "objects").stderr
    found = re.search(r"^DICOM: (\d) objects \(1 sr, 1 sc(, 1 ko)?\) of 1 series in objects$", output, re.MULTILINE)
    expect(bool(found), True, output)
    expect(str(len(list((environment.work / "objects").glob("2.25.*.dcm")))), found and found[1], output)


def ray_engine(environment: Environment) -> None:
    """Predicts with Ray on this machine, and compares the rows with those of the local engine."""
    words = ("predict", "phantoms/test", "--model", MODEL)
    local = environment.ctonnx(*words, "--format", "jsonl", "--top-k", "9").stdout.splitlines()
    output = environment.ctonnx(*words, "--engine", "ray", "--actors", "1", "--output", "rows").stderr
    expect("start: " in output, True, output)
    code = (
        "import json; from pyarrow import parquet; "
        "rows = parquet.read_table('rows', columns=['file', 'label', 'decision']).to_pylist(); print(json.dumps(rows))"
    )
    rows = json.loads(
        run([environment.programs / "python", "-c", code], environment.work, environment.variables).stdout
    )
    expected = [{name: row[name] for name in ("file", "label", "decision")} for row in map(json.loads, local)]
    expect(sorted(rows, key=lambda row: row["file"]), sorted(expected, key=lambda row: row["file"]))


def without_ray(environment: Environment) -> None:
    """Checks that `--engine ray` names the extra that it needs."""
    environment.fails(
        *("predict", "phantoms/test", "--engine", "ray", "--output", "rows"),
        message='expected Ray and pyarrow for --engine ray, found neither or one; pip install "ctonnx[scale]"',
    )


def without_dicom(environment: Environment) -> None:
    """Checks that the row of a DICOM file, and the option for DICOM objects, name the extra that they need."""
    environment.fails(
        "predict",
        "phantoms/test",
        "--dicom-out",
        "objects",
        message='expected highdicom, which makes DICOM objects, found none; pip install "ctonnx[pacs]"',
    )
    rows = environment.ctonnx("predict", str(_scan(environment)), "--format", "jsonl", exit_code=1).stdout.splitlines()
    expect(
        [json.loads(row)["error"] for row in rows], ['a DICOM file, which needs pydicom; pip install "ctonnx[dicom]"']
    )


def tiff(environment: Environment) -> None:
    """Predicts a TIFF file that Pillow would misread."""
    rows = environment.ctonnx("predict", str(_picture(environment)), "--format", "jsonl").stdout.splitlines()
    expect([json.loads(row)["error"] for row in rows], [None])


def without_tiff(environment: Environment) -> None:
    """Checks that the row of such a TIFF file names the extra that reads it."""
    found = environment.ctonnx("predict", str(_picture(environment)), "--format", "jsonl", exit_code=1).stdout
    errors = [json.loads(row)["error"] for row in found.splitlines()]
    expect([error.endswith('; pip install "ctonnx[tiff]"') for error in errors], [True], str(errors))


_ASK_OVER_GRPC = """
import sys, grpc
ask = grpc.insecure_channel(sys.argv[1]).unary_unary("/inference.GRPCInferenceService/ServerReady")
assert ask(b"", timeout=30) == b"\\x08\\x01"  # the field `ready` is true
"""


def serve(environment: Environment, *, reads_dicom: bool, has_grpc: bool = False) -> None:
    """Starts the server, requests its health and a prediction, stops it, and looks at its usage log.

    Without gRPC, that port is an error.
    """
    if not has_grpc:
        environment.fails(
            "serve",
            "--grpc-port",
            "0",
            message="expected the package 'grpc' for --grpc-port, found none; pip install \"ctonnx[grpc]\"",
        )
    options = ("--usage-log", "usage", *(("--grpc-port", "0") if has_grpc else ()))
    server = environment.start("serve", "--port", "0", *options)
    try:
        lines = iter(server.stderr.readline, "") if server.stderr else iter(())
        over_grpc = next(line.split()[2] for line in lines if line.startswith("serving gRPC: ")) if has_grpc else None
        address = next((line.split()[1] for line in lines if line.startswith("serving: ")), None)
        if address is None:
            raise CheckError(f"ctonnx serve ended with exit code {server.wait()} before it was ready")
        if over_grpc:
            run(
                [environment.programs / "python", "-c", _ASK_OVER_GRPC, over_grpc],
                environment.work,
                environment.variables,
            )
        with urllib.request.urlopen(f"{address}/v2/health/ready", timeout=30) as response:  # noqa: S310
            expect(response.status, 200)
        scan = _scan(environment) if reads_dicom else next((environment.work / "phantoms/test").rglob("*.png"))
        request = urllib.request.Request(  # noqa: S310
            f"{address}/v1/classify", scan.read_bytes(), {"Content-Type": "application/octet-stream"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            expect([result["error"] for result in json.load(response)["results"]], [None])
        server.send_signal(signal.SIGTERM)
        expect(server.wait(timeout=60), 0)
    except (OSError, URLError, http.client.HTTPException, subprocess.TimeoutExpired) as error:
        raise CheckError(f"ctonnx serve does not respond: {error}") from error
    finally:
        server.kill()
        server.communicate()
    shown = environment.ctonnx("drift", "usage").stdout
    expect("image in use" in shown or "images in use" in shown, True, shown)
    expect("too few images" in shown, True, shown)


def node(environment: Environment) -> None:
    """Starts the DICOM node with its page, requests the page's health, and stops it."""
    server = environment.start("node", "--port", "0", "--results", "none", "--http", "127.0.0.1:0")
    try:
        lines = iter(server.stderr.readline, "") if server.stderr else iter(())
        address = next((line.split()[1] for line in lines if line.startswith("page: ")), None)
        if address is None:
            raise CheckError(f"ctonnx node ended with exit code {server.wait()} before it was ready")
        with urllib.request.urlopen(f"{address}/healthz", timeout=30) as response:  # noqa: S310
            expect(response.status, 200)
        expect("0 predicted, 0 left out, 0 failed" in environment.ctonnx("node", "status").stdout, True)
        server.send_signal(signal.SIGTERM)
        expect(server.wait(timeout=60), 143)
    except (OSError, URLError, http.client.HTTPException, subprocess.TimeoutExpired) as error:
        raise CheckError(f"ctonnx node does not respond: {error}") from error
    finally:
        server.kill()
        server.communicate()


_MAKE_KEYS = """
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
for name in ("maker", "other"):
    key = ec.generate_private_key(ec.SECP256R1())
    Path(f"{name}.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    Path(f"{name}.pub").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
"""


def sign(environment: Environment) -> None:
    """Makes two keys, and signs the export with one of them; nothing is run, so that no onnxruntime is needed."""
    run([environment.programs / "python", "-c", _MAKE_KEYS], environment.work, environment.variables)
    output = environment.ctonnx("sign", "runs/tiny/export", "--key", "maker.pem").stdout
    expect(output.splitlines()[-1].startswith("runs/tiny/export/model.sig: "), True)


def trust(environment: Environment) -> None:
    """Verifies the signed export and predicts with it; an altered copy and another key are rejected."""
    lines = environment.ctonnx("verify", MODEL, "--trust", "maker.pub").stdout.splitlines()
    expect((lines[0].partition(",")[0], lines[-1].strip()), ("signature: valid", "verified"))
    environment.ctonnx("predict", "phantoms/test", "--model", "runs/tiny", "--trust", "maker.pub")
    shutil.copytree(environment.work / "runs/tiny/export", environment.work / "copied")
    (environment.work / "copied/report.md").write_text("altered", encoding="utf-8")  # a copy has no links
    for model, key, found in (("copied", "maker", "'report.md' altered"), ("runs/tiny", "other", "a signature by the")):
        words = ("predict", "phantoms/test", "--model", model, "--trust", f"{key}.pub")
        expect(f"found {found}" in environment.ctonnx(*words, exit_code=2).stderr, True)


def without_signatures(environment: Environment) -> None:
    """Checks that `--trust` names the extra, and that the bill of materials needs none."""
    environment.fails(
        *("predict", "phantoms/test", "--trust", MODEL),
        message="expected the package 'cryptography' for --trust, found none; pip install \"ctonnx[sign]\"",
    )
    expect(json.loads(environment.ctonnx("inspect", "--bom").stdout)["specVersion"], "1.6")


def bench(environment: Environment, options: tuple[str, ...] = ()) -> None:
    """Runs a short benchmark."""
    environment.ctonnx(
        "bench", "--batch-size", "1", "--duration", "0.2", "--rounds", "1", "--output", "bench", *options
    )
    document = json.loads((environment.work / "bench/bench.json").read_text(encoding="utf-8"))
    expect(document["skipped"], {})
    expect((environment.work / "bench/bench.html").is_file(), True)


def train(environment: Environment) -> None:
    """Generates phantoms, audits them, trains on them, and evaluates the checkpoint."""
    environment.ctonnx("data", "phantom", "drawn", *_PHANTOMS[3:])
    environment.ctonnx("data", "audit", "drawn")
    environment.ctonnx(*_TRAIN, "--name", "alone", "--epochs", "1")
    environment.ctonnx("evaluate", "runs/alone", "phantoms", "--replicates", "20", "--output", "metrics")
    environment.fails(
        *_TRAIN,
        "--tensorboard",
        message='expected the package tensorboard, found none; pip install "ctonnx[tensorboard]"',
    )


def tensorboard(environment: Environment) -> None:
    """Trains with TensorBoard logging."""
    environment.ctonnx(*_TRAIN, "--name", "seen", "--epochs", "1", "--tensorboard")
    expect(bool(list((environment.work / "runs/seen").rglob("events.out.tfevents.*"))), True)


def evaluate_file(environment: Environment) -> None:
    """Evaluates an exported model."""
    environment.ctonnx("evaluate", MODEL, "phantoms", "--replicates", "20")


def audit(environment: Environment) -> None:
    """Generates phantoms and audits them, without PyTorch and onnxruntime; DICOM phantoms name the extra they need."""
    environment.ctonnx("data", "phantom", "drawn", *_PHANTOMS[3:])
    environment.ctonnx("data", "audit", "drawn")
    environment.ctonnx("data", "phantom", "patients", *_PATIENTS)
    environment.fails(
        *("data", "phantom", "hospital", *_PATIENTS, "--format", "dicom"),
        message='expected pydicom 3 or newer for DICOM phantoms, found none; pip install "ctonnx[dicom]"',
    )


def without_pytorch(environment: Environment) -> None:
    """Evaluates and recalibrates an exported model; a run's checkpoint names the extra that it needs."""
    audit(environment)
    evaluate_file(environment)
    environment.ctonnx("data", "phantom", "site", "--per-class", "20", "--size", "96", "--seed", "5")
    new = "recalibrated/model.fp32.onnx"
    environment.ctonnx("recalibrate", MODEL, "site", "--output", new, "--replicates", "20")
    expect(environment.ctonnx("verify", new).stdout.splitlines()[-1].strip(), "verified")
    for folder in (environment.work / "site").glob("*/normal"):
        shutil.rmtree(folder)  # where all scans are positive, the verdict does not depend on so short a training
    found = environment.ctonnx("evaluate", new, "site", "--external", "--replicates", "20").stdout
    expect(
        found.startswith("**It is not shown that the operating point holds here, as there are too few scans: "),
        True,
        found,
    )
    environment.fails(
        "evaluate",
        "runs/tiny",
        "phantoms",
        message="'ctonnx evaluate' needs the extra 'train', which is not installed; pip install \"ctonnx[cpu,train]\"",
    )


def compress(environment: Environment) -> None:
    """Compresses a run."""
    options = ("--operations", "0.95", "--steps", "1", "--epochs", "1", "--max-drop", "100", "--min-agreement", "0")
    environment.ctonnx("compress", "runs/tiny", *options, "--name", "small")
    expect((environment.work / "runs/small/compression.md").is_file(), True)


def export(environment: Environment) -> None:
    """Exports a run that another environment trained."""
    environment.ctonnx("export", "tiny", "--output", "exported")
    expect((environment.work / "exported/model.fp32.onnx").is_file(), True)


def demo(environment: Environment) -> None:
    """Runs `ctonnx demo`; its last step needs another extra and is skipped with a message."""
    output = environment.ctonnx("demo", "--per-class", "8", "--epochs", "1", "--image-size", "32").stdout
    expect(
        "\nNot measured: 'ctonnx bench' needs the extra 'bench'; pip install \"ctonnx[bench]\"\n" in output,
        True,
        output,
    )


def openvino(environment: Environment) -> str:
    """Verifies and predicts on OpenVINO's plugin on an Intel processor, and checks its error on another one."""
    facts = json.loads(environment.ctonnx("doctor", "--json").stdout)
    is_intel = "Intel" in (facts["processor"]["model"] or "")
    result = plugin(environment, provider="openvino")
    expect(result == "works", is_intel, result)
    return result


def plugin(environment: Environment, *, provider: str) -> str:
    """Verifies and predicts on a plugin's provider; on a machine without its hardware, checks the message.

    Returns:
        `works`, or the message.
    """
    facts = json.loads(environment.ctonnx("doctor", "--json").stdout)
    expect(len(facts["plugins"]), 1, str(facts["plugins"]))
    (found,) = (item for item in facts["providers"] if item["name"] == provider)
    if found["state"] == "works":
        environment.ctonnx("verify", MODEL, "--provider", provider)
        environment.ctonnx("predict", "phantoms/test", "--provider", provider)
        return "works"
    expect(found["state"], "no hardware", found["message"])
    error = environment.ctonnx("verify", MODEL, "--provider", provider, exit_code=2).stderr
    expect(error.startswith(f"Error: the provider '{provider}' does not run here: {found['message']}"), True, error)
    expect(error.count("\n"), 1, error)
    return str(found["message"])


def openvino_build(environment: Environment) -> None:
    """Verifies and predicts on the build of onnxruntime with OpenVINO, of before its plugin, on any processor."""
    for precision in ("fp32", "int8"):  # with the novelty of a batch
        environment.ctonnx("verify", MODEL.replace("fp32", precision), "--provider", "openvino")
    environment.ctonnx("predict", "phantoms/test", "--provider", "openvino")
    expect(json.loads(environment.ctonnx("doctor", "--json").stdout)["fault"], None)


def offline(environment: Environment) -> None:
    """Runs the commands of docs/guide/offline.md, the second half without a package index or network."""
    page = (REPOSITORY / "docs/guide/offline.md").read_text(encoding="utf-8")
    connected, _, cut_off = (
        "\n".join(re.findall(r"^\$ (.*)$", block, re.MULTILINE))
        for block in re.findall(r"^```console\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    )
    work, python = environment.work, Path(sys.executable).parent
    for name in ("pyproject.toml", "constraints.txt", "Makefile", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, work)
    for name in ("runtime", "train", "export", "compress", "benchmarks", "offline"):
        shutil.copytree(REPOSITORY / name, work / name, ignore=shutil.ignore_patterns("__pycache__"))
    (work / "runs/tiny").rename(work / "runs/lungs")
    variables = {**environment.variables, "PATH": f"{python}{os.pathsep}{environment.variables['PATH']}"}
    run(["bash", "-e", "-c", connected], work, variables)
    there = work / "another machine"
    there.mkdir()
    (work / "bundle").rename(there / "bundle")
    shutil.copytree(work / "phantoms/test", there / "bundle/scans")
    unreachable = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    alone = {name: value for name, value in variables.items() if not name.startswith("PIP_")}
    alone |= unreachable | {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    output = run(["bash", "-e", "-c", cut_off], there, alone).stdout
    expect("  verified\n" in output, True, output)


def expect(found: object, expected: object, output: str = "") -> None:
    """Compares a value with the expected one.

    Raises:
        CheckError: The values differ.
    """
    if found != expected:
        raise CheckError(f"expected {expected!r}, found {found!r} {output}")


def _scan(environment: Environment, *, study: str = "", series: str = "") -> Path:
    """Writes a losslessly compressed CT slice into the environment's folder; this process has pydicom."""
    import imagecodecs
    import numpy as np
    import pydicom
    from pydicom import uid

    values = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint16)
    scan = pydicom.Dataset()
    scan.file_meta = pydicom.dataset.FileMetaDataset()
    scan.file_meta.TransferSyntaxUID = uid.JPEGLSLossless
    scan.file_meta.MediaStorageSOPClassUID = scan.SOPClassUID = uid.CTImageStorage
    scan.file_meta.MediaStorageSOPInstanceUID = scan.SOPInstanceUID = uid.UID("1.2.3")
    if study:
        scan.StudyInstanceUID, scan.SeriesInstanceUID = study, series
    scan.Modality, scan.Rows, scan.Columns, scan.SamplesPerPixel = "CT", 64, 64, 1
    scan.PhotometricInterpretation, scan.PixelRepresentation = "MONOCHROME2", 0
    scan.BitsAllocated, scan.BitsStored, scan.HighBit = 16, 16, 15
    scan.RescaleSlope, scan.RescaleIntercept = 10, -1000
    scan.PixelData = pydicom.encaps.encapsulate([bytes(imagecodecs.jpegls_encode(values))])
    file = environment.work / "scan.dcm"
    scan.save_as(file, enforce_file_format=True)
    return file


def _picture(environment: Environment) -> Path:
    """Writes a TIFF file of unsigned 32-bit integers, which Pillow wraps; this process has tifffile."""
    import numpy as np
    import tifffile

    file = environment.work / "wide.tif"
    tifffile.imwrite(file, np.add.outer(np.arange(64), np.arange(64)).astype(np.uint32) << 24)
    return file
