"""Named arrays in safetensors files: written whole or not at all, read with every doubt spelled out."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from ...ir import DTYPES, Array, ArrayType, as_dtype, is_float, is_half
from ...ir.printable import brief
from ..tracing.errors import located
from .replace_file import check_replaceable, replacing
from .safetensors_format import FormatError, SafetensorsReader, StoredArray, write_safetensors
from .sharded_file import ShardedReader, index_in_place_of, remove_index

_LISTED = 8
_LONGEST_NAME = 200


class CheckpointError(Exception):
    """A checkpoint cannot be written, read, or does not fit the model. What was on disk before is untouched."""


class CheckpointWarning(UserWarning):
    """A checkpoint was made by a step with other settings, and does not go on as that one would have."""


def save_arrays(
    path: str | os.PathLike[str], arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None
) -> None:
    """Write `arrays` to a safetensors file at `path`, replacing the one that is there in a single step.

    The file is first written beside it and flushed to the disk; if that fails, the old file stays as it was and
    `CheckpointError` is raised, with the reason. Equal contents make equal bytes. The file has a checksum, and the mode
    of the one that it replaces, or that which the umask gives. What a process left beside it that was killed while it
    wrote is removed.
    """
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(located(f"the path of a checkpoint is a str or a pathlib.Path, got {path!r}"))
    tensors, said = savable(arrays, metadata or {})
    try:
        with replacing(path) as file:
            write_safetensors(file, tensors, said)
        remove_index(os.fsdecode(path))
    except (OSError, FormatError) as error:
        where = os.fsdecode(path)
        kept = f"; the checkpoint that was there before is untouched, {_size(where)}" if os.path.isfile(where) else ""
        raise CheckpointError(located(f"could not save {where}: {reason_in_words(error)}{kept}")) from error


def reason_in_words(error: OSError | FormatError) -> str:
    """Why a file cannot be written; the name of the temporary file is left out."""
    return str(getattr(error, "strerror", None) or error)


def savable(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> tuple[dict[str, Array], dict[str, str]]:
    """Arrays and metadata as a file can hold them. Raises `CheckpointError`, `TypeError`."""
    for name, text in metadata.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise TypeError(located(f"the metadata of a checkpoint are texts by names, got {name!r}: {text!r}"))
    tensors: dict[str, Array] = {}
    for name, given in arrays.items():
        try:
            array = np.asarray(given)
            tensors[name] = np.asarray(array, array.dtype if is_half(array.dtype) else as_dtype(array.dtype))
        except TypeError as error:
            raise CheckpointError(located(f"cannot save {name}: {error}")) from None
    return tensors, dict(metadata)


def check_savable(path: str | os.PathLike[str], nbytes: int = 0) -> None:
    """Raise `CheckpointError` where it can be known that a checkpoint of so many bytes cannot be saved at `path`."""
    try:
        check_replaceable(path, nbytes)
    except OSError as error:
        raise CheckpointError(located(f"cannot write {os.fsdecode(path)}: {error.strerror}")) from error


def _size(path: str | Path) -> str:
    return f"{os.stat(path).st_size:,} bytes"


def _supported() -> str:
    return ", ".join(str(dtype) for dtype in DTYPES)


class CheckpointReader:
    """An open safetensors file, or several with an index, of another writer as well: `metadata`, and
    `arrays` that are read when asked for.

    The header is all that is in memory. Where reading fails in a `with` block of this, the error is `CheckpointError`.
    """

    def __init__(self, path: str | os.PathLike[str], reader: SafetensorsReader | ShardedReader) -> None:
        self._path = path
        self._reader = reader
        self.metadata = reader.metadata
        self.arrays: dict[str, StoredArray] = reader.arrays
        self.identity = reader.checksum or f"{len(reader.arrays)} arrays without a checksum"
        """What tells it from other checkpoints, if it says so."""

    def verify(self) -> None:
        """Read the whole file once. Raises `CheckpointError` where its checksum, if it has one, does not fit."""
        with _readable(self._path):
            self._reader.verify()

    def read_into(self, arrays: Mapping[str, Array], stored: Mapping[str, StoredArray]) -> None:
        """Read into each of `arrays` the one of the same name, where there is one, without another copy in memory; one
        of a GPU has a copy at a time.
        """
        with _readable(self._path):
            for name, array in arrays.items():
                if name in stored:
                    host = array if isinstance(array, np.ndarray) else np.empty(array.shape, array.dtype)
                    stored[name].read_into(host)
                    if host is not array:
                        array[...] = host
            self._reader.check_unchanged()


@contextlib.contextmanager
def open_checkpoint(path: str | os.PathLike[str]) -> Iterator[CheckpointReader]:
    """Open a safetensors file, or those that an index names: beside `path`, as `run.safetensors.index.json`, or there.

    Arrays of float16 and bfloat16 are read as float32. Raises `CheckpointError` where the file is missing, cut off or
    no safetensors file, or holds another dtype that there is not here, such as int8.
    """
    with contextlib.ExitStack() as stack:
        with _readable(path):
            where = os.fsdecode(path)
            index = index_in_place_of(where)
            place = where if index is None else index
            if not os.path.isfile(place):
                there = "it is no regular file" if os.path.exists(where) else "there is no such file"
                raise CheckpointError(
                    located(f"cannot load {where}: {'it is a folder' if os.path.isdir(where) else there}")
                )
            if index is None:
                reader = SafetensorsReader(stack.enter_context(open(where, "rb", buffering=0)))
            else:
                reader = ShardedReader(index, stack)
        if reader.foreign:
            listed = _list([f"{name} ({dtype})" for name, dtype in reader.foreign.items()])
            raise CheckpointError(
                located(
                    f"cannot load {where}: these are of dtypes other than {_supported()}: {listed}; "
                    "convert them where the file was made, for example with tensor.float()"
                )
            )
        yield CheckpointReader(path, reader)


@contextlib.contextmanager
def _readable(path: str | os.PathLike[str]) -> Iterator[None]:
    """Errors of reading a file, as what a user is told."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(located(f"cannot load {os.fsdecode(path)}: {error.strerror or error}")) from error
    except FormatError as error:
        where = os.fsdecode(path)
        size = f" ({_size(where)})" if os.path.isfile(where) else ""
        if _is_of_torch(where):
            raise CheckpointError(
                located(
                    f"cannot load {where}{size}: it is a file of torch.save, not a safetensors file; write "
                    f"step.set_parameters(torch.load({where!r}, weights_only=True)), or save it by safetensors.torch"
                )
            ) from error
        raise CheckpointError(
            located(f"cannot load {where}{size}: it is cut off, damaged or no safetensors file: {error}")
        ) from error


