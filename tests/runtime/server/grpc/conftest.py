"""A server with its port for gRPC, in a thread."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.runtime.server.conftest import WAIT, Server

from ctonnx.prediction.predictor import Predictor
from ctonnx.server.app import make_app
from ctonnx.server.grpc.listener import GrpcListener
from ctonnx.server.settings import Settings
from ctonnx.server.transport.lifecycle import bind, serve


@contextmanager
def running(predictor: Predictor, settings: Settings) -> Iterator[tuple[Server, str]]:
    """Serves until the block ends; yields the server, and the address of its port for gRPC."""
    app = make_app(predictor, settings, version="1.2.3")
    sockets, of_grpc = bind("127.0.0.1", 0), bind("127.0.0.1", 0)
    ports = [bound[0].getsockname()[1] for bound in (sockets, of_grpc)]
    is_ready = threading.Event()
    listener = GrpcListener(app, of_grpc, settings)
    options = {"grace": WAIT, "ready": is_ready.set, "listener": listener}
    thread = threading.Thread(target=serve, args=(app, sockets), kwargs=options)
    thread.start()
    try:
        assert is_ready.wait(WAIT)
        yield Server(ports[0], app), f"127.0.0.1:{ports[1]}"
    finally:
        app.stopping = True
        thread.join(WAIT)
        assert not thread.is_alive()
