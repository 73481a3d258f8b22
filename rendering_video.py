"""Render the results of main.py as pictures and videos, from the video's own camera.

    python rendering_video.py --result_path results --normal --interpolate 4

Written into every animation's folder: ``output_final_rendering_images/<frame>.png`` (lossless, what the evaluation
compares; pixel coverage is in ``output_final_rendering_masks``), ``output_final_rendering_video.mp4`` and,
as asked for, ``..._normal.mp4``, ``..._interpolated_<N>.mp4``, ``..._baseline.mp4``, and over the input's frames
``..._overlay.mp4``, ``..._beside.mp4`` and ``..._wipe.mp4``.
"""

from __future__ import annotations

import v2m4  # noqa: F401  # isort: skip  # before torch: sets how idle threads wait
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from v2m4.camera import Camera, Orbit, picture_shape
from v2m4.command_line import end_with, parse_options
from v2m4.config import FramesConfig
from v2m4.device import NoCuda, choose_device
from v2m4.export import CAMERAS, read_cameras
from v2m4.io.blender_render import EngineName, blender_renderer
from v2m4.io.picture_folder import write_pictures
from v2m4.io.video import write_video
from v2m4.manifest import read_manifest
from v2m4.mesh import Mesh
from v2m4.overlay import write_overlays
from v2m4.render import render_mesh
from v2m4.report import TqdmHandler, table
from v2m4.result_meshes import final_meshes, read_meshes, scale_cameras, unit_distance_scale
from v2m4.results import BASELINE_MESH, baseline_names, find_results

log = logging.getLogger("rendering_video")

IMAGES, MASKS = "output_final_rendering_images", "output_final_rendering_masks"
VIDEO = "output_final_rendering_video"
SUPERSAMPLING = 2
BASELINE_RADIUS = 2.0  # of the camera in front of a mesh in canonical pose, which has no camera of its own


@dataclass(frozen=True)
class RenderingOptions:
    """Render the results of main.py as pictures and videos."""

    # The folder that main.py wrote (--output), or one animation's folder in it.
    result_path: Path = Path("results")
    # Render the meshes of main.py --baseline too, from the front.
    baseline: bool = False
    # Write videos of the normals too.
    normal: bool = False
    # Write a video with N times as many frames too; the vertices between frames are interpolated.
    interpolate: int = 1
    # Write videos of the mesh over the input's frames, beside them, and as a wipe between the two.
    overlay: bool = False
    # Longer side of the pictures, pixels.
    size: int = 512
    # Where rendering runs.
    device: Literal["auto", "cpu", "cuda"] = "auto"
    # Blender instead of the own renderer; its files have the suffix _blender. Pictures and video only.
    renderer: Literal["own", "blender"] = "own"
    # With blender: the textures' colours alone (workbench), or path tracing with 16 samples in white light (cycles).
    engine: EngineName = "workbench"
    # Blender's folder; by default the one that is found, see python -m v2m4.io.blender check.
    blender_path: Path | None = None


@dataclass(frozen=True)
class RenderedFrame:
    """One rendered frame.

    Attributes:
        color: (H, W, 3) uint8 sRGB on white.
        mask: (H, W) uint8 pixel coverage.
        normal: (H, W, 3) uint8 on white, or None; red is right, green up, blue towards the camera.
    """

    color: np.ndarray
    mask: np.ndarray
    normal: np.ndarray | None


@dataclass(frozen=True)
class RenderingOutcome:
    """Result of rendering one animation; ``error`` is empty on success."""

    folder: Path
    frames: int
    seconds: float
    error: str = ""


