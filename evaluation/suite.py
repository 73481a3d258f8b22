"""Benchmark suites: which methods run on which cases, read from YAML and validated before any work.

    name: one
    metrics: [motion80, picture, views]
    methods: [{name: Inflate, run: ["{python} {code}/main.py --root {root} --output {output} --frames.fps {fps}"]}]
    cases: [{name: dino, input: "{code}/examples/walking_dino", truth: "{code}/examples/ground_truth/walking_dino.npz"}]

Placeholders in braces are replaced by the benchmark: {python}, {code} (this repository), {data} (--data) and {case}
(the case's name) anywhere; in methods also {root} (a folder with the case, as main.py's --root), {frames} (the case's
folder of pictures or its video file), {fps} (its frames per second, by default 30), {fov} (its camera's field of view
in degrees, by default 40), {truth} (its ground truth), {first_mesh} (the first frame's true mesh with its texture, of a
case with an asset, or whose truth is a folder of meshes), {asset} (the asset itself, in its own pose, as bright as the
pictures) and {output} (a fresh folder for this run).

A case with ``held_out: true`` is for final figures only: no weight or threshold may be chosen on it.
"""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

ANYWHERE = frozenset({"python", "code", "data", "case"})
IN_METHODS = ANYWHERE | {"root", "frames", "fps", "fov", "truth", "first_mesh", "asset", "output"}


Half = Literal["all", "tuning", "held_out"]
NUMBERS = ("frames", "yaw", "pitch", "exposure", "fov")  # of a case with an asset


class SuiteError(ValueError):
    """The suite cannot be used; the message is one line that says where and why."""


@dataclass(frozen=True)
class Metric:
    """A figure of the tables.

    Attributes:
        name: in the JSON.
        label: in the tables.
        digits: after the point.
        better: whether "lower" or "higher" values are better.
    """

    name: str
    label: str
    digits: int
    better: str = "lower"


GROUPS: dict[str, tuple[Metric, ...]] = {
    "motion80": (
        Metric("cd", "CD", 4),
        Metric("f_score", "F-score", 4, "higher"),
    ),
    "motion80-code": (
        Metric("code_cd", "CD (motion80-code)", 4),
        Metric("code_f_score", "F-score (motion80-code)", 4, "higher"),
    ),
    "actionbench": (
        Metric("cd_3d", "CD-3D", 4),
        Metric("cd_4d", "CD-4D", 4),
        Metric("cd_m", "CD-M", 4),
    ),
    "voxel_iou": (Metric("voxel_iou", "voxel IoU", 3, "higher"),),
    "trajectory": (Metric("trajectory", "trajectory error, %", 2),),
    "loss": (Metric("lost", "share of frames marked as lost", 3),),
    "picture": (
        Metric("psnr", "PSNR", 2, "higher"),
        Metric("ssim", "SSIM", 3, "higher"),
        Metric("iou", "mask IoU", 3, "higher"),
        Metric("flicker", "flicker", 4),
    ),
    "learned": (
        Metric("lpips", "LPIPS", 4),
        Metric("dreamsim", "DreamSim", 4),
        Metric("clip", "CLIP", 4, "higher"),
    ),
    "views": (
        Metric("views_psnr", "PSNR, other views", 2, "higher"),
        Metric("views_ssim", "SSIM, other views", 3, "higher"),
        Metric("views_iou", "mask IoU, other views", 3, "higher"),
    ),
}
NEEDS_TRUTH = frozenset({"motion80", "motion80-code", "actionbench", "voxel_iou", "trajectory", "views"})


@dataclass(frozen=True)
class BenchmarkMethod:
    """One column of the tables; has exactly one of ``run``, ``video`` and, without ``run``, ``mesh``.

    Attributes:
        name: in the tables, and of its folder.
        run: commands, one after the other, each run as a process.
        video: an existing result video.
        crop: (left, top, right, bottom) pixels of that video that show the result.
        mesh: the animated mesh that the commands write (default: main.py's), or an existing one.
        pictures: the folder of pictures in the input's camera that the commands write (default: that of
            rendering_video.py).
    """

    name: str
    run: tuple[str, ...] = ()
    video: str = ""
    crop: tuple[int, ...] = ()
    mesh: str = ""
    pictures: str = ""


