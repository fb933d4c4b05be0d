"""What a request is answered with when it is not done: a status and one sentence."""

from collections.abc import Mapping
from reprlib import Repr

__all__ = ["RequestError", "shown"]

_SHORT = Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict, _SHORT.maxstring = 2, 6, 4, 60


class RequestError(Exception):
    """A request is not done; the client gets `{"error": sentence}`.

    Args:
        status: of HTTP.
        sentence: for the client; it holds nothing of the server's inside.
        headers: Beside those that every answer has.
    """

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.headers = dict(headers or {})


def shown(value: object) -> str:
    """Returns what a client sent as a sentence can hold it: short, without control characters.

    >>> shown("a\\nb"), shown([1, 224, 224, 3])
    ("'a\\\\nb'", '[1, 224, 224, 3]')
    """
    return _SHORT.repr(value)
