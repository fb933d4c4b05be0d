"""A destination that is gone in the middle of the flow, and a node that is killed: what arrives, counted one by one."""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pydicom import dcmread
from tests.runtime.server.pacs.bare_pacs import BarePacs
from tests.runtime.server.pacs.builders import write_series
from tests.runtime.server.pacs.node.test_node_process import KILLS, flow_with_kills
from tests.runtime.server.pacs.node.test_receiver import needs_dcmtk
from tests.runtime.server.pacs.node_process import NodeProcess, eventually, send_files
from tests.runtime.server.pacs.orthanc import Orthanc, missing_parts

OUTAGE = float(os.environ.get("CTONNX_NODE_OUTAGE", "1"))
"""Seconds for which the destination is gone."""

# pynetdicom leaves sockets open that could not be connected.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
needs_orthanc = pytest.mark.skipif(missing_parts() is not None, reason=str(missing_parts()))


@pytest.fixture
def bare() -> Iterator[BarePacs]:
    pacs = BarePacs().start()
    yield pacs
    pacs.break_off()


def studies_of(series: Sequence[Sequence[Path]]) -> set[str]:
    return {str(dcmread(files[0]).StudyInstanceUID) for files in series}


def results_in_log(node: NodeProcess) -> set[str]:
    """Returns the UIDs of all results that the node made, by its audit log."""
    events = [json.loads(line) for line in node.ask("audit").splitlines()]
    return {uid for one in events if one["event"] == "series" for uid in one["results"]}


def require_all(bare: BarePacs, node: NodeProcess, studies: set[str]) -> None:
    """Checks that a destination was sent each result that the node made, and nothing else."""
    assert set(bare.uids) == results_in_log(node)
    objects = {(uid, study, modality) for uid, _, study, modality in bare.received}
    found = Counter((study, modality) for _, study, modality in objects if modality in ("SR", "OT"))
    assert found == {(study, modality): 1 for study in studies for modality in ("SR", "OT")}
    bare.require_same_objects()


def test_each_result_arrives_once_if_the_destination_is_gone_in_between(
    tmp_path: Path, model: Path, bare: BarePacs
) -> None:
    series = [write_series(tmp_path / f"{number}", 1) for number in range(6)]
    node = NodeProcess(tmp_path / "node", model, "--send-to", bare.peer).wait_first(0.2).start()
    try:
        assert send_files(node.port, [file for files in series[:3] for file in files]) == [0] * 3
        assert eventually(lambda: len(bare.received) >= 3), node.text
        bare.break_off()
        assert send_files(node.port, [file for files in series[3:] for file in files]) == [0] * 3
        assert eventually(lambda: "6 predicted" in node.ask("status"))
        assert eventually(lambda: "it cannot be reached" in node.ask("status")), node.ask("status")
        time.sleep(OUTAGE)
        status = json.loads(node.ask("status", "--json"))
        assert status["results"]["dead"] == 0
        assert status["results"]["queued"] == len(results_in_log(node)) - status["results"]["sent"] > 0
        assert {one["state"] for one in status["unsent"]} == {"queued"}
        bare.start()
        assert eventually(lambda: " 0 queued, 0 dead" in node.ask("status"), 120), node.ask("status")
        assert not list((tmp_path / "node/results").iterdir())
    finally:
        node.end()
    require_all(bare, node, studies_of(series))
    assert max(bare.uids.values()) <= 2  # of one that was sent at that very moment, the status was lost
    assert sum(count - 1 for count in bare.uids.values()) <= 1


def test_a_result_whose_status_was_lost_is_sent_again_as_the_same_object(
    tmp_path: Path, model: Path, bare: BarePacs
) -> None:
    series = [write_series(tmp_path / "scans", 1)]
    lost: list[str] = []

    def lose() -> None:
        if len(bare.received) == 1:
            lost.append(bare.received[0][0])
            bare.break_off()

    bare.on_object = lose
    node = NodeProcess(tmp_path / "node", model, "--send-to", bare.peer).wait_first(0.2).start()
    try:
        assert send_files(node.port, series[0]) == [0]
        assert eventually(lambda: lost), node.text
        assert eventually(lambda: "1 attempts" in node.ask("status"))
        bare.start()
        assert eventually(lambda: " 0 queued, 0 dead" in node.ask("status"), 60), node.ask("status")
    finally:
        node.end()
    require_all(bare, node, studies_of(series))
    assert {uid for uid, count in bare.uids.items() if count == 2} == set(lost)
    assert max(bare.uids.values()) == 2


def test_results_that_cannot_be_sent_fill_the_spool_and_no_more(tmp_path: Path, model: Path, bare: BarePacs) -> None:
    bare.break_off()
    node = NodeProcess(tmp_path / "node", model, "--send-to", bare.peer, "--max-spool", 0.01).wait_first(0.2).start()
    limit = 10_000_000
    try:
        sent = 0
        while (statuses := send_files(node.port, write_series(tmp_path / f"{sent}", 1, size=800))) == [0] and sent < 30:
            sent += 1
            done = f"{sent} predicted"
            assert eventually(lambda done=done: done in node.ask("status") or "series wait" in node.text)  # type: ignore[misc]
        assert statuses == [0xA700]
        used = sum(file.stat().st_size for file in (tmp_path / "node/results").iterdir())
        assert limit / 2 < used < 1.5 * limit
        assert "results that are not sent have half of --max-spool; series wait" in node.text
        bare.start()
        assert eventually(lambda: f"{sent} predicted" in node.ask("status"), 60), node.ask("status")
        assert eventually(lambda: " 0 queued, 0 dead" in node.ask("status"), 60), node.ask("status")
        assert send_files(node.port, write_series(tmp_path / "last", 1)) == [0]
    finally:
        node.end()


@needs_dcmtk
def test_no_result_is_lost_or_another_object_after_kills(tmp_path: Path, model: Path, bare: BarePacs) -> None:
    series = [write_series(tmp_path / f"{number}", 1) for number in range(15 * KILLS if KILLS > 2 else 6)]
    node = NodeProcess(tmp_path / "node", model, "--send-to", bare.peer)
    flow_with_kills(node, series, kills=KILLS, seed=2)
    require_all(bare, node, studies_of(series))
    assert sum(count - 1 for count in bare.uids.values()) <= 2 * KILLS  # those whose status was on the way


@needs_orthanc
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_results_wait_for_an_orthanc_that_is_gone_in_between(tmp_path: Path, model: Path, number: int) -> None:
    series = [write_series(tmp_path / f"{one}", 1) for one in range(6)]
    server = Orthanc(tmp_path / "orthanc")
    server.start()
    node = NodeProcess(tmp_path / "node", model, "--send-to", server.peer).wait_first(0.2).start()
    try:
        assert send_files(node.port, [file for files in series[:3] for file in files]) == [0] * 3
        assert eventually(lambda: server.get("/statistics")["CountInstances"] >= 3), node.text
        server.end(number)
        assert send_files(node.port, [file for files in series[3:] for file in files]) == [0] * 3
        assert eventually(lambda: "it cannot be reached" in node.ask("status")), node.ask("status")
        time.sleep(OUTAGE)
        status = json.loads(node.ask("status", "--json"))["results"]
        assert (status["dead"], status["queued"] > 0) == (0, True)
        server.start()
        assert eventually(lambda: " 0 queued, 0 dead" in node.ask("status"), 120), node.ask("status")
        found = {one["MainDicomTags"]["SOPInstanceUID"] for one in server.instances()}
        assert found == results_in_log(node)
    finally:
        node.end()
        server.end(signal.SIGTERM)
