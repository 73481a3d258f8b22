"""What the benchmark does with a case and a method: lay the case out, run the method, measure what it left.

    <output>/cases/<case>/input/<case>/0000.png ..., input/ground_truth/<case>.npz    the case as main.py reads it
    <output>/results/<method>/<case>/output/                                          what the method left
    <output>/results/<method>/<case>/run.json, measured.json, pictures/, log.txt      seconds, memory, figures

Each of the three steps is an artefact of a workspace with a key of all that it follows from; what is fresh is left as
it is. A method always starts with an empty folder, so that its seconds are those of a whole run.
"""

from __future__ import annotations

import json
import math
import shlex
import shutil
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.processes import Processes, ProcessFailed
from evaluation.suite import Case, Method, Suite
from v2m4.workspace import Workspace, atomic, code_version, digest

CODE = Path(__file__).resolve().parent.parent
TRUTH_FOLDER = "ground_truth"  # as in v2m4.ground_truth, which would load torch
STAGES = ("generators", "camera_search", "registration", "texture", "motion324")
RENDERER = CODE / "data_preparation_tools" / "render_ground_truth.py"


class Missing(FileNotFoundError):
    """What a case or a method needs is not there; the message is the path."""


class LeftOut(Exception):
    """It was not asked for (``--only``), and has not been done before."""


@dataclass(frozen=True)
class Place:
    """Where things are.

    Attributes:
        data: the folder that {data} stands for.
        output: the benchmark's own folder.
        processes: what runs the commands.
        weights: the folder with the weights of learned metrics, or None.
    """

    data: Path
    output: Path
    processes: Processes
    weights: Path | None = None

    def case(self, case: Case) -> Path:
        """The folder of a case."""
        return self.output / "cases" / case.name

    def root(self, case: Case) -> Path:
        """The folder that holds the case as main.py reads it."""
        return self.case(case) / "input"

    def result(self, method: Method, case: Case) -> Path:
        """The folder of what a method made of a case."""
        return self.output / "results" / method.name / case.name


@dataclass(frozen=True)
class Prepared:
    """A case that lies ready.

    Attributes:
        case: its entry in the suite.
        key: digest of all that it follows from.
        frames: its folder of pictures, or its video file.
        truth: its ground truth, or None.
    """

    case: Case
    key: str
    frames: Path
    truth: Path | None


@dataclass(frozen=True)
class Job:
    """What there is to measure (``python -m evaluation.measurement`` reads it as JSON); paths are absolute.

    Attributes:
        metrics: groups of metrics.
        frames: the input.
        truth: ground truth, or "".
        reference: the video that pictures are compared with, or "" for the input.
        reference_crop: the part of it that is compared, or ().
        mesh: the animated result, or "".
        pictures: the result's pictures seen by the input's camera, a folder or a video, or "".
        pictures_crop: the part of them that is compared, or ().
        shown: the folder for the page's pictures.
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
    shown: str
    weights: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a method did on a case.

    Attributes:
        case: its name.
        method: its name.
        state: "done", "failed", "missing" (data that are not there) or "left out" (by --only, and not done before).
        error: of what failed, one line.
        seconds: of the method's commands; None where it has none.
        peak_memory_mib: of the largest process; None where it is not known.
        measured: figures, curves, pictures and notes, as the measurement wrote them.
        reused: whether nothing had to be run or measured.
    """

    case: str
    method: str
    state: str
    error: str = ""
    seconds: float | None = None
    peak_memory_mib: float | None = None
    measured: dict[str, Any] = field(default_factory=dict)
    reused: bool = False


def filled(text: str, place: Place, **more: Path | str) -> str:
    """The text with its placeholders replaced."""
    return text.format(python=sys.executable, code=CODE, data=place.data, **more)


