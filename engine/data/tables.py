"""Columns from tables: CSV, and Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence

import numpy as np

from ...ir import Array
from ..tracing.errors import located
from ..tracing.keywords import tells_keywords
from .array_files import DataError, FilePath, check_there

_LISTED = 8


@tells_keywords
def read_csv(
    path: FilePath, columns: Sequence[str] | None = None, delimiter: str = ",", header: bool = True
) -> dict[str, Array]:
    """The columns of a CSV file by name: int64 where all entries are whole numbers, float64 where they are numbers (an
    empty one is NaN), else NumPy strings, of which `gl.data.categories` makes numbers.

    The first row has the names; without a `header` they are "0", "1" and on. `columns` chooses some. Raises `DataError`
    where the file is missing, is not UTF-8, or has a row of another length, which is named.
    """
    check_there(path)
    name = os.fsdecode(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=delimiter)
            numbered = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(located(f"{name} is damaged, or no CSV file in UTF-8: {error}")) from error
    rows = [row for _, row in numbered]
    if not rows:
        raise DataError(located(f"{name} is empty"))
    names = [text.strip() for text in rows.pop(0)] if header else [str(i) for i in range(len(rows[0]))]
    if len(set(names)) < len(names):
        raise DataError(located(f"{name} has columns of the same name: {', '.join(names[:_LISTED])}"))
    for line, row in numbered:
        if len(row) != len(names):
            where = f"{name}: the row that ends in line {line}"
            raise DataError(located(f"{where} has {len(row)} entries, the first one has {len(names)}"))
    chosen = _chosen(name, names, columns)
    return {column: _column([row[names.index(column)].strip() for row in rows]) for column in chosen}


@tells_keywords
def read_parquet(path: FilePath, columns: Sequence[str] | None = None) -> dict[str, Array]:
    """The columns of a Parquet file by name, numbers as they are (a missing one is NaN), strings as NumPy's.

    Raises `ImportError` where pyarrow is not installed, and `DataError` where the file is missing or damaged, or a
    column holds neither numbers nor strings.
    """
    try:
        import pyarrow as pa  # pyright: ignore[reportMissingImports]
        import pyarrow.parquet as pq  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError(
            located("Parquet files are read by pyarrow, which is not installed; pip install pyarrow")
        ) from None
    check_there(path)
    name = os.fsdecode(path)
    try:
        with pq.ParquetFile(path) as file:
            chosen = _chosen(name, file.schema_arrow.names, columns)
            table = file.read(columns=chosen)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(located(f"{name} is damaged, or no Parquet file: {error}")) from error
    found = {column: table[column].to_numpy() for column in chosen}
    found = {column: a.astype(str) if a.dtype.kind == "O" and _all_text(a) else a for column, a in found.items()}
    for column, array in found.items():
        if array.dtype.kind not in "biufU":
            raise DataError(
                located(f"{name}: column {column} holds {table[column].type}, which is neither number nor string")
            )
    return found


def categories(values: Array) -> tuple[Array, Array]:
    """A column as numbers: `(codes, names)`, int64 codes of the values and the sorted values that they stand for."""
    names, codes = np.unique(np.asarray(values), return_inverse=True)
    return codes.reshape(np.shape(values)).astype(np.int64), names


def _all_text(column: Array) -> bool:
    return all(isinstance(entry, str) for entry in column)


def _chosen(path: str, names: Sequence[str], columns: Sequence[str] | None) -> list[str]:
    if isinstance(columns, str):
        raise TypeError(located(f"columns is a list of names, got {columns!r}; write [{columns!r}]"))
    missing = [column for column in columns or () if column not in names]
    if missing:
        more = " and more" if len(names) > _LISTED else ""
        raise DataError(
            located(f"{path} has no column {', '.join(missing)}; it has {', '.join(names[:_LISTED])}{more}")
        )
    return list(names if columns is None else columns)


def _column(entries: list[str]) -> Array:
    for dtype, converted in ((np.int64, int), (np.float64, lambda text: float(text) if text else float("nan"))):
        try:
            return np.array([converted(text) for text in entries], dtype)
        except (ValueError, OverflowError):
            pass
    return np.array(entries, str)
