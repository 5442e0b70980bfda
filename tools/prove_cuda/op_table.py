"""`python -m gradloom.tools.prove_cuda.op_table`: what kernels of the table of ops become, by kind of op; needs no GPU.

Each row is planned by itself. It runs in the emulator, each access checked, beside the interpreter; its kernels go
through both compilers to the machine code of both architectures. Ops are shared by all cores.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from ...ir import OPS
from ...passes.pipeline import plan_graph
from ...passes.target import Target, TargetError
from ...runtime.cuda.ptx import ARCHITECTURES, CodeError
from .kernels import COMPILERS, GpuSource, compile_source, kernels_of, summary
from .rows import rows_by_op, run_graph, tests_module
from .show import table

NO_KERNEL = "has no kernel"


@dataclass
class OpFigures:
    """An op: rows that are right in the emulator, kernels that each compiler makes machine code of, and what is wrong.

    `code` has columns of `summary` by compiler and architecture.
    """

    name: str
    family: str
    rows: int
    lacking: int = 0
    right: int = 0
    kernels: int = 0
    code: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    wrong: list[str] = field(default_factory=list[str])


def op_figures(name: str, compilers: Sequence[str] = COMPILERS) -> OpFigures:
    """Those of all rows of an op."""
    rows = rows_by_op()[name]
    found = OpFigures(name, OPS[name].family, len(rows))
    programs = tests_module("op_programs")
    kernels: dict[GpuSource, None] = {}
    for case in rows:
        made = programs.plain([case])
        graph = made.b.graph(made.outputs)
        try:
            kernels |= dict.fromkeys(kernels_of([plan_graph(graph, target=Target.cuda())]))
            wrong = made.wrong_rows(lambda graph, *arrays: run_graph(graph, arrays, Target.cuda(emulated=True)))
        except TargetError as error:
            found.lacking += NO_KERNEL in str(error)
            found.wrong += [] if NO_KERNEL in str(error) else [f"{case}: {error}"]
            continue
        except Exception as error:  # it is to be told, with those of other rows
            wrong = [f"{case}: {error!r}"]
        found.right += not wrong
        found.wrong += wrong
    found.kernels = len(kernels)
    for by in compilers:
        for arch in ARCHITECTURES:
            codes: list[Any] = []
            for kernel in kernels:
                try:
                    codes.append(compile_source(kernel, by, arch))
                except CodeError as error:
                    found.wrong.append(f"{by} for {arch}: {error}")
            found.code[f"{by} {arch}"] = summary(codes)
            unlike = dict.fromkeys(word for code in codes for word in code.unlike)
            found.wrong += [f"{by} for {arch} rounds otherwise: {word}" for word in unlike]
    return found


def by_family(figures: Sequence[OpFigures]) -> list[dict[str, Any]]:
    """Rows of a table, one for each kind of op: most registers and spilled bytes are those of the worst kernel."""
    families = dict.fromkeys(each.family for each in figures)
    return [_row(family, [each for each in figures if each.family == family]) for family in families] + [
        _row("all", figures)
    ]


def _row(family: str, figures: Sequence[OpFigures]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "kind": family,
        "ops": len(figures),
        "rows": sum(each.rows for each in figures),
        "right": sum(each.right for each in figures),
        "lacking": sum(each.lacking for each in figures),
        "kernels": sum(each.kernels for each in figures),
    }
    for column in dict.fromkeys(name for each in figures for name in each.code):
        codes = [each.code[column] for each in figures]
        most = {name: max(code[name] for code in codes) for name in ("most registers", "spilled bytes")}
        spill = sum(code["that spill"] for code in codes)
        row[column] = f"{sum(code['kernels'] for code in codes):.0f}, {most['most registers']:.0f} regs"
        row[column] += f", {spill:.0f} spill {most['spilled bytes']:.0f} B" if spill else ""
        row[f"{column} s"] = sum(code["PTX s"] + code["cubin s"] for code in codes)
    return row


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, and write all figures where asked; 1 where something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m gradloom.tools.prove_cuda.op_table", description=__doc__)
    parser.add_argument("ops", nargs="*", metavar="OP", help="these alone (all)")
    parser.add_argument("--compilers", default=",".join(COMPILERS), help="by commas (own,numba)")
    parser.add_argument("--processes", type=int, metavar="N", help="(a core each)")
    parser.add_argument("--json", metavar="FILE", help="write the figures of every op there")
    asked = parser.parse_args(arguments)
    names, compilers = asked.ops or list(rows_by_op()), asked.compilers.split(",")
    with ProcessPoolExecutor(asked.processes) as pool:
        figures = list(pool.map(op_figures, names, [compilers] * len(names)))
    if asked.json:
        Path(asked.json).write_text(json.dumps([asdict(each) for each in figures], indent=1) + "\n")
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table("kernels of the table of ops", by_family(figures)))
    wrong = [f"{each.name}: {what}" for each in figures for what in each.wrong]
    for what in wrong:
        console.print(what, highlight=False, markup=False)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
