"""Files of object stores and of this machine's folders: listed by their names, and read as bytes.

A name is a path, or the URI of a file system that pyarrow opens: `s3://bucket/key`, `gs://bucket/key`,
`hdfs://host:port/path`, `abfs://container@account.dfs.core.windows.net/path`. What follows the bucket is the key as it
is, without escapes and without options: those of S3 come from the environment or from AWS's files, such as
`AWS_ENDPOINT_URL`, `AWS_REGION` and `AWS_PROFILE`, so that no secret is in a row.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from urllib.parse import unquote, urlsplit

from pyarrow import ArrowException
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, S3FileSystem

from ctonnx.errors import CtonnxError, ImageError
from ctonnx.images.formats import is_text_by_name
from ctonnx.images.source import NamedBytes
from ctonnx.prediction.inputs import find_images, is_ignored
from ctonnx.system.file_reading import reason_of
from ctonnx.system.memory import largest
from ctonnx.system.text import Log, counted

__all__ = ["find_files", "is_missing", "is_remote", "open_store", "read", "reason_of_store"]

_URI = re.compile(r"(?P<root>(?P<scheme>[a-z][a-z0-9+.-]+)://[^/]*)/?(?P<rest>.*)", re.DOTALL)
_SCHEMES = "s3://, gs://, hdfs:// or abfs://"


def is_remote(name: str) -> bool:
    """Returns whether a name is the URI of a file system, and no path of this machine.

    >>> is_remote("s3://bucket/scan.png"), is_remote("scans/s3.png"), is_remote("file:///scans")
    (True, False, False)
    """
    found = _URI.match(name)
    return found is not None and found["scheme"] != "file"


def find_files(names: Iterable[str], log: Log = lambda line: None) -> list[str]:
    """Expands paths, folders, patterns and the folders of object stores to files, in order.

    Paths are expanded by `ctonnx.prediction.inputs.find_images`. Below a folder of an object store the same names are
    left out, those of hidden files, of systems and of texts; by their names alone, as their bytes are not here.

    Raises:
        CtonnxError: If a folder has no file, a pattern matches nothing, or a file system cannot be opened.
    """
    found: list[str] = []
    for remote, group in groupby(map(_without_file_scheme, names), is_remote):
        if remote:
            for name in group:
                found += _files_of(name, log)
        else:
            found += find_images(group, log)
    return found


def read(name: str) -> NamedBytes:
    """Returns the bytes of a file in an object store.

    Raises:
        OSError: If it is missing or cannot be read.
        ImageError: If it is larger than all images may be that are in memory at a time, or a folder.
        CtonnxError: If its file system cannot be opened.
    """
    store, path = open_store(name)
    try:
        with store.open_input_file(path) as file:
            if (size := file.size()) > largest():
                raise ImageError(f"too large for the memory of this machine: {size} bytes", name)
            return NamedBytes(file.readall(), name)
    except ArrowException as error:
        raise OSError(str(error)) from error


def is_missing(name: str) -> bool:
    """Returns whether a path of this machine cannot be opened at the moment, as on a network share that is away."""
    return not os.access(name, os.R_OK)


def open_store(name: str) -> tuple[FileSystem, str]:
    """Returns the file system of a URI, and the path that it has there.

    Raises:
        CtonnxError: If there is no such file system, or it cannot be opened.
    """
    found = _URI.fullmatch(name)
    if found is None:
        raise CtonnxError(f"expected {_SCHEMES} with a file or folder, found '{name}'")
    root = found["root"]
    if "@" in root and found["scheme"] in ("s3", "gs"):
        raise CtonnxError(
            f"expected {found['scheme']}://BUCKET without a key before it, which would be in every row; set "
            "AWS_PROFILE or the variables of the store instead"
        )
    store, top = _opened(root)
    return store, f"{top.rstrip('/')}/{found['rest']}" if found["rest"] else top


@lru_cache(maxsize=64)
def _opened(root: str) -> tuple[FileSystem, str]:
    scheme, _, host = root.partition("://")
    # pyarrow does not read these variables of AWS's own tools: the address of another server than AWS's.
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    try:
        if scheme == "s3" and endpoint:
            address = urlsplit(endpoint)
            return S3FileSystem(endpoint_override=address.netloc, scheme=address.scheme), host
        store, top = FileSystem.from_uri(f"{root}/")
    except (ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise CtonnxError(
            f"expected {_SCHEMES} with a file or folder, found '{root}', which fails: {reason}"
        ) from error
    return store, top


def _without_file_scheme(name: str) -> str:
    return unquote(urlsplit(name).path) if name.startswith("file://") else name


def _files_of(name: str, log: Log) -> Sequence[str]:
    """Returns the files of a URI: itself, or those below it."""
    store, path = open_store(name)
    try:
        (info,) = store.get_file_info([path])
        if info.type is not FileType.Directory:
            return [name]  # a missing one gets a failure
        below = [item for item in store.get_file_info(FileSelector(path, recursive=True)) if item.is_file]
    except (ArrowException, OSError) as error:
        raise CtonnxError(f"expected to list '{name}', which fails: {reason_of_store(error)}") from error
    top = name.rstrip("/")
    names = sorted(f"{top}/{key}" for key in _keys(below, path))
    left = [file for file in names if not is_text_by_name(file)]
    if not left:
        others = counted(len(names), "other file") if names else "no file"
        raise CtonnxError(f"expected images in '{name}', found {others}; name a folder with PNG, JPEG or DICOM files")
    if len(left) < len(names):
        first = next(file for file in names if is_text_by_name(file))
        log(f"skipped: {counted(len(names) - len(left), 'other file')} ('{first}' first), no image by name")
    return left


def _keys(infos: Iterable[FileInfo], path: str) -> Iterator[str]:
    """Yields the paths of files below a folder, without those that are hidden or of systems."""
    for info in infos:
        key = info.path[len(path.rstrip("/")) + 1 :]
        *folders, last = key.split("/")
        if not is_ignored(last) and not any(is_ignored(folder, is_folder=True) for folder in folders):
            yield key


def reason_of_store(error: Exception) -> str:
    """Returns the first line of an error of a file system, in the words of `ctonnx.system.file_reading`."""
    if isinstance(error, OSError) and error.errno is not None:
        return reason_of(error)
    return str(error).partition("\n")[0]