def prepare(case: Case, place: Place, work: bool = True) -> Prepared:
    """Lay a case out as main.py reads it; ``work=False`` only looks at what is there.

    Raises:
        LeftOut: it does not lie ready, and no work is to be done.
        Missing: a file of it is not there.
        ProcessFailed: its pictures could not be rendered.
    """
    paths = {name: filled(getattr(case, name), place, case=case.name) for name in ("asset", "input", "truth")}
    for path in paths.values():
        if path and not Path(path).exists():
            raise Missing(path)
    contents = [(name, _content(Path(path))) for name, path in paths.items() if path]
    code = [code_version("data_preparation_tools")] if case.asset else []
    key = digest("case", asdict(case), contents, code)
    workspace, root = Workspace(place.case(case)), place.root(case)
    truth = root / TRUTH_FOLDER / f"{case.name}.npz" if case.has_truth else None
    source = Path(paths["input"])
    frames = root / (f"{case.name}{source.suffix}" if source.is_file() and case.input else case.name)
    if not (workspace.fresh("case.json", key) and frames.exists() and (truth is None or truth.is_file())):
        if not work:
            raise LeftOut
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        if case.asset:
            _render(case, paths["asset"], place)
        elif source.is_dir():
            shutil.copytree(source, frames)
        else:
            shutil.copyfile(source, frames)
        if truth is not None and not case.asset:
            truth.parent.mkdir()
            shutil.copyfile(paths["truth"], truth)
        workspace.make_file("case.json", key, lambda path: _write(path, asdict(case)))
    return Prepared(case, key, frames, truth)


def _render(case: Case, asset: str, place: Place) -> None:
    """Truth and pictures of an animated asset."""
    command = [sys.executable, str(RENDERER), asset, "--frames", str(case.frames), "--yaw", str(case.yaw)]
    command += ["--pitch", str(case.pitch), "--exposure", str(case.exposure), "--fov", str(case.fov)]
    command += ["--output", str(place.root(case)), "--name", case.name]
    command += ["--clip", case.clip] if case.clip else []
    log = place.case(case) / "log.txt"
    log.unlink(missing_ok=True)
    place.processes.run(command, log, CODE)


