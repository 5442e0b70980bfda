"""Models of characters: text in, a model that continues it out."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import numpy as np

from ...engine import nn, optim
from ...engine.data.batches import share_of
from ...engine.data.loader import Loader
from ...engine.fit.first_bad_step import FirstBadStep
from ...engine.fit.interruptions import Interruptions
from ...engine.fit.meetings import Meetings
from ...engine.fit.saves import Saves
from ...engine.nn import functional as F
from ...engine.ranks import Ranks, one
from ...engine.ranks.ranks import of_all
from ...engine.saving.checkpoint_file import check_names, open_checkpoint
from ...engine.step.compile_step import compile_step
from ...engine.step.data_parallel import Shard
from ...engine.step.refusal import MemoryBudgetError
from ...engine.step.step import Step
from ...engine.tracing.precisions import is_precision
from ...ir import Array, ArrayType, spec
from ..check_allow import check_allow
from ..command_error import CommandError
from ..file_values import is_cores, is_count, is_half, is_loss_scaling, is_memory, is_rate, is_text, loss_scaling_of
from ..load_checkpoint import load_checkpoint
from ..ranks import check_parts, parts_to_go_on
from .corpus import IGNORED, Corpus, python_documentation
from .recipe import Ingredients

_EVALUATIONS = 10
_MOST_BATCHES = 64
_QUARTER = 4

DEFAULT_MINUTES = 5.0
"""How long a run takes for which neither steps nor minutes are given."""


@dataclass(frozen=True)
class Settings:
    """A model of characters and how it is trained; a subclass says what it is, and may have more fields."""

    name: ClassVar[str]
    """That of the recipe, by which a checkpoint says what it is of."""

    context: int = 128
    """Characters of a window."""
    batch_size: int = 8
    lr: float = 2e-3
    warm_up: int = 100
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    seed: int = 0

    def model(self, vocabulary: int) -> nn.Module:
        """The model: tokens (N, T) to logits (N, T, vocabulary) of the characters that follow on each."""
        raise NotImplementedError

    def optimizer(self, steps: int) -> optim.AdamW:
        """AdamW whose rate warms up, holds until a quarter of `steps` is done, and falls to 0 along a cosine."""
        held = max(steps // _QUARTER - self.warm_up, 0)
        falling = optim.Cosine(self.lr, max(steps - self.warm_up - held, 1))
        rate = optim.WarmUp(_HeldThen(held, falling), self.warm_up)
        return optim.AdamW(rate, betas=(0.9, 0.99), weight_decay=self.weight_decay)

    def ingredients(self) -> Ingredients:
        """The model for Python's documentation, with what its step is made of."""
        shape = (self.batch_size, self.context)
        batch = {"x": spec(shape, "int64"), "y": spec(shape, "int64")}
        return Ingredients(self.model(len(set(python_documentation()))), loss, self.optimizer(5000), batch)


@dataclass(frozen=True)
class _HeldThen:
    """The first rate of `falling` for `steps` steps, then `falling`."""

    steps: int
    falling: optim.Cosine

    def __call__(self, step: int) -> float:
        return self.falling(max(step - self.steps, 0))


def loss(model: Any, batch: Any) -> Any:
    """The mean cross entropy of the next character, in nats."""
    logits = model(batch["x"])
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), batch["y"].reshape(-1))


# Training.


@dataclass(frozen=True)
class Progress:
    """Where a run stands after `step` of `steps` steps; `steps` is `None` until it is known what fits the minutes."""

    step: int
    steps: int | None
    loss: float
    """Of this step, in nats per character."""
    held_out: float | None
    """Nats per held-out character, where they were measured after this step."""
    seconds: float


