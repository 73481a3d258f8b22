"""Stage 3 where the video moves the mesh: a given one, or the one of the key frames between them; all kept on disk.

A mesh of more faces than ``--max_faces`` is moved by a reduced copy and carried along.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, fields
from functools import partial
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from registration.correspondences import point_trackers as tracking
from registration.correspondences.appearance_model import AppearanceModel
from registration.correspondences.observe import points_to_track
from registration.diagnostics import write_check
from registration.elasticity.proxy_binding import ProxyBinding, decimated_copy
from registration.video.first_frame import fit_first_frame
from registration.video.inbetweens import fit_frames
from registration.video.observer import PointTracks
from registration.video.quality import FitQuality, FrameQuality
from registration.video.tracker import track_mesh
from v2m4.config import Config
from v2m4.frame import Frame
from v2m4.image_window import ImageWindow
from v2m4.mesh import Mesh, MeshSequence, PosedAsset
from v2m4.preflight import registration as needs
from v2m4.workspace import Arrays, Workspace, code_version, digest

log = logging.getLogger("v2m4.registration")

FOLDER = "3_registration"
DRIVEN = f"{FOLDER}/driven.npz"
CHECKS = 8  # pictures of the mesh over its frame, evenly spread


def move(
    frames: list[Frame], posed: PosedAsset, workspace: Workspace, config: Config, given: bool = False
) -> MeshSequence:
    """One mesh moved as the video shows.

    Args:
        frames: all T frames, background removed.
        posed: the first frame's mesh, in the space of the video's camera.
        workspace: the animation's folder; how well each frame fits goes into its manifest as ``motion``.
        config: all options; ``drive``, ``max_faces``, ``use_tracking`` and the tracker count here.
        given: the mesh is a user's, whose pose may be another than the first frame's: it is brought there first.

    Returns:
        poses of the whole mesh at times 0 to T - 1; its rest pose is as it came.
    """
    log.info("registration: the mesh is moved by the video on cpu")
    full = posed.mesh
    mesh = decimated_copy(full, config.max_faces)
    key = _key(frames, full, config, "move", config.max_faces, _tracker(config))
    rest = mesh
    if given:
        fit = partial(_first, frames[0], mesh, config)
        fitted = workspace.make_arrays(f"{FOLDER}/first_frame.npz", key, fit)["vertices"]
        mesh = mesh.with_vertices(torch.from_numpy(fitted))
        key = digest(key, "given")
    stored = workspace.make_arrays(DRIVEN, key, partial(_driven, frames, mesh, config))
    quality = _health(stored)
    workspace.manifest["motion"] = quality.describe()
    workspace.make_file(f"{FOLDER}/motion.png", key, quality.draw)
    log_quality(frames, quality)
    poses = stored["vertices"]
    for index in np.unique(np.linspace(0, len(frames) - 1, CHECKS).round().astype(int)):
        draw = partial(write_check, frame=frames[index], mesh=mesh.with_vertices(torch.from_numpy(poses[index])))
        workspace.make_file(f"{FOLDER}/{frames[index].name}_check.png", key, draw)
    if rest is not full:
        poses = ProxyBinding.of(full, rest).apply(poses)
    return MeshSequence(torch.from_numpy(poses), full, np.arange(len(frames), dtype=np.float64))


def fill(frames: list[Frame], sequence: MeshSequence, workspace: Workspace, config: Config) -> MeshSequence:
    """All frames from the poses of key frames: those between are fitted to the video, or lie on straight lines.

    Args:
        frames: all T frames, background removed.
        sequence: the key frames' poses, in the space of the video's camera; times are frame numbers.
        workspace: the animation's folder.
        config: all options; ``inbetween`` and ``drive`` count here.

    Returns:
        poses at times 0 to T - 1, or the key frames' alone with ``--inbetween linear``.
    """
    if config.inbetween == "linear" or len(sequence) == len(frames):
        return sequence
    log.info("registration: frames between key frames are fitted on cpu")
    key = _key(frames, sequence.mesh, config, "fill", sequence.times, sequence.vertices.cpu().numpy())
    make = partial(_filled, frames, sequence, config)
    poses = torch.from_numpy(workspace.make_arrays(f"{FOLDER}/between.npz", key, make)["vertices"])
    return MeshSequence(poses.to(sequence.vertices), sequence.mesh, np.arange(len(frames), dtype=np.float64))


def _key(frames: list[Frame], mesh: Mesh, config: Config, *more: Any) -> str:
    """What the motion of a mesh follows from: the frames, the mesh, the options, the code, and more."""
    arrays = mesh.arrays()
    pictures = (part for frame in frames for part in (frame.name, frame.fov, frame.rgba))
    options = (asdict(config.drive), code_version("registration"))
    return digest(*more, options, *(arrays[name] for name in sorted(arrays)), *pictures)


def _tracker(config: Config) -> tuple[Any, ...]:
    """What follows points, with its options and weights; nothing where none was asked for."""
    if not config.use_tracking:
        return ()
    options = config.registration
    return (options.tracker, options.tracked_points, needs.version(config))


def _filled(frames: list[Frame], sequence: MeshSequence, config: Config) -> Arrays:
    """The poses (T, V, 3) of all frames."""
    with _progress("frames between", frames) as progress:
        found = fit_frames(frames, sequence, config.drive, lambda done: progress.update(done - progress.n))
    return {"vertices": found.vertices.cpu().numpy()}


def log_quality(frames: list[Frame], quality: FitQuality) -> None:
    """The log's word on how it went: the fit, and the frames in which track was lost."""
    shares = [frame.iou for frame in quality.frames]
    log.info("moved through %d frames: mask IoU %.3f, least %.3f", len(shares), np.mean(shares), min(shares))
    lost = [(frame.name, state.lost) for frame, state in zip(frames, quality.frames, strict=True) if state.lost]
    if lost:
        log.warning("track lost in %d of %d frames, first in %s: %s", len(lost), len(shares), *lost[0])


