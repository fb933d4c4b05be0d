"""The recipe for Orthanc: a stable series goes to the node, and its results come back and stay."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.docker.model_with_point import with_point

pytest.importorskip("pynetdicom", reason="pynetdicom (the extra pacs) is not installed")
pytest.importorskip("highdicom", reason="highdicom (the extra pacs) is not installed")

from tests.runtime.server.pacs import orthanc  # after the extras were looked for
from tests.runtime.server.pacs.builders import new_uid, write_series

from ctonnx.server.pacs.audit import audit_lines

_SCRIPT = Path(__file__).parents[2] / "docker/orthanc/ctonnx.lua"
_STABLE = 1  # seconds

pytestmark = pytest.mark.skipif(orthanc.missing_parts() is not None, reason=str(orthanc.missing_parts()))


@contextmanager
def running_node(folder: Path, model: Path, peer: str, port: int) -> Iterator[None]:
    words = ["node", "--model", model, "--folder", folder, "--port", port, "--send-to", peer, "--settle", "0.5"]
    log = (folder.parent / "node.log").open("wb")
    with log, subprocess.Popen([sys.executable, "-m", "ctonnx", *map(str, words)], stderr=log, env=os.environ) as node:
        try:
            yield
        finally:
            node.send_signal(signal.SIGTERM)


def wait_for(happened: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def test_results_come_back_and_are_not_sent_again(tmp_path: Path, model: Path) -> None:
    port, study, folder = orthanc.free_port(), new_uid(), tmp_path / "node"
    settings = {"LuaScripts": [str(_SCRIPT)], "StableAge": _STABLE}
    with (
        orthanc.running(
            tmp_path / "pacs", modalities={"ctonnx": ["CTONNX", "127.0.0.1", port]}, settings=settings
        ) as pacs,
        running_node(folder, with_point(model, tmp_path), pacs.peer, port),
    ):
        wait_for(lambda: any("started" in line for line in _lines(folder)))
        for file in write_series(tmp_path / "series", 3, study=study):
            pacs.post("/instances", file.read_bytes())
        wait_for(lambda: len(pacs.instances("SR")) == len(pacs.instances("OT")) == 1)
        wait_for(lambda: all(one["IsStable"] for one in pacs.get("/series?expand")))
        wait_for(lambda: all(pacs.get(f"/jobs/{job}")["State"] == "Success" for job in pacs.get("/jobs")))
        time.sleep(2 * _STABLE)  # in which a result would be sent
        (found,) = pacs.get("/studies?expand")
        modalities = sorted(pacs.get(f"/series/{one}")["MainDicomTags"]["Modality"] for one in found["Series"])
        assert modalities in (["CT", "OT", "SR"], ["CT", "KO", "OT", "SR"])
        assert len(pacs.get("/jobs")) == 1
    events = [json.loads(line)["event"] for line in _lines(folder)]
    assert (events.count("instance"), events.count("series")) == (3, 1)


def _lines(folder: Path) -> list[str]:
    return list(audit_lines(folder)) if folder.is_dir() else []
