"""A refusal is a status, a sentence and headers."""

from ctonnx.server.transport.errors import Refusal


def test_refusal_keeps_what_the_client_is_told() -> None:
    refusal = Refusal(503, "try again", {"Retry-After": "1"})
    assert (refusal.status, refusal.sentence, refusal.headers) == (503, "try again", {"Retry-After": "1"})
    assert Refusal(400, "no").headers == {}
