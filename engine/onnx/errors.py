"""What is wrong with an ONNX file, or what in it this package does not compute."""

from __future__ import annotations


class OnnxError(ValueError):
    """An ONNX file is damaged, holds what is not supported, or cannot be written. The message names file and node."""


def missing_package(error: ImportError, needs: str) -> ImportError:
    """The error that says how to install what reads and writes ONNX files."""
    return ImportError(f"{needs} needs the package onnx ({error}); write pip install 'gradloom[onnx]'")
