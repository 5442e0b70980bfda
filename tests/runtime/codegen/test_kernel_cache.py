import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import tracemalloc
from itertools import count
from pathlib import Path

import grimp
import pytest
from child_processes import started
from gradloom.runtime.codegen import disk_cache, kernel_cache
from gradloom.runtime.codegen.disk_cache import cache_status
from gradloom.runtime.codegen.kernel_cache import (
    CacheWarning,
    Kernel,
    KernelRequest,
    compile_kernel,
    compile_kernels,
    compile_report,
    source_salt,
)

_fresh = count()


def call(kernel: Kernel, block: int = 0) -> int:
    native = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(kernel.address)
    code, exception = ctypes.c_int64(), ctypes.c_void_p()
    assert native(ctypes.addressof(code), ctypes.addressof(exception), block) == 0
    return code.value


def answer(value: int = 42, salt: str | None = None) -> Kernel:
    """A kernel that this process has not compiled yet, unless `salt` is one that it was compiled with."""
    salt = f"{os.getpid()} {next(_fresh)}" if salt is None else salt
    return compile_kernel(f"def answer(block):\n    return {value}\n", "answer", {}, salt=salt)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADLOOM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("GRADLOOM_CACHE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def forget(monkeypatch):
    """Makes the process forget its kernels (but LLVM keeps them): what comes next comes from the disk."""

    def forget() -> None:
        for name, empty in (("_kernels", {}), ("_engine", None), ("_warned", set())):
            monkeypatch.setattr(kernel_cache, name, empty)

    return forget


def python(code: str, folder, **environment: str) -> str:
    environment = {**os.environ, "GRADLOOM_CACHE_DIR": str(folder), **environment}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


IN_A_PROCESS = """
    import ctypes, sys
    from gradloom.runtime.codegen.kernel_cache import compile_kernel
    def namespace():
        from gradloom.runtime.codegen.intrinsics import word
        return {"word": word}
    kernel = compile_kernel("def double(block): return 2 * word(block, 0)", "double", namespace)
    native = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(kernel.address)
    code, exception, block = ctypes.c_int64(), ctypes.c_void_p(), ctypes.c_int64(21)
    native(ctypes.addressof(code), ctypes.addressof(exception), ctypes.addressof(block))
    print(code.value, kernel.hit, "gradloom.runtime.codegen.python_to_llvm" in sys.modules)
"""


def test_a_kernel_is_compiled_once_in_a_process(folder):
    first = answer(salt="once")
    assert not first.hit
    assert first.why == "not in the cache"
    assert call(first) == 42
    assert answer(salt="once") is first
    assert compile_report().count(first) == 1


def test_the_second_process_has_the_machine_code_without_a_compiler(folder):
    assert python(IN_A_PROCESS, folder) == "42 False True\n"
    assert python(IN_A_PROCESS, folder) == "42 True False\n"


def test_processes_that_compile_at_once_do_no_harm(folder):
    environment = {**os.environ, "GRADLOOM_CACHE_DIR": str(folder)}
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(IN_A_PROCESS)]
    with started(*[command] * 4, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert all(process.communicate(timeout=120)[0].startswith("42 ") for process in running)
    assert [path.suffix for path in folder.rglob("*.*")] == [".kernel"]
    assert python(IN_A_PROCESS, folder) == "42 True False\n"


def test_entries_of_the_same_name_stay_apart(folder):
    assert [call(answer(value)) for value in (1, 2, 3)] == [1, 2, 3]


@pytest.mark.parametrize("damage", ["empty", "cut", "changed", "other file"])
def test_a_damaged_file_is_compiled_again_and_replaced(folder, forget, damage):
    answer(salt=damage)
    (file,) = folder.rglob("*.kernel")
    whole = file.read_bytes()
    spoiled = {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "changed": whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:],
        "other file": b"something else that has nothing to do with it",
    }
    file.write_bytes(spoiled[damage])
    forget()
    with pytest.warns(CacheWarning, match="machine code was compiled; the file in the cache was damaged"):
        again = answer(salt=damage)
    assert not again.hit
    assert again.why == "the file in the cache was damaged"
    assert call(again) == 42
    forget()
    assert answer(salt=damage).hit


