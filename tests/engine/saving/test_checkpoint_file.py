"""Checkpoint files: round trips, torch's files, atomic writes, and every way in which a file can be wrong."""

import os
import re
import subprocess
import sys

import gradloom as gl
import numpy as np
import pytest
from gradloom.engine.saving.checkpoint_file import arrays_and_metadata, check_names, save_arrays

ARRAYS = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "step": np.array(7),
    "mask": np.array([True, False]),
    "image": np.arange(3, dtype=np.uint8),
    "empty": np.zeros((0, 4)),
    "big": np.arange(2, dtype=">i4"),
}


def test_arrays_and_metadata_come_back_as_they_were(tmp_path):
    path = tmp_path / "c.safetensors"
    save_arrays(path, ARRAYS, {"note": "α"})
    loaded, metadata = arrays_and_metadata(path)
    assert metadata == {"note": "α"}
    assert loaded.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert loaded[name].shape == array.shape
        assert loaded[name].dtype == array.dtype.newbyteorder("=")
        assert loaded[name].flags.writeable
        np.testing.assert_array_equal(loaded[name], array)
    assert os.listdir(tmp_path) == ["c.safetensors"]


def test_metadata_that_is_no_text_is_named(tmp_path):
    for wrong, message in (({"a": "b", "n": 3}, "got 'n': 3, at"), ({7: "b"}, "got 7: 'b', at")):
        with pytest.raises(TypeError, match=f"the metadata of a checkpoint are texts by names, {message}"):
            save_arrays(tmp_path / "c", ARRAYS, wrong)
    assert not os.listdir(tmp_path)


@pytest.mark.peers
def test_torch_reads_what_is_written_and_its_files_are_read(tmp_path):
    torch = pytest.importorskip("torch")
    files = pytest.importorskip("safetensors.torch")
    save_arrays(tmp_path / "ours", {"w": ARRAYS["weight"]})
    np.testing.assert_array_equal(files.load_file(tmp_path / "ours")["w"].numpy(), ARRAYS["weight"])
    state = torch.nn.Linear(3, 2).state_dict()
    files.save_file(state, tmp_path / "theirs")
    loaded, _ = arrays_and_metadata(tmp_path / "theirs")
    np.testing.assert_array_equal(loaded["weight"], state["weight"].numpy())
    files.save_file({"small": torch.zeros(2, dtype=torch.int8)}, tmp_path / "small")
    with pytest.raises(
        gl.CheckpointError, match=r"of dtypes other than .*: small \(I8\); convert them .* tensor.float\(\)"
    ):
        arrays_and_metadata(tmp_path / "small")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "c.safetensors"
    save_arrays(path, {"x": np.zeros(3)})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        gl.CheckpointError, match=r"could not save .*No space left on device; the checkpoint .* is untouched"
    ):
        save_arrays(path, {"x": np.ones(3)})
    assert os.listdir(tmp_path) == ["c.safetensors"]
    np.testing.assert_array_equal(arrays_and_metadata(path)[0]["x"], np.zeros(3))


@pytest.mark.skipif(os.name == "nt", reason="limits the size of files, as POSIX can")
def test_a_write_that_the_system_cuts_off_leaves_the_old_file(tmp_path):
    path = tmp_path / "c.safetensors"
    save_arrays(path, {"x": np.zeros(3)})
    code = (
        "import resource, sys, numpy as np\n"
        "from gradloom.engine.saving.checkpoint_file import CheckpointError, save_arrays\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n    save_arrays(sys.argv[1], {'x': np.ones(100_000)})\n"
        "except CheckpointError as error:\n    print('refused', error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert "refused could not save" in done.stdout
    assert os.listdir(tmp_path) == ["c.safetensors"]
    np.testing.assert_array_equal(arrays_and_metadata(path)[0]["x"], np.zeros(3))


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(gl.CheckpointError, match=r"could not save .*nowhere"):
        save_arrays(tmp_path / "nowhere" / "c", {"x": np.zeros(3)})
    with pytest.raises(gl.CheckpointError, match="cannot save x: dtype int8 is not supported"):
        save_arrays(tmp_path / "c", {"x": np.zeros(3, np.int8)})


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "c")
    save_arrays(tmp_path / "link", {"x": np.zeros(3)})
    assert (tmp_path / "link").is_symlink()
    assert arrays_and_metadata(tmp_path / "real" / "c")[0].keys() == {"x"}


def test_files_that_are_missing_cut_off_or_something_else_are_told_apart(tmp_path):
    path = tmp_path / "c"
    with pytest.raises(gl.CheckpointError, match="there is no such file"):
        arrays_and_metadata(path)
    with pytest.raises(gl.CheckpointError, match="is a folder"):
        arrays_and_metadata(tmp_path)
    save_arrays(path, {"x": np.arange(100.0)})
    whole = path.read_bytes()
    for content in (whole[:-8], whole[:20], b"", b"\x00" * 40, b"text that is no checkpoint"):
        path.write_bytes(content)
        with pytest.raises(
            gl.CheckpointError, match=rf"\({len(content)} bytes\): it is cut off, damaged or no safetensors"
        ):
            arrays_and_metadata(path)


EXPECTED = {"a": gl.spec((2,)), "b": gl.spec((3,))}


def test_names_shapes_and_dtypes_that_do_not_fit_are_all_listed():
    found = {"a": np.zeros(3, np.float32), "c": np.zeros(1), "d": np.zeros(1)}
    with pytest.raises(gl.CheckpointError) as caught:
        check_names(EXPECTED, found, source="the arrays of file.safetensors")
    assert re.sub(r", at \S+test_checkpoint_file.py:\d+\n", "\n", str(caught.value)) == (
        "the arrays of file.safetensors do not fit the model\n"
        "  of another type: a has shape (3,), the model's is (2,)\n"
        "  missing: b\n"
        "  not in the model: c, d"
    )
    with pytest.raises(
        gl.CheckpointError, match=r"a is float64, the model's is float32; array.astype\('float32'\) converts"
    ):
        check_names(EXPECTED, {"a": np.zeros(2), "b": np.zeros(3, np.float32)})


def test_long_lists_are_cut():
    with pytest.raises(gl.CheckpointError, match=r"missing: n0, n1, n2, n3, n4, n5, n6, n7 and 92 more"):
        check_names({f"n{i}": gl.spec(1) for i in range(100)}, {})


def test_a_tied_array_comes_under_either_name_and_both_must_agree():
    a, b = np.ones(2, np.float32), np.zeros(3, np.float32)
    aliases = {"a2": "a"}
    for found in ({"b": b, "a": a}, {"a2": a, "b": b}, {"a2": a, "a": a.copy(), "b": b}):
        fitting = check_names(EXPECTED, found, aliases)
        assert list(fitting) == ["a", "b"]
        np.testing.assert_array_equal(fitting["a"], a)
    with pytest.raises(gl.CheckpointError, match="a and a2 differ, but are one tied parameter"):
        check_names(EXPECTED, {"a": a, "a2": a + 1, "b": b}, aliases)
