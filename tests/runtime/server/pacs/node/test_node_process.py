"""The whole round trip, with a node in its own process and a real PACS: also when parts of it fail."""

import json
import os
import random
import signal
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ComprehensiveSRStorage
from tests.runtime.server.pacs.builders import write_series
from tests.runtime.server.pacs.node.test_receiver import STORESCU, needs_dcmtk
from tests.runtime.server.pacs.node_process import NodeProcess, close_socket, eventually, running_node, send_files
from tests.runtime.server.pacs.orthanc import Orthanc, missing_parts, running
from tests.runtime.server.pacs.results.made_results import faults_of, needs_dciodvfy, needs_dsrdump

KILLS = int(os.environ.get("CTONNX_NODE_KILLS", "2"))
"""Number of kills; with 20, 300 series are sent."""

# pynetdicom leaves sockets open that could not be connected.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
needs_orthanc = pytest.mark.skipif(missing_parts() is not None, reason=str(missing_parts()))


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


def results_of(pacs: Orthanc, study: str) -> dict[str, list[str]]:
    """Returns Orthanc's identifiers of the instances in a study, by modality."""
    found: dict[str, list[str]] = {}
    for series in pacs.get("/series?expand"):
        of_study = pacs.get(f"/studies/{series['ParentStudy']}")
        if of_study["MainDicomTags"]["StudyInstanceUID"] == study:
            found.setdefault(series["MainDicomTags"]["Modality"], []).extend(series["Instances"])
    return found


def counts_of(pacs: Orthanc, study: str) -> tuple[int, int]:
    """Returns the numbers of structured reports and pictures in a study."""
    found = results_of(pacs, study)
    return len(found.get("SR", [])), len(found.get("OT", []))


@needs_orthanc
@needs_dcmtk
@needs_dciodvfy
@needs_dsrdump
def test_reports_and_pictures_come_back_to_the_study(tmp_path: Path, model: Path, pacs: Orthanc) -> None:
    files = write_series(tmp_path / "scans", 3)
    study = str(dcmread(files[0]).StudyInstanceUID)
    with running_node(tmp_path / "node", model, "--send-to", pacs.peer, "--stow", pacs.dicomweb) as node:
        sent = [*STORESCU, "+sd", "127.0.0.1", str(node.port), str(tmp_path / "scans")]
        subprocess.run(sent, check=True, timeout=60)
        assert eventually(lambda: counts_of(pacs, study) == (1, 1)), node.text
        assert eventually(lambda: "0 queued, 0 dead" in node.ask("status"))
        (report,), (picture,) = results_of(pacs, study)["SR"], results_of(pacs, study)["OT"]
        for name in (report, picture):
            (tmp_path / name).write_bytes(pacs.file(name))
            assert [line for line in faults_of(tmp_path / name) if line.startswith("Error")] == []
        dumped = subprocess.run(["dsrdump", tmp_path / report], capture_output=True, text=True, check=True)  # noqa: S607
        assert "Imaging Measurement Report" in dumped.stdout
        assert not [line for line in dumped.stderr.splitlines() if line.startswith("E:")]
        assert dcmread(tmp_path / report).PatientID == "P1"
        assert eventually(lambda: not list((tmp_path / "node/results").iterdir()))  # both have them
        assert node.end() == 143
    assert node.text.endswith("\nctonnx: stopped\n")
    assert "Traceback" not in node.text
    assert "none was changed or removed" in node.ask("audit", "--verify")


@needs_orthanc
def test_results_wait_for_a_pacs_that_is_down_and_are_sent_once(tmp_path: Path, model: Path) -> None:
    files = write_series(tmp_path / "scans", 2)
    study = str(dcmread(files[0]).StudyInstanceUID)
    server = Orthanc(tmp_path / "orthanc")
    with running_node(tmp_path / "node", model, "--send-to", server.peer) as node:
        assert send_files(node.port, files) == [0, 0]
        assert eventually(lambda: "it cannot be reached" in node.ask("status"))
        server.start()
        try:
            node.ask("retry")  # does not wait for the next attempt
            assert eventually(lambda: counts_of(server, study) == (1, 1)), node.ask("status")
            assert eventually(lambda: "0 queued, 0 dead" in node.ask("status"))
        finally:
            server.kill()


@needs_orthanc
@needs_dcmtk
def test_instances_are_answered_and_results_sent_once_after_kills(tmp_path: Path, model: Path, pacs: Orthanc) -> None:
    series = [write_series(tmp_path / f"{number}", 1) for number in range(15 * KILLS if KILLS > 2 else 6)]
    flow_with_kills(NodeProcess(tmp_path / "node", model, "--send-to", pacs.peer), series, kills=KILLS, seed=1)
    studies = {str(dcmread(file).StudyInstanceUID) for (file,) in series}
    found = Counter(
        (one["MainDicomTags"]["Modality"], study)
        for one in pacs.get("/series?expand")
        for study in [pacs.get(f"/studies/{one['ParentStudy']}")["MainDicomTags"]["StudyInstanceUID"]]
        for _ in one["Instances"]
    )
    assert {key: count for key, count in found.items() if key[1] in studies and key[0] in ("SR", "OT")} == {
        (kind, study): 1 for kind in ("SR", "OT") for study in studies
    }


