"""One GPU of this process: its context, its stream, its memory, and what happens when it is lost.

All functions of NVIDIA's driver are called here by their names, through `cuda.bindings.driver` or what stands for it.
"""

from __future__ import annotations

import gc
import os
import weakref
from collections import deque
from typing import Any

from ...ir.users_line import located
from ...passes.target import Target, TargetError
from ..codegen.fork_lock import fork_lock

_OUT_OF_MEMORY, _NOT_READY = 2, 600
_OF_THE_CONTEXT = {
    4: "the driver was shut down",
    46: "the GPU is no longer available",
    214: "the GPU's memory has an error that cannot be corrected",
    700: "a kernel accessed memory that is not its own",
    702: "a kernel took longer than the system allows",
    709: "the context was destroyed",
    714: "the GPU met a hardware error",
    715: "a kernel met an instruction that is none",
    716: "a kernel accessed memory at an address that is not aligned",
    717: "a kernel accessed memory of another kind",
    718: "a kernel ran past its end",
    719: "a kernel failed",
    999: "the driver met an error that it does not know",
}
"""Results of the driver after which nothing works any more in this process, by their numbers."""


LEGACY_STREAM = 1
"""The stream that CUDA takes where none is named, by its handle: other libraries work there unless told otherwise."""


class DeviceError(RuntimeError):
    """The GPU, or its driver, failed: what was on it is lost. Checkpoints are as they were written."""


