"""What the command line takes: commands, options, and their text."""

from __future__ import annotations

import argparse
import importlib.metadata
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from ..engine.step.budget import budget_of
from ..engine.step.data_parallel import near_powers
from ..engine.step.loss_scaling import checked_loss_scaling
from ..engine.tracing.precisions import checked_precision, half_of
from ..ir.near_names import similar
from ..passes.pipeline import PASS_NAMES
from ..passes.target import MOST_CORES
from ..runtime.codegen.byte_amount import byte_amount
from .bench import GPU_PEERS, PEERS, PINS, WIDER, WORKLOADS
from .completion import SHELLS
from .draw import FORMATS, LAYOUTS
from .file_values import loss_scaling_of
from .many_ranks import MOST_RANKS, NETWORK, SHARDS, Network
from .optimizers import OPTIMIZERS, SCHEDULES
from .ranks import KINDS
from .recipes import RECIPES

_RECIPE = f"one of {', '.join(RECIPES)}; or module:function, or file.py:function"

_RECIPE_NOTE = """
A recipe is a function without arguments that returns (model, loss_fn, optimizer, batch). The leaves of the batch are
specs (one batch of that kind; random data is made to train with) or arrays (the examples to train with).
"""

_PLAN_NOTE = """
Exits with 1 where the step takes more than --fail-over allows, or no batch fits; with 2 where the budget cannot be met,
or something is wrong with what was asked for.
"""


class _Parser(argparse.ArgumentParser):
    """A parser that names what is near to a misspelt choice, command or option."""

    def error(self, message: str) -> NoReturn:
        """Print how the command is used and what is wrong, and exit with 2."""
        choice = re.fullmatch(r"argument (\S+): invalid choice: '(.*?)' \(choose from (.*)\)", message, re.DOTALL)
        unknown = re.fullmatch(r"unrecognized arguments: (--[\w-]+).*", message, re.DOTALL)
        if choice is not None:
            known = re.findall(r"[\w.-]+", choice[3])
            advice = similar(choice[2], known) or f"there are {', '.join(known)}"
            message = f"argument {choice[1]}: there is no {choice[2]!r}; {advice}"
        elif unknown is not None:
            near = similar(unknown[1], [option for parser in self._all() for option in parser._option_string_actions])
            message += f"; {near}" if near else ""
        super().error(message)

    def _all(self) -> Iterator[argparse.ArgumentParser]:
        yield self
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from action.choices.values()


