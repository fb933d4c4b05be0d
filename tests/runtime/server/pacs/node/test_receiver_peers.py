"""Peers of the DICOM server that are silent, unknown or without a certificate."""

import socket
import ssl
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from pynetdicom import AE
from tests.runtime.server.pacs.builders import ct_image, new_uid
from tests.runtime.server.pacs.node.test_receiver import Running, connect, made_certificate, receiving, send
from tests.runtime.server.pacs.node_process import close_socket, eventually

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


def connect_securely(running: Running, context: ssl.SSLContext) -> Any:
    context.check_hostname = False
    entity = AE(ae_title="SENDER")
    entity.acse_timeout = entity.connection_timeout = 5
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", running.receiver.port, tls_args=(context, "localhost"))
    if not association.is_established:
        close_socket(association)
    return association


def test_silent_connections_do_not_block_a_server_with_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ctonnx.server.pacs.node.receiver._HANDSHAKE", 2.0)
    certificate = made_certificate(tmp_path)
    with receiving(tmp_path / "node", tls_certificate=certificate, tls_key=tmp_path / "key.pem") as running:
        silent = [socket.create_connection(("127.0.0.1", running.receiver.port), timeout=20) for _ in range(3)]
        time.sleep(0.2)
        association = connect_securely(running, ssl.create_default_context(cafile=str(certificate)))
        assert association.is_established
        association.release()
        assert [connection.recv(1) for connection in silent] == [b""] * 3  # closed after the time for a handshake
        for connection in silent:
            connection.close()
    assert capfd.readouterr() == ("", "")


def test_a_server_with_tls_closes_without_waiting_for_a_handshake(tmp_path: Path) -> None:
    certificate = made_certificate(tmp_path)
    with receiving(tmp_path / "node", tls_certificate=certificate, tls_key=tmp_path / "key.pem") as running:
        silent = socket.create_connection(("127.0.0.1", running.receiver.port))
        time.sleep(0.2)
        before = time.monotonic()
    assert time.monotonic() - before < 5
    silent.close()


@pytest.mark.parametrize("secure", [False, True])
def test_a_peer_that_is_silent_in_the_middle_of_a_message_loses_its_association(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secure: bool
) -> None:
    monkeypatch.setattr("ctonnx.server.pacs.node.receiver._TIMEOUT", 1)
    certificate = made_certificate(tmp_path) if secure else None
    tls: dict[str, Any] = {"tls_certificate": certificate, "tls_key": tmp_path / "key.pem"} if secure else {}

    def begin() -> Any:
        return connect_securely(running, ssl.create_default_context(cafile=certificate)) if secure else connect(running)

    with receiving(tmp_path / "node", most_associations=2, **tls) as running:
        held = [begin() for _ in range(2)]
        for association in held:
            assert association.is_established
            association.dul.socket.socket.sendall(b"\x04\x00" + struct.pack(">L", 100_000) + bytes(50))
        assert eventually(lambda: not running.receiver._server.active_associations, 6)
        after = begin()
        assert after.is_established
        assert after.send_c_store(ct_image(new_uid(), new_uid())).Status == 0
        after.release()
        for association in held:
            close_socket(association)


def _drip(connection: Any, data: bytes, step: int, seconds: float) -> float:
    """Sends a few bytes every tenth of a second; returns the seconds after which the peer has closed the connection."""
    began = time.monotonic()
    for start in range(0, len(data), step):
        try:
            connection.settimeout(0.1)
            connection.sendall(data[start : start + step])
            if connection.recv(64) == b"":
                break
        except TimeoutError:
            if time.monotonic() - began > seconds:
                break
        except OSError:
            break
    return time.monotonic() - began


HEAD = b"\x04\x00" + struct.pack(">L", 100_000)
COMMAND = b"\x04\x00" + struct.pack(">LLBB", 7, 3, 1, 1) + b"\x00"  # a byte of a command, and it is not the last


@pytest.mark.parametrize(
    ("begins", "secure", "data", "step"),
    [
        (False, False, b"\x01\x00" + struct.pack(">L", 5000) + bytes(500), 1),
        (True, False, HEAD + bytes(500), 1),
        (True, True, HEAD + bytes(500), 1),
        (True, False, COMMAND * 500, len(COMMAND)),
    ],
    ids=["request of an association", "PDU", "PDU with TLS", "message of small PDUs"],
)
def test_a_peer_that_drips_loses_its_association(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begins: bool, secure: bool, data: bytes, step: int
) -> None:
    monkeypatch.setattr("ctonnx.server.pacs.node.receiver._TIMEOUT", 1)
    certificate = made_certificate(tmp_path) if secure else None
    tls: dict[str, Any] = {"tls_certificate": certificate, "tls_key": tmp_path / "key.pem"} if secure else {}

    def begin() -> Any:
        return connect_securely(running, ssl.create_default_context(cafile=certificate)) if secure else connect(running)

    with receiving(tmp_path / "node", most_associations=1, **tls) as running:
        if begins:
            held = begin()
            assert held.is_established
            connection = held.dul.socket.socket
        else:
            connection = socket.create_connection(("127.0.0.1", running.receiver.port))
        assert _drip(connection, data, step, 8) < 5
        assert eventually(lambda: not running.receiver._server.active_associations, 5)
        after = begin()
        assert after.is_established
        after.release()
        connection.close()
        if begins:
            close_socket(held)


