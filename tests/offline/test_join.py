"""The script checks and joins parts with the standard library of an old Python alone, and can be repeated."""

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.offline.conftest import MakeBundle

from ctonnx_offline import join

SOURCE = Path(join.__file__)


@pytest.fixture
def bundle(make_bundle: MakeBundle) -> Path:
    return make_bundle()


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs the script without site-packages."""
    command = [sys.executable, "-I", "-S", str(folder / "join.py"), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder.parent)


def wheels_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_script_is_python_3_8_and_needs_no_package() -> None:
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"), feature_version=(3, 8))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    assert imported <= set(sys.stdlib_module_names) - {"tomllib"}
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not attributes & {"removeprefix", "removesuffix", "is_relative_to", "file_digest", "with_stem", "pairwise"}
    assert SOURCE.read_text(encoding="utf-8").isascii()


def test_parts_are_joined_and_the_next_command_is_shown(bundle: Path, tmp_path: Path) -> None:
    done = run(bundle)
    assert (done.returncode, done.stderr) == (0, "")
    assert wheels_of(bundle / "wheels") == wheels_of(tmp_path / "collected")
    parts = len(list((bundle / "parts").iterdir()))
    lines = done.stdout.splitlines()
    assert lines[:parts] == [f"part-{number}-of-{parts}.zip: correct" for number in range(1, parts + 1)]
    assert lines[parts] == f"joined 3 wheels, 0.0 MB, each with its SHA-256: {bundle / 'wheels'}"
    assert f'--no-index --find-links "{bundle / "wheels"}" --require-hashes --requirement' in lines[-1]
    again = run(bundle)
    assert again.stdout.splitlines()[0] == f"the 3 wheels in {bundle / 'wheels'} are complete"
    assert again.returncode == 0


def test_parts_next_to_the_script_and_another_output(bundle: Path, tmp_path: Path) -> None:
    for part in list((bundle / "parts").iterdir()):
        part.rename(bundle / part.name)
    (bundle / "parts").rmdir()
    assert run(bundle, "--output", "some/where").returncode == 0
    assert wheels_of(tmp_path / "some/where") == wheels_of(tmp_path / "collected")


def _cut(part: Path) -> None:
    part.write_bytes(part.read_bytes()[:100])


def _alter(part: Path) -> None:
    content = bytearray(part.read_bytes())
    content[60] ^= 1
    part.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (Path.unlink, "missing"),
        (_cut, "damaged, 100 of {size} bytes"),
        (_alter, "damaged, its SHA-256 is another"),
    ],
)
def test_missing_and_damaged_parts_are_listed(bundle: Path, damage: Callable[[Path], None], reason: str) -> None:
    names = sorted(file.name for file in (bundle / "parts").iterdir())
    part = bundle / "parts" / names[1]
    size = part.stat().st_size
    kept = bundle.parent / "kept.zip"
    shutil.copy(part, kept)
    damage(part)
    done = run(bundle)
    assert done.returncode == 1
    states = ["correct", reason.format(size=size), *["correct"] * (len(names) - 2)]
    assert done.stdout.splitlines() == [f"{name}: {state}" for name, state in zip(names, states, strict=True)]
    again = "missing or damaged; copy them again and run join.py again"
    assert done.stderr == f"Error: 1 of {len(names)} parts {again}\n"
    assert sorted(file.name for file in bundle.iterdir() if file.is_dir()) == ["parts"]
    shutil.copy(kept, bundle / part.name)  # next to the script: the damaged one in parts does not matter
    assert run(bundle).returncode == 0


def test_damaged_wheel_of_an_earlier_call_is_joined_again(bundle: Path, tmp_path: Path) -> None:
    run(bundle)
    _alter(next((bundle / "wheels").glob("large*")))
    next((bundle / "wheels").glob("Small*")).unlink()
    assert run(bundle).returncode == 0
    assert wheels_of(bundle / "wheels") == wheels_of(tmp_path / "collected")


def test_folder_with_other_files_is_kept(bundle: Path) -> None:
    (bundle / "wheels").mkdir()
    (bundle / "wheels/mine.whl").touch()
    done = run(bundle)
    assert done.returncode == 1
    assert f"found other files in {bundle / 'wheels'}, such as mine.whl; name one with --output" in done.stderr
    assert [file.name for file in (bundle / "wheels").iterdir()] == ["mine.whl"]
    assert "found a file" in run(bundle, "--output", str(bundle / "join.py")).stderr


def test_interrupted_call_leaves_nothing(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leftover = bundle / "wheels.joining"
    leftover.mkdir()
    (leftover / "of-a-killed-call.whl").touch()
    write = join._write_wheel

    def interrupted(path: Path, *arguments: object) -> None:
        write(path, *arguments)  # type: ignore[arg-type]
        assert [file.name for file in leftover.iterdir()] == [path.name]
        raise KeyboardInterrupt

    monkeypatch.setattr(join, "_write_wheel", interrupted)
    monkeypatch.setattr(join, "__file__", str(bundle / "join.py"))
    monkeypatch.setattr(sys, "argv", ["join.py"])
    with pytest.raises(SystemExit, match="130"):
        join.main()
    assert sorted(file.name for file in bundle.iterdir() if file.is_dir()) == ["parts"]


def test_wheel_that_is_wrong_after_joining_is_not_kept(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    manifest["wheels"][0]["sha256"] = "0" * 64
    (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(join.Failure, match=r"expected the wheel ctonnx-.*, found it damaged, its SHA-256 is another"):
        join.join(bundle, bundle / "wheels")
    assert not (bundle / "wheels").exists()


def test_full_disk_is_one_sentence(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(join.Failure, match=r"expected 0\.0 MB free for the wheels in .*, found 0\.0 MB"):
        join.join(bundle, bundle / "wheels")


@pytest.mark.parametrize("content", [None, "no json", "[]", '{"parts": [], "wheels": []}', "../outside"])
def test_missing_or_damaged_manifest_is_one_sentence(bundle: Path, content: str | None) -> None:
    manifest = bundle / "manifest.json"
    if content is None:
        manifest.unlink()
    elif content == "../outside":
        manifest.write_text(json.dumps({"parts": [], "wheels": [{"name": "../outside.whl"}]}), encoding="utf-8")
    else:
        manifest.write_text(content, encoding="utf-8")
    done = run(bundle)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: expected ")
    assert "manifest.json" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_other_python_and_other_machine_are_noted(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    manifest["target"] = {"python": "3.99", "system": "Plan9 mips"}
    text = join.next_step(manifest, bundle, bundle / "wheels")
    assert "next, in an environment of Python 3.99 on Plan9 mips:" in text
    assert "the wheels are for Python 3.99" in text
    assert "This machine is " in text
    manifest["purpose"] = "gpu-kit"
    assert join.next_step(manifest, bundle, Path("w")) == ('next, in the checkout: make gpu WHEELS="w" PYTHON=python3')