def make_parser() -> argparse.ArgumentParser:
    """The command line: what each command takes, and what its help says."""
    parser = _Parser(
        prog="gradloom",
        description="Compile whole training steps of neural networks into static, memory-planned native programs.",
    )
    parser.add_argument("--version", action="version", version=f"gradloom {importlib.metadata.version('gradloom')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _train_parser(commands)
    _plan_parser(commands)
    _draw_parser(commands)
    _ir_parser(commands)
    _compile_parser(commands)
    _diagnose_parser(commands)
    _bench_parser(commands)
    _lecture_parser(commands)
    _cache_parser(commands)
    _completion_parser(commands)
    return parser


_RUNS_ON = "what it runs on: cpu, a GPU such as cuda, or cuda-emulated, which is slow"


def _target(parser: Any, what: str, default: str | None = "cpu") -> None:
    parser.add_argument("--target", default=default, metavar="NAME", help=f"{what} (cpu)")


def _add_cores(parser: Any, what: str) -> None:
    parser.add_argument("--cores", type=_cores, metavar="N", help=f"{what} (default: 2)")


def _train_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "train",
        help="train a model; by itself, a classifier of handwritten digits",
        description="Train a model, print its memory report and its progress, and write a checkpoint after each epoch "
        "and every few minutes. Ctrl-C and SIGTERM write one too. --resume continues from a checkpoint, to the same "
        "bits as an uninterrupted run. A checkpoint keeps the settings of its run; a recipe or data of yours are named "
        "again.",
        epilog=_RECIPE_NOTE,
    )
    parser.set_defaults(command="train")
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help=f"{_RECIPE} (default: digits)")
    parser.add_argument(
        "--data",
        metavar="FILE",
        help="for mnist and resnet an .npz of uint8 arrays x_train, y_train, x_test, y_test; "
        "for gpt and lstm a text in UTF-8 (default: Python's documentation)",
    )
    parser.add_argument("--epochs", type=_positive, metavar="N", help="epochs of the whole run (default: the recipe's)")
    parser.add_argument("--steps", type=_positive, metavar="N", help="for gpt and lstm: steps of the whole run")
    parser.add_argument(
        "--minutes", type=_rate, metavar="M", help="for gpt and lstm: as many steps as fit (default: 5)"
    )
    parser.add_argument("--batch-size", type=_positive, metavar="N", help="examples a step (default: the recipe's)")
    parser.add_argument(
        "--optimizer", choices=OPTIMIZERS, metavar="NAME", help=f"{', '.join(OPTIMIZERS)} (default: the recipe's)"
    )
    parser.add_argument("--lr", type=_rate, metavar="RATE", help="a constant learning rate (default: the optimizer's)")
    parser.add_argument(
        "--schedule",
        choices=SCHEDULES,
        metavar="NAME",
        help=f"how the learning rate goes over the run, from --lr: {', '.join(SCHEDULES)} (default: the recipe's)",
    )
    parser.add_argument("--clip-norm", type=_rate, metavar="N", help="clip the gradients to this norm")
    parser.add_argument(
        "--early-stop",
        type=_positive,
        metavar="N",
        help="end the run after N epochs without a better val_loss, or loss where the recipe has no validation data",
    )
    parser.add_argument("--log", metavar="FILE", help="write a line for each epoch there: a .csv or a .jsonl")
    parser.add_argument(
        "--plot", metavar="FILE", help="draw loss and metrics over the epochs there: as .svg, .png or .pdf (matplotlib)"
    )
    parser.add_argument("--seed", type=_seed, metavar="N", help="of parameters, dropout, order of data (default: 0)")
    parser.add_argument("--threads", type=_positive, metavar="N", help="never changes a result (default: all cores)")
    parser.add_argument("--memory", type=_memory, metavar="BYTES", help="a budget for the whole step, such as 200MB")
    _add_allow(parser)
    _add_precision(parser, of_run=True)
    _add_loss_scaling(parser)
    _target(parser, _RUNS_ON, default=None)
    _add_cores(parser, "cut each step for N cores")
    parser.add_argument(
        "--ranks",
        choices=KINDS,
        metavar="KIND",
        help="mpi: train with all processes that mpiexec or srun started, which is the default under these; one: with "
        "this process, to the same bits",
    )
    parser.add_argument(
        "--shard",
        choices=SHARDS,
        metavar="WHAT",
        help=f"with ranks: what each holds a shard of, to the same bits: {', '.join(SHARDS)} (default: nothing)",
    )
    parser.add_argument(
        "--parts",
        type=_positive,
        metavar="N",
        help="with ranks: equal parts of a batch that they share, which decide its bits (default: 8, or one a rank)",
    )
    parser.add_argument(
        "--timeout",
        type=_rate,
        metavar="SECONDS",
        help="with ranks: one that does not come for so long hangs, and all stop; compiling takes less than that",
    )
    parser.add_argument("--resume", metavar="FILE", help="continue the run that wrote this checkpoint")
    parser.add_argument(
        "--out", metavar="FILE", help="the checkpoint (default: the one resumed, or gradloom-RECIPE.safetensors)"
    )


