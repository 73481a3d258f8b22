"""Tracks of the key frames' meshes in rendered views, made once and kept on disk, with videos for people."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from registration.correspondences import point_trackers as tracking
from registration.correspondences.point_trackers import VISIBLE, Tracker, track_through
from registration.keyframes.lifted_tracks import SurfaceTracks, TrackingViews, picture, set_points
from v2m4.config import Config
from v2m4.io.video import write_video
from v2m4.mesh import Mesh, PosedAsset
from v2m4.optical_flow import Tracks
from v2m4.preflight import registration as needs
from v2m4.surface_points import SurfacePoints
from v2m4.workspace import Workspace, digest

log = logging.getLogger("v2m4.registration")

FOLDER = "3_registration"
SHOWN_VIEWS, SHOWN_POINTS = 6, 300  # in the videos
FPS = 8.0  # of the videos: they have as many frames as there are key frames
GREY = 40  # their background


class TrackedKeyFrames:
    """Pictures of the key frames' meshes from all views, and points followed through them.

    Points are set on the mesh that moves in its own key frame and followed through all others, as in V2M4. What turns
    out of sight is lost so; points are therefore set anew wherever the pose has just been found, for one step.

    Args:
        posed: the mesh of each key frame, in the space of the video's camera.
        moved: position of the mesh that moves.
        names: of the key frames.
        workspace: keeps the tracks, and two videos for each of the first views.
        config: all options.
        key: digest of the meshes and the options.
    """

    def __init__(
        self,
        posed: Sequence[PosedAsset],
        moved: int,
        names: Sequence[str],
        workspace: Workspace,
        config: Config,
        key: str,
    ) -> None:
        """Follow the points, or read what an earlier run has followed.

        Raises:
            Unavailable: the tracker cannot be loaded.
        """
        self.moved, self.config, self.options = moved, config, config.registration
        meshes, upright = [asset.mesh for asset in posed], posed[moved].extrinsics
        self.triangles = meshes[moved].faces
        self.views = TrackingViews.around(
            meshes, moved, upright, config.tracking_camera_radius, self.options.tracked_views
        )
        warn_of_leaving(self.views, names)
        self.meshes = [self.views.moved(mesh) for mesh in meshes]
        self._tracker: Tracker | None = None
        self.key = digest(key, moved, config.seed, config.tracking_camera_radius, needs.version(config))
        every = range(len(meshes))
        stored = workspace.make_arrays(
            f"{FOLDER}/tracks.npz", self.key, lambda: self._follow(self.meshes[moved], every, moved).arrays()
        )
        self.tracks = SurfaceTracks.from_arrays(stored, meshes[moved].vertices.device)
        self._show(workspace)
        seen = (self.tracks.confidence >= VISIBLE).double().mean(1).tolist()
        shares = ", ".join(f"{name} {share:.0%}" for name, share in zip(names, seen, strict=True))
        log.info("tracking: %d points in %d views, seen in %s", len(self.tracks.view), len(self.views.cameras), shares)

    def ends(self, pose: Tensor, start: int, stop: int) -> SurfaceTracks:
        """Where points of the mesh that moves are seen at a key frame.

        Args:
            pose: (V, 3) at key frame ``start``, in the video camera's space; points are set anew on it.
            start: position of a key frame.
            stop: position of the key frame that is asked for.
        """
        fresh = self._follow(self.views.moved(Mesh(pose, self.triangles)), (start, stop), 0)
        return self.tracks.at(stop).joined(fresh.at(1))

    def pictures(self, view: int, keys: Sequence[int]) -> np.ndarray:
        """The meshes of some key frames in one view, (K, H, W, 4) uint8."""
        camera, size = self.views.cameras[view], self.options.tracked_size
        return np.stack([picture(self.meshes[key], camera, size) for key in keys])

    def _follow(self, mesh: Mesh, keys: Sequence[int], start: int) -> SurfaceTracks:
        """Set points on a mesh of the views' space, in picture ``start`` of key frames ``keys``, and follow them."""
        if self._tracker is None:
            self._tracker = tracking.load(self.config)
        draw = torch.Generator().manual_seed(int(digest(self.config.seed, "tracks", list(keys), start)[:12], 16))
        parts: list[SurfacePoints] = []
        tracks: list[Tracks] = []
        for index, camera in enumerate(self.views.cameras):
            points, at = set_points(mesh, camera, self.options.tracked_size, self.options.tracked_points, draw)
            found = track_through(self._tracker, self.pictures(index, keys), at, start)
            origin, span = np.array(camera.window[:2]), np.array(camera.window[2:]) - np.array(camera.window[:2])
            parts.append(points)
            tracks.append(Tracks(origin + found.positions * span, found.confidence))
        counts = torch.tensor([len(points.faces) for points in parts])
        device = mesh.vertices.device
        return SurfaceTracks(
            self.views.matrix,
            torch.cat([camera.extrinsics for camera in self.views.cameras]),
            torch.tensor([camera.window for camera in self.views.cameras], device=device),
            torch.arange(len(parts)).repeat_interleave(counts).to(device),
            torch.cat([points.faces for points in parts]),
            torch.cat([points.weights for points in parts]),
            torch.from_numpy(np.concatenate([found.positions for found in tracks], 1)).float().to(device),
            torch.from_numpy(np.concatenate([found.confidence for found in tracks], 1)).float().to(device),
            counts.to(device),
        )

    def _show(self, workspace: Workspace) -> None:
        """Two videos of each of the first views: the pictures alone, and with tracks drawn in."""
        for view in range(min(SHOWN_VIEWS, len(self.views.cameras))):
            for name, drawn in (("track_video", False), ("track_result", True)):
                write = partial(self._write, view=view, drawn=drawn)
                workspace.make_file(f"{FOLDER}/{name}{view}.mp4", self.key, write)

    def _write(self, path: Path, view: int, drawn: bool) -> None:
        """One view's video, with some of its tracks drawn in or not."""
        pictures = self.pictures(view, range(len(self.meshes)))
        if not drawn:
            write_video(path, opaque(pictures), FPS)
            return
        here = torch.nonzero(self.tracks.view == view)[:, 0]
        shown = self.tracks.of(here[:: max(1, math.ceil(len(here) / SHOWN_POINTS))])
        window = shown.windows[view].double().cpu().numpy()
        positions = (shown.positions.double().cpu().numpy() - window[:2]) / (window[2:] - window[:2])
        write_video(path, draw_tracks(pictures, positions, shown.confidence.cpu().numpy(), self.moved), FPS)


