"""`gl.fit`: what is trained, evaluated, logged, saved and taken up again."""

import csv
import json
import signal
from itertools import islice

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

RNG = np.random.default_rng(0)
X = RNG.standard_normal((70, 6)).astype("float32")
DATA = {"x": X, "y": (X[:, 0] > 0).astype("int64")}
HELD_OUT = {"x": X[:23], "y": DATA["y"][:23]}


def loss_fn(model, batch):
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def make_step(seed=0, **options):
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 2))
    batch = {"x": gl.spec((8, 6)), "y": gl.spec((8,), "int64")}
    return gl.compile_step(model, loss_fn, gl.optim.Adam(0.01), batch, seed=seed, **options)


@pytest.fixture(scope="module")
def steps():
    """Gives steps that are as new; compiled once."""
    made = [make_step() for _ in range(2)]
    fresh = make_step()

    class Steps:
        def new(self, i=0):
            made[i]._live.change(lambda: [np.copyto(a, b) for a, b in zip(made[i]._carried(), fresh._carried())])
            return made[i]

    return Steps()


def same_bits(one, other):
    return all(np.array_equal(a, other[name]) for name, a in one.items())


def test_it_trains_as_a_loop_of_ones_own_does(steps):
    step = steps.new()
    for epoch in range(3):
        for batch in gl.data.batches(DATA, 8, seed=5, epoch=epoch, drop_last=True):
            loss = step(batch)
    wanted = step.parameters()
    step = steps.new(1)
    history = gl.fit(step, DATA, epochs=3, seed=5, progress=False)
    assert same_bits(step.parameters(), wanted)
    assert step.steps == 3 * 8
    assert len(history) == 3
    assert history["epoch"] == [1, 2, 3]
    assert np.isfinite(loss)
    assert history["loss"][-1] < history["loss"][0]
    assert "History of 3 epochs" in repr(history)
    assert ">loss</th>" in history._repr_html_()
    with pytest.raises(KeyError, match="the run has epoch, steps, loss"):
        history["val_loss"]


@pytest.mark.parametrize("kind", ["loader", "list", "iterable", "dataset"])
def test_data_may_come_in_any_form(kind, steps):
    batches = list(gl.data.batches(DATA, 8, shuffle=False, drop_last=True))

    class Examples:
        def __len__(self):
            return 70

        def __getitem__(self, i):
            return {"x": DATA["x"][i], "y": DATA["y"][i]}

    class Iterable:
        def __iter__(self):
            return iter(batches)

    data = {"loader": gl.data.Batches(batches), "list": batches, "iterable": Iterable(), "dataset": Examples()}[kind]
    step = steps.new()
    history = gl.fit(step, data, epochs=2, validate=data, shuffle=False, progress=False)
    assert step.steps == 16
    assert len(history["val_loss"]) == 2


def test_evaluation_is_the_mean_over_all_examples_in_eval_mode(steps):
    step = steps.new()
    gl.fit(step, DATA, epochs=2, progress=False)
    logits = step.bind(lambda model, x: model(x))(HELD_OUT["x"]).astype(np.float64)
    shifted = logits - logits.max(1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(23), HELD_OUT["y"]]
    right = logits.argmax(1) == HELD_OUT["y"]

    def worst(model, batch):
        return np.max(model(batch["x"]))

    found = gl.evaluate(step, HELD_OUT, {"accuracy": gl.metrics.accuracy, "top": gl.metrics.top_k_accuracy(2)})
    assert list(found) == ["loss", "accuracy", "top"]
    assert found["loss"] == pytest.approx(losses.mean(), rel=1e-5)
    assert found["accuracy"] == pytest.approx(right.mean(), rel=1e-6)
    assert found["top"] == 1.0
    parts = [(logits[i : i + 8].max(), len(logits[i : i + 8])) for i in range(0, 23, 8)]
    assert gl.evaluate(step, HELD_OUT, worst)["worst"] == pytest.approx(sum(v * n for v, n in parts) / 23, rel=1e-5)
    assert gl.evaluate(step, HELD_OUT)["loss"] == found["loss"]
    before = step.state()
    gl.evaluate(step, HELD_OUT)
    assert same_bits(step.state(), before)