class TrainedModel:
    """A trained model with its corpus: it judges text and writes some."""

    def __init__(self, step: Step, corpus: Corpus, settings: Settings) -> None:
        self.step = step
        self.corpus = corpus
        parallel = step._options.get("ranks")
        self._size = settings.batch_size
        self._rows = self._size if parallel is None else self._size // parallel.parts
        # Where each rank has a shard of the parameters, a function of the model is of all ranks together.
        self._alone = step.ranks if step._parameter_shards is None else one()
        self._judge = step.bind(_held_out_sum)
        self._logits = step.bind(lambda model, tokens: model(tokens)[0])

    def held_out(self, most: int | None = None, check: Callable[[], None] = lambda: None) -> float:
        """Nats per character of the held-out text, or of `most` batches of it; after each, `check` is called.

        The batches are those of training, or smaller ones where a budget has no room for these. Ranks share them, and
        all give the same figure.
        """
        ranks = self._alone
        mine: dict[int, tuple[float, int]] = {}
        for number, (x, y) in enumerate(self.corpus.held_out_batches(self._size, most)):
            if number % ranks.size == ranks.rank:
                mine[number] = self._sum_of(x, y), int((y != IGNORED).sum())
                check()
        found = {number: sums for theirs in ranks.gather(mine) for number, sums in theirs.items()}
        totals, counts = zip(*(found[number] for number in sorted(found)))
        return sum(totals) / sum(counts)

    @property
    def writes(self) -> bool:
        """Whether this rank takes part in `sample`: rank 0 does, and the others where it needs their parameters."""
        return self._alone.rank == 0

    def _sum_of(self, x: Array, y: Array) -> float:
        start, total = 0, 0.0
        while start < len(x):
            rows = slice(start, start + self._rows)
            try:
                total += float(self._judge(x[rows], y[rows]))
            except MemoryBudgetError:
                if self._rows == 1:
                    raise
                self._rows //= 2
            else:
                start += self._rows
        return total

    def sample(self, length: int = 500, temperature: float = 0.8, seed: int = 0, prompt: str | None = None) -> str:
        """`length` characters that follow on `prompt`, drawn from softmax(logits / temperature); at 0 the likeliest.

        By default they begin a line, or where the text has one line only follow on its first held-out character. Every
        character is one call of the same program: the last one does not see what stands behind it.
        """
        if not temperature >= 0:
            raise ValueError(f"a temperature is 0 or more, got {temperature}")
        context, characters = self.corpus.context, self.corpus.characters
        if prompt is None:
            prompt = "\n" if "\n" in characters else characters[self.corpus.held_out[0]]
        tokens = list(self.corpus.encode(prompt))
        if not tokens:
            raise ValueError("a prompt has one character or more")
        rng = np.random.default_rng(seed)
        for _ in range(length):
            seen = tokens[-context:]
            window = np.zeros((1, context), np.int64)
            window[0, : len(seen)] = seen
            logits = self._logits(window)[len(seen) - 1].astype(np.float64)
            if temperature:
                # Gumbel 1954: the largest after such noise is a draw from the softmax.
                logits = logits / temperature + rng.gumbel(size=len(logits))
            tokens.append(int(logits.argmax()))
        return "".join(characters[token] for token in tokens[-length:]) if length else ""


def _held_out_sum(model: Any, x: Any, y: Any) -> Any:
    logits = model(x)
    flat = logits.reshape(-1, logits.shape[-1])
    return F.cross_entropy(flat, y.reshape(-1), ignore_index=IGNORED, reduction="sum")


