"""Data from files: what is read is what was written, and what is damaged is one clear error."""

import gzip
import struct
import subprocess
import sys

import gradloom as gl
import numpy as np
import pytest
from gradloom.data import DataError


def test_arrays_of_npy_are_mapped_and_those_of_npz_named(tmp_path):
    array = np.arange(12.0).reshape(6, 2)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", x=array, y=np.arange(6))
    mapped = gl.data.read_npy(tmp_path / "a.npy")
    assert isinstance(mapped, np.memmap)
    seen = np.concatenate(list(gl.data.Arrays(mapped, 4)))
    np.testing.assert_array_equal(np.sort(seen, axis=0), array)
    held = gl.data.read_npz(tmp_path / "a.npz")
    assert list(held) == ["x", "y"]
    np.testing.assert_array_equal(held["x"], array)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("packed", [True, False])
def test_idx_is_read_packed_or_not(dtype, packed, tmp_path):
    code = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}[dtype]
    array = np.arange(24, dtype=dtype).reshape(2, 3, 4)
    content = struct.pack(">HBB3I", 0, code, 3, 2, 3, 4) + array.astype(array.dtype.newbyteorder(">")).tobytes()
    (tmp_path / "f").write_bytes(gzip.compress(content) if packed else content)
    found = gl.data.read_idx(tmp_path / "f")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, array)
    for end in (3, 10, len(content) - 1):
        (tmp_path / "f").write_bytes(content[:end])
        with pytest.raises(DataError, match=r"damaged, or no IDX|says that it holds"):
            gl.data.read_idx(tmp_path / "f")
    (tmp_path / "f").write_bytes(content + b"x")
    with pytest.raises(DataError, match="holds more"):
        gl.data.read_idx(tmp_path / "f")


@pytest.mark.parametrize("read", ["read_npy", "read_npz", "read_idx", "read_csv", "read_text"])
def test_a_file_that_is_missing_or_damaged_is_a_clear_error(read, tmp_path):
    reader = getattr(gl.data, read)
    with pytest.raises(DataError, match=r"no such file|cannot be read"):
        reader(tmp_path / "none")
    (tmp_path / "bad").write_bytes(b"\xff\xfe\x00 nothing")
    with pytest.raises(DataError, match="bad"):
        reader(tmp_path / "bad")


def test_objects_are_never_unpickled(tmp_path):
    np.save(tmp_path / "o.npy", np.array([print], object), allow_pickle=True)
    with pytest.raises(DataError, match="damaged"):
        gl.data.read_npy(tmp_path / "o.npy")
    np.savez(tmp_path / "o.npz", x=np.array([print], object))
    with pytest.raises(DataError, match="damaged"):
        gl.data.read_npz(tmp_path / "o.npz")


def test_columns_of_csv_have_the_types_of_their_entries(tmp_path):
    (tmp_path / "t.csv").write_text('a,b,"the name"\n1,0.5,red\n2,,blue\n-3,1e3,red\n')
    table = gl.data.read_csv(tmp_path / "t.csv")
    assert table["a"].dtype == np.int64
    np.testing.assert_array_equal(table["b"], [0.5, np.nan, 1000])
    codes, names = gl.data.categories(table["the name"])
    assert codes.tolist() == [1, 0, 1]
    assert names.tolist() == ["blue", "red"]
    assert list(gl.data.read_csv(tmp_path / "t.csv", ["b"])) == ["b"]
    (tmp_path / "h.csv").write_text("1;2\n3;4\n")
    assert gl.data.read_csv(tmp_path / "h.csv", delimiter=";", header=False)["1"].tolist() == [2, 4]
    with pytest.raises(DataError, match="has no column c; it has a, b, the name"):
        gl.data.read_csv(tmp_path / "t.csv", ["c"])
    with pytest.raises(TypeError, match=r"columns is a list of names, got 'the name'"):
        gl.data.read_csv(tmp_path / "t.csv", "the name")
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3\n")
    with pytest.raises(DataError, match="line 3 has 1 entries, the first one has 2"):
        gl.data.read_csv(tmp_path / "t.csv")


def test_parquet_is_read_where_pyarrow_is(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"a": [1, 2], "b": ["x", "y"], "c": [0.5, None]}), tmp_path / "t.parquet")
    table = gl.data.read_parquet(tmp_path / "t.parquet")
    assert table["a"].tolist() == [1, 2]
    assert table["b"].tolist() == ["x", "y"]
    assert np.isnan(table["c"][1])
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="damaged, or no Parquet file"):
        gl.data.read_parquet(tmp_path / "t.parquet")