@pytest.mark.parametrize(
    ("metrics", "error", "message"),
    [
        ([gl.metrics.accuracy, gl.metrics.accuracy], ValueError, "two metrics have the name 'accuracy'"),
        ({"loss": gl.metrics.accuracy}, ValueError, "the name 'loss'"),
        (["accuracy"], TypeError, r"a metric is a function \(model, batch\)"),
        (lambda model, batch: model(batch["x"]), gl.TracingError, r"shape \(8, 2\); return one number"),
        (lambda model, batch: None, gl.TracingError, "is of type NoneType; return a number"),
    ],
)
def test_what_is_no_metric_is_an_error(metrics, error, message, steps):
    with pytest.raises(error, match=message):
        gl.evaluate(steps.new(), HELD_OUT, metrics)


def test_metrics_of_regression():
    def squares(model, batch):
        return np.mean((model(batch["x"])[:, 0] - batch["y"]) ** 2)

    x = RNG.standard_normal((9, 3)).astype("float32")
    data = {"x": x, "y": x.sum(1)}
    step = gl.compile_step(nn.Linear(3, 1), squares, gl.optim.SGD(0.1), {"x": gl.spec((4, 3)), "y": gl.spec((4,))})
    found = gl.evaluate(step, data, [gl.metrics.mean_squared_error, gl.metrics.mean_absolute_error])
    error = step.bind(lambda model, x: model(x))(x)[:, 0] - data["y"]
    assert found["mean_squared_error"] == pytest.approx((error**2).mean(), rel=1e-5)
    assert found["mean_absolute_error"] == pytest.approx(np.abs(error).mean(), rel=1e-5)
    assert found["loss"] == pytest.approx(found["mean_squared_error"], rel=1e-6)


def test_the_log_has_a_line_for_each_epoch(tmp_path, steps):
    options = {"validate": HELD_OUT, "metrics": [gl.metrics.accuracy], "progress": False}
    for name in ("run.csv", "run.jsonl"):
        history = gl.fit(steps.new(), DATA, epochs=2, log=tmp_path / name, **options)
        with open(tmp_path / name, newline="") as file:
            rows = list(csv.DictReader(file)) if name.endswith("csv") else [json.loads(line) for line in file]
        assert [int(row["epoch"]) for row in rows] == [1, 2]
        for name in ("loss", "val_loss", "val_accuracy", "learning_rate"):
            assert [float(row[name]) for row in rows] == history[name]
    with pytest.raises(ValueError, match=r"ends in \.csv or \.jsonl, got 'run\.txt'"):
        gl.fit(steps.new(), DATA, log="run.txt", progress=False)


class Stop(gl.callbacks.Callback):
    """Ends a run in the middle of an epoch, as a signal does."""

    def __init__(self, after):
        self.left = after

    def on_step_end(self, run):
        self.left -= 1
        if not self.left:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("after", [1, 5, 8, 11])