def _plan_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "plan",
        help="the memory of a training step, before anything is allocated",
        description="Plan a recipe's training step and print its memory report; nothing is allocated or compiled, but "
        "for --run and --cores. A report that --json wrote can stand in place of a recipe.",
        epilog=_RECIPE_NOTE + _PLAN_NOTE,
    )
    parser.set_defaults(command="plan")
    parser.add_argument("recipe", metavar="RECIPE", help=f"{_RECIPE}; or a report.json")
    parser.add_argument("--memory", type=_memory, metavar="BYTES", help="a budget: 200MB, 1.5GiB, or 50%% of no budget")
    _add_allow(parser)
    _target(parser, "the machine to plan for: cpu, cpu:avx2, or a GPU that need not be here, such as cuda:h100")
    parser.add_argument(
        "--threads", type=_positive, metavar="N", help="workers, each with scratch of its own (default: all cores)"
    )
    parser.add_argument(
        "--accumulate", type=_positive, default=1, metavar="K", help="gradient accumulation: the batch in K parts"
    )
    _add_precision(parser)
    _add_loss_scaling(parser)
    parser.add_argument(
        "--host-memory",
        type=_host_memory,
        metavar="BYTES",
        help="the most pinned memory of its host that a GPU's step may take within --memory, 0 for none (what helps)",
    )
    _add_cores(parser, "cut the step for N cores, time its parts here on one, and predict its time on N and others")
    parser.add_argument(
        "--bandwidth",
        type=_above_zero,
        metavar="GB/S",
        help="of the memory of the machine with --cores, at most (a core's share here times N, up to 200)",
    )
    parser.add_argument(
        "--ranks",
        type=_ranks,
        metavar="N",
        help="what each of N ranks takes, a power of two, and its step; each computes the batch of the recipe, unless "
        "--batch-size says what they share",
    )
    parser.add_argument(
        "--batch-size",
        type=_positive,
        metavar="N",
        help="with --ranks: examples a step of all ranks together, as in gradloom train",
    )
    parser.add_argument(
        "--shard",
        choices=SHARDS,
        metavar="WHAT",
        help=f"with --ranks: what each has a shard of: {', '.join(SHARDS)} (default: nothing)",
    )
    parser.add_argument(
        "--network",
        type=_network,
        metavar="GB/S,LATENCY",
        help=f"with --ranks: what a rank sends at a time, and the time of an empty message ({NETWORK})",
    )
    parser.add_argument(
        "--largest-batch",
        action="store_true",
        help="print the largest batch that fits --memory; exit code 2 where none does",
    )
    parser.add_argument("--diff", metavar="OTHER", help="what changes from RECIPE to this one, by layer")
    parser.add_argument(
        "--fail-over",
        type=_bytes,
        metavar="BYTES",
        help="exit with 1 where the total is more; with --diff, where it grows by more",
    )
    parser.add_argument(
        "--curve", type=_positive, nargs="?", const=12, metavar="N", help="time against memory in N points (12)"
    )
    parser.add_argument(
        "--run", action="store_true", help="run the points of --curve with random batches, and measure them"
    )
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="write the report there, or print it alone"
    )
    parser.add_argument(
        "--html", metavar="FILE", help="write a page with live bytes over time, the arena by address, and the graph"
    )


def _draw_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "draw",
        help="draw the graph of a training step",
        description="Draw the graph of a recipe's training step: as it is planned, or after a pass. Modules are "
        "collapsed until the picture can be read; views and constants are left out.",
        epilog=_RECIPE_NOTE,
    )
    parser.set_defaults(command="draw")
    parser.add_argument("recipe", metavar="RECIPE", help=_RECIPE)
    parser.add_argument("-o", "--out", required=True, metavar="FILE", help=f"ends in {', '.join(FORMATS)}")
    parser.add_argument("--after", metavar="PASS", help=f"one of {', '.join(PASS_NAMES)}")
    parser.add_argument("--depth", type=_seed, metavar="N", help="collapse modules deeper than N")
    parser.add_argument("--only", metavar="MODULE", help="this module alone, such as layers.3, and its neighbours")
    parser.add_argument("--layout", choices=LAYOUTS, help="by graphviz, or as a U (default: dot where it is installed)")
    parser.add_argument("--memory", type=_memory, metavar="BYTES", help="draw the plan for this budget")
    _target(parser, "the machine that the plan is for, as in gradloom plan")
    _add_cores(parser, "draw the step that is cut for N cores")


def _ir_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "ir",
        help="print the graph of a training step",
        description="Print the graph of a recipe's training step: as it was traced, after a pass, or as it runs within "
        "a budget, in which what is recomputed bears the word recompute.",
        epilog=_RECIPE_NOTE,
    )
    parser.set_defaults(command="ir")
    parser.add_argument("recipe", metavar="RECIPE", help=_RECIPE)
    parser.add_argument("--after", metavar="PASS", help=f"one of {', '.join(PASS_NAMES)}")
    parser.add_argument("--memory", type=_memory, metavar="BYTES", help="the graph that runs within this budget")
    _target(parser, "the machine that the graph is for, as in gradloom plan")
    _add_cores(parser, "the graph of a step that is cut for N cores")


def _compile_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "compile",
        help="compile a training step, and print what took how long",
        description="Compile a recipe's training step, so that the next start finds its kernels in the kernel cache. "
        "Print what took how long: tracing, planning, set-up, and each kernel, with the reason if it was not there.",
        epilog=_RECIPE_NOTE,
    )
    parser.set_defaults(command="compile")
    parser.add_argument("recipe", metavar="RECIPE", help=_RECIPE)
    parser.add_argument("--threads", type=_positive, metavar="N", help="never changes a result (default: all cores)")
    _target(parser, _RUNS_ON)
    _add_cores(parser, "cut the step for N cores")


