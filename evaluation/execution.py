"""Execute a benchmark case with a method: prepare the case, run the method, measure its result.

    <output>/cases/<case>/input/<case>/0000.png ..., input/ground_truth/<case>.npz    the case as main.py reads it
    <output>/results/<method>/<case>/output/                                          what the method left
    <output>/results/<method>/<case>/run.json, measured.json, pictures/, log.txt      seconds, memory, figures

Each of the three steps is a workspace artefact whose key covers all its inputs; fresh artefacts are kept. A method
always starts with an empty folder, so that its run time is that of a complete run.
"""

from __future__ import annotations

import hashlib
import json
import math
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np

from evaluation.exposed_asset import write_exposed
from evaluation.processes import Processes, ProcessFailed
from evaluation.records import (
    BenchmarkFolders,
    BenchmarkOutcome,
    InputMissing,
    MeasurementJob,
    NotRequested,
    PreparedCase,
)
from evaluation.suite import BenchmarkCase, BenchmarkMethod, Suite
from v2m4.workspace import Workspace, atomic, code_version, digest

CODE = Path(__file__).resolve().parent.parent
TRUTH_FOLDER = "ground_truth"  # as in v2m4.ground_truth, which would load torch
STAGES = ("generators", "camera_search", "registration", "texture", "motion324")
CLIP_PICTURE = "clip.jpg"  # in the folder of pictures: frames of the input above the result's pictures of them
MESH_FOLDER = CODE / "evaluation" / "mesh_folder.py"
RENDERER = CODE / "data_preparation_tools" / "render_ground_truth.py"


def substitute(text: str, folders: BenchmarkFolders, **values: Path | str) -> str:
    """The text with its placeholders replaced by their values."""
    return text.format(python=sys.executable, code=CODE, data=folders.data, **values)


def prepare(case: BenchmarkCase, folders: BenchmarkFolders, work: bool = True) -> PreparedCase:
    """Prepare a case's input files; ``work=False`` only checks whether they are prepared.

    Raises:
        NotRequested: it is not prepared, and ``work`` is False.
        InputMissing: a file of it does not exist.
        ProcessFailed: its pictures could not be rendered.
    """
    paths = {name: substitute(getattr(case, name), folders, case=case.name) for name in ("asset", "input", "truth")}
    for path in paths.values():
        if path and not Path(path).exists():
            raise InputMissing(path)
    contents = [(name, _file_digests(Path(path))) for name, path in paths.items() if path]
    code = [code_version("data_preparation_tools")] if case.asset else []
    key = digest("case", asdict(case), contents, code)
    workspace, root = Workspace(folders.case(case)), folders.root(case)
    truth = _truth_path(case, paths["truth"], root)
    source = Path(paths["input"])
    frames = root / (f"{case.name}{source.suffix}" if source.is_file() and case.input else case.name)
    if not (workspace.fresh("case.json", key) and frames.exists() and (truth is None or truth.exists())):
        if not work:
            raise NotRequested
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        if case.asset:
            _render(case, paths["asset"], folders)
        elif source.is_dir():
            shutil.copytree(source, frames)
        else:
            shutil.copyfile(source, frames)
        if truth is not None and truth.is_relative_to(root) and not case.asset:
            truth.parent.mkdir()
            shutil.copyfile(paths["truth"], truth)
        workspace.make_file("case.json", key, lambda path: _write(path, asdict(case)))
    return PreparedCase(case, key, frames, truth)


def _truth_path(case: BenchmarkCase, source: str, root: Path) -> Path | None:
    """The path of a case's ground truth: a folder is read where it lies, a file is copied to the case; None without."""
    if source and Path(source).is_dir():
        return Path(source)
    return root / TRUTH_FOLDER / f"{case.name}.npz" if case.has_truth else None


def _render(case: BenchmarkCase, asset: str, folders: BenchmarkFolders) -> None:
    """Render the pictures of an animated asset, and its ground truth."""
    command = [sys.executable, str(RENDERER), asset, "--frames", str(case.frames), "--yaw", str(case.yaw)]
    command += ["--pitch", str(case.pitch), "--exposure", str(case.exposure), "--fov", str(case.fov)]
    command += ["--output", str(folders.root(case)), "--name", case.name]
    command += ["--clip", case.clip] if case.clip else []
    log = folders.case(case) / "log.txt"
    log.unlink(missing_ok=True)
    folders.processes.run(command, log, CODE)