def _first(frame: Frame, mesh: Mesh, config: Config) -> Arrays:
    """The mesh's pose in the first frame, (V, 3)."""
    return {"vertices": fit_first_frame(mesh, frame, config.drive).vertices.cpu().numpy()}


def _driven(frames: list[Frame], mesh: Mesh, config: Config) -> Arrays:
    """The poses (T, V, 3), and the frames' health as columns."""
    tracked = _followed(frames, mesh, config) if config.use_tracking and len(frames) > 1 else None
    with _progress("frames", frames) as progress:
        found = track_mesh(frames, mesh, config.drive, tracked, lambda done: progress.update(done - progress.n))
    columns = {
        field.name: [getattr(frame, field.name) for frame in found.quality.frames] for field in fields(FrameQuality)
    }
    lost = columns.pop("lost")
    numbers = {name: np.array(values, np.float64) for name, values in columns.items()}
    text = np.frombuffer(json.dumps(lost).encode("utf-8"), np.uint8)
    return {"vertices": found.vertices.cpu().numpy(), "lost": text, **numbers}


def _progress(name: str, frames: list[Frame]) -> tqdm:
    return tqdm(total=len(frames), desc=name, unit="frame", leave=False, dynamic_ncols=True)


def _health(stored: Arrays) -> FitQuality:
    """What ``_driven`` noted of the frames."""
    columns = {field.name: stored[field.name].tolist() for field in fields(FrameQuality) if field.name != "lost"}
    columns["lost"] = json.loads(stored["lost"].tobytes().decode("utf-8"))
    rows = zip(*columns.values(), strict=True)
    return FitQuality([FrameQuality(**dict(zip(columns, row, strict=True))) for row in rows])


def _followed(frames: list[Frame], mesh: Mesh, config: Config) -> PointTracks:
    """Points of the first frame's surface, followed through all frames by the tracker that the options name."""
    view = ImageWindow.of(frames[0], frames[0].camera(), config.drive.size, [mesh.vertices])
    rendered = AppearanceModel.of(mesh, mesh.vertices, view).render(mesh.vertices, view)
    points, places = points_to_track(rendered, config.registration.tracked_points)
    video = np.stack([frame.rgba for frame in frames])
    tracks = tracking.track_through(tracking.load(config), video, places, 0)
    return PointTracks(points, tracks)