def warn_of_leaving(views: TrackingViews, names: Sequence[str]) -> None:
    """Say where the object leaves a view, and from which ``--tracking_camera_radius`` on it does not."""
    if views.leaving.any():
        log.warning(
            "tracking: the object leaves a view in %s; its tracks end there. --tracking_camera_radius %g (now %g) "
            "shows the whole motion",
            ", ".join(name for name, left in zip(names, views.leaving, strict=True) if left),
            math.ceil(10 * views.needed) / 10,
            views.radius,
        )


def draw_tracks(
    pictures: np.ndarray, positions: np.ndarray, confidence: np.ndarray, moved: int
) -> Iterator[np.ndarray]:
    """Pictures with points and their ways drawn in, each point in a colour by where it was set.

    Args:
        pictures: (K, H, W, 4) uint8.
        positions: (K, N, 2) fractions of the picture.
        confidence: (K, N).
        moved: the picture that points are set in.

    Yields:
        (H, W, 3) uint8.
    """
    size = np.array([pictures.shape[2], pictures.shape[1]])
    low, high = positions[moved].min(0, initial=1.0), positions[moved].max(0, initial=0.0)
    place = (positions[moved] - low) / np.maximum(high - low, 1e-9)
    hsv = np.stack([179 * place[:, 0], 120 + 135 * place[:, 1], np.full(len(place), 255)], 1).astype(np.uint8)
    colours = cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0].tolist() if len(place) else []
    corners = (positions * size * 8).round().astype(np.int64)
    for time, drawn in enumerate(opaque(pictures)):
        step = 1 if time >= moved else -1
        for point in np.flatnonzero(confidence[time] >= VISIBLE):
            way = corners[moved : time + step if time + step >= 0 else None : step, point]
            cv2.polylines(drawn, [way.astype(np.int32)], False, colours[point], 1, cv2.LINE_AA, shift=3)
            cv2.circle(drawn, corners[time, point].tolist(), 16, colours[point], -1, cv2.LINE_AA, shift=3)
        yield drawn


def opaque(pictures: np.ndarray) -> Iterator[np.ndarray]:
    """Pictures (K, H, W, 4) on grey, (H, W, 3) uint8 each."""
    for rgba in pictures:
        share = rgba[..., 3:].astype(np.float32) / 255
        yield (rgba[..., :3] * share + GREY * (1 - share)).round().astype(np.uint8)
