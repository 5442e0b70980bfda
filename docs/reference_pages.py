"""The pages of the API reference, as text: every public name under its public path, where the docstrings are read from.

Sphinx writes them into `docs/reference/` before it builds (`conf.py`); the tests read them without Sphinx.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import gradloom
from gradloom.engine.compile.compile import CompiledFunction
from gradloom.engine.compile.compile_report import CompileReport
from gradloom.engine.diagnosis.diagnosis import Diagnosis, LayerDiagnosis
from gradloom.engine.fit.history import History
from gradloom.engine.fit.run import Run
from gradloom.engine.report import schema
from gradloom.engine.step.plans import CurvePoint
from gradloom.engine.step.predictor import Predictor
from gradloom.engine.tracing.custom_op import CustomOp
from gradloom.tools.arguments import make_parser

PACKAGE = "gradloom"

RESULTS: dict[type, str] = {
    CompiledFunction: "gl.compile",
    Predictor: "step.bind",
    CustomOp: "gl.custom_op",
    CompileReport: "step.compile_report",
    CurvePoint: "plan.curve",
    Diagnosis: "step.diagnosis",
    LayerDiagnosis: "step.diagnosis.layers",
    History: "gl.fit",
    Run: "what callbacks are called with",
    schema.HeldReport: "report.held",
    schema.UnitReport: "report.units",
    schema.LoopReport: "report.loops",
    schema.TransferReport: "report.transfers",
    schema.RoundedReport: "report.rounded",
    schema.ValueReport: "report.values",
}
"""What users read and never make, with where it comes from: classes without a public name."""

MADE_ELSEWHERE = (
    gradloom.Step,
    gradloom.StepPlan,
    gradloom.MemoryReport,
    gradloom.Loaded,
    gradloom.Graph,
    gradloom.Target,
    gradloom.MemoryBudgetError,
    *RESULTS,
)
"""Classes that functions return: how they are constructed is no business of a reader."""

TOP = {
    "engine.step": ("steps", "Training steps"),
    "engine.compile": ("compile", "Compiled functions"),
    "engine.fit": ("fit", "Runs of many steps"),
    "engine.report": ("reports", "Memory reports"),
    "engine.saving": ("saving", "Files of parameters"),
    "engine.torch_import": ("from_torch", "Models of PyTorch"),
    "engine.onnx": ("from_onnx", "Models of ONNX"),
    "engine.tracing": ("transforms", "Tracing, derivatives, control flow"),
    "ir": ("graphs", "Graphs"),
    "passes": ("targets", "Targets"),
}
"""The page of a name of `gl` itself, by the folder that defines it."""


class Public(NamedTuple):
    """A public name."""

    path: str
    """`gradloom.nn.Linear`."""
    object: Any

    @property
    def module(self) -> str:
        """The module that defines it, without the package; empty for what is not ours, such as NumPy's dtypes."""
        name = getattr(self.object, "__module__", None) or ""
        return name.removeprefix(f"{PACKAGE}.") if name.startswith(f"{PACKAGE}.") else ""

    @property
    def entry(self) -> str:
        """The directive that documents it."""
        if not self.module:
            return self._not_ours()
        if not callable(self.object):
            return self._data(inspect.getdoc(self.object) or "")
        if not inspect.isclass(self.object):
            return f".. autofunction:: {self.path}\n"
        members = "" if issubclass(self.object, BaseException) else "   :members:\n"
        if members and not any(map(public_base, self.object.__mro__[1:])):
            members += "   :inherited-members:\n"  # of bases that have no entries of their own
        bases = "   :show-inheritance:\n" if any(map(public_base, self.object.__bases__)) else ""
        return f".. autoclass:: {self.path}\n{members}{bases}"

    def _data(self, words: str) -> str:
        module, _, name = self.path.rpartition(".")
        return f".. py:data:: {name}\n   :module: {module}\n\n{textwrap.indent(words, '   ')}\n"

    def _not_ours(self) -> str:
        """A number, or what is NumPy's or Python's."""
        module, _, name = self.path.rpartition(".")
        words = f"``{self.object!r}``"
        if callable(self.object):
            words = f"``numpy.{name}``, as NumPy has it." if module == f"{PACKAGE}.numpy" else f"A type: {words}."
        return self._data(words)


@cache
def namespaces(path: str = PACKAGE, module: ModuleType = gradloom) -> dict[str, ModuleType]:
    """The public modules by their public paths, the package first."""
    found = {path: module}
    for name in names_of(module):
        below = getattr(module, name)
        if inspect.ismodule(below):
            found |= namespaces(f"{path}.{name}", below)
    return found


