"""The DICOM server, with pynetdicom's own client and dcmtk's."""

import json
import os
import select
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage, CTImageStorage, ExplicitVRLittleEndian, JPEGBaseline8Bit
from pynetdicom import AE
from tests.runtime.server.pacs.builders import ct_image, new_uid, write_series
from tests.runtime.server.pacs.node_process import close_socket, eventually

from ctonnx.errors import CtonnxError
from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx.server.pacs.audit import AuditLog, audit_lines, verify_audit
from ctonnx.server.pacs.node.receiver import Receiver, _IncomingFile
from ctonnx.server.pacs.node.settings import ReceiverSettings
from ctonnx.server.pacs.node.spool import Instance, Spool

# pynetdicom leaves sockets open that could not be connected.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

STORESCU = [str(shutil.which("storescu"))]

needs_dcmtk = pytest.mark.skipif(shutil.which("storescu") is None, reason="the Debian package dcmtk is not installed")


def _can_mount() -> bool:
    """Returns whether this process may mount a file system."""
    with tempfile.TemporaryDirectory() as folder:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True)  # noqa: S607
        if mounted.returncode == 0:
            subprocess.run(["umount", folder], check=True)  # noqa: S607
        return mounted.returncode == 0


needs_tmpfs = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0 or not _can_mount(), reason="this user may not mount a file system"
)


class Running(NamedTuple):
    receiver: Receiver
    spool: Spool
    folder: Path
    came: list[Instance]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in audit_lines(self.folder)]


@contextmanager
def receiving(folder: Path, *, limit: int = 10**9, **settings: Any) -> Iterator[Running]:
    names, came = Pseudonyms(bytes(32)), list[Instance]()
    spool = Spool(folder, names, limit=limit)
    audit = AuditLog(folder, bytes(32))
    receiver = Receiver(ReceiverSettings(port=0, **settings), spool, names, audit, came.append)
    try:
        yield Running(receiver, spool, folder, came)
    finally:
        receiver.close()
        audit.close()


def connect(running: Running, *contexts: Any, title: str = "SENDER", called: str = "CTONNX") -> Any:
    entity = AE(ae_title=title)
    for sop_class, syntax in contexts or [(CTImageStorage, ExplicitVRLittleEndian), ("1.2.840.10008.1.1", None)]:
        entity.add_requested_context(sop_class, syntax)
    association = entity.associate("127.0.0.1", running.receiver.port, ae_title=called)
    if not association.is_established:
        close_socket(association)
    return association


def send(running: Running, *images: Dataset) -> list[int]:
    association = connect(running)
    assert association.is_established
    statuses = [int(association.send_c_store(image).Status) for image in images]
    association.release()
    return statuses


def test_instances_are_stored_as_they_came(tmp_path: Path) -> None:
    study, series = new_uid(), new_uid()
    images = [ct_image(study, series, number) for number in (1, 2, 3)]
    with receiving(tmp_path) as running:
        assert send(running, *images) == [0, 0, 0]
        (name,) = running.spool.series()
        files = running.spool.files(name)
        assert [one.series for one in running.came] == [name] * 3
        assert {one.name for one in running.came} == {file.stem for file in files}
        stored = {dcmread(file).SOPInstanceUID: dcmread(file) for file in files}
        assert stored == {image.SOPInstanceUID: image for image in images}
        assert all(found.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian for found in stored.values())
        kinds = [(one["event"], one.get("state"), one["ae"]) for one in running.events]
        assert kinds[:4] == [("association", "accepted", "SENDER"), *[("instance", None, "SENDER")] * 3]


def test_echo_is_answered(tmp_path: Path) -> None:
    with receiving(tmp_path) as running:
        association = connect(running)
        assert association.send_c_echo().Status == 0
        association.release()


def test_a_full_spool_answers_out_of_resources_and_keeps_nothing(tmp_path: Path) -> None:
    study, series = new_uid(), new_uid()
    with receiving(tmp_path, limit=9_000) as running:
        assert send(running, ct_image(study, series, 1), ct_image(study, series, 2)) == [0, 0xA700]
        assert len(running.came) == 1
        assert list(running.spool.incoming.iterdir()) == []
        assert running.events[-2]["event"] == "instance rejected"
        assert running.events[-2]["status"] == "A700"
        running.spool.remove(running.came[0].series)
        assert send(running, ct_image(study, series, 2)) == [0]


def test_little_free_space_answers_out_of_resources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spool, "free_bytes", lambda self: 1000)
    with receiving(tmp_path) as running:
        assert send(running, ct_image(new_uid(), new_uid())) == [0xA700]


