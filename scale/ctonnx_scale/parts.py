"""A folder of Parquet files with rows: each is written completely or not at all, and a later run adds to them."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from ctonnx.errors import CtonnxError
from ctonnx.system.files import atomic_file
from ctonnx.system.temporary_files import remove_leftovers
from ctonnx.system.text import Log, counted
from ctonnx_scale.rows import MODEL, SCHEMA

__all__ = ["Parts", "PartsWriter"]

_NAME = re.compile(r"part-(\d{6,})\.parquet")
_MOST_ROWS = 100_000  # of a part: about 10 MB
_FIRST_SECONDS, _MOST_SECONDS = 1.0, 60.0  # between two parts: a killed run loses at most the last of these intervals


class Parts:
    """The Parquet files `part-000000.parquet`, `part-000001.parquet`, ... of a folder.

    Args:
        folder: Folder, made if it is missing.
        model_sha256: Checksum of the model whose rows they are.
        resume: Whether the folder may have parts already.
        log: Called with messages about temporary files of killed processes.

    Raises:
        CtonnxError: If the folder has parts and `resume` is False, or those of another model or another program.
        OSError: If the folder cannot be made or read.
    """

    def __init__(self, folder: Path, model_sha256: str, *, resume: bool, log: Log = lambda line: None) -> None:
        self.folder, self._model = folder, model_sha256
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers([folder], log)
        self.files = sorted(
            (file for file in folder.iterdir() if _NAME.fullmatch(file.name)), key=lambda file: _number(file)
        )
        if self.files and not resume:
            raise CtonnxError(
                f"expected a folder without parts for --output, found {counted(len(self.files), 'part')} in '{folder}';"
                " add --resume to predict only what they lack, or name another folder"
            )
        for file in self.files:
            self._check(file)

    def _check(self, file: Path) -> None:
        try:
            schema = parquet.read_schema(file)
        except (pa.ArrowException, OSError) as error:
            raise CtonnxError(
                f"expected a part that ctonnx wrote, found '{file}', which is damaged; remove it, and --resume "
                "predicts its files again"
            ) from error
        found = (schema.metadata or {}).get(MODEL.encode(), b"").decode()
        if not schema.equals(SCHEMA) or not found:
            raise CtonnxError(
                f"expected a part that ctonnx wrote, found '{file}' with other columns; name another folder"
            )
        if found != self._model:
            raise CtonnxError(
                f"expected parts of the model {self._model[:12]}..., found '{file}' of {found[:12]}...; name the model "
                "that they are of, or another folder"
            )

    def lacks(self, paths: pa.Array) -> pa.Array:
        """Returns for each path whether no part has a row of it.

        Args:
            paths: Values of the column `path`, as large strings.
        """
        found = [parquet.read_table(file, columns=["path"])["path"] for file in self.files]
        done = [pc.unique(column).cast(pa.large_string()) for column in found]
        return pc.invert(pc.is_in(paths, value_set=pa.concat_arrays(done)))

    @contextmanager
    def writer(self, clock: Callable[[], float] = time.monotonic) -> Iterator["PartsWriter"]:
        """Yields a writer of further parts.

        At the end of the block, also by an error or Ctrl-C, the rows that it was given are written.
        """
        with PartsWriter(self, clock) as writer:
            yield writer

    def write(self, tables: Sequence[pa.Table]) -> Path:
        """Writes a new part.

        Raises:
            OSError: If it cannot be written.
        """
        number = _number(self.files[-1]) + 1 if self.files else 0
        path = self.folder / f"part-{number:06d}.parquet"
        schema = SCHEMA.with_metadata({MODEL: self._model})
        with (
            atomic_file(path) as temporary,
            parquet.ParquetWriter(temporary, schema, compression="zstd") as writer,
        ):
            writer.write_table(pa.concat_tables(tables).replace_schema_metadata(schema.metadata))
        self.files.append(path)
        return path


class PartsWriter:
    """Collects rows, and writes a part when there are many of them or some time has passed.

    The first part comes after a second and the time doubles up to a minute, so that a short run leaves something too,
    and a long one few files.
    """

    def __init__(self, parts: Parts, clock: Callable[[], float] = time.monotonic) -> None:
        self._parts, self._clock = parts, clock
        self._tables: list[pa.Table] = []
        self._rows, self._seconds, self._last = 0, _FIRST_SECONDS, clock()

    def add(self, table: pa.Table) -> None:
        """Takes the rows of whole files.

        Raises:
            OSError: If a part cannot be written.
        """
        self._tables.append(table)
        self._rows += table.num_rows
        if self._rows >= _MOST_ROWS or self._clock() - self._last >= self._seconds:
            self._write()
            self._seconds = min(2 * self._seconds, _MOST_SECONDS)

    def _write(self) -> None:
        tables, self._tables, self._rows = self._tables, [], 0
        if tables:
            self._parts.write(tables)
        self._last = self._clock()

    def __enter__(self) -> "PartsWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write()


def _number(file: Path) -> int:
    found = _NAME.fullmatch(file.name)
    return int(found[1]) if found else -1