def flow_with_kills(node: NodeProcess, series: list[list[Path]], *, kills: int, seed: int) -> None:
    """Sends series, kills the node at random moments, and sends again what was not answered, until all is sent on.

    Afterwards every instance is in the spool, and every result was sent.
    """
    random_numbers = random.Random(seed)  # noqa: S311 - moments of kills
    node.start()
    done = threading.Event()

    def send_all() -> None:
        for files in series:
            command = [*STORESCU, "127.0.0.1", str(node.port), *map(str, files)]
            while subprocess.run(command, capture_output=True, timeout=60).returncode:
                time.sleep(0.05)
        done.set()

    sender = threading.Thread(target=send_all)
    sender.start()
    try:
        for _ in range(kills):
            time.sleep(random_numbers.uniform(0.05, 1.5))
            node.end(signal.SIGKILL)
            node.start()
        sender.join(timeout=600)
        assert done.is_set()
        results = json.loads(node.ask("status", "--json"))
        assert results["spool"]["instances"] == sum(map(len, series))
        finished = f"{len(series)} predicted, 0 left out, 0 failed"
        assert eventually(lambda: finished in node.ask("status"), 600), node.ask("status")
        assert eventually(lambda: " 0 queued, 0 dead" in node.ask("status"), 120), node.ask("status")
    finally:
        node.end()
    found = json.loads(node.ask("status", "--json"))
    assert found["series"] == {"predicted": len(series), "left_out": 0, "failed": 0}
    assert "Traceback" not in node.text
    assert "none was changed or removed" in node.ask("audit", "--verify")


@needs_orthanc
def test_results_wait_while_the_pacs_rejects_the_login(tmp_path: Path, model: Path) -> None:
    files = write_series(tmp_path / "scans", 1)
    locked = {"AuthenticationEnabled": True, "RegisteredUsers": {"a": "b"}}
    with running(tmp_path / "orthanc", settings=locked) as server:
        node = NodeProcess(tmp_path / "node", model, "--stow", server.dicomweb, "--results", "sr")
        node.wait_first(0.05).start()
        try:
            assert send_files(node.port, files) == [0]
            assert eventually(lambda: "it answered with HTTP status 401" in node.ask("status")), node.text
            assert "0 dead" in node.ask("status")  # the token may be renewed
            server.kill()
            server.change(AuthenticationEnabled=False)
            server.start()
            assert "0 results queued again" in node.ask("retry")  # it is queued already, and due now
            assert eventually(lambda: len(server.instances("SR")) == 1)
        finally:
            node.end()


def test_who_may_not_send_and_what_is_no_image_is_rejected_and_a_full_spool_makes_room(
    tmp_path: Path, model: Path
) -> None:
    first, second = write_series(tmp_path / "1", 1), write_series(tmp_path / "2", 1)
    report = dcmread(first[0])
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = ComprehensiveSRStorage
    report.save_as(tmp_path / "report.dcm")
    options = ("--results", "none", "--max-spool", 0.001, "--allow-ae", "CT1")
    large = write_series(tmp_path / "3", 1, size=800)
    with running_node(tmp_path / "node", model, *options) as node:
        assert send_files(node.port, first, title="CT2") == [None]
        assert send_files(node.port, [first[0], tmp_path / "report.dcm"], title="CT1") == [0, None]
        assert send_files(node.port, [*large, *second], title="CT1") == [0, 0xA700]
        assert eventually(lambda: send_files(node.port, second, title="CT1") == [0]), node.text
        assert eventually(lambda: "3 predicted" in node.ask("status"))
        events = [json.loads(line) for line in node.ask("audit").splitlines()]
        assert ("rejected", "CT2") in [(one.get("state"), one.get("ae")) for one in events]
        assert "A700" in [one.get("status") for one in events]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_at_once_also_with_an_open_association(
    tmp_path: Path, model: Path, number: int, code: int
) -> None:
    from pynetdicom import AE

    with running_node(tmp_path / "node", model, "--send-to", "GONE@127.0.0.1:9", "--results", "sr") as node:
        assert send_files(node.port, write_series(tmp_path / "scans", 1)) == [0]
        assert eventually(lambda: "1 queued" in node.ask("status"))
        entity = AE(ae_title="IDLE")
        entity.add_requested_context("1.2.840.10008.1.1")
        association = entity.associate("127.0.0.1", node.port)
        assert association.is_established
        start = time.monotonic()
        assert node.end(number) == code
        assert time.monotonic() - start < 10
        close_socket(association)
        assert node.text.endswith("ctonnx: stopped\n")
    events = [json.loads(line)["event"] for line in node.ask("audit").splitlines()]
    assert events[-1] == "node"
    assert list((tmp_path / "node/incoming").iterdir()) == []


@pytest.fixture(scope="module")
def without_results(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[NodeProcess]:
    """A node with a page that makes no results."""
    folder = tmp_path_factory.mktemp("without") / "node"
    with running_node(folder, model, "--results", "none", "--http", "127.0.0.1:0") as node:
        yield node


def test_a_second_node_on_the_same_folder_is_an_error(without_results: NodeProcess, model: Path) -> None:
    second = NodeProcess(without_results.folder, model, "--results", "none")
    with pytest.raises(RuntimeError, match="expected a folder that no other node uses, found one that runs in"):
        second.start()


def test_page_of_a_running_node(tmp_path: Path, without_results: NodeProcess) -> None:
    node = without_results
    assert eventually(lambda: "page: http" in node.text)
    url = node.text.partition("page: ")[2].split()[0]
    assert send_files(node.port, write_series(tmp_path / "scans", 1)) == [0]
    assert eventually(lambda: "1 predicted" in node.ask("status"))
    with urllib.request.urlopen(f"{url}/healthz", timeout=10) as answer:  # noqa: S310 - a loopback address
        assert json.loads(answer.read()) == {"status": "ok", "waiting_series": 0}
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:  # noqa: S310 - a loopback address
        assert 'ctonnx_node_instances_total{outcome="stored"} 1.0' in answer.read().decode()