def test_a_run_that_is_interrupted_goes_on_to_the_same_bits_and_figures(after, tmp_path, steps):
    options = {"epochs": 3, "validate": HELD_OUT, "progress": False}
    whole = steps.new()
    wanted = gl.fit(whole, DATA, **options)
    path = tmp_path / "run.safetensors"
    step = steps.new(1)
    with pytest.raises(KeyboardInterrupt) as interrupted:
        gl.fit(step, DATA, checkpoint=path, callbacks=[Stop(after)], **options)
    assert "resume=True" in interrupted.value.__notes__[0]
    assert step.steps == after
    step = make_step(seed=9) if after == 5 else steps.new(1)
    found = gl.fit(step, DATA, checkpoint=path, resume=True, callbacks=[Stop(0)], log=tmp_path / "l.csv", **options)
    assert same_bits(step.parameters(), whole.parameters())
    for name in ("loss", "val_loss", "steps"):
        assert found[name] == wanted[name]
    with open(tmp_path / "l.csv", newline="") as file:
        assert [float(row["loss"]) for row in csv.DictReader(file)] == wanted["loss"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    again = gl.fit(step, DATA, checkpoint=path, resume=True, callbacks=[Stop(0)], **options)
    assert len(again) == 3
    assert step.steps == 24


def test_with_resume_a_run_begins_where_there_is_no_checkpoint_and_other_files_are_refused(tmp_path, steps):
    path = tmp_path / "run.safetensors"
    step = steps.new()
    gl.fit(step, DATA, checkpoint=path, resume=True, progress=False)
    assert step.steps == 8
    step.save(path)
    with pytest.raises(gl.CheckpointError, match=r"was not written by a run of gl\.fit"):
        gl.fit(step, DATA, checkpoint=path, resume=True, progress=False)
    step.save(path, {"fit": '{"epoch": "many"}'})
    with pytest.raises(gl.CheckpointError, match="does not say how far its run was"):
        gl.fit(step, DATA, checkpoint=path, resume=True, progress=False)


def test_a_run_stops_early_and_keeps_its_best(tmp_path, steps):
    values = iter([0.5, 0.4, 0.6, 0.3, 0.35, 0.31, 0.2])
    step = steps.new()
    kept = []

    def plant(run):
        run.figures["watched"] = next(values)
        kept.append(run.step.parameters())

    best = gl.callbacks.BestCheckpoint(tmp_path / "best.safetensors", monitor="watched")
    early = gl.callbacks.EarlyStopping("watched", patience=2, restore_best=True)
    history = gl.fit(step, DATA, epochs=20, callbacks=[plant, early, best], progress=False)
    assert len(history) == 6
    assert (early.best, early.best_epoch) == (0.3, 3)
    assert "no better watched for 2 epochs; the best was 0.3 in epoch 4" in history.stopped
    assert same_bits(step.parameters(), kept[3])
    other = steps.new(1)
    other.load(tmp_path / "best.safetensors")
    assert same_bits(other.parameters(), kept[3])


@pytest.mark.parametrize(
    ("name", "mode", "values", "last"),
    [
        ("val_accuracy", "auto", [0.5, 0.6, 0.55, 0.6], 4),
        ("val_loss", "auto", [0.5, 0.6, 0.7], 3),
        ("score", "max", [1.0, 0.9, float("nan")], 3),
    ],
)
def test_what_is_better_follows_from_the_name_or_the_mode(name, mode, values, last, steps):
    given = iter(values)

    def plant(run):
        run.figures[name] = next(given)

    early = gl.callbacks.EarlyStopping(name, patience=2, mode=mode)
    assert len(gl.fit(steps.new(), DATA, epochs=9, callbacks=[plant, early], progress=False)) == last


def test_the_state_of_callbacks_is_in_the_checkpoint(tmp_path, steps):
    path = tmp_path / "run.safetensors"

    def planted(run):
        run.figures["watched"] = float(run.epoch)

    def run(epochs):
        early = gl.callbacks.EarlyStopping("watched", patience=4)
        options = {"callbacks": [planted, early], "checkpoint": path, "resume": True, "progress": False}
        return gl.fit(steps.new(), DATA, epochs=epochs, **options), early

    run(3)
    history, early = run(20)
    assert len(history) == 5
    assert early.best == 0.0
    assert run(20)[0].stopped == history.stopped
    with pytest.raises(gl.CheckpointError, match="was written by a run with the callbacks"):
        gl.fit(steps.new(), DATA, epochs=20, checkpoint=path, resume=True, progress=False)


def test_a_callback_may_stop_the_run_and_sees_its_steps(steps):
    class Watch(gl.callbacks.Callback):
        def __init__(self):
            self.seen = []

        def on_fit_begin(self, run):
            self.seen.append("fit")

        def on_epoch_begin(self, run):
            self.seen.append("epoch")

        def on_step_end(self, run):
            self.seen.append(float(run.loss))
            if run.batch == 3:
                run.stop("enough")

        def on_fit_end(self, run):
            self.seen.append("end")

    step = steps.new()
    watch = Watch()
    history = gl.fit(step, DATA, epochs=5, callbacks=[watch], progress=False)
    assert step.steps == 3
    assert history.stopped == "enough"
    assert watch.seen[:2] == ["fit", "epoch"]
    assert watch.seen[-1] == "end"
    assert len(watch.seen) == 6


@pytest.mark.parametrize("batches", [True, False])
def test_a_loss_that_is_not_finite_ends_the_run_with_its_source(batches, tmp_path, steps):
    data = {**DATA, "x": X.copy()}
    data["x"][40, 2] = np.nan
    given = list(gl.data.batches(data, 8, shuffle=False, drop_last=True)) if batches else data
    step, path = steps.new(), tmp_path / "run.safetensors"
    with pytest.raises(
        FloatingPointError, match=r"the loss of step \d of epoch 1 is nan: the input batch\.x holds nan"
    ):
        gl.fit(step, given, epochs=3, checkpoint=path, shuffle=False, progress=False)
    assert step.steps == 5
    assert all(np.isfinite(array).all() for array in step.parameters().values())
    assert not path.exists()

    def log_loss(model, batch):
        return np.log(np.sum(model(batch["x"]))) if batch["x"].ndim else 0

    step = gl.compile_step(nn.Linear(6, 1), log_loss, gl.optim.SGD(100.0), {"x": gl.spec((8, 6))})
    with pytest.raises(FloatingPointError, match=r"`log` made NaN at .*test_fit\.py"):
        gl.fit(step, {"x": X}, epochs=9, progress=False)
    step = gl.compile_step(nn.Linear(6, 1), log_loss, gl.optim.SGD(100.0), {"x": gl.spec((8, 6))})
    with pytest.raises(FloatingPointError, match="check_finite=True"):
        gl.fit(step, ({"x": X[i : i + 8]} for i in range(0, 64, 8)), progress=False)
    with pytest.raises(
        FloatingPointError, match=r"the loss of step 6 of epoch 1 is nan: batch\.x holds nan at \[0, 2\]"
    ):
        gl.fit(steps.new(), gl.data.Batches(iter(list(gl.data.batches(data, 8, shuffle=False)))), progress=False)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs is a whole number of 1 or more, got 0"),
        ({"epochs": 1.5}, ValueError, "epochs is a whole number"),
        ({"resume": True}, ValueError, "give its path: checkpoint="),
        ({"metrics": [gl.metrics.accuracy]}, ValueError, "give these: validate="),
        ({"callbacks": [3]}, TypeError, r"a callback is a gl\.callbacks\.Callback"),
        ({"callbacks": [gl.callbacks.EarlyStopping("val_loss")]}, ValueError, "watches 'val_loss', and epochs have"),
        ({"checkpoint": "no/such/folder/c.safetensors"}, gl.CheckpointError, "no/such"),
    ],
)
def test_arguments_that_make_no_sense_are_clear_errors(options, error, message, steps):
    with pytest.raises(error, match=message):
        gl.fit(steps.new(), DATA, progress=False, **options)


