"""Checks every extra, and every set of extras that README and docs name, each in an environment of its own.

`make extras` runs the checks that every change must pass, `make extras-all` the large ones too: CUDA's libraries,
plugins of more than 200 MB, TensorBoard. Each installs the wheel with only these extras, runs the documented commands
on small phantoms, and checks that every other command names the extra it needs.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.environments import CheckError, Environment, Workshop

from . import promises, slim_install

__all__ = ["CHECKS", "NOT_HERE", "Check"]

NOT_HERE = {
    "directml": "its build of onnxruntime is only for Windows",
    "mlx": "its plugin of onnxruntime is only for macOS",
}
"""Extras that cannot be installed on this system."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """A check in one environment.

    Attributes:
        extras: Extras to check, separated by commas.
        promise: Check to run, which may return a result to print; None runs only the commands that need other extras.
        build: Distribution that provides onnxruntime; None if no extra does.
        install: Extras to install if they differ from `extras`.
        others: Further requirements.
        is_given: Whether the check waits for the phantoms, run and export of the first one, and starts with them.
        is_large: Whether only `make extras-all` runs the check.
        is_thin: Whether a thin network takes ResNet50's place; a network that is given is thin.
        name: Name of the environment if it differs from the extras.
    """

    extras: str
    promise: Callable[[Environment], str | None] | None = None
    build: str | None = None
    install: str | None = None
    others: tuple[str, ...] = ()
    is_given: bool = True
    is_large: bool = False
    is_thin: bool = True
    name: str = ""


def _all(*promised: Callable[[Environment], str | None]) -> Callable[[Environment], str]:
    def run(environment: Environment) -> str:
        return "; ".join(result for promise in promised if (result := promise(environment)))

    return run


_CPU, _GPU = "onnxruntime", "onnxruntime-gpu"

# The first two start from nothing and take longest; the others start with the files of the first, as soon as it has
# made them. onnxruntime-gpu is installed without CUDA's libraries, which are not needed on the CPU; the extra with them
# is a large check.
CHECKS = (
    Check(
        extras="gpu,train,export,bench,serve",
        promise=_all(promises.used, partial(promises.serve, reads_dicom=False)),
        build=_GPU,
        install="train,export,bench,serve",
        others=(_GPU,),
        is_given=False,
        name=promises.FOLDER,
    ),
    Check(extras="cpu,train,export", promise=promises.demo, build=_CPU, is_given=False, is_thin=False),
    Check(extras="compress"),
    Check(extras="cpu,compress", promise=promises.compress, build=_CPU),
    Check(extras="train", promise=promises.train),
    Check(extras="cpu,export", promise=promises.export, build=_CPU),
    Check(extras="export"),
    Check(extras="evaluate", promise=promises.audit),
    Check(extras="cpu,evaluate", promise=promises.without_pytorch, build=_CPU),
    Check(extras="cpu,train", promise=promises.evaluate_file, build=_CPU),
    Check(
        extras="cpu",
        promise=_all(
            slim_install.check,
            promises.predict,
            promises.without_dicom,
            promises.without_tiff,
            promises.without_ray,
            promises.without_signatures,
        ),
        build=_CPU,
    ),
    Check(extras="gpu", promise=promises.predict, build=_GPU, install="", others=(_GPU,)),
    Check(
        extras="gpu",
        promise=promises.overlaid,
        build=_GPU,
        install="cpu",
        others=(_GPU,),
        name="two-builds",
    ),
    Check(extras="openvino", promise=_all(promises.predict, promises.openvino), build=_CPU),
    Check(extras="webgpu", promise=partial(promises.plugin, provider="webgpu"), build=_CPU),
    Check(extras=""),
    Check(extras="dicom"),
    Check(extras="cpu,dicom", promise=promises.dicom, build=_CPU),
    Check(extras="pacs"),
    Check(extras="cpu,pacs", promise=promises.dicom_results, build=_CPU),
    Check(extras="cpu,pacs,serve", promise=promises.node, build=_CPU),
    Check(extras="tiff"),
    Check(extras="cpu,tiff", promise=promises.tiff, build=_CPU),
    Check(extras="serve"),
    Check(extras="cpu,serve", promise=partial(promises.serve, reads_dicom=False), build=_CPU),
    Check(extras="cpu,serve,dicom", promise=partial(promises.serve, reads_dicom=True), build=_CPU),
    Check(extras="grpc"),
    Check(extras="cpu,serve,grpc", promise=partial(promises.serve, reads_dicom=False, has_grpc=True), build=_CPU),
    Check(extras="scale"),
    Check(extras="cpu,scale", promise=promises.ray_engine, build=_CPU),
    Check(extras="sign", promise=promises.sign),
    Check(extras="cpu,sign", promise=_all(promises.sign, promises.trust), build=_CPU),
    Check(extras="bench"),
    Check(extras="cpu,bench", promise=promises.bench, build=_CPU),
    Check(extras="tensorboard"),
    Check(extras="", promise=promises.offline, name="offline"),
    Check(extras="qnn", promise=partial(promises.plugin, provider="qnn"), build=_CPU, is_large=True),
    Check(extras="tensorrt-rtx", promise=partial(promises.plugin, provider="tensorrt-rtx"), build=_CPU, is_large=True),
    Check(
        extras="",
        promise=promises.openvino_build,
        others=("onnxruntime-openvino",),
        is_large=True,
        name="openvino-build",
    ),
    Check(extras="train,tensorboard", promise=promises.tensorboard, is_large=True),
    Check(extras="gpu", promise=promises.predict, build=_GPU, is_large=True, name="gpu-with-cuda"),
    Check(
        extras="cpu,train,export,bench",
        promise=partial(promises.bench, options=("--peers", "pytorch")),
        build=_CPU,
        is_large=True,
    ),
    Check(
        extras="all",
        promise=_all(
            promises.journey,
            promises.dicom,
            promises.dicom_phantoms,
            promises.dicom_results,
            partial(promises.serve, reads_dicom=True, has_grpc=True),
        ),
        build=_GPU,
        is_given=False,
        is_large=True,
        is_thin=False,
    ),
)
"""All checks; `test_extras.py` compares them with pyproject.toml, README and docs."""


def run(check: Check, workshop: Workshop, given: Future[Path]) -> None:
    """Creates the environment of a check and runs it.

    Args:
        check: Check to run.
        workshop: Folder of the environments, and the wheel to install.
        given: Folder with the files that checks are given; the check `promises.FOLDER` makes them.

    Raises:
        CheckError: The check failed.
        CancelledError: The files that it is given could not be made.
    """
    name = check.name or check.extras.replace(",", "-") or "bare"
    start = time.perf_counter()
    extras = check.extras if check.install is None else check.install
    environment = workshop.make(name, extras, *check.others, is_thin=check.is_thin)
    if check.name == promises.FOLDER:
        promises.make_run(environment)
        given.set_result(_linked(environment.work, workshop.folder / "given"))
    if check.is_given:
        _linked(given.result(), environment.work)
    result = check.promise(environment) if check.promise else None
    if check.promise not in (promises.offline, promises.openvino_build) and check.extras != "all":
        promises.other_commands_name_their_extras(environment, tuple(check.extras.split(",")), check.build)
    print(f"  {name:24} {time.perf_counter() - start:6.1f} s  {result or ''}".rstrip(), flush=True)


def _fault(check: Check, workshop: Workshop, given: Future[Path]) -> str | None:
    try:
        run(check, workshop, given)
    except CheckError as error:
        return f"extras: [{check.extras}] {check.name}: {error}"
    except CancelledError:
        return None  # the check that makes the files has its own message
    finally:
        if check.name == promises.FOLDER:
            given.cancel()  # has no effect on files that were made
    return None


def _linked(source: Path, target: Path) -> Path:
    for folder in ("phantoms", "runs"):
        shutil.copytree(source / folder, target / folder, copy_function=_link)
    return target


def _link(source: str, target: str) -> None:
    os.link(source, target)  # no command changes a file in place


def main() -> None:
    """Runs the checks, three at a time.

    `--all` includes the large ones, `--only NAME` runs one after the first, `--wheel FILE` checks a wheel that exists.
    """
    start = time.perf_counter()
    words = sys.argv[1:]
    only = words[words.index("--only") + 1] if "--only" in words else None
    wheel = Path(words[words.index("--wheel") + 1]) if "--wheel" in words else None
    checks = [check for check in CHECKS if only or "--all" in words or not check.is_large]
    if only:
        checks = [check for check in checks if only in (check.name, check.extras) or check.name == promises.FOLDER]
    with tempfile.TemporaryDirectory(prefix="ctonnx-extras-") as folder:
        workshop = Workshop.open(Path(folder), wheel)
        given: Future[Path] = Future()
        # Each check uses one PyTorch thread; the third uses the time in which others install or wait for a server.
        with ThreadPoolExecutor(3) as pool:
            found = pool.map(partial(_fault, workshop=workshop, given=given), checks)
        if faults := [fault for fault in found if fault]:
            sys.exit("\n\n".join(faults))
    print(f"extras: {len(checks)} environments in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