def _content(path: Path) -> list[tuple[str, str]]:
    """Names and digests of a file, or of the files of a folder."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return [
        (file.name if file == path else file.relative_to(path).as_posix(), digest(file.read_bytes())) for file in files
    ]


def evaluate(
    case: Case, method: Method, suite: Suite, place: Place, prepared: Prepared | Exception, work: bool
) -> Outcome:
    """Run a method over a case and measure what it left, as far as that is not done yet.

    Args:
        case: of the suite.
        method: of the suite.
        suite: says what is measured.
        place: where.
        prepared: the case as it lies ready, or why it does not.
        work: False only looks at what is there.

    Returns:
        The outcome; a failure is told in it, never raised.
    """
    try:
        if isinstance(prepared, Exception):
            raise prepared
        return _evaluate(prepared, method, suite, place, work)
    except Exception as error:  # one broken case never stops the others
        if not work or isinstance(error, LeftOut):
            return Outcome(case.name, method.name, "left out")
        if isinstance(error, Missing):
            return Outcome(case.name, method.name, "missing", f"{error.args[0]}: not there")
        known = isinstance(error, ProcessFailed | OSError | ValueError)
        return Outcome(case.name, method.name, "failed", str(error) if known else f"{type(error).__name__}: {error}")


def _evaluate(case: Prepared, method: Method, suite: Suite, place: Place, work: bool) -> Outcome:
    folder = place.result(method, case.case)
    output = folder / "output"
    names: dict[str, Any] = {
        "case": case.case.name,
        "root": place.root(case.case),
        "frames": case.frames,
        "output": output,
    }
    names |= {"truth": case.truth or "", **_video_of(case.truth)}
    names |= {"first_mesh": case.truth.with_suffix(".glb") if case.truth and case.case.asset else ""}
    commands = [shlex.split(line) for line in method.run]
    commands = [[filled(word, place, **names) for word in command] for command in commands]
    for needed in ("truth", "first_mesh"):
        if any(f"{{{needed}}}" in line for line in method.run) and not names[needed]:
            raise ValueError(f"method {method.name} needs {{{needed}}}, and case {case.case.name} has none")
    workspace = Workspace(folder)
    key = digest("run", method.run, case.key, _code_of(commands) if commands else "")
    reused = True
    if commands and not workspace.fresh("run.json", key):
        if not work:
            raise LeftOut
        reused = False
        _run(commands, output, workspace, key, place.processes)
    mesh, video, pictures, reference = (
        filled(text, place, **names) for text in (method.mesh, method.video, method.pictures, case.case.reference)
    )
    ready = [path for path in (video, reference, "" if commands else mesh) if path]
    for path in ready:
        if not Path(path).exists():
            raise Missing(path)
    key = digest("measure", key, suite.metrics, asdict(case.case), asdict(method), code_version("evaluation"))
    weights = str(place.weights) if "learned" in suite.metrics else ""
    key = digest(key, [_content(Path(path)) for path in ready], weights)
    if not workspace.fresh("measured.json", key):
        if not work:
            raise LeftOut
        reused = False
        job = Job(
            metrics=suite.metrics,
            frames=str(case.frames),
            truth=str(case.truth or ""),
            reference=reference,
            reference_crop=case.case.crop,
            mesh=mesh,
            pictures=video or pictures,
            pictures_crop=method.crop,
            shown=str(folder / "pictures"),
            weights=str(place.weights or ""),
        )
        _measure(job, workspace, key, place.processes)
    taken = json.loads(workspace.path("run.json").read_text("utf-8")) if commands else {}
    measured = json.loads(workspace.path("measured.json").read_text("utf-8"))
    return Outcome(case.case.name, method.name, "done", measured=measured, reused=reused, **taken)


def _video_of(truth: Path | None) -> dict[str, str]:
    """Frames per second and field of view (degrees) as the ground truth notes them; main.py's defaults without one."""
    if truth is None:
        return {"fps": "30", "fov": "40"}
    with np.load(truth, allow_pickle=False) as stored:
        return {"fps": f"{float(stored['fps']):g}", "fov": f"{math.degrees(float(stored['fov'])):g}"}


def _code_of(commands: list[list[str]]) -> str:
    """A hash of the program and of the scripts and modules that the commands name."""
    scripts: dict[str, str] = {}
    for command in commands:
        for before, word in zip(["", *command], command, strict=False):
            module = CODE / f"{word.replace('.', '/')}.py"
            file = module if before == "-m" else Path(word)
            if file.suffix == ".py" and file.is_file():
                scripts[file.name] = digest(file.read_bytes())
    return digest(code_version(*STAGES), scripts)


def _run(commands: list[list[str]], output: Path, workspace: Workspace, key: str, processes: Processes) -> None:
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    log = workspace.path("log.txt")
    log.unlink(missing_ok=True)
    used = [processes.run(command, log, CODE) for command in commands]
    peak = max(usage.peak_memory_mib for usage in used)
    taken = {"seconds": round(sum(usage.seconds for usage in used), 2), "peak_memory_mib": round(peak, 1) or None}
    workspace.make_file("run.json", key, lambda path: _write(path, taken))


def _measure(job: Job, workspace: Workspace, key: str, processes: Processes) -> None:
    """Measure in a process of its own: a crash there is a failed case, and this process stays small."""
    asked = workspace.path("job.json")
    with atomic(asked) as temporary:
        _write(temporary, asdict(job))
    shutil.rmtree(job.shown, ignore_errors=True)

    def write(path: Path) -> None:
        command = [sys.executable, "-m", "evaluation.measurement", str(asked), str(path)]
        processes.run(command, workspace.path("log.txt"), CODE)

    workspace.make_file("measured.json", key, write)


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False), "utf-8")