@pytest.mark.parametrize(
    ("what", "value", "why"),
    [
        ("CPU", "z80", "for another CPU (z80)"),
        ("Numba", "0.1.0", "for another Numba (0.1.0)"),
        ("set of CPU features", "+mmx," * 20, "for another set of CPU features (+mmx,+mmx,"),
    ],
)
def test_a_file_of_another_machine_is_not_taken_and_the_report_says_so(folder, forget, monkeypatch, what, value, why):
    monkeypatch.delenv("GRADLOOM_TARGET", raising=False)
    ours = disk_cache.machine()
    with monkeypatch.context() as patch:
        patch.setattr(disk_cache, "machine", lambda: {**ours, what: value})
        answer(salt="machine")
    forget()
    kernel = answer(salt="machine")
    assert not kernel.hit
    assert kernel.why.startswith(f"not in the cache; there it is {why}")


def test_a_file_from_other_sources_is_not_taken_and_the_report_says_so(folder, forget):
    answer(salt="old")
    forget()
    assert answer(salt="new").why == "not in the cache; there it is from other sources of Gradloom"


def test_a_file_that_calls_what_the_process_lacks_is_not_taken(folder, forget):
    answer(salt="externals")
    request = KernelRequest("def answer(block):\n    return 42\n", "answer", {}, salt="externals")
    code, _ = disk_cache.read(folder, request.key())
    assert code is not None
    disk_cache.write(folder, request.key(), code, ["no_such_function_anywhere"])
    forget()
    why = "the file in the cache calls what this process does not have"
    with pytest.warns(CacheWarning, match=why):
        assert answer(salt="externals").why == why


@pytest.mark.parametrize("place", ["under a file", "in /proc"])
def test_without_a_folder_kernels_work_and_a_warning_says_why(tmp_path, forget, monkeypatch, place):
    (tmp_path / "file").write_text("")
    folder = {"under a file": str(tmp_path / "file" / "cache"), "in /proc": "/proc/gradloom"}[place]
    monkeypatch.setenv("GRADLOOM_CACHE_DIR", folder)
    forget()
    with pytest.warns(CacheWarning, match="machine code was compiled; cache off: ") as told:
        kernel, _ = (answer() for _ in range(2))
    assert len(told) == 1
    assert call(kernel) == 42
    assert kernel.why.startswith("cache off: ")
    assert cache_status().folder is None
    assert cache_status().why == kernel.why


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_where_others_may_write_is_not_trusted(folder, forget, mode):
    salt = f"trust {mode}"
    answer(salt=salt)
    folder.chmod(mode)
    forget()
    with pytest.warns(CacheWarning, match="may be written by other users; chmod go-w"):
        kernel = answer(salt=salt)
    assert not kernel.hit
    assert "may be written by other users" in kernel.why


def test_a_folder_that_is_removed_while_a_process_runs_is_made_again(folder, forget):
    salt = "removed"
    answer(salt=salt)
    shutil.rmtree(folder)
    answer()
    forget()
    assert not answer(salt=salt).hit
    forget()
    assert answer(salt=salt).hit


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_belongs_to_another_user_is_not_trusted(folder, forget, what):
    salt = f"owner {what}"
    answer(salt=salt)
    os.chown(folder if what == "folder" else next(folder.rglob("*.kernel")), 12345, 12345)
    forget()
    with pytest.warns(CacheWarning, match="belongs to another user"):
        assert not answer(salt=salt).hit