@dataclass(frozen=True)
class BenchmarkCase:
    """One row of the tables; has either an ``asset`` that is rendered or an existing ``input``.

    Attributes:
        name: in the tables, of its folder, and of the animation.
        asset: an animated GLB, of which truth and pictures are made.
        clip: the animation in it.
        frames: number of frames.
        yaw: of the camera, degrees.
        pitch: of the camera, degrees.
        exposure: photographic stops by which the asset's paint is made lighter.
        fov: of the camera, vertical, degrees.
        input: a folder of pictures or a video.
        truth: the ground truth of the input: .npz, or a folder of true meshes (see ``evaluation.mesh_folder``).
        reference: a video that results are compared with, where it is not the input itself.
        crop: (left, top, right, bottom) pixels of that video to be compared.
        held_out: it is for final figures only; nothing may be tuned on it.
    """

    name: str
    asset: str = ""
    clip: str = ""
    frames: int = 32
    yaw: float = 0.0
    pitch: float = 0.0
    exposure: float = 0.0
    fov: float = 40.0
    input: str = ""
    truth: str = ""
    reference: str = ""
    crop: tuple[int, ...] = ()
    held_out: bool = False

    @property
    def has_truth(self) -> bool:
        """Whether the true meshes are known."""
        return bool(self.asset or self.truth)


@dataclass(frozen=True)
class Suite:
    """A parsed suite file.

    Attributes:
        name: of the suite.
        metrics: names of groups of metrics.
        methods: the columns.
        cases: the rows.
    """

    name: str
    metrics: tuple[str, ...]
    methods: tuple[BenchmarkMethod, ...]
    cases: tuple[BenchmarkCase, ...]

    def columns(self) -> list[Metric]:
        """The figures of the tables, in order."""
        return [metric for group in self.metrics for metric in GROUPS[group]]

    def half(self, half: Half) -> Suite:
        """The suite with the cases of one half only.

        Raises:
            SuiteError: that half has no case.
        """
        if half == "all":
            return self
        cases = tuple(case for case in self.cases if case.held_out == (half == "held_out"))
        if not cases:
            raise SuiteError(f"--half {half}: suite {self.name} has no such case")
        return dataclasses.replace(self, cases=cases)


def read_suite(path: Path) -> Suite:
    """Read and validate a suite.

    Raises:
        SuiteError: with one line that says where and why.
    """
    try:
        stored = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise SuiteError(f"{path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SuiteError(f"{path}: no YAML: {' '.join(str(error).split())}") from error
    try:
        return _suite(stored)
    except SuiteError as error:
        raise SuiteError(f"{path}: {error}") from error


def _suite(stored: Any) -> Suite:
    values = _fields(Suite, stored, "the suite")
    metrics = _texts(values["metrics"], "metrics")
    for group in metrics:
        if group not in GROUPS:
            raise SuiteError(f"metrics: {group!r} is unknown; choose from {', '.join(GROUPS)}")
    methods = tuple(
        _method(entry, f"method {_entry_label(entry, i)}") for i, entry in enumerate(_list(values, "methods"))
    )
    cases = tuple(_case(entry, f"case {_entry_label(entry, i)}") for i, entry in enumerate(_list(values, "cases")))
    _check_names([method.name for method in methods], "method")
    _check_names([case.name for case in cases], "case")
    for group in metrics:
        if group in NEEDS_TRUTH and not any(case.has_truth for case in cases):
            raise SuiteError(f"metrics: {group!r} needs cases with a truth or an asset, and there are none")
    return Suite(_text(values["name"], "name"), metrics, methods, cases)


def _method(stored: Any, where: str) -> BenchmarkMethod:
    values = _fields(BenchmarkMethod, stored, where)
    run = _texts(values.get("run", []), f"{where}: run")
    video, mesh, pictures = (_text(values.get(key, ""), f"{where}: {key}") for key in ("video", "mesh", "pictures"))
    if bool(run) + bool(video) + bool(mesh and not run) != 1:
        raise SuiteError(f"{where}: needs exactly one of run (commands), video, or mesh (a ready result)")
    if run:
        mesh = mesh or "{output}/{case}/output_animation.glb"
        pictures = pictures or "{output}/{case}/output_final_rendering_images"
    crop = _crop(values.get("crop"), where)
    if crop and not video:
        raise SuiteError(f"{where}: crop goes with video")
    for text in (*run, video, mesh, pictures):
        _check_placeholders(text, IN_METHODS if run else ANYWHERE, where)
    return BenchmarkMethod(_text(values["name"], f"{where}: name"), run, video, crop, mesh, pictures)


def _case(stored: Any, where: str) -> BenchmarkCase:
    values = _fields(BenchmarkCase, stored, where)
    texts = ("asset", "clip", "input", "truth", "reference")
    entries: dict[str, Any] = {key: _text(values[key], f"{where}: {key}") for key in texts if key in values}
    if bool(entries.get("asset")) == bool(entries.get("input")):
        raise SuiteError(f"{where}: needs either an asset (with clip, frames, yaw, pitch) or an input")
    only = {"asset": ("truth", "reference", "crop"), "input": ("clip", *NUMBERS)}
    for key in only["asset" if entries.get("asset") else "input"]:
        if key in values:
            raise SuiteError(f"{where}: {key} does not go with {'an asset' if entries.get('asset') else 'an input'}")
    for text in entries.values():
        _check_placeholders(text, ANYWHERE, where)
    numbers: dict[str, Any] = {key: values[key] for key in NUMBERS if key in values}
    for key, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int if key == "frames" else int | float):
            raise SuiteError(f"{where}: {key}: expected a number, got {value!r}")
    if numbers.get("frames", 1) < 1:
        raise SuiteError(f"{where}: frames: must be at least 1, got {numbers['frames']}")
    crop = _crop(values.get("crop"), where)
    if crop and not entries.get("reference"):
        raise SuiteError(f"{where}: crop goes with reference")
    held_out = values.get("held_out", False)
    if not isinstance(held_out, bool):
        raise SuiteError(f"{where}: held_out: expected true or false, got {held_out!r}")
    return BenchmarkCase(_text(values["name"], f"{where}: name"), **entries, **numbers, crop=crop, held_out=held_out)


