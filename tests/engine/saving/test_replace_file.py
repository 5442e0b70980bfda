"""A file is replaced whole or not at all, whatever its folder, its name, its mode and what was left there."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from gradloom.engine.saving.replace_file import check_replaceable, replacing


def write(path: str | os.PathLike[str], content: bytes = b"new") -> None:
    with replacing(path) as file:
        file.write(content)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_mode_of_the_umask_and_another_keeps_its_own(tmp_path: Path, umask: int, mode: int):
    before = os.umask(umask)
    try:
        write(tmp_path / "new")
        (tmp_path / "old").write_bytes(b"old")
        (tmp_path / "old").chmod(0o640)
        write(tmp_path / "old")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o640
    assert (tmp_path / "old").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "a b\n'\"", "-x", os.fsdecode(b"\xff\xfe"), ".hidden"])
def test_any_name_that_a_file_can_have_will_do(tmp_path: Path, name: str):
    for content in (b"one", b"two"):
        check_replaceable(tmp_path / name, 10)
        write(tmp_path / name, content)
        assert (tmp_path / name).read_bytes() == content
        assert os.listdir(tmp_path) == [name]


def test_a_link_stays_one_even_where_it_leads_nowhere_yet(tmp_path: Path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(Path("there", "file"))
    for content in (b"one", b"two"):
        write(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "there" / "file").read_bytes() == content
    assert os.listdir(tmp_path / "there") == ["file"]


@pytest.mark.parametrize("attempt", [write, lambda path: check_replaceable(path, 10)], ids=["write", "check"])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, attempt):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path, reason in (
        (tmp_path, "Is a directory"),
        (tmp_path / "pipe", "no regular file"),
        ("/dev/null", "no regular file"),
        (tmp_path / "nowhere" / "x", "No such file or directory"),
        (tmp_path / ("x" * 256), "File name too long"),
        (tmp_path / "loop", "symbolic links"),
        ("", "no name"),
        ("a\0b", "no name"),
    ):
        with pytest.raises(OSError, match=reason):
            attempt(path)
    assert sorted(os.listdir(tmp_path)) == ["loop", "pipe"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_found_before(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        check_replaceable(tmp_path / "x", 10)


def test_a_file_that_is_too_large_is_found_before_and_leaves_nothing(tmp_path: Path):
    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(OSError, match=r"File too large|No space left|Invalid argument"):
        check_replaceable(tmp_path / "x", 2**60)
    code = (
        "import resource, sys\nfrom gradloom.engine.saving.replace_file import check_replaceable\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "check_replaceable(sys.argv[1], 4096)\n"
        "try:\n    check_replaceable(sys.argv[1], 4097)\nexcept OSError as error:\n    print(error.strerror)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], capture_output=True, text=True, check=True)
    assert done.stdout == "File too large\n"
    assert os.listdir(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == b"old"


def test_an_error_of_the_writer_leaves_the_old_file_alone(tmp_path: Path):
    write(tmp_path / "x", b"old")

    def fail(error: type[BaseException]) -> None:
        with replacing(tmp_path / "x") as file:
            file.write(b"half")
            raise error

    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error):
            fail(error)
        assert os.listdir(tmp_path) == ["x"]
        assert (tmp_path / "x").read_bytes() == b"old"


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path):
    path = tmp_path / ("name" * 50)
    code = (
        "import os, signal, sys\nfrom gradloom.engine.saving.replace_file import replacing\n"
        "with replacing(sys.argv[1]) as file:\n    file.write(b'half')\n    file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = os.listdir(tmp_path)
    assert left.endswith(".tmp")
    with replacing(path) as outer:  # what a living process is writing
        outer.write(b"outer")
        assert len(os.listdir(tmp_path)) == 1
        assert left not in os.listdir(tmp_path)
        write(path, b"inner")
        assert len(os.listdir(tmp_path)) == 2
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_bytes() == b"outer"
    # Only names of that kind, and only files.
    stem = f".{path.name[:100]}."
    others = (
        f"{stem}0123456789ab.tmp.old",
        f"{stem}zz23456789ab.tmp",
        ".other.0123456789ab.tmp",
    )
    for name in others:
        (tmp_path / name).write_bytes(b"not ours")
    (tmp_path / f"{stem}0123456789ab.tmp").mkdir()
    write(path, b"again")
    assert len(os.listdir(tmp_path)) == 1 + len(others) + 1


def test_a_folder_that_cannot_be_synced_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    original = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"new"