def _diagnose_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "diagnose",
        help="how activations, gradients and updates go through the layers",
        description="Run some training steps of a recipe, and print of the last one, layer by layer: the variance of "
        "activations, how many are zero, saturated or not finite, the norm of the gradient signal and of gradients, "
        "and the update by the weights. Then say in words what stands out, such as gradients that vanish. Where "
        "the loss of a step is not finite the run ends, and the step before is printed.",
        epilog=_RECIPE_NOTE,
    )
    parser.set_defaults(command="diagnose")
    parser.add_argument("recipe", metavar="RECIPE", help=_RECIPE)
    parser.add_argument("--steps", type=_positive, default=10, metavar="N", help="steps to run (default: 10)")
    parser.add_argument("--batch-size", type=_positive, metavar="N", help="examples a step (default: the recipe's)")
    parser.add_argument(
        "--seed", type=_seed, default=0, metavar="N", help="of parameters, dropout, order of data (default: 0)"
    )
    parser.add_argument("--threads", type=_positive, metavar="N", help="never changes a result (default: all cores)")
    _target(parser, _RUNS_ON)
    _add_cores(parser, "cut the step for N cores")
    parser.add_argument("--memory", type=_memory, metavar="BYTES", help="a budget for the whole step, such as 200MB")
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="write all figures there, or print them alone"
    )
    parser.add_argument("--html", metavar="FILE", help="write a page with words, picture and table")
    parser.add_argument(
        "--plot", metavar="FILE", help="draw the curves over depth there: as .svg, or by matplotlib as .png or .pdf"
    )


def _bench_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "bench",
        help="measure training steps against other frameworks",
        description="Measure the time of a training step. Each side runs in its own process, in turn, several times: "
        "the first time with an empty cache of machine code (cold), then with what it left there (warm). "
        "Figures are medians; only the ratios of one run are to be trusted, and the run says if the machine was too "
        "noisy for them. Within a round the sides run in turn, several times, and ratios are medians over these turns. "
        "Where GRADLOOM_TARGET names a lesser CPU than this one, the peers are held to its instructions. "
        "Beside a recipe NAME of yours, functions NAME_torch() -> (model, loss_fn, optimizer) and "
        "NAME_jax(parameters) -> (loss_fn, parameters) let the peers take part.",
        epilog=_RECIPE_NOTE,
    )
    parser.set_defaults(command="bench")
    parser.add_argument(
        "workloads",
        nargs="*",
        metavar="WORKLOAD",
        help=f"of {', '.join(WORKLOADS)} (default: these); of the wider list: {', '.join(WIDER)}; all, or wider; or "
        "module:function, or file.py:function",
    )
    parser.add_argument(
        "--against",
        metavar="SIDES",
        default="",
        help=f"of {', '.join(PEERS)}, with commas; on a GPU alone: {', '.join(GPU_PEERS)}",
    )
    _target(parser, "what all sides train on: cpu, or a GPU, as in cuda:sm_80")
    _add_precision(parser)
    parser.add_argument(
        "--pin",
        choices=PINS,
        default="no",
        metavar="WHEN",
        help="hold each side to one core, where sides are compared by processor time, which other processes hardly "
        "change: only, or too, after all cores (default: no)",
    )
    parser.add_argument(
        "--threads",
        type=_thread_counts,
        default=(),
        metavar="N,N",
        help="measure Gradloom on so many threads too, a column each, as 1,2,4",
    )
    _add_cores(parser, "cut Gradloom's work for N cores")
    parser.add_argument("--rounds", type=_positive, default=5, metavar="N", help="processes of each side (default: 5)")
    parser.add_argument(
        "--seconds", type=_rate, default=1.0, metavar="S", help="time for steps in each process (default: 1)"
    )
    parser.add_argument("--batch-size", type=_positive, metavar="N", help="examples a step (default: the recipe's)")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--picture", metavar="FILE", help="draw them there, as .png, .svg or .pdf (needs matplotlib)")