def names_of(module: ModuleType) -> list[str]:
    """What a module offers: `__all__`, or what it defines without an underscore."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return list(listed)
    kinds = (name for name, found in vars(module).items() if inspect.isclass(found) or inspect.isfunction(found))
    own = (name for name in kinds if vars(module)[name].__module__ == module.__name__)
    return sorted(name for name in own if not name.startswith("_"))


@cache
def public() -> dict[str, Public]:
    """Every public name by its path, each object once: where several modules have it, in the innermost."""
    found: dict[str, Public] = {}
    homes: dict[int, str] = {}
    for path, module in sorted(namespaces().items(), key=lambda item: -item[0].count(".")):
        for name in names_of(module):
            value = getattr(module, name)
            if inspect.ismodule(value) or (_shared(value) and homes.get(id(value), path) != path):
                continue
            homes[id(value)] = path
            found[f"{path}.{name}"] = Public(f"{path}.{name}", value)
    return found


def public_base(kind: type) -> str:
    """The public path of a class that others derive from; empty where it has none, as `object`."""
    return next((path for path, entry in public().items() if entry.object is kind), "")


def _shared(value: Any) -> bool:
    """Whether an object is known by itself; a number such as pi is not."""
    return callable(value)


def public_paths() -> dict[str, str]:
    """The path that a name is documented by, for every spelling of it and for where it is defined."""
    entries = public()
    by_id = {id(entry.object): path for path, entry in entries.items() if _shared(entry.object)}
    found = dict(zip(entries, entries))
    for path, module in namespaces().items():
        found[path] = path
        for name in names_of(module):
            value = getattr(module, name)
            if id(value) in by_id:
                found[f"{path}.{name}"] = by_id[id(value)]
    for path, entry in entries.items():
        if entry.module and hasattr(entry.object, "__qualname__"):
            found.setdefault(f"{entry.object.__module__}.{entry.object.__qualname__}", path)
        if inspect.isclass(entry.object):
            found |= {f"{path}.{name}": f"{path}.{name}" for name in vars(entry.object) if not name.startswith("_")}
    for kind in RESULTS:
        private = f"{kind.__module__}.{kind.__qualname__}"
        found[private] = private
    return found


def pages() -> dict[str, str]:
    """The text of each page of the reference, by its file name without suffix; `index` has the others."""
    entries = public()
    texts: dict[str, str] = {}
    top: dict[str, list[Public]] = {}
    for entry in entries.values():
        if entry.path.count(".") == 1:
            folder = next((folder for folder in TOP if entry.module.startswith(folder)), "engine.tracing")
            top.setdefault(folder, []).append(entry)
    for folder, (page, title) in TOP.items():
        if top.get(folder):
            texts[page] = f"# {title}\n\n" + _entries(sorted(top[folder], key=lambda e: e.path.lower()))
    texts["results"] = _results()
    for path, module in namespaces().items():
        if path != PACKAGE:
            own = [entry for entry in entries.values() if entry.path.rpartition(".")[0] == path]
            texts[path.removeprefix(f"{PACKAGE}.")] = _namespace(path, module, own)
    texts["commands"] = _commands()
    return {"index": _index(list(texts)), **texts}


def _index(names: list[str]) -> str:
    lines = "\n".join(names)
    return (
        "# API reference\n\nEvery public name, from its docstring. `import gradloom as gl`, "
        f"and `from gradloom import nn`.\n\n```{{toctree}}\n:maxdepth: 1\n\n{lines}\n```\n"
    )


def _entries(entries: list[Public]) -> str:
    return "\n".join(f"```{{eval-rst}}\n{entry.entry}```\n" for entry in entries)


def _namespace(path: str, module: ModuleType, own: list[Public]) -> str:
    """The page of a public module: its names by the files that define them."""
    short = path.replace(PACKAGE, "gl", 1)
    text = f"# {short}\n\n{_said(module)}\n\n```{{eval-rst}}\n.. py:module:: {path}\n   :no-index-entry:\n```\n\n"
    elsewhere = sorted(set(names_of(module)) - {entry.path.rpartition(".")[2] for entry in own})
    groups: dict[str, list[Public]] = {}
    for entry in own:
        groups.setdefault(entry.module, []).append(entry)
    for name in sorted(groups, key=lambda name: (name == "", name.rpartition(".")[2])):
        found = sorted(groups[name], key=lambda entry: entry.path.lower())
        if len(groups) > 1:
            text += _heading(name)
        text += _entries(found) + "\n"
    if elsewhere:
        spelled = ", ".join(f"`{short}.{name}`" for name in elsewhere)
        text += f"## Documented elsewhere\n\nThese stand here too, or are modules: {spelled}.\n"
    return text


def _heading(module: str) -> str:
    if not module:
        return "## Constants and types\n\n"
    words = module.rpartition(".")[2].replace("_", " ")
    return f"## {words[0].upper()}{words[1:]}\n\n{_said(sys.modules[f'{PACKAGE}.{module}'])}\n\n"


def _said(module: ModuleType) -> str:
    """The first paragraph of a module's docstring."""
    return (inspect.getdoc(module) or "").partition("\n\n")[0].replace("\n", " ")


def _results() -> str:
    text = "# What comes back\n\nWhat functions and properties return, and no one makes by hand.\n\n"
    for kind, source in RESULTS.items():
        members = "" if issubclass(kind, tuple) else "   :members:\n"
        entry = f".. autoclass:: {kind.__module__}.{kind.__qualname__}\n{members}"
        text += f"## {kind.__name__}\n\nFrom `{source}`.\n\n```{{eval-rst}}\n{entry}```\n\n"
    return text


def _commands() -> str:
    """The command line, from its parser."""
    parser = make_parser()
    text = f"# Command line\n\n{parser.description}\n\n"
    for name, command in sorted(commands(parser).items()):
        usage = textwrap.fill(" ".join(command.format_usage().split()[1:]), 88, subsequent_indent="    ")
        text += f"## gradloom {name}\n\n{command.description or ''}\n\n```text\n{usage}\n```\n\n"
        text += "| argument | |\n|---|---|\n" + "".join(_rows(command)) + "\n"
        text += f"{(command.epilog or '').strip()}\n\n"
    return text


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a parser's commands."""
    (found,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found.choices)


def _rows(command: argparse.ArgumentParser) -> Iterator[str]:
    formatter = command._get_formatter()
    for action in command._actions[1:]:  # the first is --help
        names = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        value = "" if action.nargs == 0 or not action.option_strings else f" {action.metavar or action.dest.upper()}"
        said = formatter._expand_help(action) if action.help else ""
        yield f"| `{names}{value}` | {' '.join(said.split()).replace('|', chr(92) + '|')} |\n"
