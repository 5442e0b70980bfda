"""ONNX models for tests, built node by node."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def model_of(
    nodes: Sequence[Any],
    inputs: Mapping[str, tuple[str, Sequence[int | str]]],
    outputs: Mapping[str, tuple[str, Sequence[int | str]]],
    initializers: Mapping[str, np.ndarray] | None = None,
    opset: int = 18,
    **kwargs: Any,
) -> Any:
    """A `ModelProto` of these nodes; types are (dtype, shape)."""
    import onnx
    from onnx import helper, numpy_helper

    def declared(types: Mapping[str, tuple[str, Sequence[int | str]]]) -> list[Any]:
        return [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
            for name, (dtype, shape) in types.items()
        ]

    held = [numpy_helper.from_array(array, name) for name, array in (initializers or {}).items()]
    graph = helper.make_graph(list(nodes), "test", declared(inputs), declared(outputs), held)
    opsets = [helper.make_opsetid("", opset)] if isinstance(opset, int) else opset
    model = helper.make_model(graph, opset_imports=opsets, **kwargs)
    model.ir_version = 10
    onnx.checker.check_model(model)
    return model


def mlp(rng: np.random.Generator) -> Any:
    """Two layers with a ReLU between, from 8 to 4 channels, for any batch."""
    from onnx import helper

    nodes = [
        helper.make_node("Gemm", ["x", "layers.0.weight", "layers.0.bias"], ["a"], name="/layers/0/Gemm", transB=1),
        helper.make_node("Relu", ["a"], ["b"], name="/Relu"),
        helper.make_node("Gemm", ["b", "head.weight", "head.bias"], ["y"], name="/head/Gemm", transB=1),
    ]
    shapes = {"layers.0.weight": (16, 8), "layers.0.bias": (16,), "head.weight": (4, 16), "head.bias": (4,)}
    held = {name: (rng.standard_normal(shape) / 3).astype("float32") for name, shape in shapes.items()}
    return model_of(nodes, {"x": ("float32", ["n", 8])}, {"y": ("float32", ["n", 4])}, held)
