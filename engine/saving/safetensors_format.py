"""The safetensors format, read and written piece by piece, with a checksum over all that a file holds.

A file is the length of a header (8 bytes), the header (JSON), and the bytes of the arrays. What is written here is laid
out in one order, so that equal contents are equal bytes, and has a SHA-256 in its metadata, of the other metadata and
of each array's name, type and bytes. Files of other writers have none.

The library of this format writes its metadata in random order, holds a second copy of what it saves, and maps what it
loads into memory, where a file that another process cuts off ends this one.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, NoReturn

import numpy as np

from ...ir import BFLOAT16, FLOAT16, Array, ArrayType, DType, as_dtype, is_float, is_half
from ...ir.printable import brief
from ..tracing.errors import located

DTYPES = {
    "F32": "float32",
    "F64": "float64",
    "I32": "int32",
    "I64": "int64",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}
"""The dtypes that are read and written, by their names in files."""
_NAMES = {as_dtype(dtype): name for name, dtype in DTYPES.items()} | {BFLOAT16: "BF16", FLOAT16: "F16"}
_HALVES = {"F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
"""Floats of two bytes, as what holds their bits. They are read as float32, which has all their values, or as they are
where that is what is wanted.
"""

_OF_HALF = {"F16": FLOAT16, "BF16": BFLOAT16}

_METADATA = "__metadata__"
_CHECKSUM = "gradloom.checksum"
_VERSION = "gradloom.version"
"""Says that there must be a checksum: so the file is refused too where just the name of that was damaged."""

_LENGTH_BYTES = 8
_MOST_HEADER_BYTES = 2**24
"""Of 100,000 arrays and more. Python's objects take twenty times as much."""
_MOST_AXES = 64
_PIECE_BYTES = 2**22


class FormatError(ValueError):
    """These bytes are no such file, or not the ones that were written."""


class StoredArray:
    """An array in an open file: the type that it is read as, and its bytes whenever they are asked for."""

    def __init__(self, file: BinaryIO, begin: int, type: ArrayType, half: str | None = None) -> None:
        """`half` names the floats of two bytes that it consists of, if it does."""
        self._file = file
        self._begin = begin
        self._half = half
        self.type = type
        self.shape = type.shape
        self.dtype = type.dtype

    @property
    def type_in_file(self) -> ArrayType:
        """Its type in the file."""
        return ArrayType(self.shape, _OF_HALF[self._half]) if self._half else self.type

    def is_a(self, dtype: DType) -> bool:
        """Whether each of its numbers is one of `dtype`."""
        if is_half(dtype):
            return self._half is not None and _OF_HALF[self._half] == dtype
        return self.dtype == dtype or (is_float(self.dtype) and is_float(dtype) and np.can_cast(self.dtype, dtype))

    def read(self) -> Array:
        """The array, in memory of its own."""
        array = np.empty(self.shape, self.dtype)
        self.read_into(array)
        return array

    def read_into(self, array: Array) -> None:
        """Read the array into a C-contiguous one of its shape, converted to the dtype of that."""
        if array.dtype != self.dtype or self._half:
            flat, start = array.reshape(-1), 0
            for piece in self.pieces():
                numbers = self._numbers(piece)
                flat[start : start + len(numbers)] = numbers
                start += len(numbers)
            return
        memory = array.reshape(-1).view(np.uint8)
        for start in range(0, len(memory), _PIECE_BYTES):
            self._fill(memory[start : start + _PIECE_BYTES], start)

    def pieces(self) -> Iterator[Array]:
        """The bytes in the file, piece by piece, in memory that the next piece overwrites."""
        size = self.type.size * (_HALVES[self._half] if self._half else self.dtype).itemsize
        memory = np.empty(min(size, _PIECE_BYTES), np.uint8)
        for start in range(0, size, _PIECE_BYTES):
            piece = memory[: size - start]
            self._fill(piece, start)
            yield piece

    def _numbers(self, piece: Array) -> Array:
        if not self._half:
            return piece.view(self.dtype)
        bits = piece.view(_HALVES[self._half])
        if is_float(bits.dtype):
            return bits.astype(np.float32)
        return (bits.astype(np.uint32) << 16).view(np.float32)  # bfloat16 is the upper half of a float32

    def _fill(self, memory: Array, start: int) -> None:
        self._file.seek(self._begin + start)
        view = memory.data
        while view:
            got = self._file.readinto(view)  # type: ignore[attr-defined]
            if not got:
                raise FormatError("it ended while it was read")
            view = view[got:]


