"""pip resolves with the markers of the target, and its downloads are compared with the resolution."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.offline.conftest import MakeWheel

from ctonnx.errors import CtonnxError
from ctonnx_offline.pip_calls import Resolved, build_wheel, check_pip, download, resolve
from ctonnx_offline.target import Target

WINDOWS = Target.of("3.12", "win_amd64")
LINUX = Target.of("3.13", "manylinux_2_28_aarch64")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def test_markers_and_tags_are_those_of_the_target(make_wheel: MakeWheel, work: Path) -> None:
    """pip alone reads the markers for the Python that it runs in."""
    requires = [
        'on-windows; sys_platform == "win32"',
        'on-arm; platform_machine == "aarch64"',
        'old; python_version < "3.13"',
        'with-extra; extra == "more" and os_name == "posix"',
    ]
    make_wheel("alpha", requires=requires, headers="Provides-Extra: more\n")
    make_wheel("on-windows", tag="cp312-cp312-win_amd64")
    make_wheel("on-arm", tag="cp313-cp313-manylinux_2_17_aarch64")
    make_wheel("old")
    make_wheel("with-extra")
    assert [found.name for found in resolve(["alpha[more]"], None, WINDOWS, work)] == ["alpha", "old", "on-windows"]
    assert [found.name for found in resolve(["alpha[more]"], None, LINUX, work)] == ["alpha", "on-arm", "with-extra"]


def test_newest_version_within_the_constraints_is_downloaded(make_wheel: MakeWheel, work: Path) -> None:
    for version in ("1.0", "1.1", "2.0"):
        make_wheel("alpha", version, content=version.encode())
    limits = work / "constraints.txt"
    limits.write_text("alpha==1.1\n", encoding="utf-8")
    chosen = resolve(["alpha"], limits, LINUX, work)
    assert [(found.name, found.version, found.is_local) for found in chosen] == [("alpha", "1.1", False)]
    assert resolve(["alpha"], None, LINUX, work)[0].version == "2.0"
    target = work / "wheels"
    download(chosen, LINUX, target, work)
    assert [file.name for file in target.iterdir()] == ["alpha-1.1-py3-none-any.whl"]


def test_wheel_of_a_path_is_local(make_wheel: MakeWheel, work: Path) -> None:
    wheel = make_wheel("alpha", folder=work)
    [found] = resolve([str(wheel)], None, LINUX, work)
    assert found.is_local


def test_requirement_without_a_wheel_for_the_target_is_one_sentence(
    make_wheel: MakeWheel, work: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make_wheel("alpha", tag="cp312-cp312-win_amd64")
    place = r"Python 3\.13 on Linux aarch64 \(manylinux_2_28_aarch64\)"
    message = f"expected pip to find a wheel of every requirement for {place}, found that it failed"
    with pytest.raises(CtonnxError, match=message):
        resolve(["alpha"], None, LINUX, work)
    assert "No matching distribution found for alpha" in capfd.readouterr().err


def test_wheel_that_changed_since_the_resolution_is_rejected(make_wheel: MakeWheel, work: Path) -> None:
    make_wheel("alpha")
    chosen = [Resolved(name="alpha", version="1.0", file="", sha256="0" * 64, is_local=False)]
    with pytest.raises(CtonnxError, match=r"expected 'alpha-1.0-py3-none-any.whl' with SHA-256 0{64}, found another"):
        download(chosen, LINUX, work / "wheels", work)


def test_full_disk_is_the_reason_of_a_failure(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.run", lambda *_, **__: SimpleNamespace(returncode=1))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=3_000_000))
    with pytest.raises(CtonnxError, match="its disk has only 3 MB free"):
        resolve(["alpha"], None, LINUX, work)


def test_temporary_files_of_pip_are_in_the_given_folder(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variables: dict[str, str] = {}

    def run(command: list[str], **options: Any) -> SimpleNamespace:
        variables.update(options["env"])
        (work / "ctonnx-1-py3-none-any.whl").touch()
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr("subprocess.run", run)
    assert build_wheel(Path("checkout"), work, work) == work / "ctonnx-1-py3-none-any.whl"
    assert {variables[name] for name in ("TMPDIR", "TEMP", "TMP")} == {str(work / "pip")}


@pytest.mark.parametrize("found", ["22.3.1", "9.0"])
def test_old_pip_is_one_sentence(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: found)
    with pytest.raises(CtonnxError, match=f"expected pip 23.0 or newer in '.*', found {found}; take"):
        check_pip()


def test_pip_of_this_environment_is_recent() -> None:
    check_pip()
