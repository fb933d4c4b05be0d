"""UIDs of results, derived from the source and the model: the same result always has the same UID."""

import hashlib
from collections.abc import Iterable

__all__ = ["derived_uid"]


def derived_uid(*parts: str | Iterable[str]) -> str:
    """Returns a UID below `2.25`, whose number is the first 128 bits of the SHA-256 of the parts.

    The parts are UIDs, hashes and names; an iterable is a part of several texts. No part can be found from the UID,
    unless it can be guessed.

    Source: https://dicom.nema.org/medical/dicom/current/output/chtml/part05/sect_B.2.html (UIDs below 2.25)

    >>> derived_uid("1.2.3", "report")
    '2.25.230407938058042276920763584853514909216'
    >>> derived_uid("1.2.3", ["report"]) == derived_uid("1.2.3", "report") != derived_uid("1.2.3report")
    True
    """
    found = hashlib.sha256()
    for part in parts:
        texts = [part] if isinstance(part, str) else list(part)
        for text in (str(len(texts)), *texts):  # lengths, so that no two lists of parts have the same bytes
            data = text.encode("utf-8", "surrogatepass")
            found.update(len(data).to_bytes(8, "big") + data)
    return f"2.25.{int.from_bytes(found.digest()[:16], 'big')}"