def _file_digests(path: Path) -> list[tuple[str, str]]:
    """Name and digest of a file, or of every file in a folder."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return [
        (file.name if file == path else file.relative_to(path).as_posix(), digest(file.read_bytes())) for file in files
    ]


def evaluate(
    case: BenchmarkCase,
    method: BenchmarkMethod,
    suite: Suite,
    folders: BenchmarkFolders,
    prepared: PreparedCase | Exception,
    work: bool,
) -> BenchmarkOutcome:
    """Run a method on a case and measure its result, as far as neither is done yet.

    Args:
        case: of the suite.
        method: of the suite.
        suite: names the metrics.
        folders: the benchmark's folders.
        prepared: the prepared case, or the error of preparing it.
        work: False only looks up existing results.

    Returns:
        The outcome; it holds any error, none is raised.
    """
    try:
        if isinstance(prepared, Exception):
            raise prepared
        return _evaluate(prepared, method, suite, folders, work)
    except Exception as error:  # one broken case never stops the others
        if not work or isinstance(error, NotRequested):
            return BenchmarkOutcome(case.name, method.name, "left out")
        if isinstance(error, InputMissing):
            return BenchmarkOutcome(case.name, method.name, "missing", f"{error.args[0]}: not there")
        expected_error = isinstance(error, ProcessFailed | OSError | ValueError)
        return BenchmarkOutcome(
            case.name, method.name, "failed", str(error) if expected_error else f"{type(error).__name__}: {error}"
        )


def _evaluate(
    case: PreparedCase, method: BenchmarkMethod, suite: Suite, folders: BenchmarkFolders, work: bool
) -> BenchmarkOutcome:
    folder = folders.result(method, case.case)
    output = folder / "output"
    names = _placeholder_values(case, method, folders)
    commands = [shlex.split(line) for line in method.run]
    if any("{asset}" in line for line in method.run) and names["asset"]:
        source = substitute(case.case.asset, folders, case=case.case.name)
        write_exposed(Path(source), names["asset"], case.case.exposure)
    commands = [[substitute(word, folders, **names) for word in command] for command in commands]
    for needed in ("truth", "first_mesh", "asset"):
        if any(f"{{{needed}}}" in line for line in method.run) and not names[needed]:
            raise ValueError(f"method {method.name} needs {{{needed}}}, and case {case.case.name} has none")
    workspace = Workspace(folder)
    key = digest("run", method.run, case.key, _code_digest(commands) if commands else "")
    first_mesh_is_made = bool(case.truth and case.truth.is_dir()) and any("{first_mesh}" in line for line in method.run)
    more_inputs = [*_named_files(method.run), *([MESH_FOLDER] if first_mesh_is_made else [])]
    if more_inputs:
        key = digest(key, [(str(file), _file_digest(file, file.stat().st_mtime_ns)) for file in more_inputs])
    reused = True
    if commands and not workspace.fresh("run.json", key):
        if not work:
            raise NotRequested
        reused = False
        if case.truth and first_mesh_is_made:
            _write_first_mesh(case.truth, names["first_mesh"], workspace, folders.processes)
        _run(commands, output, workspace, key, folders.processes)
    mesh, video, pictures, reference = (
        substitute(text, folders, **names) for text in (method.mesh, method.video, method.pictures, case.case.reference)
    )
    existing_inputs = [path for path in (video, reference, "" if commands else mesh) if path]
    for path in existing_inputs:
        if not Path(path).exists():
            raise InputMissing(path)
    key = digest("measure", key, suite.metrics, asdict(case.case), asdict(method), code_version("evaluation"))
    weights = str(folders.weights) if "learned" in suite.metrics else ""
    key = digest(key, [_file_digests(Path(path)) for path in existing_inputs], weights)
    if not workspace.fresh("measured.json", key):
        if not work:
            raise NotRequested
        reused = False
        job = MeasurementJob(
            metrics=suite.metrics,
            frames=str(case.frames),
            truth=str(case.truth or ""),
            reference=reference,
            reference_crop=case.case.crop,
            mesh=mesh,
            pictures=video or pictures,
            pictures_crop=method.crop,
            picture_folder=str(folder / "pictures"),
            weights=str(folders.weights or ""),
        )
        _measure(job, workspace, key, folders.processes)
    usage_record = json.loads(workspace.path("run.json").read_text("utf-8")) if commands else {}
    measured = json.loads(workspace.path("measured.json").read_text("utf-8"))
    return BenchmarkOutcome(case.case.name, method.name, "done", measured=measured, reused=reused, **usage_record)


def _placeholder_values(case: PreparedCase, method: BenchmarkMethod, folders: BenchmarkFolders) -> dict[str, Any]:
    """Values of the placeholders that differ from case to case; empty where the case has none."""
    folder = folders.result(method, case.case)
    names: dict[str, Any] = {
        "case": case.case.name,
        "root": folders.root(case.case),
        "frames": case.frames,
        "output": folder / "output",
        "truth": case.truth or "",
        "first_mesh": "",
        "asset": "",
    }
    if case.case.asset and case.truth:
        names |= {"first_mesh": case.truth.with_suffix(".glb"), "asset": folders.case(case.case) / "asset.glb"}
    elif case.truth and case.truth.is_dir():
        names |= {"first_mesh": folder / "first_mesh.glb"}
    return names | _video_metadata(case.truth)


def _video_metadata(truth: Path | None) -> dict[str, str]:
    """Frames per second and field of view (degrees) of a ground truth file; main.py's defaults for a folder or none."""
    if truth is None or truth.is_dir():
        return {"fps": "30", "fov": "40"}
    with np.load(truth, allow_pickle=False) as stored:
        return {"fps": f"{float(stored['fps']):g}", "fov": f"{math.degrees(float(stored['fov'])):g}"}


