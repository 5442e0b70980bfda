"""The units of a step that take longest, each timed alone, as a part of what the card can do at best."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from ...engine.step.compile_step import plan_step
from ...ir import Node, node_flops
from ...passes.kernels.cost import moved_bytes
from ...runtime.backend import backend_of
from ...runtime.cuda.program import CudaProgram
from ...runtime.cuda.timing import unit_seconds
from .ceilings import FAKE_BYTES, FAKE_SIDE, copy_bandwidth, product_flops
from .gpu import Session, session
from .models import ingredients, model_names
from .report import Report
from .stages import Options

MOST = 10
_FAKE_SIZES = FAKE_BYTES, FAKE_SIDE


def run(report: Report, options: Options) -> None:
    """The largest units of the workloads, and of large models where they are here."""
    with session(options) as gpu:
        copied, side = _FAKE_SIZES if options.fake else (1 << 29, 4096)
        bandwidth = copy_bandwidth(gpu, copied)
        flops = product_flops(gpu, gpu.target, "float32", side)
        report.note("ceilings", {"copy": bandwidth, "product": flops})
        for name in reversed(model_names(options.fake)):
            _model(report, gpu, name, bandwidth, flops)


def _model(report: Report, gpu: Session, name: str, bandwidth: float, flops: float) -> None:
    took, times = step_units(gpu, name)
    total = sum(took.values())
    largest = sorted(took, key=lambda node: -took[node])[:MOST]
    for node in largest:
        moved, computed = moved_bytes(node) * times[node], _flops(node) * times[node]
        bound = max(moved / bandwidth, computed / flops)
        report.row(
            f"the longest units of {name}",
            unit=_words(node),
            launched=times[node],
            microseconds=1e6 * took[node],
            of_the_step=f"{took[node] / total:.0%}",
            bound="memory" if moved / bandwidth > computed / flops else "products",
            of_the_ceiling=f"{bound / took[node]:.0%}",
        )
    moved = sum(moved_bytes(node) * times[node] for node in took if not _flops(node))
    seconds = sum(each for node, each in took.items() if not _flops(node))
    report.note(f"{name}: units alone, seconds", total)
    report.note(
        f"{name}: units without products, part of copy bandwidth", moved / bandwidth / seconds if seconds else 0
    )


def step_units(gpu: Session, name: str) -> tuple[dict[Node, float], dict[Node, int]]:
    """What the units of a model's step take in seconds, all launches of each, and how often each is run."""
    made, batch = ingredients(name)
    plan = plan_step(*made[:3], batch, target=gpu.target).plan
    program: Any = backend_of(gpu.target).build(plan)
    assert isinstance(program, CudaProgram)
    rng = np.random.default_rng(0)
    arrays = [0.02 * rng.standard_normal(v.type.shape, "float32") if v.type.dtype.kind == "f" else np.ones(v.type.shape)
              for v in plan.graph.inputs]  # fmt: skip
    given = [np.asarray(a).astype(v.type.dtype) for a, v in zip(arrays, plan.graph.inputs)]
    program.run(given, [np.empty(v.type.shape, v.type.dtype) for v in plan.graph.outputs])
    gpu.gpu.device.synchronize()
    took: dict[Node, float] = defaultdict(float)
    times: dict[Node, int] = defaultdict(int)
    for node, each in unit_seconds(gpu.gpu.device, program, repeats=4):
        took[node] += each
        times[node] += 1
    return took, times


def _flops(node: Node) -> int:
    return node_flops(node) if node.op.is_contraction else 0


def _words(node: Node) -> str:
    if node.op.is_region:
        names = list(dict.fromkeys(inner.op.name for inner in node.attrs["body"].nodes))
        return f"{' '.join(names[:4])}{' …' if len(names) > 4 else ''} {node.outputs[0].type}"
    return f"{node.op.name} {node.outputs[0].type}"
