"""Speed of a run: seconds of every stage, and how many of them its kernels take.

    python -m evaluation.speed --video examples/waving_robot --output FOLDER

runs main.py on one video with nothing cached, in this process, and prints a table. The kernels are what no rewrite of
the code around them makes faster: rasterised pictures, optical flow, linear solves (with the equations of
Gauss-Newton), networks, files. Their seconds are a stage's floor; the rest is what is left to gain. A kernel that runs
in one of several pieces that share the threads counts by its share.
"""

from __future__ import annotations

import v2m4  # noqa: F401  # isort: skip  # before torch: sets how idle threads wait
import functools
import importlib
import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import tyro

from evaluation.tables import markdown_table
from v2m4.command_line import end_with, parse_options

# Kernels by kind: module, and the names of functions, classes, or methods (``Class.method``) in it.
KERNELS: dict[str, list[tuple[str, tuple[str, ...]]]] = {
    "rasterisation": [
        ("v2m4.render.cpu", ("rasterize", "interpolate", "texture", "antialias", "render_attributes")),
    ],
    "optical flow": [("v2m4.optical_flow", ("dense_flow",))],
    "linear solves": [
        ("registration.deformation_graph.block_cholesky", ("factorize", "solve_factored", "multiply")),
        ("registration.deformation_graph.gauss_newton", ("Problem.equations",)),
        (
            "registration.elasticity.sparse_solver",
            ("CholeskySolver.__init__", "CholeskySolver.solve", "LuSolver.__init__", "LuSolver.solve"),
        ),
        ("texture.solve", ("least_squares",)),
    ],
    "networks": [("generators.prior.network", ("encode", "decode"))],
    "files": [("v2m4.stored_picture", ("encoded", "read_png")), ("v2m4.files", ("write_arrays", "read_arrays"))],
}
PROGRAM = "main"  # a module: what runs before, between and after the stages


@dataclass
class Meter:
    """Seconds and calls of kernels by stage.

    Attributes:
        stage: that is running.
        seconds: by stage and kind of kernel.
        calls: the same.
        walls: seconds by stage.
    """

    stage: str = ""
    seconds: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    calls: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    walls: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._thread = threading.local()

    @contextmanager
    def kernel(self, kind: str, share: float = 1.0) -> Iterator[None]:
        """Charge a block to a kind of kernel, but for the kernels that it calls.

        Args:
            kind: of the kernel.
            share: of the threads that the block has.
        """
        started, outer = time.perf_counter(), getattr(self._thread, "inner", None)
        self._thread.inner = 0.0
        try:
            yield
        finally:
            whole = time.perf_counter() - started
            with self._lock:
                self.seconds[self.stage, kind] += (whole - self._thread.inner) * share
                self.calls[self.stage, kind] += 1
            self._thread.inner = None if outer is None else outer + whole

    @contextmanager
    def running(self, stage: str) -> Iterator[None]:
        """Charge a block to a stage."""
        before, self.stage = self.stage, stage
        started = time.perf_counter()
        try:
            yield
        finally:
            self.walls[stage] += time.perf_counter() - started
            self.stage = before

    def table(self) -> str:
        """Lines of text: stages, and for each its seconds, those of its kernels, their sum, and the rest."""
        kinds = list(KERNELS)
        lines = [["stage", "seconds", *kinds, "floor", "rest"]]
        for stage, wall in self.walls.items():
            parts = [self.seconds.get((stage, kind), 0.0) for kind in kinds]
            lines.append([stage, *(f"{value:.2f}" for value in (wall, *parts, sum(parts), wall - sum(parts)))])
        columns = list(zip(*lines[1:], strict=True))[1:]
        lines.append(["sum", *(f"{sum(map(float, column)):.2f}" for column in columns)])
        return "\n".join(markdown_table(lines[0], lines[1:]))

    def plain(self) -> dict[str, Any]:
        """Plain values for JSON."""
        kernels: dict[str, dict[str, Any]] = {stage: {} for stage in self.walls}
        for (stage, kind), seconds in self.seconds.items():
            entry = {"seconds": round(seconds, 4), "calls": self.calls[stage, kind]}
            kernels.setdefault(stage, {})[kind] = entry
        return {"seconds": {stage: round(wall, 4) for stage, wall in self.walls.items()}, "kernels": kernels}


def metered(function: Callable[..., Any], kind: str, meter: Meter) -> Callable[..., Any]:
    """The function, its calls charged to a kind of kernel."""
    from v2m4 import threads

    @functools.wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        in_piece = threads.count() == 1
        with meter.kernel(kind, 1 / threads.available() if in_piece else 1.0):
            return function(*arguments, **options)

    return run


def replace_everywhere(function: Callable[..., Any], replacement: Callable[..., Any]) -> None:
    """Replace a function in all modules that have imported it."""
    for module in list(sys.modules.values()):
        if isinstance(module, ModuleType):
            for name, value in list(vars(module).items()):
                if value is function:
                    setattr(module, name, replacement)


def install(meter: Meter) -> None:
    """Charge all kernels to the meter, and the stages of an animation."""
    from v2m4.workspace import Workspace

    for kind, places in KERNELS.items():
        for module_name, names in places:
            module = importlib.import_module(module_name)
            for name in names:
                owner_name, _, method = name.rpartition(".")
                owner = getattr(module, owner_name) if owner_name else module
                function = getattr(owner, method or name)
                wrapped = metered(function, kind, meter)
                if owner_name:
                    setattr(owner, method, wrapped)
                else:
                    replace_everywhere(function, wrapped)
    original = Workspace.stage

    @contextmanager
    def stage(self: Workspace, name: str) -> Iterator[None]:
        with meter.running(name), original(self, name):
            yield

    Workspace.stage = stage  # type: ignore[method-assign]


@dataclass
class Options:
    """Time a run of main.py by stage and kernel."""

    # Video file or folder of frames.
    video: Path
    # Folder of the results; those of earlier runs in it are computed anew.
    output: Path
    # Further options of main.py, after --.
    rest: tyro.conf.Positional[tuple[str, ...]] = ()


def main() -> int:
    """Command line; returns the exit code of main.py."""
    options = parse_options(Options, description=__doc__)
    program = importlib.import_module(PROGRAM)
    for package in ("camera_search", "generators", "registration", "texture", "v2m4.further_outputs"):
        importlib.import_module(package)
    meter = Meter()
    install(meter)
    arguments = ["--video", str(options.video), "--output", str(options.output), "--overwrite", *options.rest]
    started = time.perf_counter()
    code = program.main(arguments)
    whole = time.perf_counter() - started
    meter.walls["outside of the stages"] = whole - sum(meter.walls.values())
    print(meter.table())
    (options.output / "speed.json").write_text(json.dumps(meter.plain(), indent=1), "utf-8")
    return int(code)


if __name__ == "__main__":
    end_with(main)
