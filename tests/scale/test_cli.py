import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from pyarrow import parquet
from tests.runtime.artifacts.provenance.signed_models import make_keys, sign

from ctonnx.cli.main import main


def run(*words: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["predict", *map(str, words)])
    return done.exit_code, done.stderr


def last(*words: str | Path) -> str:
    code, text = run(*words)
    assert code == 2
    return text.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--engine", "ray"), "expected --output with --engine ray: a folder for Parquet files"),
        (
            ("--engine", "ray", "-o", "rows", "--sort", "score"),
            "expected --engine ray without --sort, which only --engine local has",
        ),
        (
            ("--engine", "ray", "-o", "rows", "--provider", "auto"),
            "expected a provider by name with --engine ray, found auto: nodes may differ",
        ),
        (("--actors", "2"), "expected --actors with --engine ray, found --engine local"),
        (("--actor-gpus", "0"), "expected --actor-gpus with --engine ray, found --engine local"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_options_that_do_not_go_together_are_rejected(words: tuple[str, ...], message: str) -> None:
    assert last(*words, "scans") == f"Error: {message}"


def test_output_is_a_folder_of_ray_and_a_file_of_the_local_engine(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.touch()
    assert last("--engine", "ray", "-o", file, "scans") == (
        f"Error: expected a folder for --output with --engine ray, found the file '{file}'"
    )
    assert last("-o", tmp_path, "scans") == f"Error: expected a file for --output, found the folder '{tmp_path}'"


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctonnx_scale.cli.find_spec", lambda name: None if name == "ray" else "found")
    assert last("--engine", "ray", "-o", "rows", "scans") == (
        'Error: expected Ray and pyarrow for --engine ray, found neither or one; pip install "ctonnx[scale]"'
    )


def test_name_that_is_given_twice_and_a_finished_folder_are_reported(
    model: Path, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left, so that Ray does not start."""
    scan = next((phantoms / "test").rglob("*.png"))
    monkeypatch.setattr("ctonnx_scale.names.left_of", lambda names, parts: names.slice(0, 0))
    code, text = run("--engine", "ray", "-m", model, "-o", tmp_path / "rows", scan, scan)
    assert code == 0
    assert text.splitlines()[-2:] == [
        "note: 1 file named more than once, and predicted once",
        f"nothing to predict: all 1 file in '{tmp_path / 'rows'}' already",
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")  # of Ray Data's own settings, as it makes them
def test_killed_driver_leaves_whole_parts_and_resume_completes_them(
    cluster: str, model: Path, phantoms: Path, tmp_path: Path
) -> None:
    scans = sorted((phantoms / "test").rglob("*.png"))
    folder, rows = tmp_path / "scans", tmp_path / "rows"
    folder.mkdir()
    for number in range(600):
        (folder / f"{number:04d}.png").symlink_to(scans[number % len(scans)])
    (folder / "half.png").write_bytes(scans[0].read_bytes()[:200])
    words = ("predict", "--engine", "ray", "--actors", "2", "-m", str(model), "-o", str(rows), str(folder))
    process = subprocess.Popen(
        [sys.executable, "-m", "ctonnx", *words], env=os.environ | {"RAY_ADDRESS": cluster}, stderr=subprocess.PIPE
    )
    while process.poll() is None and not list(rows.glob("part-*.parquet")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()
    before = parquet.read_table(rows, columns=["file"]).num_rows
    assert 0 < before < 601
    code, text = run(*words[1:])
    assert code == 2
    assert "add --resume to predict only what they lack" in text
    keys, signed = make_keys(tmp_path / "keys", "maker"), shutil.copytree(model.parent, tmp_path / "signed")
    sign(signed, keys)
    code, text = run(*words[1:], "--resume", "--model", signed / model.name, "--trust", keys.public)
    assert code == 1, text  # for the damaged file
    assert f"signed by: sha256:{keys.fingerprint}" in text
    assert f"resuming: {before} files of 601 in '{rows}' already" in text
    assert "1 failed" in text
    found = parquet.read_table(rows).to_pylist()
    assert sorted(row["file"] for row in found) == sorted(map(str, folder.iterdir()))
    assert [row["file"] for row in found if row["error"]] == [str(folder / "half.png")]
    assert not [file.name for file in rows.iterdir() if not file.name.startswith("part-")]
