"""The commands of docs/guide/scale.md: shards on one machine, and what a task of Slurm and a pod of Kubernetes run."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

PAGE = (Path(__file__).parents[2] / "docs/guide/scale.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


@pytest.fixture
def scans(workspace: Path) -> Path:
    """Works in a folder with a run and scans/: ten images and a damaged one."""
    (workspace / "scans").mkdir()
    for number, pixels in enumerate(np.random.default_rng(3).integers(0, 256, (10, 64, 64)).astype(np.uint8)):
        Image.fromarray(pixels).save(f"scans/{number}.png")
    Path("scans/damaged.png").write_bytes(b"")
    return workspace


def console(word: str) -> list[str]:
    """Returns the lines at a prompt of the block that contains a word."""
    (block,) = [one for one in re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) if word in one]
    return re.findall(r"^\$ (.*)$", block, re.MULTILINE)


def shell(command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Runs a line in bash, with the `ctonnx` of this interpreter."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["bash", "-c", command],  # noqa: S607 - the bash of the path
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path, **environment},
    )


def names(path: str) -> list[str]:
    return [json.loads(line)["file"] for line in Path(path).read_text(encoding="utf-8").splitlines()]


def assert_whole(parts: str) -> None:
    merged = shell(f"ctonnx predict --merge {parts} -o all.jsonl")
    assert merged.returncode == 0, merged.stderr
    assert names("all.jsonl") == sorted(f"scans/{name}" for name in os.listdir("scans"))


def test_two_shards_and_their_merge(scans: Path) -> None:
    *shards, merge = console("--merge")
    for line in shards:
        assert "complete: part" in shell(line).stderr
    assert shell(merge).returncode == 0
    assert len(names("predictions.jsonl")) == 11


def test_plan(scans: Path) -> None:
    (line,) = console("--plan")
    done = shell(line.partition("#")[0] + "--duration 0.1 --rounds 1 --threads 1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("10,000,000 images in 8 h: ")


@pytest.mark.skipif(shutil.which("xargs") is None, reason="xargs is not installed")
def test_xargs_runs_eight_shards(scans: Path) -> None:
    line, _ = console("xargs")
    done = shell(line)
    assert done.returncode == 123, done.stderr  # one of them found the damaged file
    assert_whole("xargs/*.jsonl")


@pytest.mark.skipif(shutil.which("parallel") is None, reason="GNU parallel is not installed")
def test_parallel_runs_eight_shards(scans: Path) -> None:
    _, line = console("parallel")
    done = shell(line, HOME=str(scans))
    assert done.returncode == 1, done.stderr  # as many as failed
    assert_whole("parallel/*.jsonl")


def test_task_of_the_slurm_array(scans: Path) -> None:
    script, submission = re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert re.search(r"^#SBATCH --array=1-(\d+)$", script, re.MULTILINE)[1] == re.search(r"SHARDS=(\d+)", script)[1]  # type: ignore[index]
    script = script.replace("/archive", "scans").replace("/models/model.int8.onnx", "runs/tiny")
    for task in range(1, 3):
        done = shell(
            script.replace("SHARDS=16", "SHARDS=2"),
            SLURM_ARRAY_TASK_ID=str(task),
            SLURM_CPUS_PER_TASK="1",
            START=shell(re.search(r'START="\$\((.*?)\)"', submission)[1]).stdout.strip(),  # type: ignore[index]
        )
        assert done.returncode == 0, done.stderr
    wrapped = re.search(r'--wrap "(.*?)"', submission)
    assert wrapped
    assert shell(wrapped[1]).returncode == 0
    assert len(names("predictions.jsonl")) == 11


def test_pod_of_the_kubernetes_job(scans: Path) -> None:
    yaml: Any = pytest.importorskip("yaml", reason="PyYAML is not installed")
    (text,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    job = yaml.safe_load(text)
    spec = job["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert (job["apiVersion"], job["kind"], spec["completionMode"]) == ("batch/v1", "Job", "Indexed")
    assert pod["restartPolicy"] == "Never"  # as backoffLimitPerIndex requires
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
    assert container["command"] == ["bash", "-c"]
    (line,) = container["args"]
    assert f"+ 1))/{spec['completions']}" in line
    line = (
        line.replace("/archive", "scans").replace("/models/model.int8.onnx", "runs/tiny").replace("/parts/", "parts/")
    )
    for index in range(2):
        done = shell(line.replace("/16", "/2"), JOB_COMPLETION_INDEX=str(index))
        assert done.returncode == 0, done.stderr
    assert_whole("parts/*.jsonl")