@pytest.mark.parametrize("what", ["group may write", "link", "pipe", "folder"])
def test_only_the_users_own_regular_files_are_read(tmp_path, folder, forget, what):
    salt = f"regular {what}"
    answer(salt=salt)
    (file,) = folder.rglob("*.kernel")
    if what == "group may write":
        file.chmod(0o660)
    else:
        whole = file.read_bytes()
        file.unlink()
        if what == "link":
            (tmp_path / "elsewhere").write_bytes(whole)
            file.symlink_to(tmp_path / "elsewhere")
        elif what == "pipe":
            os.mkfifo(file)
        else:
            file.mkdir()
    forget()
    with pytest.warns(CacheWarning) as told:
        kernel = answer(salt=salt)
    assert call(kernel) == 42
    assert not kernel.hit
    assert len(told) == 1
    if what != "folder":
        forget()
        assert answer(salt=salt).hit


def test_a_whole_file_under_another_kernels_name_is_damaged(folder, forget):
    requests = [KernelRequest(f"def f(block):\n    return {i}\n", "f", {}, salt="swap") for i in (5, 6)]
    compile_kernels(requests)
    five, six = (disk_cache.path_of(folder, request.key()) for request in requests)
    six.write_bytes(five.read_bytes())
    forget()
    with pytest.warns(CacheWarning, match="damaged"):
        assert [call(kernel) for kernel in compile_kernels(requests)] == [5, 6]
    forget()
    assert [kernel.hit for kernel in compile_kernels(requests)] == [True, True]


def test_code_without_the_kernel_is_damaged(folder, forget):
    requests = [KernelRequest(f"def f(block):\n    return {i}\n", "f", {}, salt="address") for i in (5, 6)]
    compile_kernels(requests)
    code, _ = disk_cache.read(folder, requests[0].key())
    assert code is not None
    disk_cache.write(folder, requests[1].key(), code, [])
    forget()
    with pytest.warns(CacheWarning, match="damaged"):
        assert call(compile_kernels(requests[1:])[0]) == 6


@pytest.mark.parametrize("header", [b"{", b"[" * 100_000, b"[]", b'{"kernel": 1}', b'{"externals": 0}', b"\xff"])
def test_a_hostile_header_is_damage(folder, header):
    request = KernelRequest("def f(block):\n    return 1\n", "f", {}, salt="header")
    path = disk_cache.path_of(folder, request.key())
    path.parent.mkdir(parents=True)
    content = header + b"\ncode"
    path.write_bytes(disk_cache._MAGIC + hashlib.sha256(content).digest() + content)
    assert disk_cache.read(folder, request.key()) == (None, disk_cache.DAMAGED)


def test_many_kernels_that_cannot_be_written_are_one_warning(folder, forget, monkeypatch):
    def refuse(*_: object, **options: str) -> None:
        raise OSError(28, "No space left on device", str(next(_fresh)))

    monkeypatch.setattr(disk_cache.tempfile, "NamedTemporaryFile", refuse)
    forget()
    with pytest.warns(CacheWarning, match="No space left") as told:
        compile_kernels(many(3, "no space"), processes=1)
    assert len(told) == 1
    compile_kernels(many(3, "still no space"), processes=1)


def test_what_was_used_least_recently_goes_when_the_limit_is_passed(folder, forget, monkeypatch):
    requests = many(4, "limit")
    for request in requests[:3]:
        compile_kernels([request])
    paths = [disk_cache.path_of(folder, request.key()) for request in requests]
    for age, path in enumerate(paths[:3]):
        os.utime(path, (1e9 - age, 1e9 - age))
    left = paths[0].with_name(".writing-left-by-a-killed-process")
    left.write_text("half")
    os.utime(left, (1e9, 1e9))
    (folder / "a file of the user's").write_text("stays")
    forget()
    assert compile_kernels(requests[2:3])[0].hit
    monkeypatch.setenv("GRADLOOM_CACHE_LIMIT", f"{int(sum(path.stat().st_size for path in paths[:3]) * 1.12)}")
    compile_kernels(requests[3:])
    files = {path for path in folder.rglob("*") if path.is_file()}
    assert files == {*(paths[i] for i in (0, 2, 3)), folder / "a file of the user's"}


