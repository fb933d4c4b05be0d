"""`ctonnx node` as a process of its own, and a sender."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from pydicom import dcmread
from pynetdicom import AE
from tests.runtime.server.pacs.orthanc import free_port

from ctonnx.cli.main import main

__all__ = ["NodeProcess", "close_socket", "eventually", "running_node", "send_files"]

_START_SECONDS = 60


def eventually(is_so: Callable[[], Any], seconds: float = 30) -> bool:
    """Returns whether something becomes true within some seconds."""
    deadline = time.monotonic() + seconds
    while not (found := bool(is_so())) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


class NodeProcess:
    """A node that can be started, killed and started again with the same folder and port."""

    def __init__(self, folder: Path, model: Path, *options: object) -> None:
        self.folder, self.port, self.page_port = folder, free_port(), free_port()
        self.log = folder.with_name(f"{folder.name}.log")
        words = ["node", "--model", model, "--folder", folder, "--port", self.port, "--settle", 0.3, "--threads", 1]
        self._command = [sys.executable, "-m", "ctonnx", *map(str, [*words, *options])]
        self.process: subprocess.Popen[bytes] | None = None

    def wait_first(self, seconds: float) -> "NodeProcess":
        """Makes it wait so long, instead of five seconds, after the first failed attempt to send a result.

        So long it waits, instead of half a minute, before it tries a series again, too.
        """
        program = self.folder.with_name(f"{self.folder.name}.py")
        program.write_text(
            "from ctonnx.server.pacs.node import node, sender\n"
            f"sender._FIRST_WAIT = {seconds}\n"
            f"node._AFTER_FAILURE = {seconds}\n"
            "from ctonnx.cli.main import main\n"
            "main()\n"
        )
        self._command[1:3] = [str(program)]
        return self

    def start(self) -> "NodeProcess":
        """Starts it, and waits until it listens."""
        before = self.text.count("listens on")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_SECONDS
        while self.text.count("listens on") == before:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the node did not start: {self.text}")
            time.sleep(0.02)
        return self

    @property
    def text(self) -> str:
        """Text that it printed since the first start."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def end(self, number: int = signal.SIGTERM) -> int:
        """Sends it a signal, and returns its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=60)

    def ask(self, *words: str) -> str:
        """Returns the text that another command, which runs in this process, prints about its folder."""
        found = CliRunner().invoke(main, ["node", *words, "--folder", str(self.folder)])
        assert found.exit_code == 0, found.output
        return found.stdout


@contextmanager
def running_node(folder: Path, model: Path, *options: object) -> Iterator[NodeProcess]:
    """Yields a node that runs within the block."""
    node = NodeProcess(folder, model, *options)
    try:
        yield node.start()
    finally:
        if node.process is not None:
            node.end()


def send_files(port: int, files: Sequence[Path], *, title: str = "SENDER") -> list[int | None]:
    """Sends files over one association, and returns the status of each; None for no answer."""
    entity = AE(ae_title=title)
    metas = [dcmread(file, stop_before_pixels=True, specific_tags=[]).file_meta for file in files]
    for sop_class, syntax in dict.fromkeys((one.MediaStorageSOPClassUID, one.TransferSyntaxUID) for one in metas):
        entity.add_requested_context(sop_class, syntax)
    association = entity.associate("127.0.0.1", port, ae_title="CTONNX")
    if not association.is_established:
        close_socket(association)
        return [None] * len(files)
    found: list[int | None] = []
    for file in files:
        try:
            found.append(getattr(association.send_c_store(file), "Status", None))
        except (RuntimeError, ValueError):  # the association ended, or does not take this kind of object
            found.append(None)
    if association.is_established:
        association.release()
    close_socket(association)
    return found


def close_socket(association: Any) -> None:
    """Closes what pynetdicom leaves open when it cannot connect, or the connection is lost."""
    if association.is_alive():
        association.join(timeout=10)
    opened = getattr(association.dul.socket, "socket", None)
    if opened is not None:
        opened.close()
