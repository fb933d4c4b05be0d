"""What a request is answered with when it is not done: a status and one sentence."""

from collections.abc import Mapping

__all__ = ["Refusal"]


class Refusal(Exception):
    """A request is not done; the client gets `{"error": sentence}`.

    Args:
        status: of HTTP.
        sentence: for the client; it holds nothing of the server's inside.
        headers: beside those that every answer has.
    """

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.headers = dict(headers or {})
