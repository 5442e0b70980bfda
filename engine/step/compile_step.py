"""`compile_step` and `plan_step`: a whole training step as one native call, and its memory without any call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...passes.target import Target
from ...runtime.backend import backend_of
from ..compile.compile_progress import compile_progress
from ..compile.compiling import compiling
from ..compile.programs import MOST_KEPT
from ..compile.targets import target_of, with_cores, with_precision, worker_count
from ..nn import Module
from ..optim import Optimizer
from ..ranks import Ranks
from ..tracing.keywords import tells_keywords
from ..tracing.precisions import Precision, checked_precision
from .budget import allowing, budget_of
from .data_parallel import Shard, check_take_part, ranks_options
from .host_memory import host_memory_of
from .loss_scaling import LossScaling, Scaling, checked_loss_scaling
from .narrow_parameters import check_not_shared
from .outputs import Outputs, checked_outputs
from .plans import LossFunction, StepPlan, step_plans
from .shapes import Shapes, shape_policy
from .sharing import lives_of, shared_names
from .step import Step
from .trained import Train


@tells_keywords
def plan_step(
    model: Module,
    loss_fn: LossFunction,
    optimizer: Optimizer,
    batch: Any,
    memory: float | str | None = None,
    target: str | Target = "cpu",
    threads: int | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    accumulate: int = 1,
    train: Train = None,
    diagnose: bool = False,
    share: Step | Sequence[Step] | None = None,
    check_finite: bool = False,
    outputs: Outputs = (),
    precision: Precision = "fp32",
    loss_scaling: Scaling = None,
    allow: str | None = None,
    host_memory: float | str | None = None,
    cores: int | None = None,
    ranks: Ranks | int | None = None,
    shard: Shard = None,
    parts: int | None = None,
) -> StepPlan:
    """Plan a training step without allocating or compiling anything; `batch` is a pytree of arrays or specs.

    The arguments are those of `compile_step`, and so is `report`, to the byte. `target` may be of another machine than
    this one: `gl.Target.cpu("avx2")`, or a GPU, "cuda:h100", which needs neither a GPU nor its packages. `ranks` may be
    a number: so many are planned for, with no MPI.

    Raises `TargetError` for a target that there is not, and else what `compile_step` does.
    """
    precision, budget = checked_precision(precision), allowing(budget_of(memory), allow)
    machine = with_cores(with_precision(target_of(target), precision), cores)
    workers, host = worker_count(threads, machine, ranks), host_memory_of(host_memory, machine)
    scaling = checked_loss_scaling(loss_scaling, precision)
    check_not_shared(share, precision)
    options = _options(clip_norm, clip_value, accumulate, train, diagnose, check_finite, outputs, precision, scaling)
    options |= ranks_options(ranks, shard, parts)
    with compiling(), compile_progress("the plan of a step"):
        shared_names(model, lives_of(share, backend_of(machine)) if share is not None else [])
        plans = step_plans(model, loss_fn, optimizer, batch, options, workers, set(), machine, host)
        return plans.within(budget)


@tells_keywords
def compile_step(
    model: Module,
    loss_fn: LossFunction,
    optimizer: Optimizer,
    batch: Any,
    memory: float | str | None = None,
    target: str | Target = "cpu",
    threads: int | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    accumulate: int = 1,
    seed: int = 0,
    train: Train = None,
    diagnose: bool = False,
    share: Step | Sequence[Step] | None = None,
    check_finite: bool = False,
    outputs: Outputs = (),
    precision: Precision = "fp32",
    loss_scaling: Scaling = None,
    allow: str | None = None,
    host_memory: float | str | None = None,
    shapes: Shapes = "any",
    max_programs: int = MOST_KEPT,
    cores: int | None = None,
    ranks: Ranks | None = None,
    shard: Shard = None,
    parts: int | None = None,
) -> Step:
    """Compile forward, backward and update of `model` into one native program, with parameters initialized from `seed`.

    `loss_fn(model, batch)` returns a float scalar, or `(loss, metrics)` with a pytree of arrays. `batch` is a pytree of
    arrays or specs. `memory` bounds `report.total_bytes`: bytes, text such as "200MB", or "50%" of what the step takes
    without a bound; what is recomputed to keep within it changes no bit of the result. `threads` is the most
    threads to use, by default one for each usable core; it never changes a bit of the result. Gradients are clipped to
    ±`clip_value` element by element, and to the norm `clip_norm` all together.

    `accumulate=k` runs the batch in k equal parts, one after another, and holds the activations of one; a batch that k
    does not divide runs in the next number of parts that does. Loss, metrics and gradient are those of the whole batch,
    to rounding, whatever they are of it: labels that are ignored count for the whole, dropout draws what it draws for
    the whole. What needs a sum over the whole batch before its gradient, such as a ratio of two, costs the forward once
    more. Batch norm takes statistics of each part; a warning says so.

    `train` chooses the parameters that are trained: by a pattern of their names as in the shell, such as "generator.*",
    by a list of them, or by a function of name and type (its `shape`, `dtype`, `ndim`). All others take no gradient, no
    state and no time. They keep their values, or take those that the loss function assigns (`model.target.weight =
    ...`), which are computed from the parameters before the update; a function of `step.bind` may assign them between
    two steps. A pattern that fits no name is a `ValueError` that lists near ones.

    `share` is a step, or several: a parameter or buffer that has the same name here and there is one array, with the
    value that it has there. The models need not be one object, but must agree in shapes and dtypes where they agree in
    names. All steps that share, directly or by way of others, see every change at once, and run one at a time, in one
    arena; `parameters()`, `buffers()` and `save` of each have those of all. Each has an optimizer of its own, with its
    state, learning rate and count of steps. `report` is of this step by itself: what its model has, its state, and the
    arena that it needs. `memory` bounds that; together the steps hold each array once, and the largest arena. `seed`
    gives the initial values of what is new, and what this step draws.

    `target` is "cpu", this machine's own, "cuda" or a `Target` that it can run. Bits follow from the graph and the
    target. `cores` says for how many cores of a CPU the work is cut into parts, by default 2, whatever this machine
    has: write `cores=16` where a step is to keep so many busy. It is part of the target, so other cores are other bits,
    and mostly more bytes; `threads` may be any number in both cases.

    `outputs` says what `step(batch)` gives out among the metrics, as `(loss, metrics)`: "gradient_norm", the 2-norm of
    all gradients before clipping, "loss_scale" and "skipped_updates" where the loss is scaled, and what the model names
    by `nn.record`, by patterns such as "layers.*.attention". A loss function that has metrics of its own returns a dict
    of them then.

    With `diagnose` the step measures its layers: `step.diagnosis` has, for the last step, the variance of activations,
    the norm of the gradient signal, the update by the weights and more, and says what stands out. It takes a few
    percent of a step's time. Parameters get the same bits, unless the batch runs in other tiles.

    With `check_finite` a step raises `FloatingPointError` where its loss, or a parameter, buffer or state that it would
    write, is a NaN or infinite; nothing has changed then. The error names the first operation that made one of finite
    numbers, with its line and module, or the input that held one. An infinity that vanishes again, as one of a mask
    does, is no error, and neither is one in a metric. What is new lies apart until it is checked, so the arena grows by
    the bytes of parameters and state.

    With `precision="bf16"` products and convolutions read operands that are rounded to bfloat16, and their results and
    other activations are rounded too: what is kept for the backward takes half the bytes. So it is with "fp16" and
    float16, which has three bits more and a far smaller range; the loss is scaled then. Parameters, the optimizer's
    state, sums, gradients of parameters, normalizations, softmax and losses are float32, and so is every array that
    comes in or goes out. What is computed in `loss_fn` outside of modules is float32 but for its products. Functions of
    `step.bind` have the precision of the step. "tf32" lets the libraries of a GPU round the factors of float32
    products, and of nothing else; on a CPU it is refused. The default "fp32" rounds nothing.

    A dict says one by one what is rounded to "bf16" or "fp16", `precision=dict(kept="bf16", moments="bf16")`:
    `products` as above; `kept`, what the backward reads of the forward; `moments`, the optimizer's state of each
    element; `parameters`. Of the last three all arithmetic is float32, and each number is rounded once, where it is
    stored: to the nearest, but moments up or down by chance, as often as they are near to either, or small changes
    would be lost. Sums along axes that are kept stay float32, and so does an average of the parameters. Where the arena
    would not be smaller, nothing is kept in two bytes, and the report's `precision` does not say so. A moment in
    float16 is stored as its root, which the squares of small gradients need; `state()` gives the moment. A parameter
    that is trained has a master in float32 among the state, `master.0.weight`, which is what the optimizer updates;
    one that is not has none, and takes half the bytes. Steps that store parameters so share none.

    `loss_scaling` multiplies the loss before the backward, and divides the gradients by the same: "dynamic" as
    `torch.amp.GradScaler` does, a number that stays, or a dict of the arguments of `GradScaler`. An update whose
    gradients are not all finite is skipped then: parameters and the optimizer's state stay, and the optimizer does not
    count it; `step.steps` and schedules do. `step.loss_scale` and `step.skipped_updates` tell, and the outputs of these
    names. All gradients are in memory at once then. The default `None` is "dynamic" where products are "fp16", and none
    elsewhere, where "dynamic" is warned of.

    `allow="bf16"`, or "fp16", lets a budget do the same as `kept` where that is predicted to take less time than
    recomputing, or where nothing else fits, to no more values than it needs. It changes bits, and the report says so,
    and which values these are.

    `host_memory` is for a GPU, whose memory is what `memory` bounds. Where a budget asks for it, and recomputing would
    take longer, values that are not read for long lie in pinned memory of the host meanwhile, and optimizer state
    between its updates; they move while other units run. No bit changes. `host_memory` is the most bytes that they may
    take there, as "16GB"; `None` for as many as are useful, 0 for none. The report tells what moves.

    A batch of other shapes is compiled for when it comes, which a line in the log tells; with `shapes="fixed"` it is a
    `ShapeError`. Of the programs for other shapes `max_programs` are kept; the memory of those that were not used for
    longest is given back.

    With `shapes="bucket"` it is padded instead, along the axes that have been of several lengths, to the least of 1, 2,
    3, 4, 6, 8, 12, 16, 24, ... (the powers of two, and one and a half of them) and of the length in `batch` that is
    long enough. What was padded is masked: loss, metrics, gradients, draws and running statistics are those of the
    batch as it is, to the rounding of sums, and metrics have its shapes. A new length is traced once, to be sure of
    that. Where padding crosses an operation that has nothing neutral, or the code does something else for other
    lengths, a line in the log names the user's line, and the batch is padded along fewer axes, or compiled for as it
    is. Batches of exactly the shape of `batch` run without padding. `step.gradients` and functions of `step.bind` pad
    alike, the latter from the shapes of their first call on. Ranks pad alike, to the longest that one of them has, and
    leave rows as they are.

    With `ranks`, those of `gl.ranks.mpi()`, several processes train one model: `batch` is that of all of them together,
    and `step(batch)` is given the rows of this rank, which follow those of the rank before. The batch falls into
    `parts` equal parts, a power of two, 8 unless there are more ranks. The loss and its gradients are the means of
    those of the parts: each is computed from its rows alone, with draws of its own, and they are added up in one order,
    whoever has them. So the bits depend on `parts`, and not on the number of ranks; `gl.ranks.one()` gives the same as
    many. Batch norm takes the statistics of a part, as a warning says, and running statistics are the mean over the
    parts; `nn.SyncBatchNorm` takes those of the whole batch. Metrics are the means over the parts, of integers the
    sums. Sums travel while other work goes on. All ranks must compile the same step.

    With `shard="state"` or `"gradients"` each rank holds its share of the optimizer's state, and of a gradient that is
    summed: it updates its share of a parameter, and all gather these. No bit changes. `parameters()`, `state()`,
    `save` and `load` are called by all ranks together, and give and take whole arrays. What an optimizer updates in
    another way than element by element, as `Adafactor` and `Muon`, is put together for its update, which all ranks
    compute. With `shard="parameters"` the parameters are such shares too: a layer gathers its own, one layer ahead, and
    drops them; for the backward it gathers them again. Functions of `step.bind` are then called by all together.

    Raises `MemoryBudgetError` where the step does not fit `memory` (its `least_bytes` say what would fit),
    `TargetError` for a target that this machine cannot run, and for a step that cannot be traced an error that names
    the line.
    """
    precision, budget = checked_precision(precision), allowing(budget_of(memory), allow)
    machine = with_cores(with_precision(target_of(target), precision), cores)
    check_take_part(ranks)
    machine = backend_of(machine, ranks).narrowed(machine)  # raises before anything is traced
    workers, host = worker_count(threads, machine, ranks), host_memory_of(host_memory, machine)
    scaling = checked_loss_scaling(loss_scaling, precision)
    check_not_shared(share, precision)
    options = _options(clip_norm, clip_value, accumulate, train, diagnose, check_finite, outputs, precision, scaling)
    policy = shape_policy(shapes, max_programs)
    options |= ranks_options(ranks, shard, parts)
    with compiling(), compile_progress("a step"):
        return Step(
            model, loss_fn, optimizer, batch, budget, workers, options, seed, machine, share, host, policy, ranks
        )


def _options(
    clip_norm: float | None,
    clip_value: float | None,
    accumulate: int,
    train: Train,
    diagnose: bool,
    check_finite: bool,
    outputs: Outputs,
    precision: str,
    loss_scaling: LossScaling | None,
) -> dict[str, Any]:
    """What a step is traced with beside model, loss, optimizer and batch; what was not asked for is left out."""
    options: dict[str, Any] = {"clip_norm": clip_norm, "clip_value": clip_value, "accumulate": accumulate}
    asked = {"train": train, "diagnose": diagnose or None, "check_finite": check_finite or None}
    asked["outputs"] = checked_outputs(outputs) or None
    asked["precision"] = None if precision == "fp32" else precision
    asked["loss_scaling"] = loss_scaling
    return options | {name: value for name, value in asked.items() if value is not None}
