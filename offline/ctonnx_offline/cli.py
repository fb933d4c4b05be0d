"""`python -m ctonnx_offline`: collects the wheels of an offline installation; `make wheels` and `make gpu-wheels`."""

import argparse
import re
import sys
import tempfile
import tomllib
from pathlib import Path

from ctonnx.cli.signals import Terminated, signals_as_exceptions
from ctonnx.errors import CtonnxError
from ctonnx.system.files import atomic_folder
from ctonnx.system.temporary_files import remove_leftovers
from ctonnx_bench.gpu.wheels import OF_THE_MACHINE, requirements
from ctonnx_offline import pip_calls
from ctonnx_offline.bundle import Bundle, check_folder, write_bundle
from ctonnx_offline.checking import check_wheels, read_wheel
from ctonnx_offline.placeholders import installed_versions, write_placeholder
from ctonnx_offline.target import Target

__all__ = ["collect", "main", "parser"]

CHECKOUT = Path(__file__).resolve().parents[2]
_BUILDS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml")  # of one package, of which one can be installed
_SMALLEST, _LARGEST = 1, 4000  # MB; a larger ZIP file has other headers


def parser() -> argparse.ArgumentParser:
    """Returns the options. They are read with the standard library, as a bare Python has no click."""
    options = argparse.ArgumentParser(
        prog="python -m ctonnx_offline",
        description="Collect wheels for a machine without a network, in parts that a script joins there.",
        epilog="pip's own configuration chooses the package index.",
    )
    options.add_argument("folder", metavar="DIR", type=Path, help="New folder for the parts and the script.")
    what = options.add_mutually_exclusive_group()
    what.add_argument("--extras", default="cpu", metavar="NAME,...", help="Extras of ctonnx; default: cpu.")
    what.add_argument("--gpu-kit", action="store_true", help="Collect the requirements of the GPU kit, without ctonnx.")
    options.add_argument("--python", metavar="3.X", help="Python version of the machine; default: that of this Python.")
    options.add_argument(
        "--platform",
        metavar="TAG",
        help="Platform tag of the machine, as manylinux_2_28_aarch64 or win_amd64; default: that of this machine.",
    )
    options.add_argument(
        "--installed",
        metavar="NAME==VERSION,...",
        help="Packages that the machine has. They are left out, with all that only they need. Default with --gpu-kit: "
        f"{','.join(OF_THE_MACHINE)}.",
    )
    options.add_argument(
        "--include",
        choices=("cuda", "torch"),
        help="Add to the GPU kit CUDA's libraries for onnxruntime, or PyTorch with CUDA's libraries.",
    )
    options.add_argument(
        "--part-size", type=float, default=60, metavar="MB", help="Largest size of a part; default: %(default)s MB."
    )
    options.add_argument(
        "--newest", action="store_true", help="Take the newest versions, not the tested ones of constraints.txt."
    )
    return options


def main() -> None:
    """Runs the command; the exit code is 2 after an error, and 130 or 143 after a signal."""
    arguments = parser().parse_args()
    try:
        with signals_as_exceptions():
            collect(arguments)
    except CtonnxError as error:
        _log(f"Error: {error}")
        sys.exit(error.exit_code)
    except OSError as error:
        _log(f"Error: {error.filename or arguments.folder}: {error.strerror or error}")
        sys.exit(2)
    except Terminated as signal:
        sys.exit(signal.exit_code)
    except KeyboardInterrupt:
        _log("interrupted; nothing was written")
        sys.exit(130)


def collect(arguments: argparse.Namespace) -> None:
    """Collects the wheels that the options describe.

    Raises:
        CtonnxError: If the options are wrong, pip fails, or a requirement is missing.
    """
    _check(arguments)
    check_folder(arguments.folder)
    pip_calls.check_pip()
    target = Target.of(arguments.python, arguments.platform)
    remove_leftovers([arguments.folder.absolute().parent], _log)
    with atomic_folder(arguments.folder) as folder, tempfile.TemporaryDirectory(dir=folder) as name:
        work = Path(name)
        wheels = work / "wheels"
        wheels.mkdir()
        bundle = _gather(arguments, target, wheels, work)
        _log("packing")
        write_bundle(bundle, wheels, folder, int(arguments.part_size * 1e6), _log)
    _log(f"{bundle.title}: copy '{arguments.folder}' to the machine, and run join.py there (see README.txt)")