def _code_digest(commands: list[list[str]]) -> str:
    """Hash of the program and of the scripts and modules named by the commands."""
    scripts: dict[str, str] = {}
    for command in commands:
        for previous, word in zip(["", *command], command, strict=False):
            module = CODE / f"{word.replace('.', '/')}.py"
            file = module if previous == "-m" else Path(word)
            if file.suffix == ".py" and file.is_file():
                scripts[file.name] = digest(file.read_bytes())
    return digest(code_version(*STAGES), scripts)


def _named_files(commands: Sequence[str]) -> list[Path]:
    """The files, other than code, that commands name without placeholders, such as weights."""
    words = [word for line in commands for word in shlex.split(line)]
    literal = [word.format() for word in words if all(name is None for _, name, _, _ in Formatter().parse(word))]
    files = [CODE / part for word in literal for part in (word, word.partition("=")[2])]
    return [file for file in files if file.is_file() and file.suffix != ".py"]


@lru_cache
def _file_digest(path: Path, _modified: int) -> str:
    """Hash of a file's content, computed once for each time of modification (nanoseconds)."""
    state = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            state.update(block)
    return state.hexdigest()


def _write_first_mesh(truth: Path, mesh: Path, workspace: Workspace, processes: Processes) -> None:
    """Write the first frame of a folder of true meshes, in a separate process, so that this one stays small."""
    log = workspace.path("log.txt")
    log.unlink(missing_ok=True)
    processes.run([sys.executable, "-m", "evaluation.mesh_folder", str(truth), str(mesh)], log, CODE)


def _run(commands: list[list[str]], output: Path, workspace: Workspace, key: str, processes: Processes) -> None:
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    log = workspace.path("log.txt")
    log.unlink(missing_ok=True)
    usages = [processes.run(command, log, CODE) for command in commands]
    peak = max(usage.peak_memory_mib for usage in usages)
    usage_record = {
        "seconds": round(sum(usage.seconds for usage in usages), 2),
        "peak_memory_mib": round(peak, 1) or None,
    }
    workspace.make_file("run.json", key, lambda path: _write(path, usage_record))


def _measure(job: MeasurementJob, workspace: Workspace, key: str, processes: Processes) -> None:
    """Measure in a separate process: a crash there fails one case only, and this process stays small."""
    job_file = workspace.path("job.json")
    with atomic(job_file) as temporary:
        _write(temporary, asdict(job))
    shutil.rmtree(job.picture_folder, ignore_errors=True)

    def write(path: Path) -> None:
        command = [sys.executable, "-m", "evaluation.measurement", str(job_file), str(path)]
        processes.run(command, workspace.path("log.txt"), CODE)

    workspace.make_file("measured.json", key, write)


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False), "utf-8")