class Device:
    """A GPU that can run what is made for a target, where `missing_devices` says that there is one: of all that can,
    counted in turn, the one of this number.

    What is given to `stream` runs in order, and everything is given to it by who holds the `lock`.
    """

    def __init__(self, driver: Any, target: Target, number: int = 0) -> None:
        self.driver = driver
        self.closed = ""
        """Why nothing works any more."""
        self.has_readers = False
        """Whether other libraries were given arrays of ours, so that runs have to wait for what they do."""
        self._process = os.getpid()
        self._freed: deque[tuple[str, Any]] = deque()
        self.call("cuInit", 0)
        found = [self._capability(i) for i in range(self.call("cuDeviceGetCount"))]
        usable = [i for i, capability in enumerate(found) if capability == target.capability]
        self.ordinal = usable[number % len(usable)]
        self.capability = found[self.ordinal]
        """The compute capability, such as "sm_90"."""
        handle = self.call("cuDeviceGet", self.ordinal)
        self.name = bytes(self.call("cuDeviceGetName", 256, handle)).rstrip(b"\0").decode(errors="replace")
        self.context = self.call("cuDevicePrimaryCtxRetain", handle)
        self.call("cuCtxSetCurrent", self.context)
        # Neither waits for the default stream. What is captured is given to one that has nothing to do.
        self.stream, self.captured = self.call("cuStreamCreate", 1), self.call("cuStreamCreate", 1)
        self.transfers = [self.call("cuStreamCreate", 1) for _ in range(2)]
        """Streams that are captured too: what goes to the device, and what goes to the host."""
        self.lock = fork_lock()

    def _capability(self, ordinal: int) -> str:
        kinds, number = self.driver.CUdevice_attribute, self.call("cuDeviceGet", ordinal)
        major = self.call("cuDeviceGetAttribute", kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, number)
        minor = self.call("cuDeviceGetAttribute", kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, number)
        return f"sm_{major}{minor}"

    def uuid(self) -> bytes:
        """What tells this GPU from all others."""
        return bytes(self.call("cuDeviceGetUuid", self.call("cuDeviceGet", self.ordinal)).bytes)

    # ---- calls

    def call(self, name: str, *arguments: Any) -> Any:
        """What a function of the driver returns beside its result. Raises `DeviceError` where that is an error."""
        if self.closed:
            raise DeviceError(self.closed)
        code, *values = getattr(self.driver, name)(*arguments)
        if int(code):
            raise self._error(name, int(code))
        return values[0] if len(values) == 1 else values

    def enter(self) -> None:
        """Let this thread work with the device. Raises `DeviceError` where it is closed, or is another process's."""
        if self._process != os.getpid():
            raise DeviceError(
                "this process is a fork of the one that works with the GPU, and CUDA does not survive a fork: compile "
                "in the child, or start it by multiprocessing's 'spawn'"
            )
        self.call("cuCtxSetCurrent", self.context)

    def happened(self, event: Any) -> bool:
        """Whether all that the stream was given before an event is done."""
        if self.closed:
            raise DeviceError(self.closed)
        code = int(self.driver.cuEventQuery(event)[0])
        if code not in (0, _NOT_READY):
            raise self._error("cuEventQuery", code)
        return code == 0

    def _error(self, name: str, code: int) -> DeviceError:
        told = self.driver.cuGetErrorName(_result(self.driver, code))[1]
        known = f"{name} gives {bytes(told).decode() if told else 'an error'} ({code})"
        why = _OF_THE_CONTEXT.get(code)
        if why is None:
            return DeviceError(f"{known} on the GPU")
        self.closed = (
            f"the GPU cannot be used any more in this process: {why} ({known}). What was in its memory is lost, "
            "parameters too; begin a new process, and step.load the last checkpoint, which is untouched"
        )
        return DeviceError(self.closed)

    # ---- memory

    def free_bytes(self) -> tuple[int, int]:
        """What of the device's memory is free, and all of it."""
        self.give_back()
        free, total = self.call("cuMemGetInfo")
        return int(free), int(total)

    def check_room(self, nbytes: int, what: str) -> None:
        """Raise `TargetError` where so many bytes are not free."""
        free, total = self.free_bytes()
        if nbytes > free:
            gc.collect()  # steps and their programs refer to each other
            free, total = self.free_bytes()
        if nbytes > free:
            raise TargetError(
                located(
                    f"{what} takes {nbytes:,} bytes, and {self.name} has {free:,} free of {total:,}; give a budget, as "
                    "in memory='80%', or a smaller batch, or end what else uses the GPU"
                )
            )

    def allocate(self, nbytes: int, what: str = "an arena") -> DeviceMemory:
        """Memory of the device; its content is anything. Raises `TargetError` where there is not as much."""
        self.enter()
        self.check_room(nbytes, what)
        try:
            address = int(self.call("cuMemAlloc", nbytes)) if nbytes else 0
        except DeviceError:
            if self.closed:
                raise
            free, total = self.free_bytes()
            raise TargetError(
                located(
                    f"{what} takes {nbytes:,} bytes in one piece, and {self.name}, which has {free:,} free of "
                    f"{total:,}, gives none; give a budget, as in memory='80%', or a smaller batch"
                )
            ) from None
        return DeviceMemory(self, address, nbytes)

    def allocate_pinned(self, nbytes: int) -> PinnedMemory:
        """Memory of the host that the device copies from and to by itself."""
        self.enter()
        return PinnedMemory(self, int(self.call("cuMemHostAlloc", nbytes, 0)) if nbytes else 0, nbytes)

    def free_later(self, function: str, what: Any) -> None:
        """Note what is no longer used. To free it waits for all that runs, so that comes with the next allocation; a
        finalizer may call this at any time.
        """
        self._freed.append((function, what))

    def give_back(self) -> None:
        """Free what is no longer used."""
        while self._freed:
            self.call(*self._freed.popleft())

    # ---- copies

    def write(self, address: int, source: int, nbytes: int) -> None:
        """Copy from the host's memory, behind all that the stream was given; wait for it."""
        self._transfer("cuMemcpyHtoDAsync", address, source, nbytes)
        self.synchronize()

    def read(self, to: int, address: int, nbytes: int) -> None:
        """Copy to the host's memory what is there when all is done that the stream was given."""
        self._transfer("cuMemcpyDtoHAsync", to, address, nbytes)
        self.synchronize()

    def copy(self, to: int, address: int, nbytes: int) -> None:
        """Copy inside of the device, behind all that the stream was given."""
        self._transfer("cuMemcpyDtoDAsync", to, address, nbytes)

    def _transfer(self, name: str, to: int, source: int, nbytes: int) -> None:
        with self.lock:
            self.enter()
            if nbytes:
                self.call(name, to, source, nbytes, self.stream)

    def wait_for(self, stream: Any, other: Any) -> None:
        """Let what a stream is given from now on wait for what another one was given before."""
        event = self.call("cuEventCreate", 2)  # without the time
        self.call("cuEventRecord", event, other)
        self.call("cuStreamWaitEvent", stream, event, 0)
        self.call("cuEventDestroy", event)  # which the driver does when the event is over

    def synchronize(self) -> None:
        """Wait for all that the stream was given."""
        self.call("cuStreamSynchronize", self.stream)


def _result(driver: Any, code: int) -> Any:
    """A number as the driver want results of the driver."""
    kind = getattr(driver, "CUresult", int)
    try:
        return kind(code)
    except ValueError:  # newer than the driver
        return kind(999)


class DeviceMemory:
    """Bytes of a GPU. They are free again when nothing refers to this."""

    def __init__(self, device: Device, address: int, nbytes: int) -> None:
        self.device, self.address, self.nbytes = device, address, nbytes
        if address:
            weakref.finalize(self, device.free_later, "cuMemFree", address).atexit = False


class PinnedMemory:
    """Bytes of the host that a GPU reads and writes, at the same address. They are free again when nothing refers to
    this.
    """

    def __init__(self, device: Device, address: int, nbytes: int) -> None:
        self.device, self.address, self.nbytes = device, address, nbytes
        if address:
            weakref.finalize(self, device.free_later, "cuMemFreeHost", address).atexit = False
