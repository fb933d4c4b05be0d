"""The folder to carry has everything that the other machine needs, with its hashes."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.offline.conftest import MakeBundle

from ctonnx.errors import CtonnxError
from ctonnx_offline import join
from ctonnx_offline.bundle import check_folder


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_hashes_are_those_of_all_files_and_of_the_wheels(make_bundle: MakeBundle, tmp_path: Path) -> None:
    folder = make_bundle()
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    listed = {line.split("  ")[1]: line.split("  ")[0] for line in lines}
    files = {file.relative_to(folder).as_posix(): sha256(file) for file in folder.rglob("*") if file.is_file()}
    wheels = {f"wheels/{file.name}": sha256(file) for file in (tmp_path / "collected").iterdir()}
    del files["SHA256SUMS"]
    assert listed == files | wheels
    assert {"README.txt", "join.py", "manifest.json", "requirements.txt"} < set(files)
    assert len(wheels) == 3


def test_script_is_the_tested_one(make_bundle: MakeBundle) -> None:
    assert (make_bundle() / "join.py").read_bytes() == Path(join.__file__).read_bytes()


def test_pip_installs_the_joined_wheels_by_their_hashes(make_bundle: MakeBundle) -> None:
    folder = make_bundle()
    join.join(folder, folder / "wheels")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--target", str(folder / "site")]
    command += ["--find-links", str(folder / "wheels"), "--require-hashes", "-r", str(folder / "requirements.txt")]
    subprocess.run(command, check=True)
    assert (folder / "site/large_package_content.bin").stat().st_size == 2500


def test_requirements_name_extras_and_target(make_bundle: MakeBundle) -> None:
    lines = (make_bundle() / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith(f"# ctonnx[cpu] 0.4.0, for Python {sys.version_info[0]}.{sys.version_info[1]} on ")
    names = [line.partition(" --hash=sha256:")[0] for line in lines[1:]]
    assert names == ["ctonnx[cpu]==0.4.0", "large-package==1.0", "small==1.0"]


@pytest.mark.parametrize(
    ("purpose", "step"),
    [("install", "--require-hashes --requirement requirements.txt"), ("gpu-kit", "make gpu WHEELS")],
)
def test_readme_has_the_next_step(make_bundle: MakeBundle, purpose: str, step: str) -> None:
    folder = make_bundle(purpose)
    text = (folder / "README.txt").read_text(encoding="utf-8")
    assert step in text
    assert ("The machine has these already, or newer ones: torch 2.11." in text) == (purpose == "gpu-kit")
    assert f"{len(list((folder / 'parts').iterdir()))} parts" in text
    assert max(map(len, text.splitlines())) <= 120


def test_manifest_has_the_pieces_in_order(make_bundle: MakeBundle) -> None:
    manifest = json.loads((make_bundle() / "manifest.json").read_text(encoding="utf-8"))
    [large] = [wheel for wheel in manifest["wheels"] if wheel["name"].startswith("large")]
    ends = [piece["entry"].removeprefix(large["name"]) for piece in large["pieces"]]
    assert ends == [f".{number}-of-{len(ends)}" for number in range(1, len(ends) + 1)]
    assert len(ends) > 1


def test_disk_without_room_for_the_parts_is_one_sentence(
    make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(CtonnxError, match="expected 0 MB free for the parts, found 0 MB"):
        make_bundle()


def test_folder_with_files_is_kept(tmp_path: Path) -> None:
    check_folder(tmp_path / "new")
    check_folder(tmp_path)
    (tmp_path / "model.onnx").touch()
    with pytest.raises(CtonnxError, match="expected a new or an empty folder, found files in"):
        check_folder(tmp_path)
    with pytest.raises(CtonnxError, match="expected a new folder, found a file"):
        check_folder(tmp_path / "model.onnx")