def test_images_of_folders_have_the_class_of_their_folder(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for name, value in (("cat", 0), ("dog", 255)):
        (tmp_path / name).mkdir()
        for i in range(2):
            image.fromarray(np.full((6 + i, 5, 3), value, np.uint8)).save(tmp_path / name / f"{i}.png")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    folder = gl.data.ImageFolder(tmp_path, size=(4, 3))
    assert folder.classes == ["cat", "dog"]
    assert len(folder) == 4
    for batch in gl.data.Arrays(folder, 2):
        assert batch["x"].shape == (2, 3, 4, 3)
        np.testing.assert_array_equal(batch["x"][:, 0, 0, 0], batch["y"].astype("float32"))
    assert gl.data.ImageFolder(tmp_path, size=2, mode="L")[0]["x"].shape == (1, 2, 2)
    (tmp_path / "cat" / "bad.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"bad\.png is damaged"):
        gl.data.ImageFolder(tmp_path)[2]
    with pytest.raises(DataError, match="has no images in folders"):
        gl.data.ImageFolder(tmp_path / "cat")
    with pytest.raises(DataError, match="no such folder"):
        gl.data.ImageFolder(tmp_path / "bird")


def test_texts_go_to_tokens_and_back(tmp_path):
    text = "Grüße, 世界!\n" * 3
    characters = gl.data.CharTokenizer(text)
    characters.save(tmp_path / "c.json")
    for tokenizer in (gl.data.ByteTokenizer(), characters, gl.data.CharTokenizer.load(tmp_path / "c.json")):
        tokens = tokenizer.encode(text)
        assert tokens.dtype == np.int64
        assert tokens.max() < tokenizer.vocab_size
        assert tokenizer.decode(tokens) == text
    assert characters.vocab_size == len(set(text))
    with pytest.raises(ValueError, match="'x' has no token"):
        characters.encode("x")
    assert (
        gl.data.CharTokenizer("ab", unknown="?").decode(gl.data.CharTokenizer("ab", unknown="?").encode("axb")) == "a?b"
    )
    (tmp_path / "c.json").write_text("[]")
    with pytest.raises(DataError, match="holds no characters"):
        gl.data.CharTokenizer.load(tmp_path / "c.json")


def test_pairs_of_bytes_are_merged_where_tokenizers_is(tmp_path):
    pytest.importorskip("tokenizers")
    text = "low lower lowest newer newest " * 20
    tokenizer = gl.data.BPETokenizer.train(text, 300)
    assert 256 < tokenizer.vocab_size <= 300
    assert len(tokenizer.encode(text)) < len(text) / 2
    assert tokenizer.decode(tokenizer.encode("Grüße: lowest")) == "Grüße: lowest"
    tokenizer.save(tmp_path / "tokenizer.json")
    np.testing.assert_array_equal(
        gl.data.BPETokenizer.load(tmp_path / "tokenizer.json").encode(text), tokenizer.encode(text)
    )
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match=r"is no tokenizer\.json"):
        gl.data.BPETokenizer.load(tmp_path / "tokenizer.json")


def test_windows_predict_each_token_once():
    windows = gl.data.Windows(np.arange(11), 3)
    assert len(windows) == 3
    seen = np.concatenate([windows[i]["y"] for i in range(3)])
    assert seen.tolist() == list(range(1, 10))
    assert windows[-1]["x"].tolist() == [6, 7, 8]
    assert len(gl.data.Windows(np.arange(11), 3, stride=1)) == 8
    with pytest.raises(IndexError):
        windows[3]
    with pytest.raises(ValueError, match="hold no window of 3"):
        gl.data.Windows(np.arange(3), 3)
    with pytest.raises(TypeError, match="whole numbers in one axis"):
        gl.data.Windows(np.arange(3.0), 2)


def test_what_is_not_installed_is_named_with_the_way_to_get_it():
    code = (
        "import sys\n"
        "for name in ('pyarrow', 'PIL', 'tokenizers', 'tensorboardX', 'torch'): sys.modules[name] = None\n"
        "import gradloom as gl\n"
        "for call in (lambda: gl.data.read_parquet('x'), lambda: gl.data.ImageFolder('.'),\n"
        "             lambda: gl.data.BPETokenizer.train('a', 300), lambda: gl.callbacks.TensorBoard('.')):\n"
        "    try: call()\n"
        "    except ImportError as error: print(error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.count("is not installed; pip install") == 4
