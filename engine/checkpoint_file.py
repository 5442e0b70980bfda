"""Named arrays in safetensors files: written whole or not at all, read with every doubt spelled out."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from ..ir import SHORT_NAMES, Array, ArrayType, as_dtype

_DTYPE_NAMES = {"F32": "float32", "F64": "float64", "I32": "int32", "I64": "int64", "U8": "uint8", "BOOL": "bool"}
_LISTED = 8


class CheckpointError(Exception):
    """A checkpoint cannot be written, read, or does not fit the model. What was on disk before is untouched."""


def save_arrays(
    path: str | os.PathLike[str], arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None
) -> None:
    """Write `arrays` to a safetensors file at `path`, replacing the one that is there in a single step.

    The file is first written beside it and flushed to the disk; if that fails, the old file stays as it was and
    `CheckpointError` is raised, with the reason.
    """
    target = Path(os.path.realpath(path))
    tensors: dict[str, Array] = {}
    for name, given in arrays.items():
        try:
            tensors[name] = np.asarray(given, as_dtype(np.asarray(given).dtype), order="C")
        except TypeError as error:
            raise CheckpointError(f"cannot save {name}: {error}") from None
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    try:
        safetensors.numpy.save_file(tensors, temporary, dict(metadata or {}))
        _flush(temporary)
        os.replace(temporary, target)
    except (OSError, safetensors.SafetensorError) as error:
        kept = f"; the checkpoint that was there before is untouched, {_size(target)}" if target.exists() else ""
        raise CheckpointError(f"could not save {target}: {error}{kept}") from error
    finally:
        temporary.unlink(missing_ok=True)
    _flush(target.parent)


def _flush(path: Path) -> None:
    """Wait until a file or the entries of a folder are on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open a folder
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _size(path: Path) -> str:
    return f"{path.stat().st_size:,} bytes"


def _supported() -> str:
    return ", ".join(str(dtype) for dtype in SHORT_NAMES)


def load_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays and the metadata of a safetensors file, one that PyTorch wrote as well.

    Raises `CheckpointError` where the file is missing, cut off or no safetensors file, or holds a dtype such as
    bfloat16.
    """
    where = Path(path)
    if not where.is_file():
        what = "is a folder" if where.is_dir() else "there is no such file"
        raise CheckpointError(f"cannot load {where}: {what}")
    try:
        with safetensors.safe_open(where, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            names = list(file.keys())
            foreign = {name: dtype for name in names if (dtype := file.get_slice(name).get_dtype()) not in _DTYPE_NAMES}
            if foreign:
                listed = _list([f"{name} ({dtype})" for name, dtype in foreign.items()])
                raise CheckpointError(
                    f"cannot load {where}: these are of dtypes other than {_supported()}: {listed}; "
                    "convert them where the file was made, for example with tensor.float()"
                )
            arrays: dict[str, Array] = {name: np.array(file.get_tensor(name)) for name in names}
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"cannot load {where} ({_size(where)}): it is cut off, damaged or no safetensors file: {error}"
        ) from error
    return arrays, metadata


def check_names(
    expected: Mapping[str, ArrayType],
    found: Mapping[str, Array],
    aliases: Mapping[str, str] | None = None,
    source: str = "the arrays given",
) -> dict[str, Array]:
    """The arrays of `found` under the names of `expected`, once every name, shape and dtype is seen to fit.

    `aliases` maps further names to expected ones (tied weights): an array may come under any of them, and where it
    comes under several, all must be equal. Raises `CheckpointError` that lists all that is missing, unknown or of
    another type.
    """
    aliases = aliases or {}
    result: dict[str, Array] = {}
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
        elif array.dtype != wanted.dtype:
            problems.append(
                f"{name} is {array.dtype}, the model's is {wanted.dtype}; array.astype('{wanted.dtype}') converts it"
            )
        elif target in result and not np.array_equal(result[target], array, equal_nan=array.dtype.kind == "f"):
            problems.append(f"{came_as[target]} and {name} differ, but are one tied parameter in the model")
        else:
            result.setdefault(target, array)
            came_as.setdefault(target, name)
    seen = {aliases.get(name, name) for name in found}
    missing = [name for name in expected if name not in seen]
    lines = [f"of another type: {problem}" for problem in problems[:_LISTED]]
    if len(problems) > _LISTED:
        lines.append(f"and {len(problems) - _LISTED} more")
    if missing:
        lines.append(f"missing: {_list(missing)}")
    if unknown:
        lines.append(f"not in the model: {_list(unknown)}")
    if lines:
        raise CheckpointError(f"{source} do not fit the model\n  " + "\n  ".join(lines))
    return {name: result[name] for name in expected}


def _list(names: Iterable[str]) -> str:
    items = list(names)
    shown = ", ".join(items[:_LISTED])
    return shown if len(items) <= _LISTED else f"{shown} and {len(items) - _LISTED} more"