def test_data_that_are_none_are_clear_errors(steps):
    step = steps.new()
    for data, error, message in (
        (3, TypeError, "data is a pytree of arrays, a dataset"),
        ("text", TypeError, "got str"),
        ({"x": X[:3], "y": DATA["y"][:3]}, ValueError, "3 examples fill no batch of 8, which the step"),
        (lambda: iter([]), TypeError, "got function; call it"),
        ({"x": X}, TypeError, "the batch comes without"),
        ([], ValueError, "the data gave no batch"),
        (iter([]), ValueError, "the data gave no batch"),
    ):
        with pytest.raises(error, match=message):
            gl.fit(step, data, progress=False)
    assert step.steps == 0
    with pytest.raises(TypeError, match=r"fit trains a step of gl\.compile_step, got Sequential"):
        gl.fit(nn.Sequential(), DATA)


def test_progress_is_a_line_for_each_epoch_where_there_is_no_terminal(capsys, steps):
    gl.fit(steps.new(), DATA, epochs=2, validate=HELD_OUT)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert "val_loss" in lines[0]
    assert "steps/s" in lines[0]


def test_tensorboard_gets_the_figures(tmp_path, steps):
    pytest.importorskip("tensorboardX")
    gl.fit(steps.new(), DATA, epochs=2, callbacks=[gl.callbacks.TensorBoard(tmp_path)], progress=False)
    (file,) = islice(tmp_path.iterdir(), 1)
    assert b"loss" in file.read_bytes()


def test_an_epoch_whose_callback_raised_is_ended_once_when_the_run_goes_on(tmp_path, steps):
    path = tmp_path / "run.safetensors"

    def raises(run):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        gl.fit(steps.new(), DATA, epochs=2, callbacks=[raises], checkpoint=path, progress=False)
    step = steps.new()
    history = gl.fit(step, DATA, epochs=2, callbacks=print, checkpoint=path, resume=True, progress=False)
    assert history["epoch"] == [1, 2]
    assert history["loss"] == gl.fit(steps.new(1), DATA, epochs=2, callbacks=None, progress=False)["loss"]


