"""Kernels are compiled in one place, and what is kept on disk follows the sources of all of them."""

import ast
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

from v2m4 import kernels

PROGRAM = Path(kernels.__file__).parents[1]
COMPILERS = {"njit", "jit", "vectorize", "guvectorize", "stencil", "cfunc", "generated_jit", "jitclass"}

NORMAL_CONSTRAINTS = """
import numpy as np
from registration.deformation_graph.shading_kernel import add_normal_constraints
rows = np.array([0, 1]), np.array([0]), np.ones(1)
axis = np.array([[0.0, 0.0, 1.0]])
energy = add_normal_constraints(
    np.zeros((1, 6, 6)), np.zeros((1, 1), np.int32), np.zeros(6), np.zeros(1, np.int64), np.eye(3)[None], rows,
    axis, axis, np.zeros(1), np.ones(1), 1.0,
)
print(energy)
"""


def own_modules() -> list[Path]:
    """All modules of the program; a virtual environment may lie in its folder."""
    folders = [
        folder
        for folder in PROGRAM.iterdir()
        if folder.is_dir() and not folder.name.startswith(".") and not (folder / "pyvenv.cfg").exists()
        if folder.name not in ("tests", "build")
    ]
    return [*PROGRAM.glob("*.py"), *(file for folder in folders for file in folder.rglob("*.py"))]


def run(code: str, folder: Path, **environment: str) -> str:
    settings = {**os.environ, **environment}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=settings, check=True, capture_output=True)
    return done.stdout.decode().strip()


