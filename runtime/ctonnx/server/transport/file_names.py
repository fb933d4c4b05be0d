"""File names in a multipart body, in all the ways in which clients encode names that are not ASCII.

| form | sent by |
| --- | --- |
| `filename="ä.png"` in UTF-8 or Latin-1, with `%22` for a quote | browsers, curl, urllib3 2 |
| `filename*=UTF-8''%C3%A4.png`, with or without `filename` | urllib3 1, and clients that follow RFC 6266 |
| `filename="=?UTF-8?B?w6QucG5n?="` | mail libraries |

A name is only returned in the response. It is never used as a path.

Sources: https://www.rfc-editor.org/rfc/rfc7578#section-4.2, https://www.rfc-editor.org/rfc/rfc8187,
https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data
"""

from contextlib import suppress
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.utils import collapse_rfc2231_value

from ctonnx.system.text import escape_control

__all__ = ["file_name"]

_ESCAPES = {"%22": '"', "%0D": "\r", "%0A": "\n"}  # the escapes of the HTML standard
_LONGEST = 255  # characters, the limit of most file systems


def file_name(disposition: bytes) -> str | None:
    """Returns the file's name in a Content-Disposition, on one line, or None: the part is not a file then.

    >>> file_name(b'form-data; name="file"; filename="a.png"'), file_name(b'form-data; name="note"')
    ('a.png', None)
    >>> file_name(b"form-data; name=file; filename*=UTF-8''n%C3%B3dulo.png")
    'nódulo.png'
    """
    message = Message()
    message["content-disposition"] = disposition.decode("latin-1").replace("\r", " ").replace("\n", " ")
    plain = extended = None
    for name, value in message.get_params([], header="content-disposition"):
        if name.lower() == "filename":
            if isinstance(value, tuple):
                extended = extended or collapse_rfc2231_value(value)
            else:
                plain = value if plain is None else plain
    if extended is None and plain is None:
        return None
    shown = escape_control(extended or _decoded(plain or ""))
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 3]}..."


def _decoded(name: str) -> str:
    with suppress(UnicodeDecodeError):  # it is Latin-1, from an old client
        name = name.encode("latin-1").decode("utf-8")
    if name.startswith("=?") and name.endswith("?="):
        try:
            return str(make_header(decode_header(name)))
        except (HeaderParseError, LookupError, ValueError):
            return name
    for escape, character in _ESCAPES.items():
        name = name.replace(escape, character)
    return name