def test_only_callbacks_with_states_must_be_those_of_the_run_that_is_taken_up(tmp_path, capsys, steps):
    path = tmp_path / "run.safetensors"
    options = {"checkpoint": path, "resume": True}
    gl.fit(steps.new(), DATA, callbacks=[print, gl.callbacks.EarlyStopping()], **options)
    early = gl.callbacks.EarlyStopping(patience=1, restore_best=True, mode="max", monitor="epoch_number")

    def number(run):
        run.figures["epoch_number"] = np.float32(-run.epoch)

    with pytest.warns(UserWarning, match="the parameters of the best epoch, 1, are not put back"):
        history = gl.fit(steps.new(), DATA, epochs=9, callbacks=[number, early], **options)
    assert history.stopped
    capsys.readouterr()
    again = gl.callbacks.EarlyStopping(patience=1)
    assert len(gl.fit(steps.new(), DATA, epochs=9, callbacks=again, **options)) == len(history)
    assert "nothing to do: no better" in capsys.readouterr().out


def test_early_stopping_begins_anew_with_each_run(steps):
    early = gl.callbacks.EarlyStopping("up", patience=1)

    def up(run):
        run.figures["up"] = run.epoch

    for _ in range(2):
        assert len(gl.fit(steps.new(), DATA, epochs=5, callbacks=[up, early], progress=False)) == 2
        assert (early.best, early.best_epoch) == (0, 0)


def test_a_state_that_no_checkpoint_holds_is_an_error_before_the_first_step(tmp_path, steps):
    class Keeps(gl.callbacks.Callback):
        def state_dict(self):
            return {"array": X}

    step = steps.new()
    with pytest.raises(TypeError, match=r"stand in the checkpoint as JSON.*there is a value of type ndarray"):
        gl.fit(step, DATA, callbacks=Keeps(), checkpoint=tmp_path / "run.safetensors", progress=False)
    assert step.steps == 0


def test_what_is_wrong_with_the_evaluation_is_an_error_before_the_first_step(tmp_path, steps):
    step, log = steps.new(), tmp_path / "log.csv"
    with pytest.raises(gl.TracingError, match="return a number"):
        gl.fit(step, DATA, validate=DATA, metrics=lambda model, batch: None, log=log, progress=False)
    with pytest.raises(KeyError, match="y"):
        gl.fit(step, DATA, validate={"x": X}, log=log, progress=False)
    assert step.steps == 0
    assert not log.exists()


def test_a_batch_without_examples_has_no_part_in_an_evaluation(steps):
    step = steps.new()
    part, none = ({name: array[:n] for name, array in DATA.items()} for n in (8, 0))
    assert gl.evaluate(step, [part, none]) == gl.evaluate(step, part)


def test_a_run_goes_on_with_the_data_that_it_began_with(tmp_path, steps):
    path = tmp_path / "run.safetensors"

    class Interrupts(gl.callbacks.Callback):
        def on_step_end(self, run):
            if run.batch == 6:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gl.fit(steps.new(), DATA, callbacks=Interrupts(), checkpoint=path, progress=False)
    less = {name: array[:40] for name, array in DATA.items()}
    with pytest.raises(gl.CheckpointError, match="after 6 steps of an epoch, and the data give 5"):
        gl.fit(steps.new(), less, checkpoint=path, resume=True, progress=False)
    # A callback that is new begins as it is.
    new = gl.callbacks.EarlyStopping("loss")
    gl.fit(steps.new(), DATA, callbacks=new, checkpoint=path, resume=True, progress=False)
    assert new.best_epoch == 0


def test_a_run_that_is_stopped_as_it_begins_has_no_epoch(steps):
    class Stops(gl.callbacks.Callback):
        def on_fit_begin(self, run):
            run.stop("not today")

    history = gl.fit(steps.new(), DATA, callbacks=Stops(), progress=False)
    assert (len(history), history.stopped) == (0, "not today")


def test_what_cannot_be_evaluated_is_a_clear_error(tmp_path, steps):
    step = steps.new()
    with pytest.raises(gl.ShapeError, match=r"the model's output is \(8, 2\) and y is \(8,\)"):
        gl.evaluate(step, DATA, gl.metrics.mean_squared_error)
    step.save(tmp_path / "step.safetensors")
    loaded = gl.load(step._model, tmp_path / "step.safetensors")
    with pytest.raises(TypeError, match=r"what gl\.load returns has no loss function; give metrics"):
        gl.evaluate(loaded, DATA)