def copy_of_the_program(folder: Path, *packages: str) -> Path:
    for package in packages:
        shutil.copytree(PROGRAM / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_no_module_compiles_by_itself() -> None:
    bypassing = []
    for file in own_modules():
        if file == Path(kernels.__file__):
            continue
        for node in ast.walk(ast.parse(file.read_bytes())):
            names = {alias.name for alias in node.names} if isinstance(node, ast.ImportFrom) else set()
            used = {node.attr} if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "numba" else set()
            if (names if getattr(node, "module", None) == "numba" else used) & COMPILERS:
                bypassing.append(f"{file}:{node.lineno}")
    assert bypassing == []


def test_every_module_with_kernels_counts_for_the_folder() -> None:
    sources = kernels.kernel_sources()
    assert "v2m4/kernels.py" in sources
    assert "registration/deformation_graph/shading_kernel.py" in sources
    using = {file.relative_to(PROGRAM).as_posix() for file in own_modules() if b"v2m4.kernels" in file.read_bytes()}
    assert using <= set(sources)


def test_constants_of_kernels_come_from_modules_that_count() -> None:
    """A constant is compiled in, so the module that it is imported from must be part of the folder's name."""
    counted = {name.removesuffix(".py").replace("/", ".") for name in kernels.kernel_sources()}
    checked = 0
    for name in sorted(counted):
        module = importlib.import_module(name)
        origin = {
            alias.asname or alias.name: node.module
            for node in ast.parse(Path(module.__file__).read_bytes()).body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for dispatcher in vars(module).values():
            if isinstance(dispatcher, Dispatcher) and dispatcher.py_func.__module__ == name:
                own = [used for used in dispatcher.py_func.__code__.co_names if used in origin]
                foreign = {used for used in own if origin[used].split(".")[0] in kernels.PACKAGES}
                assert {origin[used] for used in foreign} <= counted, (name, foreign)
                checked += 1
    assert checked > 60


def test_an_edit_of_an_imported_kernel_is_seen(tmp_path) -> None:
    copy = copy_of_the_program(tmp_path / "copy", "v2m4", "registration")
    cache = str(tmp_path / "cache")
    before = float(run(NORMAL_CONSTRAINTS, copy, NUMBA_CACHE_DIR=cache))
    assert before == pytest.approx(0.5 * np.log(2))  # the cosine is 1, and should be 0
    source = copy / "registration/deformation_graph/kernels.py"
    text = source.read_text()
    product = "rotation[a, 0] * vector[0] + rotation[a, 1] * vector[1] + rotation[a, 2] * vector[2]"
    edited = text.replace(product, "0.0 * vector[0]")
    assert edited != text
    source.write_text(edited)
    assert float(run(NORMAL_CONSTRAINTS, copy, NUMBA_CACHE_DIR=cache)) == 0.0
    source.write_text(text)
    assert float(run(NORMAL_CONSTRAINTS, copy, NUMBA_CACHE_DIR=cache)) == before
    assert len(list((tmp_path / "cache").glob("kernels-*"))) == 2


WHERE = "from v2m4 import kernels; print(kernels.cache_folder)"


def test_the_folder_lies_in_the_program_unless_told_otherwise(tmp_path) -> None:
    copy = copy_of_the_program(tmp_path / "copy", "v2m4")
    inside = Path(run(WHERE, copy, NUMBA_CACHE_DIR=""))
    assert inside.parent == copy / "v2m4/__pycache__"
    told = Path(run(WHERE, copy, NUMBA_CACHE_DIR=str(tmp_path / "elsewhere")))
    assert told == tmp_path / "elsewhere" / inside.name


def test_a_program_that_cannot_be_written_keeps_kernels_with_the_user(tmp_path) -> None:
    copy = copy_of_the_program(tmp_path / "copy", "v2m4")
    (copy / "v2m4/__pycache__").write_text("a file where the folder should be")  # also where the user is root
    code = f"import logging; logging.basicConfig(level=logging.DEBUG); {WHERE}"
    environment = {**os.environ, "NUMBA_CACHE_DIR": "", "XDG_CACHE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    environment["LOCALAPPDATA"] = str(tmp_path / "home")
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, env=environment, check=True, capture_output=True)
    folder = Path(done.stdout.decode().strip())
    assert tmp_path in folder.parents
    assert copy not in folder.parents
    assert f"compiled kernels are cached in {folder}" in done.stderr.decode()
    assert f"cannot be cached in {copy / 'v2m4/__pycache__'}" in done.stderr.decode()


def test_few_folders_are_kept(tmp_path) -> None:
    for age in range(kernels.KEPT + 3):
        folder = tmp_path / f"kernels-{age}"
        folder.mkdir()
        (folder / "file").write_bytes(b"0")
        os.utime(folder, (1000 - age, 1000 - age))
    (tmp_path / "other").mkdir()
    kernels._remove_old(tmp_path)
    left = sorted(folder.name for folder in tmp_path.iterdir())
    assert left == [*(f"kernels-{age}" for age in range(kernels.KEPT)), "other"]


def test_other_users_of_numba_keep_their_folder() -> None:
    import numba

    before = numba.config.CACHE_DIR
    kernels.kernel(lambda x: x)
    assert before == numba.config.CACHE_DIR


SMALL = """
import numpy as np
from v2m4.kernels import kernel

@kernel
def helper(x):
    return x + 1

@kernel("f8[::1], i8")
def {name}(values, count):
    return helper(values[count])
"""


def small_program(folder: Path, **modules: str) -> Path:
    (folder / "v2m4").mkdir(parents=True)
    for name in ("__init__", "kernels", "memory", "python_path", "threads"):
        shutil.copy(PROGRAM / "v2m4" / f"{name}.py", folder / "v2m4")
    for name, source in modules.items():
        (folder / "v2m4" / f"{name}.py").write_text(source)
    return folder


def test_all_declared_kernels_are_compiled_once_in_processes(tmp_path) -> None:
    copy = small_program(tmp_path / "copy", **{name: SMALL.format(name=name) for name in ("first", "second", "third")})
    code = (
        "from v2m4 import kernels, threads; threads.use(2); print(kernels.compiled());"
        "kernels.compile_all(lambda done, of: print(done, of)); print(kernels.compiled())"
    )
    cache = tmp_path / "cache"
    printed = run(code, copy, NUMBA_CACHE_DIR=str(cache)).split("\n")
    assert (printed[0], printed[-2], printed[-1]) == ("False", "3 3", "True")
    index = {file.name.split("-")[0] for file in cache.rglob("*.nbi")}
    assert {"first.first", "second.second", "third.third", "first.helper"} <= index
    assert len(printed) < 2 + 3 + 1  # one share was compiled elsewhere
    assert run("from v2m4 import kernels; print(kernels.compiled())", copy, NUMBA_CACHE_DIR=str(cache)) == "True"


def test_what_cannot_be_compiled_ahead_is_told_of(tmp_path) -> None:
    long, wrong = SMALL.format(name="long") + "# " + "x" * 9999, SMALL.format(name="wrong").replace("x + 1", "x.no")
    copy = small_program(tmp_path / "copy", long=long, wrong=wrong)
    code = "from v2m4 import kernels, threads; threads.use(2); kernels.compile_all(); print(kernels.compiled())"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, env=environment, check=True, capture_output=True)
    assert done.stdout.decode().strip() == "False"
    assert "kernels are compiled when they are first called" in done.stderr.decode()
