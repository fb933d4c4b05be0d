"""File names as Arrow columns: ten million take a tenth of the memory that a list of texts does."""

import os
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from ctonnx.system.text import escape_undecodable
from ctonnx_scale.parts import Parts

__all__ = ["left_of", "names_of"]


def names_of(files: Sequence[str]) -> pa.Array:
    """Returns file names as bytes, each once: the text of a name may not be valid UTF-8."""
    return pc.unique(pa.array((os.fsencode(file) for file in files), pa.large_binary()))


def left_of(names: pa.Array, parts: Parts) -> pa.Array:
    """Returns the names, as of `names_of`, that no part has a row of."""
    if not parts.files:
        return names
    texts = pa.array((escape_undecodable(os.fsdecode(name.as_py())) for name in names), pa.large_string())
    return names.filter(parts.lacks(texts))
