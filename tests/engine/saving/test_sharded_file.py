"""Checkpoints in several files with an index: whole or not at all, read by any number of processes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom.engine.saving import save_together as saving
from gradloom.engine.saving import sharded_file
from gradloom.engine.saving.checkpoint_file import arrays_and_metadata
from gradloom.engine.saving.save_together import save_together
from gradloom.engine.saving.sharded_file import checkpoint_exists, shares_of
from thread_ranks import on_ranks

ARRAYS = {
    "a.weight": np.arange(60, dtype=np.float32).reshape(6, 10),
    "a.bias": np.array([-0.0, np.nan], np.float64),
    "flags": np.array([True, False, True]),
    "step": np.array(7, np.int64),
    "empty": np.zeros((0, 3), np.float32),
}


def save(path: Path, size: int, arrays: Any = ARRAYS, metadata: Any = None) -> None:
    for outcome in on_ranks(size, lambda ranks: save_together(path, arrays, metadata or {}, ranks)):
        if outcome is not None:
            raise outcome


def assert_same(found: Any, arrays: Any = ARRAYS) -> None:
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].tobytes()) == (array.dtype, array.tobytes()), name


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_what_ranks_write_one_process_reads(size: int, tmp_path: Path):
    path = tmp_path / "run.safetensors"
    save(path, size, metadata={"epoch": "3"})
    assert checkpoint_exists(path)
    for name in (path, f"{path}.index.json"):
        arrays, metadata = arrays_and_metadata(name)
        assert_same(arrays)
        assert metadata == {"epoch": "3"}
    index = json.loads(Path(f"{path}.index.json").read_text())
    assert index["weight_map"].keys() == ARRAYS.keys()
    assert index["metadata"]["total_size"] == sum(array.nbytes for array in ARRAYS.values())
    assert set(os.listdir(tmp_path)) == {"run.safetensors.index.json", *index["weight_map"].values()}


def test_equal_contents_make_equal_files(tmp_path: Path):
    paths = [tmp_path / "one" / "run.safetensors", tmp_path / "two" / "run.safetensors"]
    for path in paths:
        path.parent.mkdir()
        save(path, 3)
    one, two = ({name: (path.parent / name).read_bytes() for name in os.listdir(path.parent)} for path in paths)
    assert one == two


def test_each_file_is_one_of_safetensors(tmp_path: Path):
    from safetensors.numpy import load_file

    save(tmp_path / "run.safetensors", 2)
    found: dict[str, Any] = {}
    for path in tmp_path.glob("*.safetensors"):
        found |= load_file(path)
    assert_same(found)


def test_a_new_checkpoint_takes_the_place_of_the_old_one_with_all_its_files(tmp_path: Path):
    path = tmp_path / "run.safetensors"
    (tmp_path / "run-2-of-4.safetensors").write_bytes(b"of somebody else")
    save(path, 4)
    other = {**ARRAYS, "step": np.array(8, np.int64)}
    save(path, 2, other)
    assert_same(gl.load_arrays(path), other)
    assert len(list(tmp_path.glob("run-0*-of-00002-*.safetensors"))) == 2 == len(list(tmp_path.glob("run-0*")))
    gl.save_arrays(path, ARRAYS)
    assert sorted(os.listdir(tmp_path)) == ["run-2-of-4.safetensors", "run.safetensors"]
    save(path, 2, other)
    assert_same(gl.load_arrays(path), other)
    assert not path.exists()


@pytest.mark.parametrize("loses", [0, 1, 2])
def test_a_checkpoint_that_is_not_finished_leaves_the_last_one_whole(
    loses: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "run.safetensors"
    save(path, 3)
    before = set(os.listdir(tmp_path))
    write = sharded_file.write_share

    def fails(path: str, number: int, *rest: Any) -> Any:
        if number == loses:
            raise OSError(28, "No space left on device")
        return write(path, number, *rest)

    monkeypatch.setattr(saving, "write_share", fails)
    other = {name: array + 1 if array.dtype != bool else ~array for name, array in ARRAYS.items()}
    outcomes = on_ranks(3, lambda ranks: save_together(path, other, {}, ranks))
    assert {type(outcome) for outcome in outcomes} == {gl.CheckpointError}
    said = f"rank {loses}: No space left on device; the checkpoint that was there before is untouched"
    assert {str(outcome) for outcome in outcomes} == {f"could not save {path}: {said}"}
    assert_same(gl.load_arrays(path))
    assert set(os.listdir(tmp_path)) == before


def test_a_rank_that_dies_leaves_the_last_one_whole_and_the_next_one_cleans_up(tmp_path: Path):
    path = tmp_path / "run.safetensors"
    save(path, 2)
    sharded_file.write_share(str(path), 0, 2, {"a": np.ones(3)})  # and then nothing more
    assert_same(gl.load_arrays(path))
    save(path, 2)
    assert len(os.listdir(tmp_path)) == 3


def files(path: Path) -> dict[str, Path]:
    return {"index": Path(f"{path}.index.json"), "share": min(path.parent.glob("run-0*"))}


@pytest.mark.parametrize(
    ("what", "change", "message"),
    [
        ("share", None, "its index names run-00001-of-00002-.*, which is not there"),
        ("share", lambda data: data[:-1], r"run-00001-of-00002-.*: its arrays take"),
        ("share", lambda data: data[:-1] + bytes([data[-1] ^ 1]), "run-00001.*: its data are not those that were"),
        ("index", lambda data: data[:-9], "its index is no JSON"),
        ("index", lambda data: data.replace(b"a.bias", b"b.bias"), "the checksum is another"),
        ("index", lambda data: b'{"weight_map": {"a": "../run.safetensors"}}', "which is no file beside it"),
        ("index", lambda data: b'{"weight_map": {"a": 3}}', "which is no file beside it"),
        ("index", lambda data: b'{"weight_map": {"a": "gone"}, "metadata": 3}', "metadata that are none"),
    ],
)
def test_damage_is_found_and_named(what: str, change: Any, message: str, tmp_path: Path):
    path = tmp_path / "run.safetensors"
    save(path, 2)
    file = files(path)[what]
    if change is None:
        file.unlink()
    else:
        file.write_bytes(change(file.read_bytes()))
    with pytest.raises(gl.CheckpointError, match=message):
        gl.load_arrays(path)


def test_a_file_of_another_checkpoint_is_found(tmp_path: Path):
    path = tmp_path / "run.safetensors"
    save(path, 2)
    share = files(path)["share"]
    name = share.name
    save(tmp_path / "other.safetensors", 2, {n: a + 1 if a.dtype != bool else a for n, a in ARRAYS.items()})
    min(tmp_path.glob("other-0*")).rename(tmp_path / name)
    with pytest.raises(gl.CheckpointError, match="it is not the file that the index was made with"):
        gl.load_arrays(path)


def test_an_index_of_hugging_face_is_read(tmp_path: Path):
    from safetensors.numpy import save_file

    save_file({"a": np.ones(3, np.float32)}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"b": np.zeros(2, np.float32)}, tmp_path / "model-00002-of-00002.safetensors")
    places = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index = {"metadata": {"total_size": 20}, "weight_map": places}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    found = gl.load_arrays(tmp_path / "model.safetensors")
    assert {name: array.tolist() for name, array in found.items()} == {"a": [1, 1, 1], "b": [0, 0]}


def test_files_have_about_as_many_bytes_each():
    sizes = {f"layer{i}": 100 - i for i in range(20)}
    shares = shares_of(sizes, 4)
    totals = [sum(sizes[name] for name in names) for names in shares]
    assert max(totals) - min(totals) < 100
    assert sorted(name for names in shares for name in names) == sorted(sizes)
    assert shares_of({"one": 5}, 3) == [["one"], [], []]
