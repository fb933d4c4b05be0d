"""Connection to the Ray cluster of `RAY_ADDRESS`, or to one that is started on this machine and ends with the block."""

import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctonnx.errors import CtonnxError
from ctonnx.system.cpu import available_cores
from ctonnx.system.temporary_files import remove_leftovers, temporary_name
from ctonnx.system.text import Log

__all__ = ["ActorResources", "connected"]

_STORE = 128 << 20  # bytes of Ray's shared memory: names and rows are small, and containers have 64 MB of /dev/shm
_LONGEST_FOLDER = 12  # characters: the path of a socket has at most 107, of which Ray's own names take most
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to Ray's developers
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DATA_LOG_LEVEL": "CRITICAL",  # errors are raised, with their reason
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass(frozen=True, kw_only=True)
class ActorResources:
    """Size of a pool of actors.

    Attributes:
        cpus: Number of CPUs of each, which is that of the model's threads.
        gpus: Number of GPUs of each; a fraction shares one.
        actors: Number of actors; None takes as many as there are CPUs, or GPUs, for.
    """

    cpus: int
    gpus: float
    actors: int | None

    def actors_for(self, found: Mapping[str, float]) -> int:
        """Returns the number of actors on a cluster.

        Args:
            found: Numbers of `CPU` and `GPU` of the cluster.

        Raises:
            CtonnxError: If there is not enough for one actor and the number was not named: clusters may grow.
        """
        if self.actors is not None:
            return self.actors
        cpus, gpus = found.get("CPU", 0.0), found.get("GPU", 0.0)
        most = int(cpus // self.cpus)
        if self.gpus:
            most = min(most, int(gpus / self.gpus))
        if not most:
            wanted = f"{self.cpus} CPUs" + (f" and {self.gpus:g} GPUs" if self.gpus else "")
            raise CtonnxError(
                f"expected a cluster with {wanted} for an actor, found {cpus:g} CPUs and {gpus:g} GPUs; lower "
                "--threads or --actor-gpus, or name --actors if nodes will join"
            )
        return most


@contextmanager
def connected(resources: ActorResources, log: Log = lambda line: None) -> Iterator[int]:
    """Connects to `RAY_ADDRESS`, or starts Ray on this machine; yields the number of actors.

    A connection that exists already is used and kept. What was started here ends with the block, with its files.

    Raises:
        CtonnxError: If there is no cluster at the address, or Ray does not start here.
    """
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    import ray

    if ray.is_initialized():
        yield resources.actors_for(_found())
        return
    address = os.environ.get("RAY_ADDRESS", "")
    if address.startswith("ray://"):
        raise CtonnxError(
            f"expected RAY_ADDRESS of a cluster that this machine is a node of, found '{address}' of a client; run the "
            "command on a node, or by: ray job submit -- ctonnx predict ..."
        )
    with ExitStack() as stack:
        if address:
            log(f"ray: connecting to {address}")
            options: dict[str, Any] = {"address": address}
        else:
            actors = resources.actors or max(1, available_cores() // resources.cpus)
            log("ray: starting on this machine")
            options = {
                "address": "local",
                "num_cpus": actors * resources.cpus,
                "include_dashboard": False,
                "object_store_memory": _STORE,
                "_temp_dir": str(stack.enter_context(_session_folder(log))),
            }
            if not resources.gpus:
                options["num_gpus"] = 0
        stack.callback(ray.shutdown)
        with _same_signals():
            _start(options, f"the cluster of RAY_ADDRESS, '{address}'" if address else "Ray to start on this machine")
        yield resources.actors_for(_found())


def _found() -> dict[str, float]:
    import ray

    found: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return found


def _start(options: dict[str, Any], expected: str) -> None:
    """Calls `ray.init`, again if the processes of a busy machine started too slowly for Ray's 30 s.

    Raises:
        CtonnxError: If it fails.
    """
    import ray

    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for last in (False, False, True):
        try:
            with _quiet_stderr():
                ray.init(log_to_driver=False, logging_level=logging.CRITICAL, **options)
            return
        except Exception as error:  # Ray raises ConnectionError, RuntimeError, ValueError and Exception itself
            ray.shutdown()
            if last or "timed out during startup" not in str(error):
                raise CtonnxError(f"expected {expected}, found: {str(error).partition(chr(10))[0]}") from error


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Leaves out what Ray's C++ code writes to the file of stderr as it starts, such as the level of its log."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


@contextmanager
def _session_folder(log: Log) -> Iterator[Path]:
    """Yields a new folder for Ray's sockets, logs and spilled objects, and removes it, or a later run does."""
    folder = Path(tempfile.gettempdir())
    if len(str(folder)) > _LONGEST_FOLDER and Path("/tmp").is_dir():  # noqa: S108  # a new name with random digits
        folder = Path("/tmp")  # noqa: S108
    remove_leftovers([folder], log)
    with temporary_name(folder / "ray") as session:
        session.mkdir(mode=0o700)
        try:
            yield session
        finally:
            for _ in range(10):  # processes of Ray that are about to end write logs
                shutil.rmtree(session, ignore_errors=True)
                if not session.exists():
                    break
                time.sleep(0.2)


@contextmanager
def _same_signals() -> Iterator[None]:
    """Keeps the handler of SIGTERM, which Ray replaces with one that ends the process without cleaning up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
