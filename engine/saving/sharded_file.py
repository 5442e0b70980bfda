"""A checkpoint in several safetensors files, with an index of what stands where, as Hugging Face writes it.

Beside `run.safetensors.index.json` lie `run-00001-of-00004-DIGEST.safetensors` and so on. The digest is of what a file
holds: a new checkpoint overwrites no file of the old one, and counts from the moment when its index is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...ir import Array
from ...ir.printable import brief
from .replace_file import replacing
from .safetensors_format import FormatError, SafetensorsReader, StoredArray, write_safetensors

SUFFIX = ".index.json"
_MAP, _METADATA, _BYTES = "weight_map", "metadata", "total_size"
_CHECKSUMS, _DIGEST = "gradloom.checksums", "gradloom.index"
_DIGITS = 12
_MOST_BYTES = 256 << 20


def index_in_place_of(path: str) -> str | None:
    """The index to read for a checkpoint at `path`: it is one, or stands beside, and no later file is there."""
    if path.endswith(SUFFIX):
        return path
    index = path + SUFFIX
    try:
        written = os.stat(index).st_mtime_ns
    except OSError:
        return None
    try:
        return index if written >= os.stat(path).st_mtime_ns else None
    except OSError:
        return index


def checkpoint_exists(path: str | os.PathLike[str]) -> bool:
    """Whether there is a checkpoint at `path`, in one file or in several."""
    where = os.fsdecode(path)
    return os.path.exists(where) or os.path.exists(where + SUFFIX)


def shares_of(sizes: Mapping[str, int], count: int) -> list[list[str]]:
    """Names dealt out to so many files, which have about as many bytes each: large ones first, to the smallest file."""
    totals = [0] * count
    shares: list[list[str]] = [[] for _ in range(count)]
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        smallest = totals.index(min(totals))
        totals[smallest] += sizes[name]
        shares[smallest].append(name)
    return shares


def write_share(path: str, number: int, count: int, arrays: Mapping[str, Array]) -> tuple[str, str]:
    """Write file `number`, from 0, of `count` ones of the checkpoint at `path`: its name, and its checksum.

    The checkpoint that is there stays as it is. Raises what `replacing` and `write_safetensors` do.
    """
    stem = f"{_stem(path)}-{number + 1:05}-of-{count:05}"
    checksum = ""

    def name() -> str:
        return f"{stem}-{checksum.rpartition(':')[2][:_DIGITS]}.safetensors"

    with replacing(Path(path).with_name(f"{stem}.safetensors"), name) as file:
        checksum = write_safetensors(file, arrays, {"format": "pt"})
    return name(), checksum


def write_index(
    path: str, files: Mapping[str, str], places: Mapping[str, str], nbytes: int, metadata: Mapping[str, str]
) -> None:
    """Write the index of `files`, checksums by their names, and so make a checkpoint of them: `places` has the file of
    each array. Then the one that was there before is removed.
    """
    said = {**metadata, _BYTES: nbytes, _CHECKSUMS: dict(sorted(files.items()))}
    content = {_METADATA: dict(sorted(said.items())), _MAP: dict(sorted(places.items()))}
    content[_METADATA][_DIGEST] = _digest(content)
    with replacing(path + SUFFIX) as file:
        file.write(json.dumps(content, indent=1).encode() + b"\n")
    with contextlib.suppress(OSError):
        os.unlink(path)
    remove_other_shares(path)


def remove_index(path: str) -> None:
    """Remove what stands beside a checkpoint in one file, which was written later."""
    index = path + SUFFIX
    if os.path.exists(index):
        with contextlib.suppress(OSError):
            os.unlink(index)
        remove_other_shares(path)


def remove_other_shares(path: str) -> None:
    """Remove the files that the index at `path`, if there is one, does not name: of checkpoints that it replaced, and
    of those that were not done.
    """
    index = path + SUFFIX
    try:
        kept = set(read_index(index)[1].values()) if os.path.exists(index) else set[str]()
    except (OSError, FormatError):
        return
    named = re.compile(re.escape(_stem(path)) + rf"-\d{{5}}-of-\d{{5}}-[0-9a-f]{{{_DIGITS}}}\.safetensors")
    folder = Path(path).parent
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if named.fullmatch(name) and name not in kept:
                with contextlib.suppress(OSError):
                    os.unlink(folder / name)


def _stem(path: str) -> str:
    name = Path(path).name
    return name.removesuffix(".safetensors")


def _digest(content: Mapping[str, Any]) -> str:
    said = {name: value for name, value in content[_METADATA].items() if name != _DIGEST}
    text = json.dumps([sorted(said.items()), sorted(content[_MAP].items())], sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def read_index(index: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The metadata, and the file of each array. Raises `FormatError` for what is no index, `OSError`."""
    with open(index, "rb") as file:
        text = file.read(_MOST_BYTES + 1)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get(_MAP), dict) or len(text) > _MOST_BYTES:
        raise FormatError("its index is no JSON that says what stands where")
    metadata = found.get(_METADATA, {})
    if not isinstance(metadata, dict):
        raise FormatError("its index has metadata that are none")
    for name in found[_MAP].values():
        if not isinstance(name, str) or name != os.path.basename(name) or name in ("", ".", ".."):
            raise FormatError(f"its index names {brief(str(name))}, which is no file beside it")
    if _DIGEST in metadata and metadata[_DIGEST] != _digest(found):
        raise FormatError("its index is not the one that was written: the checksum is another")
    return metadata, found[_MAP]


class ShardedReader:
    """The files of a checkpoint as one: the metadata of the index, and the arrays of all by name."""

    def __init__(self, index: str, files: contextlib.ExitStack) -> None:
        """`files` closes what is opened. Raises `FormatError`, `OSError`."""
        said, places = read_index(index)
        folder = os.path.dirname(index)
        self.checksum = said.get(_DIGEST)
        self._checksums = said.get(_CHECKSUMS, {})
        self.metadata = {name: value for name, value in said.items() if isinstance(value, str) and name != _DIGEST}
        self._readers = {name: _opened(os.path.join(folder, name), files) for name in sorted(set(places.values()))}
        self.foreign = {n: dtype for reader in self._readers.values() for n, dtype in reader.foreign.items()}
        self.arrays: dict[str, StoredArray] = {}
        for name, file in places.items():
            if name not in self._readers[file].arrays and name not in self.foreign:
                raise FormatError(f"its index says that {brief(name)} stands in {file}, which has none")
            if name in self._readers[file].arrays:
                self.arrays[name] = self._readers[file].arrays[name]

    def verify(self) -> None:
        """Read all bytes once. Raises `FormatError` where they are not those that were written."""
        for name, reader in self._readers.items():
            try:
                if name in self._checksums and reader.checksum != self._checksums[name]:
                    raise FormatError("it is not the file that the index was made with")
                reader.verify()
            except FormatError as error:
                raise FormatError(f"{name}: {error}") from None

    def check_unchanged(self) -> None:
        """Raise `FormatError` where a file was written to since it was opened."""
        for reader in self._readers.values():
            reader.check_unchanged()


def _opened(path: str, files: contextlib.ExitStack) -> SafetensorsReader:
    if not os.path.isfile(path):
        raise FormatError(f"its index names {os.path.basename(path)}, which is not there")
    try:
        return SafetensorsReader(files.enter_context(open(path, "rb", buffering=0)))
    except FormatError as error:
        raise FormatError(f"{os.path.basename(path)}: {error}") from None
