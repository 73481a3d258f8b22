"""Point tracks through rendered views of the key frames' meshes, stored on disk, with videos of them."""

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
from registration.keyframes.lifted_tracks import SurfaceTracks, TrackingViews, render_view, sample_visible_points
from v2m4.config import Config
from v2m4.io.video import write_video
from v2m4.mesh import Mesh, PosedAsset
from v2m4.optical_flow import Tracks
from v2m4.preflight import registration as preflight
from v2m4.surface_points import SurfacePoints
from v2m4.workspace import STAGE_FOLDERS, Workspace, digest

log = logging.getLogger("v2m4.registration")

FOLDER = STAGE_FOLDERS["registration"]
VIDEO_VIEWS, VIDEO_POINTS = 6, 300  # views with videos, and tracks in each, at most
FPS = 8.0  # frames a second of the videos, which have one frame for each key frame
BACKGROUND = 40  # grey level of the videos' background


class TrackedKeyFrames:
    """Rendered views of the key frames' meshes, and points tracked through them.

    Points are sampled on the template at its own key frame and tracked through all others, as in V2M4. These tracks are
    lost where their points are occluded; ``ends`` therefore also tracks new samples from one key frame to the next.

    Args:
        posed: the mesh of each key frame, in the space of the video's camera.
        reference: position, among the key frames, of the template's own.
        names: of the key frames.
        workspace: stores the tracks, and two videos for each of the first views.
        config: all options.
        key: digest of the meshes and the options.
    """

    def __init__(
        self,
        posed: Sequence[PosedAsset],
        reference: int,
        names: Sequence[str],
        workspace: Workspace,
        config: Config,
        key: str,
    ) -> None:
        """Tracks the points, or reads the tracks that an earlier run has stored.

        Raises:
            Unavailable: the tracker cannot be loaded.
        """
        self.reference, self.config, self.options = reference, config, config.registration
        meshes, upright = [asset.mesh for asset in posed], posed[reference].extrinsics
        self.triangles = meshes[reference].faces
        self.views = TrackingViews.around(
            meshes, reference, upright, config.tracking_camera_radius, self.options.tracked_views
        )
        warn_of_cropping(self.views, names)
        self.meshes = [self.views.to_view_space(mesh) for mesh in meshes]
        self._tracker: Tracker | None = None
        self.key = digest(key, reference, config.seed, config.tracking_camera_radius, preflight.version(config))
        all_keys = range(len(meshes))
        stored = workspace.make_arrays(
            f"{FOLDER}/tracks.npz", self.key, lambda: self._track(self.meshes[reference], all_keys, reference).arrays()
        )
        self.tracks = SurfaceTracks.from_arrays(stored, meshes[reference].vertices.device)
        self._write_videos(workspace)
        visible = (self.tracks.confidence >= VISIBLE).double().mean(1).tolist()
        shares = ", ".join(f"{name} {fraction:.0%}" for name, fraction in zip(names, visible, strict=True))
        log.info(
            "tracking: %d points in %d views, visible in %s", len(self.tracks.view), len(self.views.cameras), shares
        )

    def ends(self, pose: Tensor, start: int, stop: int) -> SurfaceTracks:
        """Tracks of the template's points at a key frame, K = 1: from its own key frame and from a neighbour.

        Args:
            pose: (V, 3) at key frame ``start``, in the video camera's space; new points are sampled on it.
            start: position of a key frame.
            stop: position of the key frame that the tracks end at.
        """
        resampled = self._track(self.views.to_view_space(Mesh(pose, self.triangles)), (start, stop), 0)
        return self.tracks.at(stop).joined(resampled.at(1))

    def pictures(self, view: int, keys: Sequence[int]) -> np.ndarray:
        """Renders the meshes of key frames ``keys`` in a view: (K, H, W, 4) uint8."""
        camera, size = self.views.cameras[view], self.options.tracked_size
        return np.stack([render_view(self.meshes[key], camera, size) for key in keys])

    def _track(self, mesh: Mesh, keys: Sequence[int], start: int) -> SurfaceTracks:
        """Samples points on a mesh in view space, key frame ``keys[start]``, and tracks them through ``keys``."""
        if self._tracker is None:
            self._tracker = tracking.load(self.config)
        draw = torch.Generator().manual_seed(int(digest(self.config.seed, "tracks", list(keys), start)[:12], 16))
        parts: list[SurfacePoints] = []
        tracks: list[Tracks] = []
        for index, camera in enumerate(self.views.cameras):
            points, queries = sample_visible_points(
                mesh, camera, self.options.tracked_size, self.options.tracked_points, draw
            )
            tracked = track_through(self._tracker, self.pictures(index, keys), queries, start)
            origin, span = np.array(camera.window[:2]), np.array(camera.window[2:]) - np.array(camera.window[:2])
            parts.append(points)
            tracks.append(Tracks(origin + tracked.positions * span, tracked.confidence))
        counts = torch.tensor([len(points.faces) for points in parts])
        device = mesh.vertices.device
        return SurfaceTracks(
            self.views.matrix,
            torch.cat([camera.extrinsics for camera in self.views.cameras]),
            torch.tensor([camera.window for camera in self.views.cameras], device=device),
            torch.arange(len(parts)).repeat_interleave(counts).to(device),
            torch.cat([points.faces for points in parts]),
            torch.cat([points.weights for points in parts]),
            torch.from_numpy(np.concatenate([part.positions for part in tracks], 1)).float().to(device),
            torch.from_numpy(np.concatenate([part.confidence for part in tracks], 1)).float().to(device),
            counts.to(device),
        )

    def _write_videos(self, workspace: Workspace) -> None:
        """Writes two videos of each of the first views: without and with the tracks drawn."""
        for view in range(min(VIDEO_VIEWS, len(self.views.cameras))):
            for name, with_tracks in (("track_video", False), ("track_result", True)):
                write = partial(self._write, view=view, with_tracks=with_tracks)
                workspace.make_file(f"{FOLDER}/{name}{view}.mp4", self.key, write)

    def _write(self, path: Path, view: int, with_tracks: bool) -> None:
        """Writes one view's video, with some of its tracks drawn or without."""
        pictures = self.pictures(view, range(len(self.meshes)))
        if not with_tracks:
            write_video(path, opaque(pictures), FPS)
            return
        in_view = torch.nonzero(self.tracks.view == view)[:, 0]
        selected = self.tracks.select(in_view[:: max(1, math.ceil(len(in_view) / VIDEO_POINTS))])
        window = selected.windows[view].double().cpu().numpy()
        positions = (selected.positions.double().cpu().numpy() - window[:2]) / (window[2:] - window[:2])
        write_video(path, draw_tracks(pictures, positions, selected.confidence.cpu().numpy(), self.reference), FPS)


