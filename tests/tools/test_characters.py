"""Models of characters: their corpus, training by steps and by minutes, checkpoints and what they write."""

import json
import math
from dataclasses import dataclass, replace

import gradloom as gl
import numpy as np
import pytest
from gradloom.engine.fit import first_bad_step
from gradloom.engine.saving.checkpoint_file import CheckpointError, arrays_and_metadata, save_arrays
from gradloom.tools import train_characters as command
from gradloom.tools.cli import main
from gradloom.tools.command_error import CommandError
from gradloom.tools.data import DataError
from gradloom.tools.recipes.bench_lstm import lstm_bench
from gradloom.tools.recipes.characters import train_characters
from gradloom.tools.recipes.corpus import Corpus, read_text
from gradloom.tools.recipes.gpt import GPT, Settings, gpt
from gradloom.tools.recipes.lstm import Settings as LSTMSettings
from gradloom.tools.recipes.lstm import lstm

TEXT = "the cat sat on the mat; the dog sat on the log.\n" * 40


@dataclass(frozen=True)
class TinyGPT(Settings):
    width: int = 16
    heads: int = 2
    layers: int = 1
    context: int = 16
    batch_size: int = 4
    lr: float = 1e-2
    warm_up: int = 5


@dataclass(frozen=True)
class TinyLSTM(LSTMSettings):
    width: int = 8
    hidden: int = 16
    layers: int = 2
    dropout: float = 0.1
    context: int = 16
    batch_size: int = 4
    lr: float = 3e-2
    warm_up: int = 5


TINY = TinyGPT()
KINDS = [TINY, TinyLSTM()]
of_each_kind = pytest.mark.parametrize("settings", KINDS, ids=[kind.name for kind in KINDS])


def trained(steps=30, settings=TINY, **options):
    return train_characters(TEXT, settings, steps, threads=1, **options)


def test_a_batch_is_windows_by_seed_and_step_alone():
    corpus = Corpus(TEXT, 16)
    batch = corpus.batch(4, 1, 7)
    assert batch["x"].shape == batch["y"].shape == (4, 16)
    np.testing.assert_array_equal(batch["x"][:, 1:], batch["y"][:, :-1])
    np.testing.assert_array_equal(batch["x"], Corpus(TEXT, 16).batch(4, 1, 7)["x"])
    assert not np.array_equal(batch["x"], corpus.batch(4, 1, 8)["x"])
    assert not np.array_equal(batch["x"], corpus.batch(4, 2, 7)["x"])
    window = "".join(corpus.characters[i] for i in batch["x"][0])
    assert window in TEXT[: len(corpus.train)]


def test_the_last_tenth_is_held_out_and_each_of_its_characters_is_predicted_once():
    corpus = Corpus(TEXT, 16)
    assert len(corpus.held_out) == len(TEXT) // 10
    assert len(corpus.train) + len(corpus.held_out) == len(TEXT)
    labels = np.concatenate([y[y != -100] for _, y in corpus.held_out_batches(4)])
    np.testing.assert_array_equal(labels, corpus.held_out[1:])
    assert len(list(corpus.held_out_batches(4, most=2))) == 2


