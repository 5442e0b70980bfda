"""A CPU's launch as one of a GPU, where one thread of each block does its tiles, or its threads share some loops.

    on_one_thread(launch)
    on_loop("j", columns, launch)

The source stays, but for arguments that depend on tile or worker, which are computed, and for a code that the kernel
returns, which becomes a trap.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from ...passes.target import TargetError
from .gpu_text import WARP, GpuText
from .launch import Arg, Launch


def on_one_thread(launch: Launch) -> Launch:
    """The launch with one thread a block: right, and slow. Raises `TargetError` for kernels that only a CPU has."""
    return _translated(launch, 1)


def on_loop(variable: str, length: int, launch: Launch) -> Launch:
    """The launch with the iterations of all loops over `variable`, of about `length`, dealt to the threads of a block.

    The kernel stores in these loops alone, each time to what belongs to the value of the variable. So no thread waits
    for another, and all else every thread does alike.
    """
    return _translated(launch, min(_MOST_THREADS, max(1, -(-length // WARP)) * WARP), variable)


_MOST_THREADS = 256


def _translated(launch: Launch, threads: int, shared: str = "") -> Launch:
    kernel, *more = ast.parse(launch.calls[0].source).body
    if len(launch.calls) != 1 or more or not isinstance(kernel, ast.FunctionDef):
        raise TargetError("a kernel of register tiles, or a tile that several kernels make, is a CPU's alone")
    text = GpuText(launch.tiles, threads)
    kernel.body.pop()  # which returns 0
    for statement in _Translation(launch.calls[0].args, text, shared).visit(kernel).body:
        text.lines += [f"    {line}" for line in ast.unparse(ast.fix_missing_locations(statement)).splitlines()]
    return text.launch(launch.concurrent)


class _Translation(ast.NodeTransformer):
    """A kernel that reads `args`, as one with those of `text`, whose threads share the loops over a variable."""

    def __init__(self, args: Sequence[Arg], text: GpuText, shared: str) -> None:
        self.args = args
        self.text = text
        self.shared = shared
        self.words: dict[int, str] = {}

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        match node:
            case ast.Call(func=ast.Name(id="word"), args=[_, ast.Constant(value=int(number))]):
                if number not in self.words:
                    self.words[number] = self.text.word(self.args[number])
                return ast.parse(self.words[number], mode="eval").body
            case ast.Call(func=ast.Name(id="word")):
                raise TargetError(f"{ast.unparse(node)} is no argument that a GPU's kernel can name")
            case _:
                return node

    def visit_For(self, node: ast.For) -> ast.AST:
        self.generic_visit(node)
        match node:
            case ast.For(target=ast.Name(id=name), iter=ast.Call(args=[*first, last])) if name == self.shared:
                start = f"{ast.unparse(first[0])} + thread_index()" if first else "thread_index()"
                source = f"range({start}, {ast.unparse(last)}, {self.text.threads})"
                node.iter = ast.parse(source, mode="eval").body
            case _:
                pass
        return node

    def visit_Return(self, node: ast.Return) -> list[ast.stmt]:
        self.generic_visit(node)
        assert node.value is not None
        stop = ast.Call(ast.Name("trap", ast.Load()), [node.value], [])
        return [ast.Expr(stop), *ast.parse("return i64(0)").body]
