"""The systemd unit, as systemd reads it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from ctonnx.cli.main import main

_UNIT = Path(__file__).parents[2] / "docker/systemd/ctonnx-node.service"
_ANALYZE = shutil.which("systemd-analyze")


@pytest.mark.skipif(_ANALYZE is None, reason="systemd-analyze is not installed")
def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    unit = tmp_path / _UNIT.name
    unit.write_text(_UNIT.read_text().replace("/opt/ctonnx/bin/ctonnx", "/bin/true"))
    done = subprocess.run([str(_ANALYZE), "verify", str(unit)], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_node_has_the_options_of_the_unit_and_the_container() -> None:
    container = (_UNIT.parents[1] / "node/Dockerfile").read_text()
    shown = CliRunner().invoke(main, ["node", "--help"]).stdout
    for option in ("--model", "--folder", "--host", "--allow-ae", "--send-to"):
        assert option in _UNIT.read_text() + container
        assert option in shown


def test_the_guide_installs_all_that_the_unit_reads() -> None:
    guide = (_UNIT.parents[2] / "docs/guide/pacs.md").read_text()
    commands = guide.partition("## As a service")[2].partition("```console")[2].partition("```")[0]
    read = {word for line in _UNIT.read_text().splitlines() for word in re.findall(r"/(?:opt|etc)/[\w./-]+", line)}
    assert read == {
        "/etc/ctonnx/node.env",
        "/etc/systemd/system/ctonnx-node.service",
        "/opt/ctonnx/bin/ctonnx",
        "/opt/ctonnx/model.int8.onnx",
    }
    for command in (
        "python3 -m venv /opt/ctonnx\n",
        "/opt/ctonnx/bin/pip install ",
        "/model.int8.onnx runs/lungs/export/golden.npz /opt/ctonnx\n",
        " /etc/systemd/system/ctonnx-node.service\n",
        "| sudo tee /etc/ctonnx/node.env\n",
        "systemctl daemon-reload\n",
        "systemctl enable --now ctonnx-node\n",
        "sudo /opt/ctonnx/bin/ctonnx node status --folder /var/lib/ctonnx-node\n",
    ):
        assert command in commands
