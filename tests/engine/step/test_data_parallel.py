"""Steps that ranks do together: the bits do not depend on how many they are."""

from __future__ import annotations

import hashlib
import re
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.engine.step.data_parallel import DataParallel, ranks_options
from gradloom.engine.step.shards import updated_whole
from gradloom.ir import ArrayType
from gradloom.ir.ops import contraction
from gradloom.passes.graph.rewrite import all_nodes
from gradloom.passes.ranks import loop_parts
from lockstep import on_ranks
from mpi_runs import run_program
from rank_models import ROWS, Model, batch_of, digest, loss_fn, plain_loss
from thread_ranks import ThreadRanks

pytestmark = pytest.mark.filterwarnings("ignore:ranks. batch norm at")  # which the model of most tests has


def test_the_mean_over_parts_is_that_over_the_batch():
    model = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 5))
    batch = batch_of()
    alone = gl.compile_step(model, plain_loss, gl.optim.SGD(0.1), batch)
    for parts in (1, 2, 8, 32):
        shared = gl.compile_step(model, plain_loss, gl.optim.SGD(0.1), batch, ranks=gl.ranks.one(), parts=parts)
        assert shared.report.check() is None
        shared.set_parameters(alone.parameters())
        assert np.isclose(shared(batch), alone(batch), rtol=1e-6)
        for name, value in alone.parameters().items():
            np.testing.assert_allclose(shared.parameters()[name], value, rtol=1e-4, atol=1e-6)


