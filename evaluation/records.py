"""Records of the benchmark: its folders, prepared cases, measurement jobs, and outcomes of methods on cases."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.processes import Processes
from evaluation.suite import BenchmarkCase, BenchmarkMethod


class InputMissing(FileNotFoundError):
    """An input of a case or a method does not exist; the message is the path."""


class NotRequested(Exception):
    """It is excluded by ``--only`` and has not been computed before."""


@dataclass(frozen=True)
class BenchmarkFolders:
    """The benchmark's folders, and its process runner.

    Attributes:
        data: the value of {data} in suites.
        output: the benchmark's output folder.
        processes: runs the commands.
        weights: the folder with the weights of learned metrics, or None.
    """

    data: Path
    output: Path
    processes: Processes
    weights: Path | None = None

    def case(self, case: BenchmarkCase) -> Path:
        """The folder of a case."""
        return self.output / "cases" / case.name

    def root(self, case: BenchmarkCase) -> Path:
        """The folder of the case's input, as main.py's --root."""
        return self.case(case) / "input"

    def result(self, method: BenchmarkMethod, case: BenchmarkCase) -> Path:
        """The folder of a method's result on a case."""
        return self.output / "results" / method.name / case.name


@dataclass(frozen=True)
class PreparedCase:
    """A case whose input files are prepared.

    Attributes:
        case: its entry in the suite.
        key: digest of all its inputs.
        frames: its folder of pictures, or its video file.
        truth: its ground truth (.npz, or a folder of true meshes, see ``evaluation.mesh_folder``), or None.
    """

    case: BenchmarkCase
    key: str
    frames: Path
    truth: Path | None


@dataclass(frozen=True)
class MeasurementJob:
    """The job of one measurement process (JSON for ``python -m evaluation.measurement``); paths are absolute.

    Attributes:
        metrics: names of groups of metrics.
        frames: the input.
        truth: ground truth (.npz, or a folder of true meshes), or "".
        reference: the video that pictures are compared with, or "" for the input.
        reference_crop: the window of it that is compared, or ().
        mesh: the animated result, or "".
        pictures: the result's pictures in the input's camera, a folder or a video, or "".
        pictures_crop: the window of them that is compared, or ().
        picture_folder: where the page's pictures are written.
        weights: the folder with the weights of learned metrics, or "" for the caches of their packages alone.
    """

    metrics: tuple[str, ...]
    frames: str
    truth: str
    reference: str
    reference_crop: tuple[int, ...]
    mesh: str
    pictures: str
    pictures_crop: tuple[int, ...]
    picture_folder: str
    weights: str = ""


@dataclass(frozen=True)
class BenchmarkOutcome:
    """The outcome of a method on a case.

    Attributes:
        case: its name.
        method: its name.
        state: "done", "failed", "missing" (an input does not exist) or "left out" (by --only, and not computed before).
        error: the error of a failure, one line.
        seconds: run time of the method's commands; None where it has none.
        peak_memory_mib: of the largest process; None where unknown.
        measured: figures, curves, pictures and notes, as the measurement wrote them.
        reused: nothing had to be run or measured.
    """

    case: str
    method: str
    state: str
    error: str = ""
    seconds: float | None = None
    peak_memory_mib: float | None = None
    measured: dict[str, Any] = field(default_factory=dict)
    reused: bool = False
