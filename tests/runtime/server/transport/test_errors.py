"""A request error has a status, a message and headers."""

from ctonnx.server.transport.errors import RequestError


def test_request_error_keeps_status_message_and_headers() -> None:
    error = RequestError(503, "try again", {"Retry-After": "1"})
    assert (error.status, error.message, error.headers) == (503, "try again", {"Retry-After": "1"})
    assert RequestError(400, "no").headers == {}
