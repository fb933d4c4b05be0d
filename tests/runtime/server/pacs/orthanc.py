"""A PACS for tests: Orthanc with its DICOMweb plugin, on free loopback ports and with a folder of its own."""

import json
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Orthanc", "free_port", "missing_parts", "running"]

_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_START_SECONDS = 60


def missing_parts() -> str | None:
    """Returns the reason to skip tests with a PACS: the Debian packages that are not installed; else None."""
    lacks = [
        name
        for name, found in (("orthanc", shutil.which("Orthanc")), ("orthanc-dicomweb", _PLUGIN.exists()))
        if not found
    ]
    return f"the Debian packages {' and '.join(lacks)} are not installed" if lacks else None


def free_port() -> int:
    """Returns a port of the loopback address that was free a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Orthanc:
    """A running Orthanc."""

    def __init__(
        self,
        folder: Path,
        *,
        dicom_port: int | None = None,
        modalities: dict[str, list[Any]] | None = None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.dicom_port, self._port = dicom_port or free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._file = folder / "orthanc.json"
        folder.mkdir(parents=True, exist_ok=True)
        self._file.write_text(
            json.dumps(
                {
                    "Name": "tests",
                    "StorageDirectory": str(folder / "storage"),
                    "IndexDirectory": str(folder / "storage"),
                    "HttpPort": self._port,
                    "DicomPort": self.dicom_port,
                    "DicomAet": "ORTHANC",
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": False,
                    "DicomModalities": modalities or {},
                    "Plugins": [str(_PLUGIN)],
                    "DicomWeb": {"Enable": True},
                    "StableAge": 2,
                    **(settings or {}),
                }
            ),
            encoding="utf-8",
        )
        self._log = folder / "orthanc.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def dicomweb(self) -> str:
        """URL of its DICOMweb service."""
        return f"{self.url}/dicom-web"

    @property
    def peer(self) -> str:
        """It as a destination of `ctonnx node`."""
        return f"ORTHANC@127.0.0.1:{self.dicom_port}"

    def change(self, **settings: Any) -> None:
        """Changes settings of the next start."""
        self._file.write_text(json.dumps(json.loads(self._file.read_text(encoding="utf-8")) | settings), "utf-8")

    def start(self) -> None:
        """Starts it and waits until it answers."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen([str(shutil.which("Orthanc")), str(self._file)], stdout=log, stderr=log)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.get("/system")
            except urllib.error.HTTPError:  # it asks for a password
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("Orthanc did not start") from None
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """Ends it at once; its own end takes two seconds."""
        self.end(signal.SIGKILL)

    def end(self, number: int) -> None:
        """Ends it by a signal."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(timeout=30)
            self.process = None

    def get(self, path: str) -> Any:
        """Returns the answer to a GET, decoded from JSON."""
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:  # noqa: S310 - a loopback address
            return json.loads(answer.read())

    def post(self, path: str, content: bytes) -> Any:
        """Returns the answer to a POST, decoded from JSON."""
        request = urllib.request.Request(self.url + path, content)  # noqa: S310 - a loopback address
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.loads(answer.read())

    def file(self, instance: str) -> bytes:
        """Returns the DICOM file of an instance, by Orthanc's identifier."""
        with urllib.request.urlopen(f"{self.url}/instances/{instance}/file", timeout=30) as answer:  # noqa: S310
            content: bytes = answer.read()
            return content

    def instances(self, modality: str | None = None) -> list[dict[str, Any]]:
        """Returns the main tags of all instances, or of those of a modality."""
        found = []
        for series in self.get("/series?expand"):
            if modality in (None, series["MainDicomTags"].get("Modality")):
                found += self.get(f"/series/{series['ID']}/instances")
        return found


@contextmanager
def running(folder: Path, **options: Any) -> Iterator[Orthanc]:
    """Yields an Orthanc that runs within the block."""
    server = Orthanc(folder, **options)
    server.start()
    try:
        yield server
    finally:
        server.kill()