def train_characters(
    text: str,
    settings: Settings | type[Settings],
    steps: int | None = None,
    minutes: float | None = None,
    *,
    threads: int | None = None,
    memory: str | None = None,
    allow: str | None = None,
    precision: str | None = None,
    loss_scaling: str | None = None,
    target: str | None = None,
    cores: int | None = None,
    ranks: Ranks | None = None,
    shard: Shard = None,
    parts: int | None = None,
    resume: str | None = None,
    out: str | None = None,
    on_compiled: Callable[[Step], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_interrupted: Callable[[], None] | None = None,
    say: Callable[[str], None] = print,
    interruptions: Interruptions | None = None,
) -> TrainedModel:
    """Train a model on `text` for `steps` steps, or as many as fit `minutes`; then judge it on the held-out tenth.

    `settings` say which one; a class of settings stands for those of the checkpoint to resume, or its own defaults. The
    result depends on the text, the settings and the number of steps alone: a run of `minutes` settles on a number when
    a quarter of its time is over, and until then does what the run of any larger number does. `on_progress` is called
    after every step, and ten times in a run with the held-out loss. `out` is the checkpoint, written then, every few
    minutes, and when Ctrl-C is pressed: then `on_interrupted` is called, and `KeyboardInterrupt` goes on. `resume`
    takes one up, with its budget, its precision, its scale of the loss, its target and its cores, to the same bits.
    `say` reports what goes wrong with a checkpoint, and what differs.

    Of a model that `ranks` train every rank calls this with the same arguments, and gets the same figures. A checkpoint
    is of so many `parts` of a batch, and a run that goes on has as many, also where it is one process.

    Raises `DataError` for a text that is too short, `CommandError` where a checkpoint is of another run.
    """
    began = time.perf_counter()
    interruptions = interruptions or Interruptions()
    if steps is not None and minutes is not None:
        raise CommandError("steps and minutes do not go together")
    earlier = (
        None if resume is None else _Earlier.read(resume, settings if isinstance(settings, type) else type(settings))
    )
    if earlier is not None:
        if minutes is not None:
            raise CommandError("a run that is resumed has its number of steps; give another one, not minutes")
        if not isinstance(settings, type) and settings != earlier.settings:
            raise CommandError(f"{resume} was trained with {earlier.settings}")
        if earlier.digest != _digest(text):
            raise CommandError(f"{resume} was trained on another text; give that one with --data")
        settings, steps = earlier.settings, earlier.steps if steps is None else steps
        minutes, memory = earlier.minutes if steps is None else None, memory or earlier.memory
        allow, precision = allow or earlier.allow, precision or earlier.precision
        loss_scaling, target = loss_scaling or earlier.loss_scaling, target or earlier.target
        cores = cores or earlier.cores
        ranks = one() if ranks is None and earlier.parts is not None else ranks
        parts = parts_to_go_on(earlier.parts, parts)
    check_parts(ranks, parts)
    check_allow(allow, memory)
    settings = settings() if isinstance(settings, type) else settings
    if steps is None and minutes is None:
        minutes = DEFAULT_MINUTES
    corpus = Corpus(text, settings.context)
    if ranks is not None:
        ranks.agree(_digest(text), "text")
    step = compile_step(
        (settings if earlier is None else earlier).model(len(corpus.characters)),
        loss,
        settings.optimizer(1),
        corpus.batch(settings.batch_size, settings.seed, 0),
        memory=memory,
        target=target or "cpu",
        cores=cores,
        threads=threads,
        clip_norm=settings.clip_norm,
        precision=precision or "fp32",
        loss_scaling=loss_scaling_of(loss_scaling),
        allow=allow,
        seed=settings.seed,
        ranks=ranks,
        shard=shard,
        parts=parts,
    )
    if resume is not None and earlier is not None:
        load_checkpoint(step, resume, {settings.name: earlier.text}, say)
    if on_compiled:
        on_compiled(step)
    trained = TrainedModel(step, corpus, settings)
    kept = {"memory": memory, "allow": allow, "precision": precision, "loss_scaling": loss_scaling}
    kept |= {"target": target, "cores": cores, "parts": None if ranks is None else step._options["ranks"].parts}
    metadata = {"settings": asdict(settings), "digest": _digest(text), **kept}
    run = _Run(trained, settings, steps, minutes, metadata, on_progress, began, interruptions)
    if out is not None:
        run.saves = Saves(step, out, run.metadata, say)
    with interruptions.held():
        run.go(on_interrupted)
    return trained


@dataclass(frozen=True)
class _Earlier:
    """What a checkpoint says of its run, and the types of its arrays."""

    path: str
    types: Mapping[str, ArrayType]
    text: str
    settings: Settings
    steps: int | None
    minutes: float | None
    digest: str
    memory: str | None
    allow: str | None
    precision: str | None
    loss_scaling: str | None
    target: str | None
    cores: int | None
    parts: int | None

    @staticmethod
    def read(path: str, kind: type[Settings]) -> _Earlier:
        """Raises `CommandError` where the checkpoint is of another kind of model."""
        with open_checkpoint(path) as file:
            text = file.metadata.get(kind.name, "")
            types = {name: stored.type for name, stored in file.arrays.items()}
        try:
            values = json.loads(text)
            settings, rest = values.pop("settings"), values
            known = {field.name: type(field.default) for field in fields(kind)}
            if settings.keys() != known.keys() or not all(
                map(_is_setting, settings, settings.values(), known.values())
            ):
                raise ValueError("the settings are none of this recipe")
            _check_size(settings, types)
            checks = {
                "steps": is_count,
                "minutes": is_rate,
                "memory": is_memory,
                "allow": is_half,
                "precision": is_precision,
                "loss_scaling": is_loss_scaling,
                "target": is_text,
                "cores": is_cores,
                "parts": is_count,
            }
            given = {name: rest.get(name) for name in checks}
            for name, value in given.items():
                if value is not None and not checks[name](value):
                    raise ValueError(f"{value!r} is no setting")
            found = kind(**settings)
            found.optimizer(1)  # which looks at the settings
            return _Earlier(path, types, text, found, digest=str(rest["digest"]), **given)
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise CommandError(f"{path} is no checkpoint of the recipe {kind.name}") from error

    def model(self, vocabulary: int) -> nn.Module:
        """The model of the settings, if it is the one that the arrays are of: they are compared before anything takes
        the memory that the settings ask for. Raises `CommandError` and `CheckpointError`.
        """
        try:
            model = self.settings.model(vocabulary)
        except ValueError as error:
            raise CommandError(f"{self.path} is no checkpoint of the recipe {self.settings.name}: {error}") from error
        stored = [*model.stored_parameters(), *model.stored_buffers()]
        arrays = {name: kind for name, kind in self.types.items() if not name.startswith(".")}
        wanted = {name: ArrayType(one.shape, one.dtype) for name, one in stored}
        check_names(wanted, arrays, model.tied_names(), f"the arrays of {self.path}")
        return model


def _is_setting(name: str, value: Any, kind: type) -> bool:
    if kind is int:
        return is_count(value, 0 if name in ("warm_up", "seed") else 1)
    if kind is float:
        return is_rate(value) and (value > 0 or name != "clip_norm")
    return type(value) is kind


def _check_size(settings: Mapping[str, Any], types: Mapping[str, ArrayType]) -> None:
    """Raise `ValueError` for a model that the arrays of a file cannot be of: just to build it might take for ever."""
    elements = max((kind.nbytes // kind.dtype.itemsize for kind in types.values()), default=0)
    for name in ("layers", "width", "hidden", "heads"):
        if settings.get(name, 0) > (len(types) if name == "layers" else elements):
            raise ValueError(f"{name} is more than the arrays have")


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class _Batches(Loader):
    """The batches of a run, to be given again from one on, each with its learning rate."""

    def __init__(self, run: _Run) -> None:
        self._run = run

    def epoch(self, number: int, start: int = 0) -> Iterator[dict[str, Array]]:
        return map(self._run.prepared, itertools.count(start))


class _Run:
    def __init__(
        self,
        trained: TrainedModel,
        settings: Settings,
        steps: int | None,
        minutes: float | None,
        said: dict[str, Any],
        on_progress: Callable[[Progress], None] | None,
        began: float,
        interruptions: Interruptions,
    ) -> None:
        self.trained = trained
        self.settings = settings
        self.steps = steps
        self.minutes = minutes
        self.said = said
        self.on_progress = on_progress or (lambda progress: None)
        self.began = began
        self.saves: Saves | None = None
        self.interruptions = interruptions
        self.ranks = trained.step.ranks
        self.meetings = Meetings(self.ranks, each_step=False)

    def metadata(self) -> dict[str, str]:
        """What a checkpoint says of the run: the minutes too, as long as they are to settle the number of steps."""
        minutes = self.minutes if self.steps is None else None
        return {self.settings.name: json.dumps({**self.said, "steps": self.steps, "minutes": minutes})}

    def go(self, on_interrupted: Callable[[], None] | None) -> None:
        step, saves = self.trained.step, self.saves
        # What judges is alone between its batches: other ranks may have one more.
        check = self.interruptions.check if self.ranks.size == 1 else lambda: None
        why = FirstBadStep(step, _Batches(self))
        try:
            self._meet()
            why.begin(0, step.steps)
            settled = math.inf if self.steps is not None else self._time_to_settle()
            while self.steps is None or step.steps < self.steps:
                value = self._one_step(why)
                held_out, settles, saves_now = None, False, False
                if self.meetings.is_due():
                    saves_now = self._meet()
                    # The clock is that of rank 0.
                    settles = self.steps is None and self.ranks.broadcast(time.perf_counter() > settled)
                if settles:
                    self.steps = _QUARTER * step.steps
                if self.steps is not None and (settles or self._is_due(step.steps)):
                    most = None if step.steps == self.steps else _MOST_BATCHES
                    held_out = self.trained.held_out(most, check)
                    saves_now = step.steps < self.steps
                    why.begin(0, step.steps)
                if saves and saves_now:
                    saves.save()
                self.on_progress(Progress(step.steps, self.steps, value, held_out, time.perf_counter() - self.began))
            if saves:
                saves.save_at_last()
        except KeyboardInterrupt:
            if saves and not saves.nothing_to_save:
                saves.save_at_last()
                if on_interrupted:
                    on_interrupted()
            raise
        except BaseException as error:
            if saves:
                saves.save_before(error)
            raise

    def _meet(self) -> bool:
        """Raise `KeyboardInterrupt` on all ranks where one got a signal. Whether a checkpoint is due."""
        agreed = self.meetings.hold(self.interruptions.came, self.saves is not None and self.saves.is_due)
        if agreed.interrupted:
            raise of_all(KeyboardInterrupt())
        return agreed.saves

    def _one_step(self, why: FirstBadStep) -> float:
        number = self.trained.step.steps
        batch = self.prepared(number)
        value = float(self.trained.step(batch))
        if not math.isfinite(value):
            raise of_all(FloatingPointError(f"the loss of step {number + 1} is {value}: {why.explain(number, batch)}"))
        return value

    def prepared(self, number: int) -> dict[str, Array]:
        """This rank's share of the batch of the step with this number, from 0, whose learning rate is set."""
        step, settings = self.trained.step, self.settings
        batch = self.trained.corpus.batch(settings.batch_size, settings.seed, number)
        mine = share_of(self.ranks, settings.batch_size)
        # Until the number of steps is known, that of a run which still is in its first quarter.
        steps = self.steps or _QUARTER * (number + 1)
        step.learning_rate = settings.optimizer(steps).learning_rate(number)
        return {name: tokens[mine] for name, tokens in batch.items()}

    def _time_to_settle(self) -> float:
        """When a quarter of the time for steps is over, after what the evaluations will take."""
        self.trained.held_out(1)
        before = time.perf_counter()
        self.trained.held_out(_MOST_BATCHES)
        now = time.perf_counter()
        return now + (self.began + 60 * (self.minutes or 0.0) - now - (now - before) * (_EVALUATIONS + 1)) / _QUARTER

    def _is_due(self, done: int) -> bool:
        assert self.steps is not None
        return done == self.steps or done * _EVALUATIONS // self.steps > (done - 1) * _EVALUATIONS // self.steps