def test_a_disk_that_fails_answers_out_of_resources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Spool, received: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Spool, "take", fail)
    with receiving(tmp_path) as running:
        assert send(running, ct_image(new_uid(), new_uid())) == [0xA700]
        assert list(running.spool.incoming.iterdir()) == []


def test_an_instance_without_a_series_is_rejected(tmp_path: Path) -> None:
    image = ct_image(new_uid(), new_uid())
    del image.SeriesInstanceUID
    with receiving(tmp_path) as running:
        assert send(running, image) == [0xC000]
        assert running.came == []
        assert list(running.spool.incoming.iterdir()) == []


def test_objects_that_are_no_images_are_not_accepted(tmp_path: Path) -> None:
    with receiving(tmp_path) as running:
        association = connect(running, (ComprehensiveSRStorage, ExplicitVRLittleEndian))
        assert not association.is_established or not association.accepted_contexts


def test_compressed_instances_are_taken_as_they_are(tmp_path: Path) -> None:
    with receiving(tmp_path) as running:
        association = connect(running, (CTImageStorage, JPEGBaseline8Bit))
        assert [context.transfer_syntax for context in association.accepted_contexts] == [[JPEGBaseline8Bit]]
        association.release()


@pytest.mark.parametrize(
    ("settings", "title", "called", "accepted"),
    [
        ({"allowed_titles": ["CT1"]}, "CT1", "X", True),
        ({"allowed_titles": ["CT1"]}, "CT2", "X", False),
        ({"allowed_addresses": ["127.0.0.0/8"]}, "CT1", "X", True),
        ({"allowed_addresses": ["10.0.0.0/8", "::1"]}, "CT1", "X", False),
        ({"checks_called_title": True, "ae_title": "NODE"}, "CT1", "NODE", True),
        ({"checks_called_title": True, "ae_title": "NODE"}, "CT1", "OTHER", False),
    ],
)
def test_who_may_send(tmp_path: Path, settings: dict[str, Any], title: str, called: str, accepted: bool) -> None:
    with receiving(tmp_path, **settings) as running:
        association = connect(running, title=title, called=called)
        assert association.is_established == accepted
        if accepted:
            association.release()
        else:
            assert association.is_rejected
            assert running.events[0]["state"] == "rejected"


