"""The command collects, checks and packs, or writes nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.offline.conftest import MakeWheel

from ctonnx.errors import CtonnxError
from ctonnx_offline import cli, join, pip_calls
from ctonnx_offline.checking import WheelFacts, read_wheel

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def ctonnx_without_a_build(make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel of ctonnx is not built: its build needs hatchling, which pip would download."""
    requires = ['runtime>=1; extra == "cpu"', "torch>=2.11; extra == 'train'", "numbers<2"]

    def build(checkout: Path, folder: Path, work: Path) -> Path:
        assert checkout == ROOT
        extras = "".join(f"Provides-Extra: {name}\n" for name in ("cpu", "train"))
        return make_wheel("ctonnx", "0.4.0", requires, headers=extras, folder=folder)

    monkeypatch.setattr(pip_calls, "build_wheel", build)
    make_wheel("runtime", "1.5")
    make_wheel("runtime", "2.0", ['windows-part; sys_platform == "win32"'], tag="cp312-cp312-win_amd64")
    make_wheel("windows-part")
    make_wheel("numbers", "1.9")
    make_wheel("torch", "2.12", ["cuda-libraries"])
    make_wheel("cuda-libraries")
    for name in ("onnxruntime-gpu", "pytest"):
        make_wheel(name, "9.0")


def collect(*words: str) -> None:
    cli.collect(cli.parser().parse_args(words))


def names_in(folder: Path) -> list[str]:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return [wheel["name"].rsplit("-", 3)[0] for wheel in manifest["wheels"]]


def test_slim_install_is_collected_and_joined(tmp_path: Path) -> None:
    folder = tmp_path / "new/bundle"
    collect(str(folder))
    assert sorted(os.listdir(folder)) == [
        "README.txt",
        "SHA256SUMS",
        "join.py",
        "manifest.json",
        "parts",
        "requirements.txt",
    ]
    assert names_in(folder) == ["ctonnx-0.4.0", "numbers-1.9", "runtime-1.5"]
    assert os.listdir(folder.parent) == ["bundle"]
    join.join(folder, folder / "wheels")
    assert "ctonnx[cpu]==0.4.0 --hash" in (folder / "requirements.txt").read_text(encoding="utf-8")


def test_other_platform_has_its_own_versions_and_requirements(tmp_path: Path) -> None:
    collect(str(tmp_path / "bundle"), "--python", "3.12", "--platform", "win_amd64")
    assert names_in(tmp_path / "bundle") == ["ctonnx-0.4.0", "numbers-1.9", "runtime-2.0", "windows_part-1.0"]
    assert "for Python 3.12 on Windows AMD64" in (tmp_path / "bundle/README.txt").read_text(encoding="utf-8")


def test_packages_of_the_machine_are_left_out_with_their_requirements(tmp_path: Path) -> None:
    collect(str(tmp_path / "bundle"), "--extras", "cpu,train", "--installed", "torch==2.13.0")
    assert names_in(tmp_path / "bundle") == ["ctonnx-0.4.0", "numbers-1.9", "runtime-1.5"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), ["onnxruntime_gpu-9.0", "pytest-9.0"]),
        (("--include", "torch"), ["cuda_libraries-1.0", "onnxruntime_gpu-9.0", "pytest-9.0", "torch-2.12"]),
    ],
)
def test_kit_is_collected_next_to_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], expected: list[str]
) -> None:
    """pytest 9.0 is not the tested version."""

    def needed(project: Path, *, with_cuda: bool, with_torch: bool) -> list[str]:
        assert (with_cuda, with_torch) == (False, True)
        return ["onnxruntime-gpu", "pytest>=8", "torch>=2.11"]

    monkeypatch.setattr(cli, "requirements", needed)
    monkeypatch.setattr(cli, "OF_THE_MACHINE", ("torch",))
    collect(str(tmp_path / "bundle"), "--gpu-kit", "--newest", *words)
    assert names_in(tmp_path / "bundle") == expected
    manifest = json.loads((tmp_path / "bundle/manifest.json").read_text(encoding="utf-8"))
    assert manifest["purpose"] == "gpu-kit"


def test_cudas_libraries_are_those_of_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def resolve(requirements: list[str], *_: object) -> list[pip_calls.Resolved]:
        asked.extend(requirements)
        raise CtonnxError("asked")

    monkeypatch.setattr(pip_calls, "resolve", resolve)
    for words in ((), ("--include", "cuda")):
        with pytest.raises(CtonnxError, match="asked"):
            collect(str(tmp_path / "bundle"), "--gpu-kit", *words)
    assert [line.partition(">")[0] for line in asked if line.startswith("onnxruntime")] == [
        "onnxruntime-gpu",
        "onnxruntime-gpu[cuda,cudnn]",
    ]


