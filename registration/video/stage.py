"""Stage 3 by video-driven deformation: of one mesh, or of the frames between key frames; results are kept on disk.

A mesh of more faces than ``--max_faces`` is tracked by a decimated copy, whose motion is then applied to it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from registration.correspondences import point_trackers
from registration.correspondences.appearance_model import AppearanceModel
from registration.correspondences.observe import points_to_track
from registration.diagnostics import write_check
from registration.elasticity.proxy_binding import ProxyBinding, decimated_copy
from registration.video.first_frame import fit_first_frame
from registration.video.inbetweens import fit_frames
from registration.video.observer import PointTracks
from registration.video.orientation import facing_camera
from registration.video.quality import FitQuality
from registration.video.tracker import track_mesh
from v2m4.config import Config
from v2m4.frame import Frame
from v2m4.image_window import ImageWindow
from v2m4.mesh import Mesh, MeshSequence, PosedAsset
from v2m4.optical_flow import Tracks
from v2m4.partial_results import PartialResults
from v2m4.preflight import registration as preflight
from v2m4.report import progress
from v2m4.surface_points import SurfacePoints
from v2m4.workspace import STAGE_FOLDERS, Arrays, Workspace, code_version, digest

log = logging.getLogger("v2m4.registration")

FOLDER = STAGE_FOLDERS["registration"]
CHECK_IMAGES = 8  # of the mesh beside its frame, evenly spread over the video


def track_video(
    frames: list[Frame],
    posed: PosedAsset,
    workspace: Workspace,
    config: Config,
    user_mesh: bool = False,
    predict: Callable[[Mesh], Tensor] | None = None,
) -> MeshSequence:
    """Poses of one mesh in all frames of a video, by video-driven deformation.

    Args:
        frames: all T frames, background removed.
        posed: the first frame's mesh, in the video camera's space.
        workspace: the animation's folder; the quality of fit goes into its manifest as ``motion``.
        config: all options; ``drive``, ``max_faces``, ``use_tracking`` and the point tracker's are used.
        user_mesh: the mesh is a user's, whose pose may differ from the first frame's: it is fitted to that frame first.
        predict: (T, V, 3) poses of a mesh in the first frame's pose by a network, which the fit of each frame may start
            from; None for no network.

    Returns:
        Poses of the whole mesh at times 0 to T - 1; its rest pose is that of ``posed``.
    """
    log.info("registration: video-driven deformation of one mesh on cpu")
    full = posed.mesh
    reduced = decimated_copy(full, config.max_faces)
    key = _key(frames, full, config, "track_video", config.max_faces, _point_tracker_key(config))
    mesh = reduced
    if user_mesh:
        mesh = facing_camera(reduced, frames[0], config.drive.size)
        name = f"{FOLDER}/first_frame.npz"
        fit = partial(_fit_first_frame, frames[0], mesh, config, workspace.partial_results(name, key))
        vertices = workspace.make_arrays(name, key, fit)["vertices"]
        mesh = mesh.with_vertices(torch.from_numpy(vertices))
        key = digest(key, "user_mesh")
    predicted = None if predict is None else predict(mesh).cpu()
    if predicted is not None:
        key = digest(key, predicted.numpy())
    name = f"{FOLDER}/driven.npz"
    track = partial(_track, frames, mesh, config, workspace.partial_results(name, key), predicted)
    stored = workspace.make_arrays(name, key, track)
    quality = FitQuality.of_arrays(stored)
    workspace.manifest["motion"] = quality.describe()
    workspace.make_file(f"{FOLDER}/motion.png", key, quality.draw)
    log_quality(frames, quality)
    poses = stored["vertices"]
    for index in np.unique(np.linspace(0, len(frames) - 1, CHECK_IMAGES).round().astype(int)):
        draw = partial(write_check, frame=frames[index], mesh=mesh.with_vertices(torch.from_numpy(poses[index])))
        workspace.make_file(f"{FOLDER}/{frames[index].name}_check.png", key, draw)
    if reduced is not full:
        poses = ProxyBinding.of(full, reduced).apply(poses)
    return MeshSequence(torch.from_numpy(poses), full, np.arange(len(frames), dtype=np.float64))


def fit_inbetweens(frames: list[Frame], sequence: MeshSequence, workspace: Workspace, config: Config) -> MeshSequence:
    """Poses of all frames from those of key frames: the frames between are fitted to the video.

    Args:
        frames: all T frames, background removed.
        sequence: poses of the key frames, in the video camera's space; times are frame numbers.
        workspace: the animation's folder.
        config: all options; ``inbetween`` and ``drive`` are used.

    Returns:
        Poses at times 0 to T - 1; ``sequence`` itself where every frame is a key frame, or with
        ``--inbetween linear``.
    """
    if config.inbetween == "linear" or len(sequence) == len(frames):
        return sequence
    log.info("registration: frames between key frames are fitted on cpu")
    key = _key(frames, sequence.mesh, config, "fit_inbetweens", sequence.times, sequence.vertices.cpu().numpy())
    name = f"{FOLDER}/between.npz"
    make = partial(_fit_frames, frames, sequence, config, workspace.partial_results(name, key))
    poses = torch.from_numpy(workspace.make_arrays(name, key, make)["vertices"])
    return MeshSequence(poses.to(sequence.vertices), sequence.mesh, np.arange(len(frames), dtype=np.float64))


def log_quality(frames: list[Frame], quality: FitQuality) -> None:
    """Log the masks' IoU, and the frames in which track was lost."""
    ious = [frame.iou for frame in quality.frames]
    shown = progress(f"IoU of the fit {np.mean(ious):.3f}")
    log.info("tracked through %d frames: mask IoU %.3f, least %.3f", len(ious), np.mean(ious), min(ious), extra=shown)
    lost = [(frame.name, state.lost) for frame, state in zip(frames, quality.frames, strict=True) if state.lost]
    if lost:
        log.warning("track lost in %d of %d frames, first in %s: %s", len(lost), len(ious), *lost[0])
    parts = Counter(part for state in quality.frames for part in state.lost_parts)
    if parts:
        counts = ", ".join(f"{name} ({count} frames)" for name, count in parts.most_common())
        log.warning("parts that do not fit the lost frames, by their place in the first frame: %s", counts)