class Cable:
    """A connection to a port that is cut after a number of bytes."""

    def __init__(self, port: int, cut_after: int) -> None:
        self._target, self._left = port, cut_after
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def close(self) -> None:
        self._thread.join(timeout=30)
        self._server.close()

    def _carry(self) -> None:
        client, _ = self._server.accept()
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            while self._left > 0:
                for ready in select.select([client, server], [], [], 30)[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    if ready is client:
                        data = data[: self._left]
                        self._left -= len(data)
                    (server if ready is client else client).sendall(data)


@needs_dcmtk
def test_a_peer_that_drops_the_association_leaves_nothing_half_written(tmp_path: Path) -> None:
    study, series = new_uid(), new_uid()
    (tmp_path / "scans").mkdir()
    large = ct_image(study, series, 2, size=2048)
    for number, image in enumerate((ct_image(study, series, 1), large)):
        image.save_as(tmp_path / "scans" / f"{number}.dcm", enforce_file_format=True)
    with receiving(tmp_path / "node") as running:
        cable = Cable(running.receiver.port, cut_after=4_000_000)
        done = subprocess.run([*STORESCU, "+sd", "127.0.0.1", str(cable.port), str(tmp_path / "scans")], timeout=60)
        cable.close()
        assert done.returncode != 0
        assert eventually(lambda: len(running.came) == 1 and not list(running.spool.incoming.iterdir()))
        assert [len(running.spool.files(name)) for name in running.spool.series()] == [1]
        assert send(running, large) == [0]
        assert eventually(lambda: {one.get("state") for one in running.events} >= {"accepted", "aborted", "released"})


@needs_dcmtk
def test_fifty_associations_at_once(tmp_path: Path) -> None:
    files = write_series(tmp_path / "scans", 50)
    with receiving(tmp_path / "node") as running:
        command = [*STORESCU, "127.0.0.1", str(running.receiver.port)]
        senders = [subprocess.Popen([*command, str(file)]) for file in files]
        assert [sender.wait(timeout=120) for sender in senders] == [0] * 50
        assert len(running.came) == 50


def test_more_associations_than_allowed_are_rejected(tmp_path: Path) -> None:
    with receiving(tmp_path, most_associations=2) as running:
        first, second = connect(running), connect(running)
        third = connect(running)
        assert (first.is_established, second.is_established, third.is_established) == (True, True, False)
        first.release()
        second.release()


def test_a_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    with receiving(tmp_path / "a") as running:
        names = Pseudonyms(bytes(32))
        spool, audit = Spool(tmp_path / "b", names, limit=1), AuditLog(tmp_path / "b", bytes(32))
        with pytest.raises(CtonnxError, match=r"found that it cannot be used .* choose another --host or --port"):
            Receiver(ReceiverSettings(port=running.receiver.port), spool, names, audit, lambda instance: None)
        audit.close()


@needs_dcmtk
def test_dcmtk_sends_and_echoes(tmp_path: Path) -> None:
    write_series(tmp_path / "scans", 3)
    with receiving(tmp_path / "node") as running:
        port = str(running.receiver.port)
        subprocess.run([str(shutil.which("echoscu")), "127.0.0.1", port], check=True, timeout=60)
        subprocess.run([*STORESCU, "+sd", "127.0.0.1", port, str(tmp_path / "scans")], check=True, timeout=60)
        assert len(running.came) == 3


def test_tls_alone_is_taken(tmp_path: Path) -> None:
    certificate = made_certificate(tmp_path)
    with receiving(tmp_path / "node", tls_certificate=certificate, tls_key=tmp_path / "key.pem") as running:
        context = ssl.create_default_context(cafile=str(certificate))
        context.check_hostname = False
        entity = AE(ae_title="SENDER")
        entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        with socket.create_connection(("127.0.0.1", running.receiver.port), timeout=20) as plain:
            plain.sendall(b"\x01\x00" + bytes(100))  # the beginning of an association without TLS
            try:
                answer = plain.recv(100)
            except ConnectionResetError:
                answer = b""
        assert answer[:1] != b"\x02"  # the first byte of an acceptance
        secure = entity.associate("127.0.0.1", running.receiver.port, tls_args=(context, "localhost"))
        assert secure.is_established
        assert secure.send_c_store(ct_image(new_uid(), new_uid())).Status == 0
        secure.release()


def made_certificate(folder: Path) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    made = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    options = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    subprocess.run([str(shutil.which("openssl")), *options, *made], check=True, capture_output=True)
    return folder / "certificate.pem"


@pytest.mark.parametrize("full", ["open", "write"])
def test_a_disk_that_is_full_in_the_middle_of_an_instance_answers_out_of_resources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    image = ct_image(new_uid(), new_uid(), size=512)
    with receiving(tmp_path) as running:
        with monkeypatch.context() as patch:
            if full == "open":
                patch.setattr("ctonnx.server.pacs.node.receiver.tempfile.mkstemp", fail)
            else:
                patch.setattr(_IncomingFile, "_append", fail)
            assert send(running, image, image) == [0xA700, 0xA700]
            assert list(running.spool.incoming.iterdir()) == []
        assert send(running, image) == [0]


def test_an_instance_without_a_line_in_the_audit_log_is_not_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(AuditLog, "append", fail)
    with receiving(tmp_path) as running:
        assert send(running, ct_image(new_uid(), new_uid())) == [0xA700]


def test_other_servers_of_the_process_are_as_before(tmp_path: Path) -> None:
    from pynetdicom import _config, dimse_messages

    before = dimse_messages.NamedTemporaryFile, _config.STORE_RECV_CHUNKED_DATASET  # type: ignore[attr-defined]
    with receiving(tmp_path):
        pass
    assert before == (
        dimse_messages.NamedTemporaryFile,  # type: ignore[attr-defined]
        _config.STORE_RECV_CHUNKED_DATASET,
    )


@needs_tmpfs
def test_a_really_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctonnx.server.pacs.node.spool._RESERVE", 0)
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=True)  # noqa: S607
    try:
        with receiving(disk / "node") as running:
            study, series = new_uid(), new_uid()
            images = [ct_image(study, series, number, size=512) for number in range(1, 7)]
            statuses = send(running, *images)
            assert statuses[:2] == [0, 0]
            assert statuses[-1] == 0xA700
            assert len(running.came) == statuses.count(0)
            assert list(running.spool.incoming.iterdir()) == []
            running.spool.remove(running.came[0].series)
            assert send(running, images[-1]) == [0]
        assert verify_audit(disk / "node", bytes(32)).fault is None
    finally:
        subprocess.run(["umount", str(disk)], check=True)  # noqa: S607