def test_a_slow_peer_keeps_its_association(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctonnx.server.pacs.node.receiver._TIMEOUT", 1)
    monkeypatch.setattr("ctonnx.server.pacs.node.receiver._PDU", 8192)
    sendall, began = socket.socket.sendall, time.monotonic()

    def slowly(self: socket.socket, data: bytes) -> int:
        for start in range(0, len(data), 4096):
            sendall(self, data[start : start + 4096])
            time.sleep(0.06)
        return len(data)

    with receiving(tmp_path) as running:
        association = connect(running)
        monkeypatch.setattr(socket.socket, "send", slowly)
        assert association.send_c_store(ct_image(new_uid(), new_uid(), size=256)).Status == 0
        monkeypatch.undo()
        association.release()
        assert time.monotonic() - began > 1.5  # longer than a silent peer may be


def test_a_pdu_beyond_the_size_of_any_other_ends_the_association_at_once(tmp_path: Path) -> None:
    with receiving(tmp_path) as running:
        association = connect(running)
        association.dul.socket.socket.sendall(b"\x04\x00" + struct.pack(">L", 2**31))
        assert eventually(lambda: not running.receiver._server.active_associations, 5)
        close_socket(association)


def test_only_senders_with_a_certificate_of_the_authority_are_taken(tmp_path: Path) -> None:
    for name in ("server", "known", "unknown"):
        (tmp_path / name).mkdir()
    server, known, unknown = (made_certificate(tmp_path / name) for name in ("server", "known", "unknown"))
    settings: dict[str, Any] = {
        "tls_certificate": server,
        "tls_key": server.parent / "key.pem",
        "tls_authorities": known,
    }
    with receiving(tmp_path / "node", **settings) as running:
        taken = {}
        for name, own in (("known", known), ("unknown", unknown), ("none", None)):
            context = ssl.create_default_context(cafile=str(server))
            if own is not None:
                context.load_cert_chain(own, own.parent / "key.pem")
            association = connect_securely(running, context)
            taken[name] = association.is_established
            if association.is_established:
                assert association.send_c_store(ct_image(new_uid(), new_uid())).Status == 0
                association.release()
        assert taken == {"known": True, "unknown": False, "none": False}
        assert len(running.came) == 1


@pytest.mark.parametrize("fault", ["address", "network"])
def test_an_address_that_cannot_be_compared_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    with receiving(tmp_path, allowed_addresses=["127.0.0.0/8"]) as running:
        if fault == "address":
            monkeypatch.setattr("ctonnx.server.pacs.node.receiver._address", lambda event: "no address")
        else:
            running.receiver._networks = [None]  # type: ignore[list-item]
        assert not connect(running).is_established
        assert eventually(lambda: [one["state"] for one in running.events] == ["rejected"])


def test_without_allowed_addresses_every_one_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctonnx.server.pacs.node.receiver._address", lambda event: "")
    with receiving(tmp_path) as running:
        association = connect(running)
        assert association.is_established
        association.release()


def test_instances_that_are_being_received_count_for_the_limit(tmp_path: Path) -> None:
    with receiving(tmp_path, limit=1) as running:
        largest, stop = 0, threading.Event()

        def watch() -> None:
            nonlocal largest
            while not stop.wait(0.001):
                with suppress(FileNotFoundError):
                    largest = max(largest, *(file.stat().st_size for file in running.spool.incoming.iterdir()), 0)

        thread = threading.Thread(target=watch)
        thread.start()
        assert send(running, ct_image(new_uid(), new_uid(), size=2048)) == [0xA700]
        stop.set()
        thread.join()
        assert largest <= 1024**2 + 128 * 1024
        assert running.came == []
        assert running.spool.series() == {}
        assert running.events[-2]["error"] == "the spool or the disk is full"


def test_other_instances_that_are_being_received_count_for_the_limit(tmp_path: Path) -> None:
    with receiving(tmp_path, limit=1_000_000) as running:
        other = running.spool.incoming / "other.dcm"
        other.write_bytes(bytes(1_000_000))
        assert send(running, ct_image(new_uid(), new_uid())) == [0xA700]
        other.unlink()
        assert send(running, ct_image(new_uid(), new_uid())) == [0]


def test_deflated_instances_are_not_accepted(tmp_path: Path) -> None:
    with receiving(tmp_path) as running:
        offered = [(CTImageStorage, DeflatedExplicitVRLittleEndian), (CTImageStorage, ExplicitVRLittleEndian)]
        association = connect(running, *offered)
        syntaxes = [context.transfer_syntax for context in association.accepted_contexts]
        association.release()
    assert syntaxes == [[ExplicitVRLittleEndian]]