def test_a_process_looks_at_the_folder_when_it_may_be_full_and_not_after_each_kernel(folder, monkeypatch):
    looks, trim = [], disk_cache._trimmed
    monkeypatch.setattr(disk_cache, "_trimmed", lambda folder, most: looks.append(folder) or trim(folder, most))
    compile_kernels(many(8, "room"), processes=1)
    assert len(looks) == 1
    (kernel, *_) = folder.rglob("*.kernel")
    monkeypatch.setenv("GRADLOOM_CACHE_LIMIT", f"{20 * kernel.stat().st_size}")
    compile_kernels(many(40, "no room"), processes=1)
    assert 2 < len(looks) < 40
    assert len(list(folder.rglob("*.kernel"))) <= 20


def test_a_limit_that_is_no_number_of_bytes_turns_the_cache_off(folder, forget, monkeypatch):
    monkeypatch.setenv("GRADLOOM_CACHE_LIMIT", "plenty")
    forget()
    with pytest.warns(CacheWarning, match="GRADLOOM_CACHE_LIMIT='plenty' is no number of bytes such as 500MB"):
        answer()


def test_the_cache_can_be_turned_off(folder, monkeypatch):
    monkeypatch.setenv("GRADLOOM_CACHE", "0")
    assert answer().why == "cache off: GRADLOOM_CACHE=0"
    assert not folder.exists()


def test_a_full_disk_costs_only_the_cache(folder):
    code = """
        import resource, warnings
        warnings.simplefilter("ignore")
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        from gradloom.runtime.codegen.kernel_cache import compile_kernel
        print(compile_kernel("def f(block): return 0", "f", {}).why)
    """
    assert python(code, folder).startswith("cannot write to the cache: ")
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_the_salt_of_sources_changes_with_their_text(tmp_path):
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text("x = 1")
    two.write_text("x = 2")
    assert source_salt(one) != source_salt(two)
    assert source_salt(kernel_cache) == source_salt(kernel_cache.__file__)


def test_every_module_that_makes_machine_code_is_in_the_key():
    graph = grimp.build_graph("gradloom", cache_dir=None)
    makers = [
        "gradloom.runtime.lowering.namespace",  # all that kernel source may call
        "gradloom.runtime.cpu.driver",
        "gradloom.runtime.codegen.object_code",  # either front end, and LLVM's options
    ]
    making = {name for maker in makers for name in (maker, *graph.find_upstream_modules(maker))}
    assert "gradloom.runtime.codegen.numba_front_end" in making
    # Passes are not among them: what they choose, such as tiles, reaches machine code through a kernel's text alone.
    assert {name.split(".")[1] for name in making} == set(kernel_cache.CODE_FLOORS)


def test_a_change_to_any_file_that_makes_machine_code_changes_the_key(tmp_path):
    package = Path(kernel_cache.__file__).parents[2]
    for floor in kernel_cache.CODE_FLOORS:
        shutil.copytree(package / floor, tmp_path / floor, ignore=shutil.ignore_patterns("__pycache__"))
    salt = kernel_cache.code_salt.__wrapped__
    before = salt(tmp_path)
    assert before == kernel_cache.code_salt()
    files = sorted(tmp_path.rglob("*.py"))
    assert {"driver.py", "tile_product.py", "row_reductions.py", "python_to_llvm.py"} <= {file.name for file in files}
    for file in files:
        text = file.read_text()
        file.write_text(text + "# changed\n")
        assert salt(tmp_path) != before, file
        file.write_text(text)
    (tmp_path / "runtime" / "codegen" / "another.py").write_text("")
    assert salt(tmp_path) != before


def test_many_requests_come_back_in_their_order(folder):
    requests = [KernelRequest(f"def f(block):\n    return {i}\n", "f", {}) for i in (5, 6, 5)]
    kernels = compile_kernels(requests)
    assert [call(kernel) for kernel in kernels] == [5, 6, 5]
    assert kernels[0] is kernels[2]