def test_what_ranks_compute_in_lockstep_is_what_one_process_computes():
    batch = batch_of()
    step = gl.compile_step(Model(), loss_fn, gl.optim.SGD(0.1), batch, clip_norm=1.0, ranks=gl.ranks.one())
    for ranks in (2, 4, 8):
        plan = gl.plan_step(Model(), loss_fn, gl.optim.SGD(0.1), batch, clip_norm=1.0, ranks=ranks)
        assert plan.report.check() is None
        held = [np.array(x) for x in step._carried()]
        rows = ROWS // ranks
        shares = [{k: v[r * rows : (r + 1) * rows] for k, v in batch.items()} for r in range(ranks)]
        found = on_ranks(plan._plans.planner.prepared, [[*held, *share.values()] for share in shares])
        other = found[len(found) // ranks :]
        for mine, theirs in zip(found, other):
            assert np.array_equal(mine, theirs)  # all ranks end with the same
        loss, metrics = step(batch)
        of_one = [*step._carried()[: plan.traced.loss_index], loss, *metrics.values()]
        for mine, compiled in zip(found, of_one):
            np.testing.assert_allclose(mine, np.asarray(compiled), rtol=1e-4, atol=1e-5)


def test_batch_norm_of_each_part_is_told_once_by_the_first_rank():
    def model(norm: Any) -> nn.Module:
        return nn.Sequential(nn.Linear(12, 8), norm(8), nn.ReLU(), norm(8), nn.Linear(8, 5))

    batch, sgd, ranks = batch_of(), gl.optim.SGD(0.1), gl.ranks.one()
    said = r"ranks: batch norm at .*rank_models.* each part .*nn\.SyncBatchNorm in its place"
    with pytest.warns(UserWarning, match=said) as told:
        step = gl.compile_step(model(nn.BatchNorm1d), plain_loss, sgd, batch, ranks=ranks)
    assert len(told) == 1
    warnings.simplefilter("error")  # until the test ends
    step(batch_of(16))  # is compiled for, and nothing is told again
    gl.plan_step(model(nn.SyncBatchNorm), plain_loss, sgd, batch, ranks=2)
    gl.plan_step(model(nn.BatchNorm1d), plain_loss, sgd, batch, ranks=1, parts=1)  # which is the whole batch
    gl.plan_step(model(nn.BatchNorm1d).eval(), plain_loss, sgd, batch, ranks=2)
    second = ThreadRanks(1, [None] * 2, threading.Barrier(2))
    gl.plan_step(model(nn.BatchNorm1d), plain_loss, sgd, batch, ranks=second)


TESTS = Path(__file__).parents[2]


@pytest.mark.mpi
@pytest.mark.parametrize(("ranks", "options"), [(2, "threads=2"), (4, "threads=1, shard='parameters'")])
def test_ranks_train_to_the_bits_of_one_process(ranks: int, options: str, tmp_path: Path):
    assert digests_of(ranks, options, tmp_path) == [digest(gl.ranks.one())] * ranks


def digests_of(ranks: int, options: str, folder: Path) -> list[str]:
    program = f"import sys; sys.path.insert(0, {str(TESTS)!r})\nfrom rank_models import *\ntell_digest({options})"
    code, output = run_program(ranks, program, folder)
    assert code == 0, output
    return re.findall(r"digest (\w+)", output)


@pytest.mark.mpi
def test_what_four_ranks_saved_two_go_on_with(tmp_path: Path):
    digests_of(4, "threads=1, steps=10, shard='gradients', save='saved.safetensors'", tmp_path)
    found = digests_of(2, "threads=1, first=10, shard='state', load='saved.safetensors'", tmp_path)
    assert found == [digest(gl.ranks.one())] * 2
    assert digest(gl.ranks.one(), first=10, load=tmp_path / "saved.safetensors") == found[0]


def test_a_run_that_goes_on_with_ranks_or_without_them_is_told_of_other_bits(tmp_path: Path):
    batch, path = {"x": np.ones((8, 12), np.float32), "y": np.zeros(8, np.int64)}, tmp_path / "saved.safetensors"
    alone = gl.compile_step(nn.Linear(12, 5), plain_loss, gl.optim.SGD(0.1), batch)
    shared = gl.compile_step(nn.Linear(12, 5), plain_loss, gl.optim.SGD(0.1), batch, ranks=gl.ranks.one())
    none = "none, as of a step without ranks, whose sums over the batch have another order"
    for before, after, said in ((alone, shared, f"parts: {none} before, 8 now"), (shared, alone, f"8 before, {none}")):
        before.save(path)
        with pytest.warns(gl.CheckpointWarning, match=f"other settings, so training goes on to other bits\n.*{said}"):
            after.load(path)


def test_shards_are_as_many_times_smaller_and_change_no_bit():
    expected = digest(gl.ranks.one(), steps=3)
    assert digest(gl.ranks.one(), steps=3, shard="parameters") == expected
    assert (
        digest(gl.ranks.one(), steps=3, shard="state") == digest(gl.ranks.one(), steps=3, shard="gradients") == expected
    )
    model = nn.Sequential(nn.Linear(12, 512), nn.ReLU(), nn.Linear(512, 5))
    whole = gl.plan_step(model, plain_loss, gl.optim.AdamW(1e-2), batch_of(), ranks=2).report
    for ranks in (2, 4, 8):
        plan = gl.plan_step(model, plain_loss, gl.optim.AdamW(1e-2), batch_of(), ranks=ranks, shard="state")
        assert plan.report.check() is None
        assert plan.report.state_bytes <= 1.01 * whole.state_bytes / ranks + 8
        plan = gl.plan_step(model, plain_loss, gl.optim.AdamW(1e-2), batch_of(), ranks=ranks, shard="parameters")
        assert plan.report.check() is None
        assert plan.report.parameter_bytes <= 1.01 * whole.parameter_bytes / ranks


class Reshaped(nn.Module):
    """Parameters that are read as they are, and reshaped by the model itself."""

    def __init__(self):
        self.table, self.odd = nn.Parameter(np.ones((2, 6), np.float32)), nn.Parameter(np.ones((3, 3), np.float32))
        self.row = nn.Parameter(np.ones((1, 12), np.float32))

    def forward(self, x):
        scaled = x * self.table.reshape(1, 12) + self.table[0, 0] + self.row
        return scaled.sum() + (self.odd.reshape(9)[:4] * x[0, :4]).sum() + (self.odd * x[0, :9].reshape(3, 3)).sum()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_sharded_parameter_that_the_model_reshapes_is_trained(accumulate: int):
    batch = batch_of()
    found = []
    for shard in (None, "parameters"):
        options = {"ranks": gl.ranks.one(), "shard": shard, "accumulate": accumulate}
        step = gl.compile_step(Reshaped(), lambda m, b: m(b["x"]) ** 2, gl.optim.SGD(1e-3), batch, **options)
        step(batch)
        found.append(step.parameters())
    for name, expected in found[0].items():
        assert not np.array_equal(expected, np.ones_like(expected))
        np.testing.assert_array_equal(found[1][name], expected)


UNSEEDED = """
import gradloom as gl
import numpy as np
from gradloom import nn

ranks = gl.ranks.mpi()
rng = np.random.default_rng(ranks.rank)  # as one without a seed: others on each rank
for shard in (None, "state", "parameters"):
    model = nn.Linear(4, 3)
    nn.init.constant_(model.weight, rng.standard_normal((3, 4)).astype(np.float32))
    try:
        gl.compile_step(
            model, lambda m, x: m(x).sum(), gl.optim.SGD(0.1), np.ones((8, 4), np.float32), ranks=ranks, shard=shard
        )
    except gl.ranks.RanksError as error:
        print(f"{shard}: {error}\\n", end="", flush=True)
"""


@pytest.mark.mpi
def test_ranks_that_begin_with_other_parameters_are_named_before_the_first_step(tmp_path: Path):
    code, output = run_program(2, UNSEEDED, tmp_path)
    assert code == 0, output
    said = re.findall(r"(\w+): rank 1 has another set of initial parameters than rank 0", output)
    assert sorted(said) == sorted(["None", "state", "parameters"] * 2), output


WHOLE = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from rank_models import *

ranks = gl.ranks.mpi()
step = gl.compile_step(nn.Linear(12, 5), plain_loss, gl.optim.SGD(0.1), batch_of(), ranks=ranks)
whole = batch_of()
step({{name: rows[16 * ranks.rank :][:16] for name, rows in whole.items()}})
step(batch_of(8))  # fewer rows, and no word of them
step(whole)
step(whole)
"""


@pytest.mark.mpi
def test_a_rank_that_is_given_the_whole_batch_is_told_once_what_is_its_own(tmp_path: Path):
    code, output = run_program(2, WHOLE, tmp_path)
    assert code == 0, output
    said = r"program.py:\d+: TracingWarning: a rank was given 32 rows, .* own 16: each of 2 ranks .*ranks=ranks\)"
    assert len(re.findall(said, output)) == output.count("Warning") == 1, output


def test_only_the_shapes_of_the_whole_batch_are_told_of_and_only_by_the_first_rank():
    def parallel(rank: int, size: int) -> DataParallel:
        return ranks_options(ThreadRanks(rank, [None] * size, threading.Barrier(size)), None, None)["ranks"]

    first, own = parallel(0, 2), [(16, 12), (16,), (3, 3), ()]
    with pytest.warns(UserWarning, match="given 32 rows, .* and not its own 16"):
        first.warn_of_whole(own, [(32, 12), (32,), (3, 3), ()])
    for given in (own, [(32, 12), (32,), (6, 3), ()], [(24, 12), (24,), (3, 3), ()], [(32, 9), (32,), (3, 3), ()]):
        first.warn_of_whole(own, given)
    parallel(1, 2).warn_of_whole(own, [(32, 12), (32,), (3, 3), ()])
    parallel(0, 1).warn_of_whole(own, own)


@dataclass(frozen=True)
class Normed(gl.optim.Optimizer):
    """A rule of the user's whose steps are as long as the parameter, whatever its shape."""

    lr: float = 0.1

    def init_parameter(self, type: ArrayType) -> dict[str, gl.optim.StateSpec]:
        return {}

    def update_parameter(self, parameter: Any, gradient: Any, state: Any, scalars: Any) -> Any:
        length = np.sqrt((parameter * parameter).sum()) / (np.sqrt((gradient * gradient).sum()) + 1e-6)
        return parameter - 0.1 * length * gradient, {}


def other_optimizers() -> list[gl.optim.Optimizer]:
    muon = gl.optim.groups({gl.optim.ndim(2): gl.optim.Muon(0.02)}, default=gl.optim.AdamW(1e-3))
    return [gl.optim.Adafactor(1e-2), muon, gl.optim.Adam8bit(1e-2), gl.optim.EMA(Normed(), 0.9)]


class Gained(nn.Module):
    """Its last parameter has no axes."""

    def __init__(self):
        self.first, self.last, self.gain = nn.Linear(12, 40), nn.Linear(40, 5), nn.Parameter(np.ones((), np.float32))

    def forward(self, x):
        return self.last(nn.relu(self.first(x))) * self.gain


def of_other_optimizers(ranks: gl.ranks.Ranks, shard: Any) -> str:
    """What steps of optimizers end with that read norms of parameters, or multiply matrices, as one text."""
    found: list[str] = []
    for optimizer in other_optimizers():
        options: Any = {"clip_norm": 0.5, "ranks": ranks, "shard": shard}
        step = gl.compile_step(Gained(), plain_loss, optimizer, batch_of(), **options)
        for seed in range(3):
            rows = ROWS // ranks.size
            step({k: v[ranks.rank * rows : (ranks.rank + 1) * rows] for k, v in batch_of(seed=seed).items()})
        arrays = (*step.parameters().values(), *step.state().values())
        found.append(hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in arrays)).hexdigest()[:12])
    return " ".join(found)


