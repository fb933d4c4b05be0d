"""Error responses: a status and one sentence."""

from collections.abc import Mapping
from reprlib import Repr

__all__ = ["RequestError", "bad_request", "short"]

_SHORT = Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict, _SHORT.maxstring = 2, 6, 4, 60


class RequestError(Exception):
    """A request that is rejected with the body `{"error": message}`.

    Args:
        status: HTTP status.
        message: One sentence for the client, without internals of the server.
        headers: Headers in addition to those of every response.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


def bad_request(expected: str, found: object) -> RequestError:
    """Returns the error for an invalid request, with status 400."""
    return RequestError(400, f"expected {expected}, found {found}")


def short(value: object) -> str:
    """Returns the representation of a client's value for a message: short and without control characters.

    >>> short("a\\nb"), short([1, 224, 224, 3])
    ("'a\\\\nb'", '[1, 224, 224, 3]')
    """
    return _SHORT.repr(value)