def test_versions_are_the_tested_ones(tmp_path: Path, make_wheel: MakeWheel) -> None:
    line = next(
        line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if line.startswith("click=")
    )
    make_wheel("runtime", "1.6", ["click"])
    make_wheel("click", line.removeprefix("click=="))
    make_wheel("click", "999.0")
    collect(str(tmp_path / "bundle"))
    assert line.replace("==", "-") in names_in(tmp_path / "bundle")


def test_nothing_is_written_if_a_requirement_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the metadata of the files, whatever pip resolved."""

    def changed(path: Path) -> WheelFacts:
        facts = read_wheel(path)
        return WheelFacts(**{**vars(facts), "requires": (*facts.requires, "forgotten")})

    monkeypatch.setattr(cli, "read_wheel", changed)
    with pytest.raises(CtonnxError, match="expected a wheel of 'forgotten'"):
        collect(str(tmp_path / "bundle"))
    assert os.listdir(tmp_path) == ["shelf"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--extras", "cpu,gpus"], r"expected extras of ctonnx \(cpu, gpu, .*\), found 'gpus'"),
        (["--part-size", "0.5"], "expected --part-size from 1 to 4000 MB, found 0.5"),
        (["--part-size", "nan"], "expected --part-size from 1 to 4000 MB, found nan"),
        (["--include", "cuda"], "expected --include only with --gpu-kit"),
        (["--python", "3"], "expected a version of Python such as 3.12, found '3'"),
        (["--python", "3.10"], r"expected --python 3\.11 or newer, which ctonnx needs, found 3\.10"),
        (["--extras", "cpu,gpu"], "one build of onnxruntime, .* found onnxruntime and onnxruntime-gpu by cpu,gpu"),
        (["--extras", "gpu,openvino"], "found onnxruntime-gpu and onnxruntime by gpu,openvino"),
        (["--extras", "all,directml"], "found onnxruntime-directml and onnxruntime-gpu by all,directml"),
        (["--installed", "torch=2"], "expected packages of the machine as NAME==VERSION, found 'torch=2'"),
    ],
)
def test_wrong_option_is_one_sentence(tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(CtonnxError, match=message):
        collect(str(tmp_path / "bundle"), *words)
    assert not (tmp_path / "bundle").exists()


def test_folder_with_files_is_an_error_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    done = subprocess.run(
        [sys.executable, "-m", "ctonnx_offline", str(tmp_path)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"Error: expected a new or an empty folder, found files in '{tmp_path}'; name another, or remove it\n"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to handle")
def test_signal_during_pip_leaves_nothing(tmp_path: Path, shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pip that does not end builds the wheel of ctonnx. After SIGKILL, the next call removes what it left."""
    fake = tmp_path / "fake"
    (fake / "pip").mkdir(parents=True)
    (fake / "pip/__init__.py").touch()
    started = tmp_path / "started"
    (fake / "pip/__main__.py").write_text(
        "import os, pathlib, time\nparent = os.getppid()\n"
        f"pathlib.Path({str(started)!r}).touch()\nwhile os.getppid() == parent:\n    time.sleep(0.05)\n",
        encoding="utf-8",
    )
    parent = tmp_path / "parent"
    parent.mkdir()
    variables = os.environ | {"PYTHONPATH": str(fake)}
    for number, exit_code in ((signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)):
        command = [sys.executable, "-m", "ctonnx_offline", str(parent / "bundle")]
        with subprocess.Popen(command, env=variables) as process:
            while not started.exists():
                assert process.poll() is None
                time.sleep(0.02)
            process.send_signal(number)
            assert process.wait(20) == exit_code
        started.unlink()
        assert len(os.listdir(parent)) == (0 if exit_code > 0 else 2)  # the folder and its lock
    collect(str(parent / "bundle"))
    assert os.listdir(parent) == ["bundle"]
    assert "of a killed process" in capsys.readouterr().err


def bare_python(*folders: Path) -> "subprocess.CompletedProcess[str]":
    """Shows the help on a Python without site-packages."""
    paths = [*folders, *(ROOT / name for name in ("runtime", "benchmarks", "offline"))]
    command = [sys.executable, "-S", "-m", "ctonnx_offline", "--help"]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    return subprocess.run(command, check=False, capture_output=True, text=True, env=variables)


def test_bare_python_needs_pip_alone(tmp_path: Path) -> None:
    import pip

    (tmp_path / "pip").symlink_to(Path(str(pip.__file__)).parent, target_is_directory=True)
    done = bare_python(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--gpu-kit" in done.stdout
    done = bare_python()
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: expected pip in '{sys.executable}', found none; take the Python of an")


def test_extras_without_a_build_of_onnxruntime_have_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    collect(str(tmp_path / "bundle"), "--extras", "")
    assert "note: these extras have no build of onnxruntime: the machine must have one" in capsys.readouterr().err


def test_ctrl_c_reports_that_nothing_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["ctonnx_offline", str(tmp_path / "bundle")])
    monkeypatch.setattr(pip_calls, "resolve", interrupt)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 130
    assert capsys.readouterr().err.endswith("interrupted; nothing was written\n")
    assert os.listdir(tmp_path) == ["shelf"]