class SafetensorsReader:
    """An open file: its metadata, and its arrays by name.

    Raises `FormatError` for what is no such file; whatever stands in it, that takes no more memory than a header may.
    """

    def __init__(self, file: BinaryIO) -> None:
        """`file` is open for reading, without a buffer."""
        self._file = file
        self._found = _identity(file)
        size = os.fstat(file.fileno()).st_size
        header = _header(file, size)
        self._data = size - _LENGTH_BYTES - len(header)
        entries = _parsed(header)
        self.metadata = _metadata(entries.pop(_METADATA, {}))
        self.foreign: dict[str, str] = {}
        """The names and dtypes of arrays of dtypes that are not read."""
        self.arrays = self._arrays(entries, size - self._data)
        self.checksum = self.metadata.pop(_CHECKSUM, None)
        """Of what it should hold, where the file says so."""
        self._version = self.metadata.pop(_VERSION, None)

    def _arrays(self, entries: Mapping[str, Any], start: int) -> dict[str, StoredArray]:
        found: dict[str, tuple[str, list[int], int, int]] = {}
        for name, entry in entries.items():
            if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
                raise FormatError(f"the header does not say what {brief(name)} is")
            dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
            if not (isinstance(dtype, str) and _are_counts(shape) and _are_counts(offsets) and len(offsets) == 2):
                raise FormatError(f"the header does not say what {brief(name)} is")
            found[name] = (dtype, shape, *offsets)
        end = 0
        for name, (_, _, begin, until) in sorted(found.items(), key=lambda item: item[1][2:]):
            if begin != end or until < begin:
                raise FormatError(f"{brief(name)} does not begin where the array before it ends")
            end = until
        if end != self._data:
            raise FormatError(f"its arrays take {end:,} bytes, there are {self._data:,}")
        self.foreign = {name: dtype for name, (dtype, *_) in found.items() if dtype not in (*DTYPES, *_HALVES)}
        return {
            name: StoredArray(
                self._file,
                start + begin,
                _type(name, dtype, shape, until - begin),
                dtype if dtype in _HALVES else None,
            )
            for name, (dtype, shape, begin, until) in found.items()
            if name not in self.foreign
        }

    def verify(self) -> None:
        """Read all bytes once. Raises `FormatError` where they do not fit the checksum, or a boolean is not 0 or 1."""
        order = _in_order({name: array.type_in_file for name, array in self.arrays.items()})
        wanted = self.checksum
        if wanted is None and self._version is not None:
            raise FormatError("its checksum is missing")
        digest = _begun(self._version, self.metadata, order)
        for name, kind in order:
            if wanted is None and kind.dtype != np.bool_:
                continue
            for piece in self.arrays[name].pieces():
                if kind.dtype == np.bool_ and piece.max() > 1:
                    raise FormatError(f"{brief(name)} holds booleans that are neither 0 nor 1")
                digest.update(piece)
        if wanted is not None and wanted != _checksum_text(digest):
            raise FormatError("its data are not those that were written: the checksum is another")

    def check_unchanged(self) -> None:
        """Raise `FormatError` where the file was written to since it was opened."""
        if _identity(self._file) != self._found:
            raise FormatError("it was written to while it was read")


def _name_of(name: str, dtype: DType) -> str:
    """A dtype in the words of the format. Raises `TypeError` for one that it has no word for."""
    if dtype not in _NAMES:
        raise TypeError(
            located(f"{name} is {dtype}, which safetensors files do not hold; keep its real and imaginary parts")
        )
    return _NAMES[dtype]


