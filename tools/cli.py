"""The command line: `gradloom train | plan | draw | ir | compile | diagnose | bench | lecture | cache | completion`."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence

from rich.console import Console

from ..engine.fit.interruptions import Interruptions
from ..engine.ranks import RanksError
from ..engine.ranks.mpi_ranks import stop_all_ranks
from ..engine.saving.checkpoint_file import CheckpointError
from ..engine.step.refusal import MemoryBudgetError
from ..engine.tracing.tracer import ShapeError, TracingError
from ..ir.printable import printable_lines
from ..passes.dump import DumpError
from ..passes.target import TargetError
from ..runtime.codegen.front_end import FrontEndError
from .arguments import make_parser
from .bench import Settings, Sides, bench, listed
from .cache import cache_text, clear_cache
from .command_error import CommandError, OfAllRanks
from .compile_recipe import compile_report
from .completion import completion_script
from .data import DataError
from .diagnose import DiagnoseOptions, run_diagnose
from .draw import draw
from .lecture import LectureOptions, run_lecture
from .plan import PlanOptions, run_plan
from .print_ir import step_text
from .ranks import ranks_of_command
from .train import Run, train
from .train_characters import KINDS, kind_of_checkpoint, run_characters

_USER_ERRORS = (
    CommandError,
    CheckpointError,
    DataError,
    DumpError,
    FrontEndError,
    MemoryBudgetError,
    RanksError,
    ShapeError,
    TargetError,
    TracingError,
)
"""Errors whose message says it all: no traceback."""

_FAILED = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command: `argv`, by default the arguments of this process. Returns the exit code."""
    with Interruptions() as interruptions:
        try:
            code = _run(argv, interruptions)
            sys.stdout.flush()
            return code
        except BrokenPipeError:
            # Whoever read our output has seen enough, as in `gradloom ir digits | head`.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except KeyboardInterrupt:
            with interruptions.held(), contextlib.suppress(OSError):  # the terminal may be gone
                print("interrupted", file=sys.stderr)
            return interruptions.exit_code
        except MemoryError as error:
            print(printable_lines(f"gradloom: there is not enough memory: {error}"), file=sys.stderr)
            return _FAILED
        except OfAllRanks as error:
            if error.is_first:
                print(printable_lines(f"gradloom: {error}"), file=sys.stderr)
            return _FAILED
        except _USER_ERRORS as error:
            text = printable_lines("\n".join([str(error), *getattr(error, "__notes__", [])]))
            stop_all_ranks(error, text, _FAILED)
            print(f"gradloom: {text}", file=sys.stderr)
            return _FAILED


def _run(argv: Sequence[str] | None, interruptions: Interruptions) -> int:
    options = make_parser().parse_args(argv)
    options.interruptions = interruptions
    code = _COMMANDS[options.command](options)
    sys.stdout.flush()
    return code


def _train(options: argparse.Namespace) -> int:
    settings = ("recipe", "epochs", "batch_size", "optimizer", "lr", "schedule", "clip_norm", "early_stop", "seed")
    kept = (*settings, "memory", "allow", "precision", "loss_scaling", "target", "cores", "parts")
    given = {name: value for name in kept if (value := getattr(options, name)) is not None}
    ranks = ranks_of_command(options.ranks, options.timeout)
    for option in ("shard", "parts", "timeout"):
        if ranks is None and getattr(options, option) is not None:
            raise CommandError(f"--{option} is for several ranks: start by mpiexec, or give --ranks one")
    console = Console(quiet=ranks is not None and ranks.rank > 0)
    files = options.data, options.threads, options.resume, options.out, options.log, options.plot
    run = Run(given, *files, ranks, options.shard)
    kind = KINDS.get(options.recipe)
    if options.recipe is None and options.resume is not None:
        kind = kind_of_checkpoint(options.resume)
    if kind is not None:
        return run_characters(kind, run, options.steps, options.minutes, console, options.interruptions)
    if options.steps is not None or options.minutes is not None:
        raise CommandError(f"--steps and --minutes go with the recipes {' and '.join(KINDS)}; give --epochs")
    return train(run, console, options.interruptions)


def _plan(options: argparse.Namespace) -> int:
    return run_plan(PlanOptions(**{name: getattr(options, name) for name in PlanOptions.__dataclass_fields__}))


def _draw(options: argparse.Namespace) -> int:
    what = options.recipe, options.out, options.after, options.depth, options.only, options.layout
    word = draw(*what, options.memory, options.target, options.cores)
    if word is not None:
        print(f"gradloom: {word}", file=sys.stderr)
    return 0


def _ir(options: argparse.Namespace) -> int:
    print(step_text(options.recipe, options.after, options.memory, options.target, options.cores))
    return 0


def _compile(options: argparse.Namespace) -> int:
    print(compile_report(options.recipe, options.threads, options.target, options.cores))
    return 0


def _diagnose(options: argparse.Namespace) -> int:
    given = {name: getattr(options, name) for name in DiagnoseOptions.__dataclass_fields__}
    return run_diagnose(DiagnoseOptions(**given), Console())


def _bench(options: argparse.Namespace) -> int:
    sides = Sides.parse(options.against, options.target)
    settings = Settings(
        options.rounds,
        options.seconds,
        options.batch_size,
        options.target,
        options.json,
        options.picture,
        options.precision,
        options.pin,
        options.threads,
        options.cores,
    )
    bench(listed(options.workloads), sides, settings, Console())
    return 0


def _lecture(options: argparse.Namespace) -> int:
    given = {name: getattr(options, name) for name in LectureOptions.__dataclass_fields__}
    return run_lecture(LectureOptions(**given), Console())


def _cache(options: argparse.Namespace) -> int:
    print(clear_cache() if options.clear else cache_text())
    return 0


def _completion(options: argparse.Namespace) -> int:
    print(completion_script(make_parser(), options.shell))
    return 0


_COMMANDS = {
    "train": _train,
    "plan": _plan,
    "draw": _draw,
    "ir": _ir,
    "compile": _compile,
    "diagnose": _diagnose,
    "bench": _bench,
    "lecture": _lecture,
    "cache": _cache,
    "completion": _completion,
}