def render_frame(mesh: Mesh, camera: Camera, size: int, normal: bool) -> RenderedFrame:
    """Render one mesh on white with supersampling.

    Args:
        mesh: in the camera's world.
        camera: one camera; the picture has its aspect.
        size: longer side, pixels.
        normal: render normals too.
    """
    height, width = picture_shape(camera.aspect, size)
    channels = ("color", "mask", "normal") if normal else ("color", "mask")
    supersampled = (SUPERSAMPLING * height, SUPERSAMPLING * width)
    picture = render_mesh(mesh, camera, supersampled, channels=channels, background=1.0)
    normal_picture = None
    if normal:
        axes = picture.normal.new_tensor([0.5, -0.5, -0.5])
        normal_picture = _pixels(picture.normal * axes + 0.5 * picture.mask + (1 - picture.mask))
    return RenderedFrame(_pixels(picture.color), _pixels(picture.mask)[..., 0], normal_picture)


def _pixels(picture: Tensor) -> np.ndarray:
    """A picture (1, s H, s W, C) in [0, 1] averaged over s x s blocks, (H, W, C) uint8."""
    small = torch.nn.functional.avg_pool2d(picture.permute(0, 3, 1, 2), SUPERSAMPLING)[0].permute(1, 2, 0)
    return (small.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def render_final(folder: Path, options: RenderingOptions, device: str, progress: tqdm) -> tuple[int, list[str]]:
    """Render pictures and videos of the final animation; returns the number of frames and the files written.

    Raises:
        ValueError: cameras or meshes are missing or broken.
    """
    video = read_cameras(folder / CAMERAS)
    cameras = video.cameras.to(device)
    factor = options.interpolate
    progress.total += len(video.names) + (factor - 1) * (len(video.names) - 1)
    rendered: list[RenderedFrame] = []
    interpolated_frames: list[np.ndarray] = []
    previous: Mesh | None = None
    scale = 0.0
    for index, stored_mesh in enumerate(final_meshes(folder, video.names, video.times, device, video.origin)):
        scale = scale or unit_distance_scale(stored_mesh, cameras[index])
        mesh, camera = stored_mesh.with_vertices(stored_mesh.vertices * scale), scale_cameras(cameras[index], scale)
        if previous is not None and factor > 1:
            if not torch.equal(previous.faces, mesh.faces):
                raise ValueError(
                    f"{folder}: frame {video.names[index]!r} has another topology; leave --interpolate out"
                )
            for step in range(1, factor):
                vertices = torch.lerp(previous.vertices, mesh.vertices, step / factor)
                interpolated_frames.append(
                    render_frame(mesh.with_vertices(vertices), camera, options.size, False).color
                )
                progress.update()
        rendered.append(render_frame(mesh, camera, options.size, options.normal))
        interpolated_frames.append(rendered[-1].color)
        previous = mesh
        progress.update()
    files = [write_pictures(folder / IMAGES, {n: s.color for n, s in zip(video.names, rendered, strict=True)})]
    write_pictures(folder / MASKS, {n: s.mask for n, s in zip(video.names, rendered, strict=True)})
    times = video.variable_times
    files += _write_videos(folder, VIDEO, rendered, video.fps, times)
    if options.overlay:
        renders = [(frame.color, frame.mask) for frame in rendered]
        files += write_overlays(folder, VIDEO, video.names, renders, video.fps, times)
    if factor > 1:
        files.append(f"{VIDEO}_interpolated_{factor}.mp4")
        between = None
        if times is not None:
            between = np.interp(np.arange(len(interpolated_frames)) / factor, np.arange(len(times)), times)
        write_video(folder / files[-1], interpolated_frames, video.fps * factor, between)
    return len(rendered), files


def render_baseline(folder: Path, options: RenderingOptions, device: str, progress: tqdm) -> tuple[int, list[str]]:
    """Render videos of the generated meshes, each in canonical pose from the front; returns as ``render_final``.

    Raises:
        ValueError: there is none, or one is broken.
    """
    names = baseline_names(folder)
    if not names:
        raise ValueError(f"{folder}: no {BASELINE_MESH.format('<frame>')} in it; run main.py --baseline first")
    camera = Orbit.of(radius=BASELINE_RADIUS).camera().to(device)
    progress.total += len(names)
    rendered = []
    for mesh in read_meshes(folder, names, BASELINE_MESH, device):
        rendered.append(render_frame(mesh, camera, options.size, options.normal))
        progress.update()
    return len(rendered), _write_videos(folder, f"{VIDEO}_baseline", rendered, _frames_per_second(folder))


def _frames_per_second(folder: Path) -> float:
    """The video's frame rate from the manifest; main.py's default where there is no manifest."""
    return float(read_manifest(folder).get("fps", FramesConfig.fps))


def _write_videos(
    folder: Path, name: str, rendered: Sequence[RenderedFrame], fps: float, times: np.ndarray | None = None
) -> list[str]:
    files = [f"{name}.mp4"]
    write_video(folder / files[0], (frame.color for frame in rendered), fps, times)
    normals = [frame.normal for frame in rendered if frame.normal is not None]
    if normals:
        files.append(f"{name}_normal.mp4")
        write_video(folder / files[-1], normals, fps, times)
    return files


def render(folder: Path, options: RenderingOptions, device: str, progress: tqdm) -> RenderingOutcome:
    """Render what the options ask for of one animation; a failure is logged in one line and returned."""
    start, frames = time.perf_counter(), 0
    files: list[str] = []
    progress.set_description(folder.resolve().name)
    try:
        if options.renderer == "blender":
            blender = blender_renderer(options.blender_path, options.engine, options.size)
            frames, files = blender.render(folder, IMAGES, MASKS, VIDEO)
        elif (folder / CAMERAS).is_file():
            frames, files = render_final(folder, options, device, progress)
        elif not options.baseline:
            raise ValueError(f"{folder}: no {CAMERAS} in it; let main.py finish first, or use --baseline")
        if options.baseline:
            count, baseline_files = render_baseline(folder, options, device, progress)
            frames, files = frames or count, files + baseline_files
    except (ValueError, OSError, RuntimeError) as error:
        log.error("%s", error)
        return RenderingOutcome(folder, frames, time.perf_counter() - start, str(error))
    log.info("%s: wrote %s", folder, ", ".join(files))
    return RenderingOutcome(folder, frames, time.perf_counter() - start)


def check(options: RenderingOptions) -> str | None:
    """The error in the options, in one line, or None."""
    if options.interpolate < 1:
        return f"--interpolate {options.interpolate}: must be at least 1"
    if options.size < 16:
        return f"--size {options.size}: must be at least 16"
    if options.renderer == "blender" and (options.normal or options.baseline or options.interpolate > 1):
        return "--renderer blender: leave --normal, --baseline and --interpolate out; they are of the own renderer"
    try:
        if options.renderer == "blender":
            blender_renderer(options.blender_path, options.engine, options.size)
        choose_device(options.device, load=True)
    except (NoCuda, FileNotFoundError) as error:
        return str(error)
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 on success, 1 when an animation failed, 2 on bad usage."""
    options = parse_options(RenderingOptions, arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname).1s %(message)s", handlers=[TqdmHandler()])
    error = check(options)
    if error:
        log.error("%s", error)
        return 2
    try:
        folders = find_results(options.result_path)
    except FileNotFoundError as error:
        log.error("%s", error)
        return 2
    chosen = choose_device(options.device, load=True)
    if chosen.missing:
        log.warning("the GPU is not used: %s", chosen.missing)
    with tqdm(total=0, unit="frame", dynamic_ncols=True) as progress:
        outcomes = [render(folder, options, chosen.name, progress) for folder in folders]
    rows = [[o.folder.resolve().name, o.frames, f"{o.seconds:.1f}", o.error or str(o.folder)] for o in outcomes]
    print(table(rows, ["animation", "frames", "seconds", "result"]))
    return 1 if any(outcome.error for outcome in outcomes) else 0


if __name__ == "__main__":
    end_with(main)