def _fields(kind: type, stored: Any, where: str) -> dict[str, Any]:
    """The mapping, checked to have only fields of a dataclass and all those without a default."""
    if not isinstance(stored, dict):
        raise SuiteError(f"{where}: expected keys and values, got {type(stored).__name__}")
    fields = dataclasses.fields(kind)
    names = [field.name for field in fields]
    unknown = sorted(str(key) for key in stored if key not in names)
    if unknown:
        raise SuiteError(f"{where}: unknown key {unknown[0]!r}; choose from {', '.join(names)}")
    for field in fields:
        if field.default is dataclasses.MISSING and field.name not in stored:
            raise SuiteError(f"{where}: {field.name} is missing")
    return stored


def _entry_label(stored: Any, index: int) -> str:
    name = stored.get("name") if isinstance(stored, dict) else None
    return str(name) if name is not None else str(index + 1)


def _list(values: dict[str, Any], key: str) -> list[Any]:
    if not isinstance(values[key], list) or not values[key]:
        raise SuiteError(f"{key}: expected a list with at least one entry")
    return values[key]


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise SuiteError(f"{where}: expected text, got {value!r}")
    return value


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise SuiteError(f"{where}: expected a list, got {value!r}")
    return tuple(_text(item, where) for item in value)


def _crop(value: Any, where: str) -> tuple[int, ...]:
    if value is None:
        return ()
    four_integers = isinstance(value, list) and len(value) == 4 and all(type(item) is int for item in value)
    if not four_integers or not (0 <= value[0] < value[2] and 0 <= value[1] < value[3]):
        raise SuiteError(f"{where}: crop: expected [left, top, right, bottom] in pixels, got {value!r}")
    return tuple(value)


def _check_names(names: Iterable[str], kind: str) -> None:
    known_names: set[str] = set()
    for name in names:
        if not name or name.startswith(".") or any(char in name for char in '/\\:*?"<>|') or name != name.strip():
            raise SuiteError(f"{kind} {name!r}: the name is also a folder's; use letters, digits, - and _")
        if name.casefold() in known_names:
            raise SuiteError(f"{kind} {name!r}: the name is there twice")
        known_names.add(name.casefold())


def _check_placeholders(text: str, known: frozenset[str], where: str) -> None:
    try:
        placeholders = [field for _, field, _, _ in string.Formatter().parse(text) if field is not None]
    except ValueError as error:
        raise SuiteError(f"{where}: {text!r}: {error}") from error
    for name in placeholders:
        if name not in known:
            listed = ", ".join(f"{{{item}}}" for item in sorted(known))
            raise SuiteError(f"{where}: {{{name}}} is unknown here; choose from {listed}")