def test_calls_of_the_system_are_resolved_when_code_is_loaded(folder):
    def namespace():
        import math

        from gradloom.runtime.codegen.intrinsics import array_f64, window, word

        return {"math": math, "array_f64": array_f64, "word": word, "window": window}

    # Becomes calls of memset, memcpy and pow.
    source = """
def f(block):
    n = word(block, 1)
    x = array_f64(word(block, 0), 2 * n)
    y = window(x, n, n)
    for i in range(n):
        x[i] = 0.0
    for i in range(n):
        y[i] = x[i]
    x[0] = math.pow(2.5, n + 0.5)
    return 0
"""
    kernel = compile_kernel(source, "f", namespace)
    x = (ctypes.c_double * 100)(*[1.0] * 100)
    block = (ctypes.c_int64 * 2)(ctypes.addressof(x), 50)
    call(kernel, ctypes.addressof(block))
    assert list(x) == [2.5**50.5] + [0.0] * 99


def test_an_error_in_a_kernel_shows_its_source(folder):
    from numba.core.errors import TypingError

    with pytest.raises(TypingError, match=r"return block\.nonsense"):
        compile_kernel("def f(block):\n    return block.nonsense\n", "f", {})


def many(n: int, salt: str) -> list[KernelRequest]:
    return [KernelRequest(f"def f(block):\n    return {i}\n", "f", {}, salt=salt) for i in range(n)]


@pytest.mark.parametrize("processes", [1, 3])
def test_processes_share_the_compilation_of_many(folder, forget, processes):
    salt = f"many {processes}"
    assert [call(kernel) for kernel in compile_kernels(many(12, salt), processes)] == list(range(12))
    forget()
    assert all(kernel.hit for kernel in compile_kernels(many(12, salt), processes))


def test_an_error_in_one_of_many_kernels_is_raised(folder):
    from numba.core.errors import TypingError

    wrong = KernelRequest("def f(block):\n    return block.nonsense\n", "f", {})
    with pytest.raises(TypingError, match="nonsense"):
        compile_kernels([*many(12, "one is wrong"), wrong], processes=3)


def test_the_share_of_a_process_that_dies_is_compiled_by_its_parent(folder):
    parent = os.getpid()

    def namespace() -> dict[str, object]:
        if os.getpid() != parent:
            os._exit(1)
        return {}

    requests = [KernelRequest(f"def f(block):\n    return {i}\n", "f", namespace, salt="dies") for i in range(12)]
    assert [call(kernel) for kernel in compile_kernels(requests, processes=3)] == list(range(12))


def test_the_seconds_of_a_kernel_are_those_of_the_process_that_compiled_it(folder):
    kernels = compile_kernels(many(12, "seconds"), processes=2)
    assert all(kernel.seconds > 1e-3 for kernel in kernels)


def test_a_process_with_workers_of_the_pool_may_fork_and_one_with_other_threads_may_not():
    def may_fork_beside(name: str) -> bool:
        leave = threading.Event()
        thread = threading.Thread(target=leave.wait, name=name)
        thread.start()
        try:
            return kernel_cache._may_fork()
        finally:
            leave.set()
            thread.join()

    assert may_fork_beside(f"{kernel_cache.WORKER_NAME}-1")
    assert not may_fork_beside("another")


def test_a_folder_of_many_files_takes_no_memory(folder, monkeypatch):
    compile_kernels(many(1, "many files"), processes=1)
    (kernel,) = folder.rglob("*.kernel")
    for number in range(20_000):
        inner = folder / f"{number % 256:02x}"
        inner.mkdir(exist_ok=True)
        os.link(kernel, inner / f"{number:040x}-{number:040x}.kernel")
    absent = many(2, "many files, and one more")[1].key()
    tracemalloc.start()
    try:
        disk_cache.why_not_there(folder, [absent])
        disk_cache.write(folder, absent, b"", [])
        monkeypatch.setenv("GRADLOOM_CACHE_LIMIT", f"{10_000 * kernel.stat().st_size}")
        disk_cache.write(folder, absent, b"", [])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2_000_000
    assert disk_cache.usage(folder).kernels < 10_000