def _lecture_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "lecture",
        help="the experiments of the lecture on the training of neural networks",
        description="Run an experiment of the lecture, and print its table and what was seen beside what the lecture "
        "claims. Each takes two minutes at most on two cores. The exit code is 1 where one does not agree.",
    )
    parser.set_defaults(command="lecture")
    parser.add_argument("name", nargs="?", metavar="NAME", help="one of --list")
    parser.add_argument("--list", action="store_true", help="print a line for each experiment")
    parser.add_argument("--all", action="store_true", help="run all of them, and write a page")
    parser.add_argument("--full", action="store_true", help="longer runs, and more of them")
    parser.add_argument("--data", metavar="FILE", help="MNIST as an .npz, in place of the digits that come with this")
    parser.add_argument(
        "-o",
        "--out",
        metavar="FILE",
        help="a page with tables and figures, or a folder for it (--all: lecture.html; needs matplotlib)",
    )


def _cache_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "cache",
        help="the kernel cache: machine code on disk",
        description="Print where machine code is kept, how much there is, and the limit. Beyond the limit the least "
        "recently used kernels are deleted. GRADLOOM_CACHE_LIMIT, such as 500MB, sets the limit (default: 1GB), "
        "GRADLOOM_CACHE_DIR the folder; GRADLOOM_CACHE=0 keeps nothing.",
    )
    parser.set_defaults(command="cache")
    parser.add_argument("--clear", action="store_true", help="delete all of it")


def _completion_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "completion",
        help="complete commands, options and recipes in a shell",
        description="Print a script that makes a shell complete this command. It starts no Python: "
        "`source <(gradloom completion bash)` in ~/.bashrc; `gradloom completion zsh > _gradloom` in a folder of "
        "$fpath; `gradloom completion fish > ~/.config/fish/completions/gradloom.fish`. It needs shtab, which "
        "pip install 'gradloom[completion]' brings.",
    )
    parser.set_defaults(command="completion")
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=f"one of {', '.join(SHELLS)}")


def _add_precision(parser: argparse.ArgumentParser, of_run: bool = False) -> None:
    parser.add_argument(
        "--precision",
        type=_precision,
        default=None if of_run else "fp32",
        metavar="NAME",
        help="of products and activations: fp32, bf16, fp16, or on a GPU tf32 (default: fp32); or what is stored so, "
        "with commas: kept=bf16, values that the backward reads, moments=bf16, those of the optimizer, parameters=bf16",
    )


def _add_allow(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--allow",
        type=_half,
        metavar="NAME",
        help="bf16 or fp16: for --memory what the backward reads may be stored so, where that beats recomputing",
    )


def _add_loss_scaling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--loss-scaling",
        type=_loss_scaling,
        metavar="SCALE",
        help="dynamic, or a number that stays (default: dynamic with --precision fp16, and else none)",
    )


def _half(text: str) -> str:
    half = half_of(text)
    if half is None:
        raise argparse.ArgumentTypeError(f"{text!r} is neither bf16 nor fp16")
    return half


def _loss_scaling(text: str) -> str:
    try:
        checked_loss_scaling(loss_scaling_of(text), "fp32")
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither dynamic nor a number above 0") from None
    return text


def _precision(text: str) -> str:
    try:
        return checked_precision(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _positive(text: str) -> int:
    return _at_least(1, text)


def _thread_counts(text: str) -> tuple[int, ...]:
    return tuple(sorted({_cores(part) for part in text.split(",")}))


def _cores(text: str) -> int:
    cores = _positive(text)
    if cores > MOST_CORES:
        raise argparse.ArgumentTypeError(f"{text} is more than {MOST_CORES}")
    return cores


def _ranks(text: str) -> int:
    ranks = _positive(text)
    if ranks & (ranks - 1) or ranks > MOST_RANKS:
        near = near_powers(ranks) if ranks < MOST_RANKS else str(MOST_RANKS)
        raise argparse.ArgumentTypeError(f"{text} is no power of two up to {MOST_RANKS:,}, as ranks are: write {near}")
    return ranks


def _network(text: str) -> Network:
    try:
        return Network.parsed(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seed(text: str) -> int:
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
    return int(text)


def _memory(text: str) -> str:
    try:
        zero = not re.search("[1-9]", text) or budget_of(text).nbytes == 0
    except ValueError:
        zero = True
    if zero:
        share = "; a percentage is of what the step takes without a budget, at most 100%" if "%" in text else ""
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes such as 200MB, 1.5GiB or 50%{share}")
    return text


def _host_memory(text: str) -> str:
    if byte_amount(text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes such as 16GB or 0")
    return text


def _bytes(text: str) -> int:
    try:
        found = budget_of(text).nbytes
    except ValueError:
        found = None
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes such as 200MB or 1.5GiB")
    return found


def _above_zero(text: str) -> float:
    value = _rate(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return value
