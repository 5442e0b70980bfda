"""A stand-in for NVIDIA's driver, on a machine without one: the functions of `cuda.bindings.driver` that we call.

    driver = FakeDriver()
    driver.fail_at_launch(7, Code.ILLEGAL_ADDRESS)
    backend = fake_cuda(driver)  # runtime/fake_gpu/backend.py

Kernels run by the emulator; what stands for machine code is a kernel's source (see `image`). Addresses of the device
are those of this process. What a stream is given happens when someone waits for it: who reads too early, or writes too
early over what is still to be copied, finds other bytes, as on a GPU.
"""

from __future__ import annotations

import ctypes
import itertools
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..emulate.launch import EmulatedKernel, emulated_kernel, run_launch


class Code(IntEnum):
    """Results of the driver's functions, by the numbers of `CUresult`."""

    SUCCESS = 0
    INVALID_VALUE = 1
    OUT_OF_MEMORY = 2
    NOT_INITIALIZED = 3
    DEVICE_UNAVAILABLE = 46
    NO_DEVICE = 100
    INVALID_IMAGE = 200
    NO_BINARY_FOR_GPU = 209
    ECC_UNCORRECTABLE = 214
    INVALID_HANDLE = 400
    NOT_FOUND = 500
    NOT_READY = 600
    ILLEGAL_ADDRESS = 700
    LAUNCH_FAILED = 719
    CAPTURE_UNSUPPORTED = 900
    CAPTURE_UNJOINED = 904


_PAGE = 2 << 20
"""Memory is taken from the device in pieces of so many bytes."""
_LINE = 256
_LEGACY, _FIRST_STREAM = 1, 1 << 20
"""Handles of the default stream, and of the first other one."""
_MAGIC = b"gradloom emulated kernel\n"

Operation = Callable[[], Code]


def image(source: str, words: int) -> bytes:
    """What stands for the machine code of a kernel that reads so many words."""
    return _MAGIC + json.dumps({"words": words, "source": source}).encode()


@dataclass(eq=False)
class _Kernel:
    words: int
    code: EmulatedKernel


@dataclass(eq=False)
class _Event:
    """It has happened when its stream has done so many operations."""

    stream: _Stream | None = None
    count: int = 0


@dataclass(eq=False)
class _Stream:
    """What is still to be done, in order; `graph` is what it is captured to. `handle` stands for its address."""

    handle: int
    waiting: deque[Operation] = field(default_factory=deque[Operation])
    given: int = 0
    done: int = 0
    graph: _Graph | None = None

    def __int__(self) -> int:
        return self.handle


@dataclass(eq=False)
class _Graph:
    """Operations in an order that captured streams allow; `open` are streams that did not join yet."""

    origin: _Stream
    operations: list[Operation] = field(default_factory=list[Operation])
    open: set[_Stream] = field(default_factory=set["_Stream"])


@dataclass(eq=False)
class _Memory:
    array: Any
    nbytes: int


class _Modes:
    CU_STREAM_CAPTURE_MODE_GLOBAL, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, CU_STREAM_CAPTURE_MODE_RELAXED = range(3)


class _Attributes:
    CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76


class _FunctionAttributes:
    CU_FUNC_ATTRIBUTE_NUM_REGS = 4


