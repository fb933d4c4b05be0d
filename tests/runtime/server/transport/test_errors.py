"""A refusal is a status, a sentence and headers."""

from ctonnx.server.transport.errors import RequestError


def test_refusal_keeps_what_the_client_is_told() -> None:
    refusal = RequestError(503, "try again", {"Retry-After": "1"})
    assert (refusal.status, refusal.sentence, refusal.headers) == (503, "try again", {"Retry-After": "1"})
    assert RequestError(400, "no").headers == {}