def test_texts_that_cannot_be_learned_from_are_refused(tmp_path):
    for text in ("hello world!", "", "x" * 19):
        with pytest.raises(DataError, match=f"a text of {len(text)} char.* windows of 16 .* it takes 20 or more"):
            Corpus(text, 16)
    Corpus("x" * 20, 16)
    with pytest.raises(DataError, match="it takes 143 or more"):
        Corpus("x" * 142, 128)
    Corpus("x" * 143, 128)
    with pytest.raises(DataError, match="the character '%' is not in the vocabulary"):
        Corpus(TEXT, 16).encode("the %")
    with pytest.raises(DataError, match="there is no such file"):
        read_text(tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes("Grüße".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin.txt is no text in UTF-8"):
        read_text(tmp_path / "latin.txt")
    (tmp_path / "zeros.txt").write_bytes(b"a\0b" * 100)
    with pytest.raises(DataError, match=r"zeros.txt is no text: it holds characters of value 0"):
        read_text(tmp_path / "zeros.txt")
    with pytest.raises(DataError, match="there is no such file"):
        read_text(tmp_path)


@of_each_kind
def test_training_learns_repeats_and_reports(settings):
    seen = []
    first, second = trained(settings=settings, on_progress=seen.append), trained(settings=settings)
    assert [p.step for p in seen] == list(range(1, 31))
    measured = [p for p in seen if p.held_out is not None]
    assert [p.step for p in measured] == [3, 6, 9, 12, 15, 18, 21, 24, 27, 30]
    assert measured[-1].held_out == first.held_out() == second.held_out()
    assert seen[0].loss == pytest.approx(math.log(len(first.corpus.characters)), rel=0.1)
    assert measured[-1].held_out < 0.8 * seen[0].loss
    for name, array in first.step.parameters().items():
        np.testing.assert_array_equal(array, second.step.parameters()[name])


def test_the_held_out_loss_is_that_of_the_model():
    result = trained(5)
    total, count = 0.0, 0
    for x, y in result.corpus.held_out_batches(4):
        model = GPT(len(result.corpus.characters), TINY)
        logits = gl.nn.functional_call(model, result.step.parameters(), x)
        kept = y.ravel() != -100
        flat = logits.reshape(-1, logits.shape[-1])[kept]
        total += float(gl.nn.cross_entropy(flat, y.ravel()[kept], reduction="sum"))
        count += kept.sum()
    assert result.held_out() == pytest.approx(total / count, rel=1e-5)


@of_each_kind
def test_a_position_sees_nothing_behind_it(settings):
    result = trained(1, settings)
    predict = result.step.bind(lambda model, tokens: model(tokens))
    tokens = result.corpus.batch(1, 0, 0)["x"]
    changed = tokens.copy()
    changed[:, 9:] = 0
    np.testing.assert_array_equal(predict(tokens)[:, :9], predict(changed)[:, :9])
    assert not np.array_equal(predict(tokens)[:, 9:], predict(changed)[:, 9:])


@of_each_kind
def test_samples_depend_on_the_seed_and_go_on_past_the_context(settings):
    result = trained(5, settings)
    text = result.sample(40, seed=1, prompt="the c")
    assert len(text) == 40
    assert set(text) <= set(TEXT)
    assert text == result.sample(40, seed=1, prompt="the c")
    assert text != result.sample(40, seed=2, prompt="the c")
    assert result.sample(20, 0.0, seed=1) == result.sample(20, 0.0, seed=2)
    assert result.sample(0) == ""
    with pytest.raises(ValueError, match="0 or more, got -1"):
        result.sample(3, -1)
    with pytest.raises(ValueError, match="one character or more"):
        result.sample(3, prompt="")


@of_each_kind
def test_a_text_of_one_line_is_sampled_too(settings):
    result = train_characters(TEXT.replace("\n", " "), settings, 2, threads=1)
    assert len(result.sample(10)) == 10


@of_each_kind
def test_a_resumed_run_ends_with_the_same_bits(settings, tmp_path):
    path, kind = str(tmp_path / "text.safetensors"), type(settings)

    def stop(progress):
        if progress.step == 17:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(settings=settings, out=path, on_progress=stop)
    resumed, whole = train_characters(TEXT, kind, resume=path, threads=1), trained(settings=settings)
    assert resumed.step.steps == 30
    for name, array in whole.step.parameters().items():
        np.testing.assert_array_equal(array, resumed.step.parameters()[name])
    with pytest.raises(CommandError, match="was trained with Tiny"):
        train_characters(TEXT, replace(settings, width=32), resume=path)
    with pytest.raises(CommandError, match="was trained on another text"):
        train_characters(TEXT + " ", kind, resume=path)
    with pytest.raises(CommandError, match="has its number of steps"):
        train_characters(TEXT, kind, resume=path, minutes=1)
    with pytest.raises(CommandError, match="do not go together"):
        trained(minutes=1)
    other = next(one for one in KINDS if one.name != settings.name)
    with pytest.raises(CommandError, match=f"is no checkpoint of the recipe {other.name}"):
        train_characters(TEXT, type(other), resume=path)
    whole.step.save(path)
    with pytest.raises(CommandError, match=f"is no checkpoint of the recipe {settings.name}"):
        train_characters(TEXT, kind, resume=path)


@of_each_kind
def test_a_loss_that_is_not_finite_ends_the_run_with_what_made_it(settings, tmp_path):
    path = str(tmp_path / "run.safetensors")
    said = r"the loss of step \d+ is (nan|inf): .*; the step is as it was"
    with pytest.raises(FloatingPointError, match=said) as raised:
        train_characters(TEXT, replace(settings, lr=1e36, warm_up=1), 40, out=path)
    assert raised.value.__notes__ == [f"what was trained was saved in {path}"]
    arrays, metadata = arrays_and_metadata(path)
    assert settings.name in metadata
    assert all(np.isfinite(array).all() for array in arrays.values())


def test_what_is_not_finite_is_not_saved_over_what_was(tmp_path, monkeypatch):
    monkeypatch.setattr(first_bad_step, "_MOST_BYTES", 0)  # as of a model too large to be copied
    path = tmp_path / "run.safetensors"
    path.write_bytes(b"what was there")
    with pytest.raises(FloatingPointError, match="check_finite=True") as raised:
        train_characters(TEXT, replace(TINY, lr=1e36, warm_up=1), 40, out=str(path))
    assert raised.value.__notes__ == [f"what was trained is not finite any more: {path} is as it was before"]
    assert path.read_bytes() == b"what was there"


def test_a_run_of_minutes_is_the_run_of_as_many_steps():
    seen = []
    timed = train_characters(TEXT, TINY, minutes=1e-9, threads=1, on_progress=seen.append)
    assert timed.step.steps == seen[-1].steps == 4
    again = trained(timed.step.steps)
    for name, array in timed.step.parameters().items():
        np.testing.assert_array_equal(array, again.step.parameters()[name])


@pytest.mark.parametrize("recipe", [lstm, lstm_bench])
def test_the_recipes_of_recurrent_networks_are_planned_without_their_data(recipe):
    report = gl.plan_step(*recipe()).report
    assert report.total_bytes < 60e6
    report.check()


def test_the_recipe_is_planned_without_its_data():
    model, loss_fn, optimizer, batch = gpt()
    report = gl.plan_step(model, loss_fn, optimizer, batch).report
    assert report.total_bytes < 60e6
    assert model.tied_names() == {"lm_head.weight": "embedding.weight"}
    untied = GPT(11, Settings(tied=False))
    assert untied.tied_names() == {}


@of_each_kind
def test_the_command_trains_saves_goes_on_and_writes(settings, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(command.KINDS, settings.name, type(settings))
    data, out = tmp_path / "text.txt", tmp_path / "text.safetensors"
    data.write_text(TEXT)
    train = ["train", settings.name, "--data", str(data), "--out", str(out), "--threads", "1"]
    assert main([*train, "--steps", "10", "--seed", "3"]) == 0
    text = capsys.readouterr().out
    assert "parameters" in text
    assert "step 10/10  loss " in text
    assert " bits per character" in text
    assert f"saved {out}; it writes:" in text
    assert main([*train, "--resume", str(out), "--steps", "20"]) == 0
    assert "step 12/20  loss " in (text := capsys.readouterr().out)
    assert "step 10/20" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gpt", "--epochs", "3"], "--epochs does not go with gpt; give --steps or --minutes"),
        (["gpt", "--steps", "3", "--minutes", "3"], "steps and minutes do not go together"),
        (["gpt", "--out", "nowhere/x"], "cannot write nowhere/x"),
        (["gpt", "--data", "nowhere.txt"], "nowhere.txt: there is no such file"),
        (["digits", "--steps", "3"], "--steps and --minutes go with the recipes gpt and lstm"),
        (["lstm", "--optimizer", "sgd"], "--optimizer does not go with lstm; give --steps or --minutes"),
    ],
)
def test_the_command_refuses_what_does_not_go_together(arguments, message, capsys):
    assert main(["train", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("layers", 2**40, "no checkpoint"),
        ("layers", 2, "missing: blocks.layers.1"),
        ("width", 2**30, "no checkpoint"),
        ("width", 32, "the model's is"),
        ("heads", 3, "no checkpoint"),
        ("context", 2**47, "too short"),
        ("context", 32, "positions.weight has shape"),
        ("dropout", 5.0, "no checkpoint"),
        ("lr", 1e308, "no checkpoint"),
        ("clip_norm", 0, "no checkpoint"),
    ],
)
def test_a_checkpoint_whose_settings_are_not_of_its_arrays_is_one_error_before_it_takes_memory(
    name, value, error, one_step, tmp_path
):
    arrays, metadata = arrays_and_metadata(one_step)
    said = json.loads(metadata[TINY.name])
    said["settings"][name] = value
    other = tmp_path / "other.safetensors"
    save_arrays(other, arrays, {**metadata, TINY.name: json.dumps(said)})
    with pytest.raises((CommandError, CheckpointError, DataError), match=error):
        trained(2, TinyGPT, resume=str(other))


@pytest.fixture(scope="module")
def one_step(tmp_path_factory):
    path = tmp_path_factory.mktemp("one_step") / "x.safetensors"
    trained(1, out=str(path))
    return path
