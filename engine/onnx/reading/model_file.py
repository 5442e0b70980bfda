"""ONNX files: read whole, checked before anything is made of them. Nothing in a file is run as code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...tracing.errors import located
from ..errors import OnnxError, missing_package

_LEAST_OPSET = 13


def read_model(source: Any) -> tuple[Any, Path | None, str]:
    """A `ModelProto`, the folder that its external data is in, and what messages call it.

    `source` is a path, the bytes of a file, or a `ModelProto`. Raises `OnnxError` for what is damaged or of an opset
    that is not supported, `FileNotFoundError` for a path where nothing is, and `ImportError` without `onnx`.
    """
    try:
        import onnx  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise missing_package(error, "from_onnx") from None
    if isinstance(source, onnx.ModelProto):  # pyright: ignore[reportAttributeAccessIssue]
        model, folder, name = source, None, "the model"
    elif isinstance(source, (bytes, bytearray)):
        model, folder, name = _parsed(onnx, bytes(source), "the model"), None, "the model"
    elif isinstance(source, (str, os.PathLike)):
        path = Path(os.fsdecode(source))
        name = str(path)
        model, folder = _parsed(onnx, path.read_bytes(), name), path.parent
    else:
        kind = type(source).__name__
        raise TypeError(located(f"from_onnx takes the path of a file, its bytes, or an onnx.ModelProto, got {kind}"))
    _check_opsets(onnx, model, name)
    return model, folder, name


def _parsed(onnx: Any, data: bytes, name: str) -> Any:
    from google.protobuf.message import DecodeError  # pyright: ignore[reportMissingImports]

    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError:
        raise OnnxError(located(f"{name} is no ONNX file, or it is damaged or cut off")) from None
    if not model.ir_version or not model.HasField("graph") or not model.opset_import:
        raise OnnxError(located(f"{name} is no ONNX file, or it is damaged or cut off: it has no graph, or no opset"))
    return model


def _check_opsets(onnx: Any, model: Any, name: str) -> None:
    newest = onnx.defs.onnx_opset_version()
    for each in [*model.opset_import, *(o for f in model.functions for o in f.opset_import)]:
        if each.domain not in ("", "ai.onnx"):
            continue
        if each.version > newest:
            raise OnnxError(
                located(
                    f"{name} is of opset {each.version}; the package onnx that is installed, {onnx.__version__}, knows "
                    f"opsets up to {newest}: write pip install -U onnx"
                )
            )
        if each.version < _LEAST_OPSET:
            raise OnnxError(
                located(
                    f"{name} is of opset {each.version}; opsets {_LEAST_OPSET} and on are read: write "
                    f"onnx.version_converter.convert_version(onnx.load(path), {_LEAST_OPSET})"
                )
            )