OTHERS = """
import sys

import gradloom as gl

sys.path[:0] = [{tests!r}, {here!r}]
from test_data_parallel import of_other_optimizers

ranks = gl.ranks.mpi()
for shard in ("state", "parameters"):
    sys.stdout.write(f"found {{of_other_optimizers(ranks, shard)}}\\n")
"""


@pytest.mark.mpi
@pytest.mark.parametrize("size", [2, 4])
def test_ranks_put_together_what_a_rule_reads_whole(size: int, tmp_path: Path):
    here = Path(__file__).parent
    code, output = run_program(size, OTHERS.format(tests=str(here.parents[1]), here=str(here)), tmp_path)
    assert code == 0, output
    assert output.count(f"found {of_other_optimizers(gl.ranks.one(), None)}\n") == 2 * size, output


def test_a_rule_that_reads_norms_has_the_same_bits_with_shards():
    expected = of_other_optimizers(gl.ranks.one(), None)
    for shard in ("state", "gradients", "parameters"):
        assert of_other_optimizers(gl.ranks.one(), shard) == expected


def test_state_that_is_read_whole_is_held_in_shards():
    for optimizer, of_whole in zip(other_optimizers(), (1.0, 0.6, 0.6, 0.6)):
        whole, cut = (
            gl.plan_step(Gained(), plain_loss, optimizer, batch_of(), ranks=4, shard=shard).report.state_bytes
            for shard in (None, "state")
        )
        assert cut <= of_whole * whole, optimizer