def warn_of_cropping(views: TrackingViews, names: Sequence[str]) -> None:
    """Logs the key frames at which the object leaves a view, and the ``--tracking_camera_radius`` that avoids it."""
    if views.leaving.any():
        log.warning(
            "tracking: the object leaves a view in %s; its tracks end there. --tracking_camera_radius %g (now %g) "
            "shows the whole motion",
            ", ".join(name for name, left in zip(names, views.leaving, strict=True) if left),
            math.ceil(10 * views.min_radius) / 10,
            views.radius,
        )


def draw_tracks(
    pictures: np.ndarray, positions: np.ndarray, confidence: np.ndarray, reference: int
) -> Iterator[np.ndarray]:
    """Draws points and their paths into images, each point in a colour by its position in the reference image.

    Args:
        pictures: (K, H, W, 4) uint8.
        positions: (K, N, 2) fractions of the image.
        confidence: (K, N).
        reference: index of the image that the points were sampled in.

    Yields:
        (H, W, 3) uint8.
    """
    size = np.array([pictures.shape[2], pictures.shape[1]])
    low, high = positions[reference].min(0, initial=1.0), positions[reference].max(0, initial=0.0)
    position = (positions[reference] - low) / np.maximum(high - low, 1e-9)
    hsv = np.stack([179 * position[:, 0], 120 + 135 * position[:, 1], np.full(len(position), 255)], 1).astype(np.uint8)
    colours = cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0].tolist() if len(position) else []
    corners = (positions * size * 8).round().astype(np.int64)
    for time, canvas in enumerate(opaque(pictures)):
        step = 1 if time >= reference else -1
        for point in np.flatnonzero(confidence[time] >= VISIBLE):
            path = corners[reference : time + step if time + step >= 0 else None : step, point]
            cv2.polylines(canvas, [path.astype(np.int32)], False, colours[point], 1, cv2.LINE_AA, shift=3)
            cv2.circle(canvas, corners[time, point].tolist(), 16, colours[point], -1, cv2.LINE_AA, shift=3)
        yield canvas


def opaque(pictures: np.ndarray) -> Iterator[np.ndarray]:
    """Yields images (K, H, W, 4) composited over grey, (H, W, 3) uint8 each."""
    for rgba in pictures:
        alpha = rgba[..., 3:].astype(np.float32) / 255
        yield (rgba[..., :3] * alpha + BACKGROUND * (1 - alpha)).round().astype(np.uint8)
