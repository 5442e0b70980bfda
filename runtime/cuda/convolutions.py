"""Convolutions by cuDNN, through `nvidia-cudnn-frontend`: graphs of one operation, whose engine is chosen beforehand.

Images are (n, channels, lengths...) to cuDNN, with strides that say where our channels are: last. One axis becomes two.
Of the engines that its heuristic names, those are left out that give other bits in another run, that round factors more
than is asked for, or that work in more than the workspace of the plan. Plans are kept: to make one takes long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..lowering.launch import Address, Scratch
from ..lowering.library_call import ConvolutionCall

MODULE = "cudnn"
PACKAGES = ("nvidia-cudnn-frontend", "nvidia-cudnn-cu13")

_LEAST_AXES = 2


@dataclass(frozen=True, slots=True)
class _Ready:
    """A plan, and the tensors that its addresses are given for."""

    graph: Any
    images: Any
    filters: Any
    results: Any
    added: Any


class Convolutions:
    """A handle of cuDNN on the current device. `bindings` are the module `cudnn`, or stand for it."""

    def __init__(self, bindings: Any) -> None:
        self._cudnn = bindings
        self._handle = bindings.create_handle()
        self._ready: dict[ConvolutionCall, _Ready | None] = {}

    def supports(self, call: ConvolutionCall) -> bool:
        """Whether there is a plan for a call."""
        return self._find(call) is not None

    def prepare(self, call: ConvolutionCall, address: Callable[[Address], int]) -> None:
        """Make the plan, before the stream on which the call runs is captured."""
        self._for(call)

    def run(self, call: ConvolutionCall, address: Callable[[Address], int], stream: int) -> None:
        """Put a prepared call on a stream."""
        ready = self._for(call)
        of = {
            ready.images: address(call.images),
            ready.filters: address(call.filters),
            ready.results: address(call.results),
        }
        if ready.added is not None:
            of[ready.added] = address(_result(call))
        self._cudnn.set_stream(handle=self._handle, stream=stream)
        ready.graph.execute(of, address(call.workspace), handle=self._handle)

    def close(self) -> None:
        """Give all that the library holds back."""
        self._ready.clear()
        if self._handle:
            self._cudnn.destroy_handle(self._handle)
            self._handle = 0

    # ---- the choice

    def _for(self, call: ConvolutionCall) -> _Ready:
        ready = self._find(call)
        if ready is None:
            raise RuntimeError(f"cuDNN has no plan for {call.kind} of {call.images_shape} by {call.filters_shape}")
        return ready

    def _find(self, call: ConvolutionCall) -> _Ready | None:
        kind = _kind(call)
        if kind not in self._ready:
            try:
                self._ready[kind] = self._choose(call)
            except (self._cudnn.cudnnGraphNotSupportedError, RuntimeError):  # what it raises where no engine is left
                self._ready[kind] = None
        return self._ready[kind]

    def _choose(self, call: ConvolutionCall) -> _Ready | None:
        cudnn = self._cudnn
        io = cudnn.data_type.BFLOAT16 if call.compute == "bf16" else cudnn.data_type.FLOAT
        graph = cudnn.pygraph(
            io_data_type=io,
            intermediate_data_type=cudnn.data_type.FLOAT,
            compute_data_type=cudnn.data_type.FLOAT,
            handle=self._handle,
        )
        images, filters, results = (
            (_dims(shape), _strides(shape)) for shape in (call.images_shape, call.filters_shape, call.results_shape)
        )
        window = {"padding": _axes(call.padding, 0), "stride": _axes(call.stride, 1)}
        window["dilation"] = _axes(call.dilation, 1)

        def given(name: str, of: tuple[list[int], list[int]]) -> Any:
            return graph.tensor(name=name, dim=of[0], stride=of[1], data_type=io)

        if call.kind == "forward":
            read = [given("images", images), given("filters", filters)]
            made, shape = graph.conv_fprop(image=read[0], weight=read[1], **window), results
        elif call.kind == "data_gradient":
            read = [given("results", results), given("filters", filters)]
            made, shape = graph.conv_dgrad(loss=read[0], filter=read[1], **window), images
        else:
            read = [given("images", images), given("results", results)]
            made, shape = graph.conv_wgrad(image=read[0], loss=read[1], **window), filters
        made.set_dim(shape[0]).set_stride(shape[1])
        added = None
        if call.added:
            added = given("added", shape)
            made = graph.add(a=made, b=added)
            made.set_dim(shape[0]).set_stride(shape[1])
        made.set_output(True).set_data_type(io)
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
        graph.deselect_numeric_notes(self._unwanted(call))
        graph.deselect_workspace_greater_than(call.workspace_bytes)
        graph.check_support()
        graph.build_plans(cudnn.build_plan_policy.HEURISTICS_CHOICE)
        if graph.get_workspace_size() > call.workspace_bytes:
            return None
        if call.kind == "forward":
            return _Ready(graph, read[0], read[1], made, added)
        if call.kind == "data_gradient":
            return _Ready(graph, made, read[1], read[0], added)
        return _Ready(graph, read[0], made, read[1], added)

    def _unwanted(self, call: ConvolutionCall) -> list[Any]:
        """Notes of engines that are left out: those that Winograd's transforms and float32 sums speak against too."""
        note = self._cudnn.numerical_note
        always = [note.NONDETERMINISTIC, note.REDUCED_PRECISION_REDUCTION, note.FFT, note.WINOGRAD]
        always += [note.WINOGRAD_TILE_4x4, note.WINOGRAD_TILE_6x6, note.WINOGRAD_TILE_13x13]
        # Tensor cores round float32 to TF32.
        return [*always, note.TENSOR_CORE, note.DOWN_CONVERT_INPUTS] if call.compute == "fp32" else always


def _result(call: ConvolutionCall) -> Address:
    """Where a call writes."""
    return {"forward": call.results, "data_gradient": call.images, "filter_gradient": call.filters}[call.kind]


def _dims(shape: Sequence[int]) -> list[int]:
    """(n, channels, lengths...) of an array with its channels last."""
    first, *lengths, channels = shape
    return [first, channels, *[1] * (_LEAST_AXES - len(lengths)), *lengths]


def _strides(shape: Sequence[int]) -> list[int]:
    """The strides along these."""
    _, *lengths, channels = shape
    lengths = [*[1] * (_LEAST_AXES - len(lengths)), *lengths]
    steps = [channels]
    for length in reversed(lengths):
        steps.append(steps[-1] * length)
    # From the image to the next, the channel, and from the outermost axis to the innermost.
    return [steps[-1], 1, *reversed(steps[:-1])]


def _axes(numbers: Sequence[int], filling: int) -> list[int]:
    return [*[filling] * (_LEAST_AXES - len(numbers)), *numbers]


_NOWHERE = Scratch(0)


def _kind(call: ConvolutionCall) -> ConvolutionCall:
    """The call with no addresses: what a plan is made for."""
    return replace(call, images=_NOWHERE, filters=_NOWHERE, results=_NOWHERE, workspace=_NOWHERE, concurrent=False)