def write_safetensors(file: BinaryIO, arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> str:
    """Write arrays of the dtypes above, and return the checksum. Raises `FormatError` for names or metadata that a file
    cannot hold.
    """
    order = _in_order({name: ArrayType(array.shape, array.dtype) for name, array in arrays.items()})
    version = "2"
    said = {**metadata, _VERSION: version, _CHECKSUM: _checksum_text(hashlib.sha256())}
    header: dict[str, Any] = {_METADATA: dict(sorted(said.items()))}
    end = 0
    for name, kind in order:
        if name == _METADATA:
            raise FormatError(f"no array can be named {_METADATA}")
        begin, end = end, end + kind.nbytes
        header[name] = {"dtype": _name_of(name, kind.dtype), "shape": kind.shape, "data_offsets": (begin, end)}
    try:
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise FormatError(f"names and metadata are text in UTF-8: {error}") from None
    text += b" " * (-len(text) % 8)
    if len(text) > _MOST_HEADER_BYTES:
        raise FormatError(f"names and metadata take {len(text):,} bytes, at most {_MOST_HEADER_BYTES:,} can be read")
    digest = _begun(version, metadata, order)
    file.write(struct.pack("<Q", len(text)) + text)
    for name, _ in order:
        memory = np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8)
        for start in range(0, len(memory), _PIECE_BYTES):
            piece = memory[start : start + _PIECE_BYTES]
            digest.update(piece)
            file.write(piece.data)
    # Inside of texts quotes are escaped, so this is the key.
    key = f'"{_CHECKSUM}":"'.encode()
    file.seek(_LENGTH_BYTES + text.index(key) + len(key))
    checksum = _checksum_text(digest)
    file.write(checksum.encode())
    return checksum


def _in_order(types: Mapping[str, ArrayType]) -> list[tuple[str, ArrayType]]:
    """The order in a file: wide elements first, so that each array is aligned."""
    return sorted(types.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))


def _begun(version: str | None, metadata: Mapping[str, str], order: Iterable[tuple[str, ArrayType]]) -> Any:
    """The digest of all but the bytes of the arrays."""
    arrays = [(name, _name_of(name, kind.dtype), kind.shape) for name, kind in order]
    return hashlib.sha256(json.dumps([version, sorted(metadata.items()), arrays]).encode())


def _checksum_text(digest: Any) -> str:
    return f"sha256:{digest.hexdigest()}"


def _identity(file: BinaryIO) -> tuple[int, int]:
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns


def _header(file: BinaryIO, size: int) -> bytes:
    length = file.read(_LENGTH_BYTES)
    if len(length) < _LENGTH_BYTES:
        raise FormatError("it has no header")
    (n,) = struct.unpack("<Q", length)
    if n > size - _LENGTH_BYTES:
        raise FormatError(f"its header would take {n:,} bytes, it has {size:,}")
    if n > _MOST_HEADER_BYTES:
        raise FormatError(f"its header takes {n:,} bytes, which is more than {_MOST_HEADER_BYTES:,}")
    header = b""
    while len(header) < n:
        more = file.read(n - len(header))
        if not more:
            raise FormatError("it ended while it was read")
        header += more
    return header


def _parsed(header: bytes) -> dict[str, Any]:
    try:
        found = json.loads(header.decode(), object_pairs_hook=_unique, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"its header is no JSON that says what the arrays are: {brief(str(error), 200)}") from None
    if not isinstance(found, dict):
        raise FormatError("its header is no JSON that says what the arrays are")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise FormatError("a name stands there twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise FormatError(f"{text} is no number of JSON")


def _metadata(found: Any) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise FormatError("its metadata are no texts by names")
    return found


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)


def _type(name: str, dtype: str, shape: list[int], nbytes: int) -> ArrayType:
    kind = as_dtype(DTYPES.get(dtype, "float32"))
    fits = len(shape) <= _MOST_AXES and math.prod(max(extent, 1) for extent in shape) * kind.itemsize < 2**63
    if not fits or math.prod(shape) * _HALVES.get(dtype, kind).itemsize != nbytes:
        raise FormatError(f"{brief(name)} is {brief(dtype)} of shape {brief(str(shape))}, and has {nbytes:,} bytes")
    return ArrayType(tuple(shape), kind)