def test_what_is_element_by_element_is_updated_in_shards():
    types = {"w": gl.spec((4, 6)), "b": gl.spec((6,)), "gain": gl.spec(())}

    def whole(optimizer: gl.optim.Optimizer) -> set[str]:
        resolved = optimizer.resolved(types, list(types), None)
        return set(updated_whole(resolved, types, resolved.init_all(types)))

    adam, adafactor, muon, normed = (gl.optim.AdamW(1e-3), *other_optimizers()[:2], Normed())
    assert whole(adam) == whole(gl.optim.NAdam(1e-3)) == {"gain"}
    assert whole(muon) == {"w", "gain"}
    assert whole(adafactor) == whole(normed) == set(types)


def test_state_of_no_single_parameter_has_no_shards():
    class Shared(gl.optim.Optimizer):
        def init_all(self, types: Any) -> dict[str, gl.optim.StateSpec]:
            return {"all": gl.optim.StateSpec(gl.spec((sum(t.size for t in types.values()),)))}

    with pytest.raises(NotImplementedError, match=r"state all of shape .* is of no single parameter.*such as AdamW"):
        gl.plan_step(Model(), plain_loss, Shared(0.1), batch_of(), ranks=gl.ranks.one(), shard="state")


def test_each_part_has_draws_of_its_own():
    def loss(model, batch):
        return model(batch["x"]).mean(), {"small": (gl.random.uniform((1000,)) < 0.5).sum()}

    batch = {"x": np.zeros((8, 1), np.float32)}
    step = gl.compile_step(nn.Linear(1, 1), loss, gl.optim.SGD(0.1), batch, ranks=gl.ranks.one())
    counts = [int(step(batch)[1]["small"]) for _ in range(4)]
    assert all(3500 < count < 4500 for count in counts)
    assert any(count % 8 for count in counts)  # eight equal draws would count alike


