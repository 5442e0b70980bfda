"""Checkpoints are the bytes that were written, or are refused; hostile ones cost no more than a header may."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import gradloom as gl
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from gradloom.engine.saving.checkpoint_file import arrays_and_metadata, save_arrays

ARRAYS = {
    "w": np.arange(4, dtype=np.float32),
    "n": np.array(3),
    "mask": np.array([True, False, True]),
    "image": np.arange(3, dtype=np.uint8),
    "none": np.zeros((0, 2)),
}
METADATA = {"note": 'α "gradloom.checksum":"sha256:', "training": "{}"}


def file_of(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_bits_that_flip_in_any_byte_and_other_lengths_are_found(tmp_path: Path):
    path = tmp_path / "c"
    save_arrays(path, ARRAYS, METADATA)
    whole = path.read_bytes()
    arrays, metadata = arrays_and_metadata(path)
    assert metadata == METADATA
    changed = [bytearray(whole) for _ in range(2 * len(whole))]
    for i, content in enumerate(changed):
        content[i // 2] ^= 1 << i % 8  # the bits 0 and 1, 2 and 3, ... in turn
    for content in [*changed, *(whole[:n] for n in range(0, len(whole), 7)), whole + b"\0", whole + whole]:
        path.write_bytes(content)
        try:
            found, said = arrays_and_metadata(path)
        except gl.CheckpointError:
            continue
        assert said == metadata, content  # white space
        assert {name: (a.dtype, a.shape, a.tobytes()) for name, a in found.items()} == {
            name: (a.dtype, a.shape, a.tobytes()) for name, a in arrays.items()
        }
        assert struct.unpack("<Q", content[:8]) == struct.unpack("<Q", whole[:8])


def test_data_that_change_places_are_found(tmp_path: Path):
    path = tmp_path / "c"
    save_arrays(path, {"a": np.zeros(3), "b": np.ones(3)})
    whole = path.read_bytes()
    path.write_bytes(whole[:-48] + whole[-24:] + whole[-48:-24])
    with pytest.raises(gl.CheckpointError, match="the checksum is another"):
        arrays_and_metadata(path)
    path.write_bytes(whole.replace(b'"a":{', b'"x":{').replace(b'"b":{', b'"a":{').replace(b'"x":{', b'"b":{'))
    with pytest.raises(gl.CheckpointError, match="the checksum is another"):
        arrays_and_metadata(path)
    path.write_bytes(whole.replace(b"gradloom.checksum", b"gradloom.chexksum"))
    with pytest.raises(gl.CheckpointError, match="its checksum is missing"):
        arrays_and_metadata(path)


def test_equal_contents_are_equal_bytes_in_every_process(tmp_path: Path):
    save_arrays(tmp_path / "here", {"a": np.ones(3), "b": np.arange(2)}, {"x": "1", "y": "2", "z": "3"})
    save_arrays(tmp_path / "turned", {"b": np.arange(2), "a": np.ones(3)}, {"z": "3", "y": "2", "x": "1"})
    code = (
        "import sys, numpy as np\nfrom gradloom.engine.saving.checkpoint_file import save_arrays\n"
        "save_arrays(sys.argv[1], {'b': np.arange(2), 'a': np.ones(3)}, {'y': '2', 'x': '1', 'z': '3'})\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "there")], check=True, env=environment)
    assert (tmp_path / "here").read_bytes() == (tmp_path / "turned").read_bytes() == (tmp_path / "there").read_bytes()


def test_other_readers_read_what_is_written_and_it_is_aligned(tmp_path: Path):
    path = tmp_path / "c"
    save_arrays(path, ARRAYS, METADATA)
    for name, array in safetensors.numpy.load_file(path).items():
        np.testing.assert_array_equal(array, ARRAYS[name])
        assert array.dtype == ARRAYS[name].dtype
    with safetensors.safe_open(path, "numpy") as file:
        assert file.metadata().items() >= METADATA.items()
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    assert length % 8 == 0
    for name, entry in json.loads(whole[8 : 8 + length]).items():
        assert name == "__metadata__" or entry["data_offsets"][0] % ARRAYS[name].dtype.itemsize == 0


def test_files_of_other_writers_have_no_checksum_and_are_read(tmp_path: Path):
    path = tmp_path / "c"
    safetensors.numpy.save_file(ARRAYS, path, {"format": "pt"})
    arrays, metadata = arrays_and_metadata(path)
    assert metadata == {"format": "pt"}
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
    # One that another tool wrote again, with the metadata that it found, is the same file.
    save_arrays(path, ARRAYS, METADATA)
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata()
    safetensors.numpy.save_file(ARRAYS, path, metadata)
    assert arrays_and_metadata(path)[1] == METADATA
    safetensors.numpy.save_file({**ARRAYS, "w": ARRAYS["w"] + 1}, path, metadata)
    with pytest.raises(gl.CheckpointError, match="the checksum is another"):
        arrays_and_metadata(path)


def entry(begin: Any = 0, end: Any = 4, shape: Any = (1,), dtype: Any = "F32", **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


HOSTILE = {
    "a length beyond the file": struct.pack("<Q", 2**63) + b"{}",
    "the largest length": b"\xff" * 8 + b"{}",
    "a header larger than any": struct.pack("<Q", 2**24 + 1) + b" " * (2**24 + 1),
    "deep JSON": file_of(b"[" * 1_000_000),
    "deep JSON in an entry": file_of(b'{"a":' * 200_000),
    "a list": file_of([]),
    "a number": file_of(b"1"),
    "nothing": file_of(b""),
    "two values": file_of(b"{}{}"),
    "UTF-16": file_of(json.dumps({}).encode("utf-16")),
    "no text": file_of(b'{"\xff": 1}'),
    "a name twice": file_of(b'{"a":%s,"a":%s}' % ((json.dumps(entry()).encode(),) * 2), b"1234"),
    "metadata twice": file_of(b'{"__metadata__":{},"__metadata__":{}}'),
    "a key of an entry twice": file_of(
        b'{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"1234"
    ),
    "metadata that is a list": file_of({"__metadata__": ["a"]}),
    "metadata of numbers": file_of({"__metadata__": {"a": 1}}),
    "metadata of nothing": file_of({"__metadata__": None}),
    "NaN": file_of(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}', b"1234"),
    "a number of 100,000 digits": file_of(
        b'{"a":{"dtype":"F32","shape":[%s],"data_offsets":[0,4]}}' % (b"9" * 100_000)
    ),
    "an entry that is text": file_of({"a": "F32"}),
    "an entry without a shape": file_of({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, b"1234"),
    "an entry with more": file_of({"a": entry(object="os.system")}, b"1234"),
    "a shape that is a number": file_of({"a": entry(shape=1)}, b"1234"),
    "a negative extent": file_of({"a": entry(shape=[-1])}, b"1234"),
    "two negative extents": file_of({"a": entry(shape=[-1, -1])}, b"1234"),
    "a fraction": file_of({"a": entry(shape=[1.0])}, b"1234"),
    "true": file_of({"a": entry(shape=[True])}, b"1234"),
    "text as an extent": file_of({"a": entry(shape=["1"])}, b"1234"),
    "a huge shape": file_of({"a": entry(shape=[2**62, 4])}, b"1234"),
    "a product that wraps around": file_of({"a": entry(shape=[2**32, 2**32, 2**32])}, b"1234"),
    "a huge shape of nothing": file_of({"a": entry(0, 0, [0, 2**62, 2**62])}),
    "a huge extent of nothing": file_of({"a": entry(0, 0, [0, 2**64])}),
    "too many axes": file_of({"a": entry(shape=[1] * 65)}, b"1234"),
    "100,000 axes": file_of({"a": entry(shape=[2] * 100_000)}, b"1234"),
    "bytes that do not fit the shape": file_of({"a": entry(shape=[2])}, b"1234"),
    "offsets beyond the data": file_of({"a": entry(0, 8, [2])}, b"1234"),
    "huge offsets": file_of({"a": entry(0, 2**62, [2**60])}, b"1234"),
    "turned offsets": file_of({"a": entry(4, 0)}, b"1234"),
    "negative offsets": file_of({"a": entry(-4, 0)}, b"1234"),
    "three offsets": file_of({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}}, b"1234"),
    "arrays that overlap": file_of({"a": entry(), "b": entry()}, b"1234"),
    "arrays that overlap by half": file_of({"a": entry(0, 4), "b": entry(2, 6)}, b"123456"),
    "a gap": file_of({"a": entry(4, 8)}, b"12345678"),
    "bytes of no array": file_of({"a": entry()}, b"12345678"),
    "an unknown dtype": file_of({"a": entry(dtype="O")}, b"1234"),
    "a dtype that is a list": file_of({"a": entry(dtype=["F32"])}, b"1234"),
    "no booleans": file_of({"a": entry(dtype="BOOL", shape=[4])}, b"\x00\x01\x02\x01"),
    "a pickle": b"\x80\x04cos\nsystem\n(S'touch hacked'\ntR.",
    "a zip": b"PK\x03\x04" + b"\0" * 100,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_one_error_and_cost_little(name: str, tmp_path: Path):
    path = tmp_path / "c"
    path.write_bytes(HOSTILE[name])
    tracemalloc.start()
    try:
        with pytest.raises(gl.CheckpointError, match="cannot load") as error:
            arrays_and_metadata(path)
        assert tracemalloc.get_traced_memory()[1] < 60e6
    finally:
        tracemalloc.stop()
    assert len(str(error.value)) < 1000
    assert os.listdir(tmp_path) == ["c"]


def test_a_header_of_junk_takes_thirty_times_its_bytes_at_most(tmp_path: Path):
    path = tmp_path / "c"
    path.write_bytes(file_of(b'{"a":[' + b"[]," * 300_000 + b"1]}"))
    tracemalloc.start()
    try:
        with pytest.raises(gl.CheckpointError, match="does not say what a is"):
            arrays_and_metadata(path)
        assert tracemalloc.get_traced_memory()[1] < 30 * path.stat().st_size
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("writer", ["ours", "another"])
def test_loading_needs_no_second_copy_in_memory(writer: str, tmp_path: Path):
    model = gl.nn.Sequential(gl.nn.Linear(1024, 2048), gl.nn.Linear(2048, 512))
    step = gl.compile_step(model, lambda m, b: (m(b) ** 2).mean(), gl.optim.Adam(1e-3), gl.spec((2, 1024)))
    if writer == "ours":
        step.save(tmp_path / "c")
    else:
        safetensors.numpy.save_file(step.parameters(), tmp_path / "c")
    expected = step.parameters()
    step.set_parameters({name: np.zeros_like(array) for name, array in expected.items()})
    nbytes = step.report.parameter_bytes
    assert nbytes > 12e6
    tracemalloc.start()
    try:
        step.load(tmp_path / "c")
        loading = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        step.save(tmp_path / "c")
        saving = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert loading < 10e6  # initial values of the largest array, 8 MB, where the file has no state
    assert saving < 1e6
    for name, array in step.parameters().items():
        np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("lr", np.nan, "a learning rate of nan"),
        ("lr", np.inf, "a learning rate of inf"),
        ("lr", -1.0, r"a learning rate of -1\.0"),
        ("lr", -np.inf, "a learning rate of -inf"),
        ("step", -5, "-5 steps were done"),
        ("step", -(2**63), "steps were done, which cannot be"),
        ("step", 2**63 - 1, "9,223,372,036,854,775,807 steps were done"),
        ("step", 2**53, "steps were done, which cannot be"),
    ],
)
def test_rates_and_numbers_of_steps_that_cannot_be_are_refused(name: str, value: Any, reason: str, tmp_path: Path):
    path = tmp_path / "c"
    model = gl.nn.Linear(2, 2)
    step = gl.compile_step(model, lambda m, b: (m(b) ** 2).mean(), gl.optim.SGD(0.1), gl.spec((4, 2)))
    step.learning_rate = 0.5
    step.save(path)
    arrays, metadata = arrays_and_metadata(path)
    key = f".optimizer.{name}"
    save_arrays(path, {**arrays, "weight": arrays["weight"] + 1, key: np.array(value, arrays[key].dtype)}, metadata)
    before = {n: a.tobytes() for n, a in (step.parameters() | step.state()).items()}
    with pytest.raises(gl.CheckpointError, match=reason):
        step.load(path)
    assert {n: a.tobytes() for n, a in (step.parameters() | step.state()).items()} == before
    assert step.learning_rate == 0.5
    save_arrays(path, {**arrays, ".optimizer.step": np.array(2**40)}, metadata)
    step.load(path)
    assert step.steps == 2**40


def test_a_checkpoint_says_which_settings_of_the_step_are_others(tmp_path: Path):
    path = tmp_path / "c"
    schedules, optim = gl.optim.schedules, gl.optim
    x = np.ones((4, 2), np.float32)

    def step_with(optimizer: gl.optim.Optimizer | None = None, **options: Any) -> gl.Step:
        optimizer = optimizer or optim.AdamW(schedules.Cosine(0.1, 10))
        return gl.compile_step(gl.nn.Linear(2, 2), lambda m, b: (m(b) ** 2).mean(), optimizer, x, **options)

    step_with(accumulate=2, clip_norm=1.0).save(path)
    step_with(accumulate=2, clip_norm=1.0, seed=3, threads=1).load(path)  # without a word
    step_with(accumulate=2, clip_norm=np.float32(1)).load(path)
    for options, differing in (
        ({"accumulate": 2}, "clip_norm: 1.0 before, None now"),
        ({"clip_norm": 1.0}, "accumulate: 2 before, 1 now"),
        ({"accumulate": 2, "clip_norm": 2.0}, "clip_norm: 1.0 before, 2.0 now"),
        ({"accumulate": 2, "clip_norm": 1.0, "clip_value": 3}, "clip_value: None before, 3 now"),
        (
            {"optimizer": optim.AdamW(schedules.Cosine(0.1, 20)), "accumulate": 2, "clip_norm": 1.0},
            "the learning rate: Cosine(lr=0.1, steps=10, final=0.0) before, Cosine(lr=0.1, steps=20, final=0.0) now",
        ),
        ({"optimizer": optim.AdamW(0.1), "accumulate": 2, "clip_norm": 1.0}, "before, 0.1 now"),
        (
            {"optimizer": optim.AdamW(schedules.Cosine(0.1, 10), eps=1e-3), "accumulate": 2, "clip_norm": 1.0},
            "AdamW's eps: 1e-08 before, 0.001 now",
        ),
    ):
        step = step_with(**options)
        with pytest.warns(gl.CheckpointWarning) as warned:
            step.load(path)
        assert len(warned) == 1
        assert differing in str(warned[0].message)
        assert str(warned[0].message).count("\n") == 1
        assert warned[0].filename == __file__
    # A rate that was set comes with the checkpoint, and goes before schedules.
    step = step_with(accumulate=2, clip_norm=1.0)
    step.learning_rate = 0.5
    step.save(path)
    other = step_with(optim.AdamW(0.1), accumulate=2, clip_norm=1.0)
    other.load(path)
    assert other.learning_rate == 0.5
    arrays, _ = arrays_and_metadata(path)
    for settings in ("[]", '{"clip_norm": 1}', "[" * 100_000, "no JSON"):
        save_arrays(path, arrays, {"gradloom.settings": settings})
        with pytest.raises(gl.CheckpointError, match="does not say with which settings it was made"):
            step.load(path)