def _key(frames: list[Frame], mesh: Mesh, config: Config, *more: Any) -> str:
    """Digest of all inputs of a result: the frames, the mesh, the options, the code, and more."""
    arrays = mesh.arrays()
    images = [(frame.name, frame.fov, frame.content()) for frame in frames]
    options = (asdict(config.drive), code_version("registration"))
    return digest(*more, options, *(arrays[name] for name in sorted(arrays)), images)


def _point_tracker_key(config: Config) -> tuple[Any, ...]:
    """The point tracker with its options and weights, for ``_key``; empty without ``--use_tracking``."""
    if not config.use_tracking:
        return ()
    options = config.registration
    return (options.tracker, options.tracked_points, preflight.version(config))


def _fit_first_frame(frame: Frame, mesh: Mesh, config: Config, parts: PartialResults) -> Arrays:
    """``vertices`` (V, 3): the mesh's pose in the first frame."""
    return {"vertices": fit_first_frame(mesh, frame, config.drive, parts).vertices.cpu().numpy()}


def _track(frames: list[Frame], mesh: Mesh, config: Config, parts: PartialResults, predicted: Tensor | None) -> Arrays:
    """``vertices`` (T, V, 3), and the quality of fit (``FitQuality.arrays``)."""
    point_tracks = None
    if config.use_tracking and len(frames) > 1:
        point_tracks = _point_tracks(parts.arrays("points", partial(_track_points, frames, mesh, config)))
    with _progress("frames", frames) as progress:
        result = track_mesh(
            frames, mesh, config.drive, point_tracks, lambda done: progress.update(done - progress.n), parts, predicted
        )
    return {"vertices": result.vertices.cpu().numpy(), **result.quality.arrays()}


def _track_points(frames: list[Frame], mesh: Mesh, config: Config) -> Arrays:
    """Tracks of points on the first frame's surface through all frames, by the point tracker of the options."""
    view = ImageWindow.of(frames[0], frames[0].camera(), config.drive.size, [mesh.vertices])
    rendered = AppearanceModel.of(mesh, mesh.vertices, view).render(mesh.vertices, view)
    points, positions = points_to_track(rendered, config.registration.tracked_points)
    video = np.stack([frame.rgba for frame in frames])
    tracks = point_trackers.track_through(point_trackers.load(config), video, positions, 0)
    return {
        "faces": points.faces.numpy(),
        "weights": points.weights.numpy(),
        "positions": tracks.positions,
        "confidence": tracks.confidence,
    }


def _point_tracks(arrays: Arrays) -> PointTracks:
    """Point tracks from the arrays of ``_track_points``."""
    points = SurfacePoints(torch.from_numpy(arrays["faces"]), torch.from_numpy(arrays["weights"]))
    return PointTracks(points, Tracks(arrays["positions"], arrays["confidence"]))


def _fit_frames(frames: list[Frame], sequence: MeshSequence, config: Config, parts: PartialResults) -> Arrays:
    """``vertices`` (T, V, 3): poses of all frames from those of the key frames."""
    with _progress("frames between", frames) as progress:
        result = fit_frames(frames, sequence, config.drive, lambda done: progress.update(done - progress.n), parts)
    return {"vertices": result.vertices.cpu().numpy()}


def _progress(name: str, frames: list[Frame]) -> tqdm:
    """A progress bar of its own with --verbose only: main.py has one line for the whole animation."""
    quiet = not log.isEnabledFor(logging.DEBUG)
    return tqdm(total=len(frames), desc=name, unit="frame", leave=False, dynamic_ncols=True, disable=quiet)