def test_what_ranks_cannot_share_is_refused():
    model, adam, one = Model(), gl.optim.AdamW(1e-2), gl.ranks.one()

    def refused(error, match, batch=None, loss=plain_loss, optimizer=adam, **options):
        with pytest.raises(error, match=match):
            gl.plan_step(model, loss, optimizer, batch_of() if batch is None else batch, **options)

    refused(gl.ShapeError, r"30 rows does not fall into 8 .* 24 or 32 rows, or parts=2", batch_of(30), ranks=one)
    refused(ValueError, "power of two, 1, 2, 4, 8, ..., got 3; take 2 or 4", ranks=3)
    for parts, written in ((6, "4 or 8"), (0, "8"), (-3, "8"), (1000, "512 or 1024"), ("two", "8")):
        refused(ValueError, f"parts is a power of two, got '?{parts}'?; write parts={written}", ranks=one, parts=parts)
    refused(ValueError, "4 ranks cannot share a batch in 2 parts, .*; write parts=4, or start 2", ranks=4, parts=2)
    refused(ValueError, "parts=4 is for a step with ranks", parts=4)
    refused(ValueError, "shard is None, 'state'", ranks=one, shard="all")
    refused(TypeError, "ranks are those that take part", ranks="mpi")
    refused(NotImplementedError, "LBFGS with ranks", ranks=one, optimizer=gl.optim.LBFGS(1.0))
    refused(
        gl.TracingError, "4 rows", ranks=one, loss=lambda m, b: (plain_loss(m, b), {"scores": m(b["x"]).max(axis=1)})
    )
    for wrong, more in ((2, "; a number is for gl.plan_step"), (np.int64(1), "; a number is for"), ("mpi", ", at ")):
        with pytest.raises(TypeError, match=rf"take part in a step, got .*gl\.ranks\.one\(\){more}"):
            gl.compile_step(model, plain_loss, adam, batch_of(), ranks=wrong)  # pyright: ignore[reportArgumentType]
    step = gl.compile_step(model, plain_loss, adam, batch_of(), ranks=one)
    with pytest.raises(NotImplementedError, match="of a step with ranks: compile a step without"):
        gl.curvature(step, batch_of())


def test_ranks_on_gpus_are_planned():
    report = gl.plan_step(Model(), plain_loss, gl.optim.AdamW(1e-2), batch_of(), ranks=4, target="cuda:h100").report
    assert report.messages == 2
    assert report.arena_bytes % 256 == 0


def test_large_gradients_are_products_of_the_rows_of_all_parts_with_the_same_bits(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    batch = {"x": rng.standard_normal((64, 600), np.float32), "y": rng.integers(0, 10, 64)}

    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(600, 520), nn.ReLU(), nn.Linear(520, 600), nn.ReLU(), nn.Linear(600, 10))

    found: list[tuple[Any, ...]] = []
    for worth in (loop_parts._WORTH_HOISTING, 1e9):
        monkeypatch.setattr(loop_parts, "_WORTH_HOISTING", worth)
        for shard in (None, "parameters"):
            plan = gl.plan_step(model(), plain_loss, gl.optim.AdamW(1e-2), batch, ranks=2, shard=shard)
            products = sum(node.op is contraction.dot_parts for node in all_nodes(plan.plan.graph))
            assert products == (2 if worth < 1e9 else 0)
            assert plan.report.check() is None
        step = gl.compile_step(model(), plain_loss, gl.optim.AdamW(1e-2), batch, ranks=gl.ranks.one())
        losses = [step(batch) for _ in range(3)]
        found.append((losses, *step.parameters().values(), *step.state().values()))
    for mine, other in zip(*found):
        np.testing.assert_array_equal(mine, other)


def test_the_report_tells_what_a_rank_sends():
    report = gl.plan_step(Model(), plain_loss, gl.optim.AdamW(1e-2), batch_of(), ranks=2).report
    assert report.messages == 1  # all gradients and the loss travel together
    assert report.sent_bytes == report.parameter_bytes + 4 + 2 * 40 * 4  # and the running statistics
    assert 0 < report.waiting_nanoseconds <= report.message_nanoseconds
    assert f"in {report.messages} messages" in str(report)
    alone = gl.plan_step(Model(), plain_loss, gl.optim.AdamW(1e-2), batch_of(), ranks=1).report
    assert (alone.messages, alone.sent_bytes, alone.message_nanoseconds) == (0, 0, 0.0)


def test_synchronized_batch_norm_takes_the_statistics_of_the_whole_batch():
    def model(norm):
        return nn.Sequential(nn.Linear(12, 8), norm(8), nn.ReLU(), nn.Linear(8, 5))

    batch = batch_of()
    alone = gl.compile_step(model(nn.BatchNorm1d), plain_loss, gl.optim.SGD(0.1), batch)
    for ranks in (1, 2):
        plan = gl.plan_step(model(nn.SyncBatchNorm), plain_loss, gl.optim.SGD(0.1), batch, ranks=ranks)
        assert plan.report.check() is None
    shared = gl.compile_step(model(nn.SyncBatchNorm), plain_loss, gl.optim.SGD(0.1), batch, ranks=gl.ranks.one())
    shared.set_parameters(alone.parameters())
    for _ in range(3):
        assert np.isclose(shared(batch), alone(batch), rtol=1e-5)
    for mine, other in ((shared.parameters(), alone.parameters()), (shared.buffers(), alone.buffers())):
        for name, value in other.items():
            np.testing.assert_allclose(mine[name], value, rtol=1e-4, atol=1e-5)
