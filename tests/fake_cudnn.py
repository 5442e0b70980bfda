"""cuDNN's graphs in NumPy, with the names of the module `cudnn`: a graph of one convolution computes what its tensors'
lengths and strides say, at the addresses that it gets, if its engines were chosen as they must be.
"""

from __future__ import annotations

import itertools
from enum import Enum
from typing import Any

import numpy as np
from fake_cublaslt import memory


class data_type(Enum):
    FLOAT = 0
    BFLOAT16 = 1


class numerical_note(Enum):
    TENSOR_CORE = 0
    DOWN_CONVERT_INPUTS = 1
    REDUCED_PRECISION_REDUCTION = 2
    FFT = 3
    NONDETERMINISTIC = 4
    WINOGRAD = 5
    WINOGRAD_TILE_4x4 = 6
    WINOGRAD_TILE_6x6 = 7
    WINOGRAD_TILE_13x13 = 8


class heur_mode(Enum):
    A = 0
    FALLBACK = 1


class build_plan_policy(Enum):
    HEURISTICS_CHOICE = 0


ENUMS = (data_type, numerical_note, heur_mode, build_plan_policy)


class cudnnGraphNotSupportedError(Exception):
    """No engine is left."""


class Tensor:
    """A tensor of a graph."""

    def __init__(self, dim: list[int] | None = None, stride: list[int] | None = None) -> None:
        self.dim, self.stride, self.output = dim or [], stride or [], False
        self.data_type: Any = None

    def set_dim(self, dim: list[int]) -> Tensor:
        self.dim = dim
        return self

    def set_stride(self, stride: list[int]) -> Tensor:
        self.stride = stride
        return self

    def set_output(self, output: bool) -> Tensor:
        self.output = output
        return self

    def set_data_type(self, data_type: Any) -> Tensor:
        self.data_type = data_type
        return self

    def at(self, address: int) -> Any:
        """Its elements."""
        assert len(self.dim) == len(self.stride) >= 4
        elements = 1 + sum((n - 1) * s for n, s in zip(self.dim, self.stride))
        flat = memory(address, 4 * elements).view(np.float32)
        return np.lib.stride_tricks.as_strided(flat, self.dim, [4 * s for s in self.stride])


class Graph:
    """A graph of one convolution, and of a sum onto it."""

    def __init__(self, module: FakeCudnn, **told: Any) -> None:
        self.module, self.told = module, told
        self.steps: list[str] = []
        self.kind, self.read, self.window, self.made, self.added = "", [], {}, Tensor(), None
        self.unwanted: list[numerical_note] = []
        self.workspace = 0

    def tensor(self, name: str, dim: list[int], stride: list[int], data_type: Any) -> Tensor:
        return Tensor(dim, stride).set_data_type(data_type)

    def conv_fprop(self, image: Tensor, weight: Tensor, **window: Any) -> Tensor:
        self.kind, self.read, self.window = "forward", [image, weight], window
        return self.made

    def conv_dgrad(self, loss: Tensor, filter: Tensor, **window: Any) -> Tensor:
        self.kind, self.read, self.window = "data_gradient", [loss, filter], window
        return self.made

    def conv_wgrad(self, image: Tensor, loss: Tensor, **window: Any) -> Tensor:
        self.kind, self.read, self.window = "filter_gradient", [image, loss], window
        return self.made

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        assert a is self.made
        self.added, self.made = b, Tensor()
        return self.made

    def __getattr__(self, name: str) -> Any:
        if name not in ("validate", "build_operation_graph", "create_execution_plans", "check_support", "build_plans"):
            raise AttributeError(name)
        return lambda *arguments: self._step(name)

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if name == "check_support" and not self.module.knows:
            raise cudnnGraphNotSupportedError("no engine")

    def deselect_numeric_notes(self, notes: list[numerical_note]) -> None:
        assert "create_execution_plans" in self.steps
        self.unwanted = notes

    def deselect_workspace_greater_than(self, nbytes: int) -> None:
        assert "create_execution_plans" in self.steps
        self.workspace = nbytes

    def get_workspace_size(self) -> int:
        return self.workspace

    def execute(self, of: dict[Tensor, int], workspace: int, handle: int) -> None:
        assert self.steps[-1] == "build_plans"
        assert numerical_note.NONDETERMINISTIC in self.unwanted
        assert self.made.output
        memory(workspace, self.workspace)[:] = 0xA5
        read = [tensor.at(of[tensor]) for tensor in self.read]
        made = self.made.at(of[self.made])
        before = 0 if self.added is None else self.added.at(of[self.added]).copy()
        made[:] = 0
        images, filters, results = {
            "forward": (*read, made),
            "data_gradient": (made, read[1], read[0]),
            "filter_gradient": (read[0], made, read[1]),
        }[self.kind]
        _convolve(self.kind, images, filters, results, **self.window)
        made[:] += before
        self.module.executed.append((self.kind, self.module.stream))


def _convolve(
    kind: str, images: Any, filters: Any, results: Any, padding: list[int], stride: list[int], dilation: list[int]
) -> None:
    """Adds the convolution to whichever of the three `kind` computes."""
    groups = images.shape[1] // filters.shape[1]
    inner, outer = filters.shape[1], filters.shape[0] // groups
    axes = "xyz"[: images.ndim - 2]
    for axis, (length, taps, steps) in enumerate(zip(images.shape[2:], filters.shape[2:], results.shape[2:])):
        reach = length + 2 * padding[axis] - dilation[axis] * (taps - 1) - 1
        assert reach // stride[axis] + 1 == steps
    for place in itertools.product(*map(range, filters.shape[2:])):
        of_image, of_result = [slice(None), slice(None)], [slice(None), slice(None)]
        for axis, tap in enumerate(place):
            inside = [
                o
                for o in range(results.shape[axis + 2])
                if 0 <= o * stride[axis] + tap * dilation[axis] - padding[axis] < images.shape[axis + 2]
            ]
            first = inside[0] if inside else 0
            begin = first * stride[axis] + tap * dilation[axis] - padding[axis]
            of_result.append(slice(first, first + len(inside)))
            of_image.append(slice(begin, begin + len(inside) * stride[axis], stride[axis]) if inside else slice(0))
        x, y = images[tuple(of_image)], results[tuple(of_result)]
        for g in range(groups):
            of_x, of_y = slice(g * inner, (g + 1) * inner), slice(g * outer, (g + 1) * outer)
            w = filters[(of_y, slice(None), *place)]
            if kind == "forward":
                y[:, of_y] += np.einsum(f"nc{axes},kc->nk{axes}", x[:, of_x], w)
            elif kind == "data_gradient":
                x[:, of_x] += np.einsum(f"nk{axes},kc->nc{axes}", y[:, of_y], w)
            else:
                w += np.einsum(f"nk{axes},nc{axes}->kc", y[:, of_y], x[:, of_x])


class FakeCudnn:
    """The module. With `knows` false no engine is left."""

    cudnnGraphNotSupportedError = cudnnGraphNotSupportedError

    def __init__(self, knows: bool = True) -> None:
        for enum in ENUMS:
            setattr(self, enum.__name__, enum)
        self.knows, self.stream = knows, -1
        self.graphs: list[Graph] = []
        self.executed: list[tuple[str, int]] = []
        self.handles = 0

    def create_handle(self) -> int:
        self.handles += 1
        return self.handles

    def destroy_handle(self, handle: int) -> None:
        self.handles -= 1

    def set_stream(self, handle: int, stream: int) -> None:
        self.stream = stream

    def pygraph(self, **told: Any) -> Graph:
        self.graphs.append(Graph(self, **told))
        return self.graphs[-1]
