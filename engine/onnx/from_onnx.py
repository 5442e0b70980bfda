"""`from_onnx`: the model of an ONNX file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .reading.imported_model import OnnxModel


def from_onnx(source: str | os.PathLike[str] | bytes | Any) -> OnnxModel:
    """The model of an ONNX file, to compute with and to train: of opset 13 and on, with the extra `onnx`.

    `source` is a path, the bytes of a file, or an `onnx.ModelProto`. The model is called with the graph's inputs by
    position or by name, and gives its output, or a tuple of several. Its parameters are the initializers of floats,
    under their names. `model(x)` computes with the file's values, compiled; `gl.compile_step(model, ...)` trains them;
    `gl.trace` and reports have the names of the ONNX nodes as scopes. A length that has a name in the file, such as
    the batch, may be any. Dropout drops, and batch norm uses the batch, where the file says so (`training_mode`) and
    the model is in training.

    Raises `OnnxError` for a file that is damaged or cut off, of a future opset, with operators, domains or dtypes that
    are not supported (it names them all), or with external data that is missing, cut off or outside of its folder.
    Nothing in a file is run as code.
    """
    from .reading.model_file import read_model

    model, folder, name = read_model(source)
    from .reading import operators as operators  # enters them
    from .reading.check_names import check_names
    from .reading.check_operators import check_operators
    from .reading.imported_model import OnnxModel
    from .reading.program import program_of

    program = program_of(model, folder)
    check_names(program, name)
    check_operators(program, name)
    return OnnxModel(program)
