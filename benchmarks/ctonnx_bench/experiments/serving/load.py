"""Load generator: clients in this process that send requests to a server, each over one persistent connection."""

import asyncio
import json
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPResponse
from itertools import count
from pathlib import Path

__all__ = ["Load", "ask", "requests_for"]


def requests_for(files: Sequence[Path]) -> list[bytes]:
    """Returns the bytes of a request that uploads a file, for each file."""
    head = "POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: "
    contents = [file.read_bytes() for file in files]
    return [f"{head}{len(content)}\r\n\r\n".encode() + content for content in contents]


def ask(port: int, request: bytes) -> tuple[int, bytes]:
    """Sends one request over a new connection, and returns status and body of the response.

    Raises:
        OSError: If there is no server.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection, HTTPResponse(connection) as response:
        connection.sendall(request)
        response.begin()
        return response.status, response.read()


@dataclass(frozen=True)
class Load:
    """Measurements of the clients: seconds of each request and in all, responses by status and with a wrong label."""

    seconds: Sequence[float]
    statuses: Mapping[int, int]
    wrong: int
    elapsed: float

    @property
    def rate(self) -> float:
        """Responses of status 200 per second."""
        return self.statuses.get(200, 0) / self.elapsed

    @classmethod
    def run(cls, port: int, bodies: Sequence[bytes], labels: Sequence[str], *, clients: int, requests: int) -> "Load":
        """Runs clients in parallel, each with one request at a time, from `requests_for`, in turn."""
        return asyncio.run(_run(port, bodies, labels, clients, requests))


async def _run(port: int, bodies: Sequence[bytes], labels: Sequence[str], clients: int, requests: int) -> Load:
    numbers, seconds, statuses, wrong = count(), list[float](), Counter[int](), list[int]()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (number := next(numbers)) < requests:
            start = time.perf_counter()
            writer.write(bodies[number % len(bodies)])
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            body = await reader.readexactly(length)
            seconds.append(time.perf_counter() - start)
            status = int(head.split(b" ", 2)[1])
            statuses[status] += 1
            if status == 200 and json.loads(body)["results"][0]["label"] != labels[number % len(labels)]:
                wrong.append(number)
        writer.close()
        await writer.wait_closed()

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(min(clients, requests))))
    return Load(seconds, statuses, len(wrong), time.perf_counter() - start)
