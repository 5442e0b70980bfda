"""Which machine a program is for: what a user gives as `target`, and how many workers it has."""

from __future__ import annotations

from dataclasses import replace

from ...passes.target import MOST_CORES, Target, TargetError
from ..ranks import Ranks
from ..tracing.arrays import thread_count
from ..tracing.errors import located
from ..tracing.numbers import as_whole
from ..tracing.precisions import checked_precision, of_products


def target_of(target: str | Target) -> Target:
    """The target that `target` names: "cpu" is this machine's, "cuda" a GPU of compute capability 9.0.

    "cpu:avx2" is `Target.cpu("avx2")`, "cuda:h100" is `Target.cuda("h100")`, and "cuda-emulated:h100" the same on the
    CPU. Raises `TargetError` for anything else.
    """
    if isinstance(target, Target):
        return target
    device, colon, name = target.partition(":") if isinstance(target, str) else ("", "", "")
    if bool(colon) == bool(name):
        named = [name] if name else []
        match device:
            case "cpu":
                return Target.cpu(*named)
            case "cuda":
                return Target.cuda(*named)
            case "cuda-emulated":
                return Target.cuda(*named, emulated=True)
            case _:
                pass
    raise TargetError(
        located(
            f"target {target!r} is not available; write target='cpu' for this machine, 'cuda' for an NVIDIA GPU, or "
            "'cuda-emulated' for the kernels of one on this CPU, slowly; for another machine 'cpu:avx2' or "
            "'cuda:h100', as gl.Target.cpu('avx2') or gl.Target.cuda('h100')"
        )
    )


def with_precision(target: Target, precision: str) -> Target:
    """The target of a program of a precision, see `checked_precision`.

    Raises `ValueError` for another, and `TargetError` for "tf32" on a machine without the tensor cores that it is of.
    """
    if of_products(checked_precision(precision)) != "tf32":
        return target
    if not target.is_gpu:
        raise TargetError(
            located(
                'precision="tf32" rounds what the tensor cores of a GPU multiply, and a CPU has none: leave precision '
                'out, or write precision="bf16"'
            )
        )
    return replace(target, precision="tf32")


def with_cores(target: Target, cores: int | None) -> Target:
    """The target of a program for a CPU of so many cores; None leaves what the target says.

    Raises `ValueError` unless it is a whole number from 1 to `MOST_CORES`, and `TargetError` for cores of a GPU.
    """
    if cores is None:
        return target
    whole = as_whole(cores)
    if whole is None or not 1 <= whole <= MOST_CORES:
        raise ValueError(
            located(f"cores is a whole number from 1 to {MOST_CORES}, or None for the target's; got {cores!r}")
        )
    if target.is_gpu:
        raise TargetError(located(f"cores is for the CPU, got {cores!r} for {str(target)!r}; leave it out"))
    return replace(target, cores=whole)


def worker_count(threads: int | None, target: Target, ranks: Ranks | int | None = None) -> int:
    """The workers of a step: `threads`, by default one for each usable core, or for each that a rank has where `ranks`
    share them; of a GPU its blocks.

    Raises `ValueError` for a number below 1, and `TargetError` for threads of a GPU.
    """
    if target.workers is None:
        own = ranks.cores if isinstance(ranks, Ranks) else None
        return thread_count(own if threads is None else threads)
    if threads is not None:
        raise TargetError(
            located(
                f"threads is for the CPU, got {threads!r} for {str(target)!r}, which runs {target.workers} blocks at a "
                "time; leave it out, or write dataclasses.replace(target, workers=...)"
            )
        )
    return target.workers
