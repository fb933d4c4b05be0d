"""The extra `evaluate`: its commands run where PyTorch, Lightning and torchvision cannot be imported."""

import subprocess
import sys
from pathlib import Path

from tests.train.grey_models import write_model, write_scans

_PROGRAM = """
import sys

BLOCKED = ("torch", "lightning", "torchvision", "safetensors", "onnxscript", "onnxsim")

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
from click.testing import CliRunner
from ctonnx.cli.main import main

for words, exit_code in (
    ("data audit site", 1),  # the grey values give the class away
    ("evaluate model.onnx site --replicates 20 --output metrics", 0),
    ("recalibrate model.onnx site --output new/model.onnx --replicates 20", 0),
    ("evaluate new/model.onnx site --external --replicates 20", 0),
):
    result = CliRunner().invoke(main, words.split())
    assert result.exit_code == exit_code, (words, result.output, result.exception)
    assert isinstance(result.exception, SystemExit | None)
"""


def test_commands_run_without_pytorch(folder: Path) -> None:
    write_model(folder / "model.onnx")
    write_scans(folder / "site", {"large cell": 20, "normal": 30, "tumor": 20})
    done = subprocess.run([sys.executable, "-c", _PROGRAM], cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "metrics/roc.png").is_file()