class FakeDriver:
    """A driver of this version, with cards of one capability each of which has so many bytes of memory."""

    CUstreamCaptureMode = _Modes
    CUdevice_attribute = _Attributes
    CUfunction_attribute = _FunctionAttributes

    def __init__(
        self,
        *,
        version: int = 13_000,
        capabilities: tuple[tuple[int, int], ...] = ((9, 0),),
        memory_bytes: int = 1 << 30,
        init_error: Code = Code.SUCCESS,
        checked: bool = False,
    ) -> None:
        self._version, self._capabilities, self._total = version, capabilities, memory_bytes
        self._init_error, self._checked = init_error, checked
        self._memory: dict[int, _Memory] = {}
        self._pinned: dict[int, _Memory] = {}
        self._streams = [_Stream(_LEGACY)]
        self._failures: dict[int, Code] = {}
        self._module_error = Code.SUCCESS
        self._broken = Code.SUCCESS
        self._initialized = False
        self._module_numbers = itertools.count()
        self.launches = 0
        """Kernels that ran."""
        self.calls: list[str] = []
        """The names of the functions that were called."""

    def allocations(self) -> list[int]:
        """The bytes of each piece of the device's memory that is taken."""
        return [memory.nbytes for memory in self._memory.values()]

    # ---- what goes wrong

    def fail_at_launch(self, n: int, code: Code) -> None:
        """Let the n-th kernel from now on (0 is the next) end with an error, after which nothing works."""
        self._failures[self.launches + n] = code

    def fail_to_load(self, code: Code) -> None:
        """Let modules fail to load from now on."""
        self._module_error = code

    def lose_device(self, code: Code = Code.ECC_UNCORRECTABLE) -> None:
        """Let every call fail from now on."""
        self._broken = code

    # ---- devices

    def cuInit(self, flags: int) -> tuple[Code]:
        self._initialized = self._init_error == Code.SUCCESS
        return (self._init_error if self._capabilities or self._init_error else Code.NO_DEVICE,)

    def cuDriverGetVersion(self) -> tuple[Code, int]:
        return Code.SUCCESS, self._version

    def cuDeviceGetCount(self) -> tuple[Code, int]:
        return Code.SUCCESS, len(self._capabilities)

    def cuDeviceGet(self, ordinal: int) -> tuple[Code, int]:
        there = ordinal < len(self._capabilities)
        return (Code.SUCCESS, ordinal) if there else (Code.INVALID_VALUE, 0)

    def cuDeviceGetName(self, length: int, device: int) -> tuple[Code, bytes]:
        return Code.SUCCESS, b"a GPU that is emulated"

    def cuDeviceGetAttribute(self, attribute: int, device: int) -> tuple[Code, int]:
        major, minor = self._capabilities[device]
        return Code.SUCCESS, {16: 132, 75: major, 76: minor}[attribute]

    def cuDeviceGetUuid(self, device: int) -> tuple[Code, Any]:
        return Code.SUCCESS, SimpleNamespace(bytes=b"%8x%8x" % (id(self) & 0xFFFFFFFF, device))

    def cuDevicePrimaryCtxRetain(self, device: int) -> tuple[Code, Any]:
        return (Code.SUCCESS, object()) if self._initialized else (Code.NOT_INITIALIZED, None)

    def cuCtxSetCurrent(self, context: Any) -> tuple[Code]:
        return (self._broken,)

    def cuGetErrorName(self, code: int) -> tuple[Code, bytes]:
        return Code.SUCCESS, f"CUDA_ERROR_{Code(code).name}".encode()

    # ---- memory

    def cuMemGetInfo(self) -> tuple[Code, int, int]:
        taken = sum(-(-memory.nbytes // _PAGE) * _PAGE for memory in self._memory.values())
        return self._broken, self._total - taken, self._total

    def cuMemAlloc(self, nbytes: int) -> tuple[Code, int]:
        self.calls.append("cuMemAlloc")
        if self._broken or nbytes <= 0:
            return self._broken or Code.INVALID_VALUE, 0
        if nbytes > self.cuMemGetInfo()[1]:
            return Code.OUT_OF_MEMORY, 0
        return Code.SUCCESS, _allocate(self._memory, nbytes)

    def cuMemFree(self, address: int) -> tuple[Code]:
        self._finish_all()
        return (Code.SUCCESS if self._memory.pop(int(address), None) else Code.INVALID_VALUE,)

    def cuMemHostAlloc(self, nbytes: int, flags: int) -> tuple[Code, int]:
        return self._broken, _allocate(self._pinned, nbytes)

    def cuMemFreeHost(self, address: int) -> tuple[Code]:
        self._finish_all()
        return (Code.SUCCESS if self._pinned.pop(int(address), None) else Code.INVALID_VALUE,)

    def cuMemcpyHtoDAsync(self, to: int, source: int, nbytes: int, stream: _Stream) -> tuple[Code]:
        return self._copy(to, source, nbytes, stream, to_device=True, of_device=False)

    def cuMemcpyDtoHAsync(self, to: int, source: int, nbytes: int, stream: _Stream) -> tuple[Code]:
        return self._copy(to, source, nbytes, stream, to_device=False, of_device=True)

    def cuMemcpyDtoDAsync(self, to: int, source: int, nbytes: int, stream: _Stream) -> tuple[Code]:
        return self._copy(to, source, nbytes, stream, to_device=True, of_device=True)

    def cuMemsetD8Async(self, to: int, value: int, nbytes: int, stream: _Stream) -> tuple[Code]:
        to = int(to)
        return self.give(stream, lambda: self._inside(to, nbytes) or _done(ctypes.memset(to, value, nbytes)))

    def _copy(
        self, to: int, source: int, nbytes: int, stream: _Stream, to_device: bool, of_device: bool
    ) -> tuple[Code]:
        to, source = int(to), int(source)
        pageable = [not on_device and not _holds(self._pinned, at, nbytes)
                    for on_device, at in ((to_device, to), (of_device, source))]  # fmt: skip

        def copy() -> Code:
            for on_device, at in ((to_device, to), (of_device, source)):
                if on_device and self._inside(at, nbytes):
                    return Code.ILLEGAL_ADDRESS
            return _done(ctypes.memmove(to, source, nbytes))

        given = self.give(stream, copy)
        if any(pageable) and stream.graph is None:
            return (self._finish(stream),)  # as the driver does, whose copies of such memory wait
        return given

    def _inside(self, address: int, nbytes: int) -> Code:
        """Whether the device has memory there; it has the pinned memory of the host too."""
        there = _holds(self._memory, address, nbytes) or _holds(self._pinned, address, nbytes)
        return Code.SUCCESS if there else Code.ILLEGAL_ADDRESS

    # ---- streams and events

    def cuStreamCreate(self, flags: int) -> tuple[Code, _Stream]:
        self._streams.append(_Stream(_FIRST_STREAM + len(self._streams)))
        return self._broken, self._streams[-1]

    def cuStreamSynchronize(self, stream: _Stream) -> tuple[Code]:
        self.calls.append("cuStreamSynchronize")
        if stream.graph is not None:
            return (Code.CAPTURE_UNSUPPORTED,)
        return (self._finish(stream),)

    def cuEventCreate(self, flags: int) -> tuple[Code, _Event]:
        return self._broken, _Event()

    def cuEventElapsedTime(self, start: _Event, end: _Event) -> tuple[Code, float]:
        """A microsecond for each operation between: nothing here takes as long as on a GPU."""
        if start.stream is None or end.stream is None:
            return Code.INVALID_HANDLE, 0.0
        return self._broken, max(end.count - start.count, 1) * 1e-3

    def cuEventDestroy(self, event: _Event) -> tuple[Code]:
        return (Code.SUCCESS,)

    def cuEventRecord(self, event: _Event, stream: int | _Stream) -> tuple[Code]:
        stream = self.stream(stream)
        event.stream, event.count = stream, stream.given
        return (self._broken,)

    def cuEventQuery(self, event: _Event) -> tuple[Code]:
        if self._broken:
            return (self._broken,)
        happened = event.stream is None or event.stream.done >= event.count
        return (Code.SUCCESS if happened else Code.NOT_READY,)

    def cuEventSynchronize(self, event: _Event) -> tuple[Code]:
        self.calls.append("cuEventSynchronize")
        return (self._finish(event.stream, event.count) if event.stream is not None else self._broken,)

    def cuStreamWaitEvent(self, stream: int | _Stream, event: _Event, flags: int) -> tuple[Code]:
        stream, of = self.stream(stream), event.stream
        if of is None:
            return (self._broken,)
        if of.graph is not None:
            # Capture goes on to a stream that waits, and comes back. All of a graph has one order, in which it waits.
            graph = of.graph
            if stream.graph is None:
                stream.graph = graph
                graph.open.add(stream)
            if stream is graph.origin:
                graph.open.discard(of)
            return (self._broken,)
        count = event.count  # an event may be recorded anew
        return self.give(stream, lambda: self._finish(of, count))

    # ---- graphs

    def cuStreamBeginCapture(self, stream: _Stream, mode: int) -> tuple[Code]:
        stream.graph = _Graph(stream)
        return (self._broken,)

    def cuStreamEndCapture(self, stream: _Stream) -> tuple[Code, _Graph | None]:
        graph = stream.graph
        if graph is None or graph.origin is not stream:
            return Code.INVALID_VALUE, None
        for each in self._streams:
            if each.graph is graph:
                each.graph = None
        return (Code.CAPTURE_UNJOINED, None) if graph.open else (self._broken, graph)

    def cuGraphInstantiate(self, graph: _Graph, flags: int) -> tuple[Code, list[Operation]]:
        return self._broken, list(graph.operations)

    def cuGraphDestroy(self, graph: _Graph) -> tuple[Code]:
        return (Code.SUCCESS,)

    def cuGraphExecDestroy(self, graph: list[Operation]) -> tuple[Code]:
        return (Code.SUCCESS,)

    def cuGraphLaunch(self, graph: list[Operation], stream: _Stream) -> tuple[Code]:
        self.calls.append("cuGraphLaunch")
        operations = list(graph)

        def launch() -> Code:
            return next((code for code in (run() for run in operations) if code), Code.SUCCESS)

        return self.give(stream, launch)

    # ---- kernels

    def cuModuleLoadData(self, code: bytes) -> tuple[Code, _Kernel | None]:
        if self._broken or self._module_error:
            return self._broken or self._module_error, None
        if not code.startswith(_MAGIC):
            return Code.INVALID_IMAGE, None
        told = json.loads(code[len(_MAGIC) :])
        return Code.SUCCESS, _Kernel(told["words"], emulated_kernel(told["source"], checked=self._checked))

    def cuModuleGetFunction(self, module: _Kernel, name: bytes) -> tuple[Code, _Kernel | None]:
        return (Code.SUCCESS, module) if name == b"kernel" else (Code.NOT_FOUND, None)

    def cuFuncGetAttribute(self, attribute: int, function: _Kernel) -> tuple[Code, int]:
        return self._broken, 0

    def cuLaunchKernel(
        self,
        kernel: _Kernel,
        grid: int, grid_y: int, grid_z: int, threads: int, threads_y: int, threads_z: int,
        shared_bytes: int, stream: _Stream, parameters: int, extra: int,
    ) -> tuple[Code]:  # fmt: skip
        """`parameters` is the address of an array of pointers, one for each word of the kernel and one for the address
        of the error word.
        """
        if not 1 <= threads <= 1024 or not 1 <= grid < 1 << 31:
            return (Code.INVALID_VALUE,)
        pointers = (ctypes.c_void_p * (kernel.words + 1)).from_address(parameters)
        *words, error = (ctypes.c_int64.from_address(pointer or 0).value for pointer in pointers)
        return self.give(stream, lambda: self._launch(kernel, grid, threads, words, error))

    def _launch(self, kernel: _Kernel, grid: int, threads: int, words: list[int], error: int) -> Code:
        failure = self._failures.get(self.launches)
        self.launches += 1
        if failure is not None:
            return failure
        extents = [(at, memory.nbytes) for at, memory in self._memory.items()] if self._checked else []
        code = run_launch(kernel.code, grid, threads, words, extents)
        word = ctypes.c_int64.from_address(error)
        if code and not word.value:
            word.value = code
        return Code.SUCCESS

    # ---- in order

    def stream(self, handle: int | _Stream) -> _Stream:
        """The stream of a handle."""
        return next(stream for stream in self._streams if stream.handle == int(handle))

    def give(self, stream: _Stream, operation: Operation) -> tuple[Code]:
        """Something for a stream to do later, or for the graph that it is captured to: a call of a library."""
        if self._broken:
            return (self._broken,)
        if stream.graph is not None:
            stream.graph.operations.append(operation)
        else:
            stream.waiting.append(operation)
            stream.given += 1
        return (Code.SUCCESS,)

    def _finish(self, stream: _Stream, count: int | None = None) -> Code:
        """Do what a stream has been given, up to the operation of this number."""
        while not self._broken and stream.waiting and (count is None or stream.done < count):
            operation = stream.waiting.popleft()
            code = operation()
            stream.done += 1
            if code:
                self._broken = code  # an error of a kernel is one of the whole context
        return self._broken

    def _finish_all(self) -> None:
        for stream in self._streams:
            self._finish(stream)


def _allocate(memory: dict[int, _Memory], nbytes: int) -> int:
    """The address of new memory, which is full of what makes numbers that nobody takes for right."""
    array = np.full(nbytes + _LINE, 0xFF, np.uint8)
    start = array.ctypes.data
    address = start + -start % _LINE
    memory[address] = _Memory(array, nbytes)
    return address


def _holds(memory: dict[int, _Memory], address: int, nbytes: int) -> bool:
    return any(start <= address and address + nbytes <= start + each.nbytes for start, each in memory.items())


def _done(result: Any) -> Code:
    return Code.SUCCESS
