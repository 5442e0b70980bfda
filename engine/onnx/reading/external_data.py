"""The bytes of a tensor that lie in a file beside an ONNX file, and never outside of its folder."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ...tracing.errors import located
from ..errors import OnnxError


def read_external(tensor: Any, folder: Path | None, nbytes: int) -> bytes:
    """The `nbytes` of a `TensorProto` whose data is external. Raises `OnnxError` that names tensor and file.

    A location is a relative path below the folder of the model: an absolute one, one with `..`, and one that leads out
    of the folder by a symbolic link are refused.
    """
    what = f"tensor {tensor.name!r}"
    fields = {entry.key: entry.value for entry in tensor.external_data}
    location = fields.get("location", "")
    if folder is None:
        raise OnnxError(
            located(
                f"{what} has its data in the file {location!r}; a model in memory has no folder: give from_onnx the "
                "path of the file, or onnx.load(path), which reads such data"
            )
        )
    path = _inside(what, location, folder)
    offset = _number(what, fields, "offset", 0)
    length = _number(what, fields, "length", nbytes)
    if length != nbytes:
        raise OnnxError(located(f"{what} takes {nbytes:,} bytes, but its data in {location!r} has {length:,}"))
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if offset + length > size:
                raise OnnxError(
                    located(
                        f"{what} lies in bytes {offset:,} to {offset + length:,} of {location!r}, which is cut off: "
                        f"it has {size:,}"
                    )
                )
            file.seek(offset)
            return file.read(length)
    except OSError as error:
        raise OnnxError(
            located(f"{what} has its data in {location!r}, which cannot be read: {error.strerror}")
        ) from None


def _inside(what: str, location: str, folder: Path) -> Path:
    """The file at `location` below `folder`. Raises `OnnxError` for any other."""
    parts = (*PurePosixPath(location).parts, *PureWindowsPath(location).parts)
    if not location or PurePosixPath(location).is_absolute() or PureWindowsPath(location).anchor or ".." in parts:
        raise OnnxError(located(f"{what} has its data in {location!r}, which is no path below the folder of the model"))
    path = folder / location
    root = folder.resolve()
    if not path.exists():
        raise OnnxError(located(f"{what} has its data in {location!r}, which is missing in {os.fsdecode(folder)}"))
    if not path.resolve().is_relative_to(root):
        raise OnnxError(located(f"{what} has its data in {location!r}, which leads out of the folder of the model"))
    if not path.is_file():
        raise OnnxError(located(f"{what} has its data in {location!r}, which is no file"))
    return path


def _number(what: str, fields: dict[str, str], key: str, default: int) -> int:
    text = fields.get(key, str(default))
    if not text.isascii() or not text.isdigit():
        raise OnnxError(located(f"{what}: the {key} of its external data is a whole number of 0 or more, got {text!r}"))
    return int(text)