def _check(arguments: argparse.Namespace) -> None:
    if not _SMALLEST <= arguments.part_size <= _LARGEST:
        raise CtonnxError(f"expected --part-size from {_SMALLEST} to {_LARGEST} MB, found {arguments.part_size:g}")
    if arguments.include and not arguments.gpu_kit:
        raise CtonnxError("expected --include only with --gpu-kit; an extra is collected with all that it needs")
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = str(project["requires-python"]).removeprefix(">=")
    if arguments.python and re.fullmatch(r"3\.\d+", arguments.python) and _minor(arguments.python) < _minor(oldest):
        raise CtonnxError(f"expected --python {oldest} or newer, which ctonnx needs, found {arguments.python}")
    known = project["optional-dependencies"]
    if wrong := [name for name in _words(arguments.extras) if name not in known]:
        raise CtonnxError(f"expected extras of ctonnx ({', '.join(known)}), found '{wrong[0]}'")
    builds = _builds(_words(arguments.extras), known)
    if len(builds) > 1:
        raise CtonnxError(
            "expected extras with one build of onnxruntime, as several overwrite each other, found "
            f"{' and '.join(builds)} by {arguments.extras}; choose one of cpu, gpu and directml. The extras of plugins "
            "have that of cpu"
        )
    if not builds and not arguments.gpu_kit:
        _log("note: these extras have no build of onnxruntime: the machine must have one")


def _builds(extras: list[str], known: dict[str, list[str]]) -> list[str]:
    """Returns the builds of onnxruntime that extras require, also through other extras."""
    found: list[str] = []
    waiting, seen = list(extras), set[str]()
    while waiting:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen.add(name)
        for requirement in known[name]:
            if inner := re.match(r"ctonnx\[(.*)\]", requirement):
                waiting += inner[1].split(",")
            elif (build := re.split(r"[\[>=<!~; ]", requirement)[0]) in _BUILDS and build not in found:
                found.append(build)
    return found


def _minor(version: str) -> int:
    return int(version.partition(".")[2])


def _gather(arguments: argparse.Namespace, target: Target, wheels: Path, work: Path) -> Bundle:
    """Downloads and checks the wheels, and describes them."""
    project = CHECKOUT / "pyproject.toml"
    extras = ""
    if arguments.gpu_kit:
        every = requirements(project, with_cuda=arguments.include == "cuda", with_torch=True)
        default = [] if arguments.include == "torch" else list(OF_THE_MACHINE)
        roots, files, title = every, every, "the GPU kit of ctonnx"
    else:
        own = pip_calls.build_wheel(CHECKOUT, wheels, work)
        extras = f"[{','.join(_words(arguments.extras))}]" if _words(arguments.extras) else ""
        every, default = list(read_wheel(own).requires), []
        roots, files, title = [f"ctonnx{extras}"], [f"{own}{extras}"], f"ctonnx{extras} {read_wheel(own).version}"
    given = default if arguments.installed is None else _words(arguments.installed)
    installed = installed_versions(given, every)
    _log(f"resolving {title} for Python {target.python_text} on {target.system_text}")
    placeholders = [str(write_placeholder(work, name, version)) for name, version in installed.items()]
    limits = None if arguments.newest else _constraints(work, installed)
    chosen = pip_calls.resolve([*placeholders, *files], limits, target, work)
    pip_calls.download([found for found in chosen if not found.is_local], target, wheels, work)
    check_wheels([read_wheel(file) for file in sorted(wheels.glob("*.whl"))], roots, installed, target)
    return Bundle(
        purpose="gpu-kit" if arguments.gpu_kit else "install",
        title=title,
        extras={"ctonnx": extras},
        installed=[f"{name} {version}" for name, version in installed.items()],
        target=target,
    )


def _constraints(work: Path, installed: dict[str, str]) -> Path:
    """Writes constraints.txt without the packages that the machine has."""
    lines = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if re.split(r"[=<>#]", line)[0].strip() not in installed]
    path = work / "constraints.txt"
    path.write_text("\n".join(kept), encoding="utf-8")
    return path


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