def _is_of_torch(path: str) -> bool:
    """Whether a file begins as torch.save writes it: an archive, or a pickle in files of old."""
    try:
        with open(path, "rb") as file:
            return file.read(4).startswith((b"PK\x03\x04", b"\x80\x02"))
    except OSError:
        return False


def arrays_and_metadata(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays and the metadata of a safetensors file, whose checksum is compared if it has one.

    Raises what `open_checkpoint` raises.
    """
    with open_checkpoint(path) as file:
        file.verify()
        arrays = {name: np.empty(stored.shape, stored.dtype) for name, stored in file.arrays.items()}
        file.read_into(arrays, file.arrays)
        return arrays, file.metadata


def load_arrays(path: str | os.PathLike[str]) -> dict[str, Array]:
    """The arrays of a safetensors file by name, of this package or of another writer; float16 and bfloat16 as float32.

    What `step.save` wrote has the optimizer's state under names that begin with `.optimizer.`. Raises `CheckpointError`
    where the file is missing, damaged, or holds other dtypes.
    """
    return arrays_and_metadata(path)[0]


class _Typed(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...


_Found = TypeVar("_Found", bound=_Typed)


def _equal(one: Any, other: Any) -> bool:
    """Whether two arrays, in memory or in files, hold the same numbers."""
    a, b = (each.read() if isinstance(each, StoredArray) else each for each in (one, other))
    return np.array_equal(a, b, equal_nan=is_float(a.dtype))


def check_names(
    expected: Mapping[str, ArrayType],
    found: Mapping[str, _Found],
    aliases: Mapping[str, str] | None = None,
    source: str = "the arrays given",
    optional: Container[str] = (),
    strict: bool = True,
) -> dict[str, _Found]:
    """The arrays of `found` under the names of `expected`, once every name, shape and dtype is seen to fit.

    A dtype fits too whose floats are all floats of the expected one. `aliases` maps further names to expected ones
    (tied weights): an array may come under any of them, and where it comes under several, all must be equal. What is
    `optional` may be missing. Where it is not `strict`, all may be, and unknown arrays are left out, but one array at
    least must be known. Raises `CheckpointError` that lists all that is missing, unknown or of another type.
    """
    aliases = aliases or {}
    result: dict[str, _Found] = {}
    came_as: dict[str, str] = {}
    unknown: list[str] = []
    problems: list[str] = []
    for name, array in found.items():
        target = aliases.get(name, name)
        if target not in expected:
            unknown.append(name)
            continue
        wanted = expected[target]
        if tuple(array.shape) != wanted.shape:
            problems.append(f"{name} has shape {tuple(array.shape)}, the model's is {wanted.shape}")
        elif array.dtype != wanted.dtype and not _widens(array, wanted.dtype):
            convert = f"array.astype('{wanted.dtype}')"
            if isinstance(array, StoredArray):
                convert = "step.load_state_dict(gl.load_arrays(path))"
            problems.append(f"{name} is {array.dtype}, the model's is {wanted.dtype}; {convert} converts it")
        elif target in result and not _equal(result[target], array):
            problems.append(f"{came_as[target]} and {name} differ, but are one tied parameter in the model")
        else:
            result.setdefault(target, array)
            came_as.setdefault(target, name)
    seen = {aliases.get(name, name) for name in found}
    missing = [name for name in expected if name not in seen and name not in optional]
    if not strict and (result or problems or not expected):
        missing = unknown = []
    lines = [f"of another type: {problem}" for problem in problems[:_LISTED]]
    if len(problems) > _LISTED:
        lines.append(f"and {len(problems) - _LISTED} more")
    if missing:
        lines.append(f"missing: {_list(missing)}")
    if unknown:
        lines.append(f"not in the model: {_list(unknown)}")
    if lines:
        raise CheckpointError("\n  ".join([located(f"{source} do not fit the model"), *lines]))
    return {name: result[name] for name in expected if name in result}


def _widens(array: Any, wanted: Any) -> bool:
    """Whether every float of the dtype of an array is one of another."""
    if isinstance(array, StoredArray):
        return array.is_a(wanted)
    dtype = array.dtype
    return is_float(dtype) and is_float(wanted) and np.can_cast(dtype, wanted)


def _list(names: Iterable[str]) -> str:
    items = list(names)
    shown = ", ".join(brief(name, _LONGEST_NAME) for name in items[:_LISTED])
    return shown if len(items) <= _LISTED else f"{shown} and {len(items) - _LISTED} more"
