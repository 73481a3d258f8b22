"""Stage 2: search every key frame's camera, and transform every mesh into the video camera's space.

Size and depth are ambiguous in one image, and every generated mesh fills the unit cube, whatever its pose. So each mesh
is scaled about the camera's centre, which does not change its image, so that the centroid of its surface has the same
depth as in the first key frame. An object that really approaches the camera grows instead.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from torch import Tensor

from camera_search.learned_parts import LearnedParts, uses_networks
from camera_search.search import SearchResult, find_camera
from v2m4 import threads
from v2m4.camera import Orbit
from v2m4.config import Config
from v2m4.device import device_of
from v2m4.export import write_mesh_glb_in_world
from v2m4.frame import Frame
from v2m4.geometry import face_areas
from v2m4.mesh import Asset, Mesh, PosedAsset
from v2m4.on_demand import OnDemand
from v2m4.preflight.camera_search import version
from v2m4.render import render_mesh
from v2m4.report import progress
from v2m4.workspace import STAGE_FOLDERS, Arrays, Workspace, code_version, digest

log = logging.getLogger("v2m4.camera_search")

FOLDER = STAGE_FOLDERS["camera_search"]

Placement = tuple[Tensor, float, float]  # extrinsics (4, 4), scale and similarity of a frame


@dataclass(frozen=True)
class _Found:
    """Camera of a frame.

    Attributes:
        key: digest of everything that determines it.
        orbit: the camera.
        score: similarity of its render with the frame.
    """

    key: str
    orbit: Orbit
    score: float


def run(frames: list[Frame], assets: Sequence[Asset], workspace: Workspace, config: Config) -> Sequence[PosedAsset]:
    """Stage 2: a camera for every key frame, and its mesh posed.

    Where a generator knows no camera of its mesh, that of the frame before is the hint. A generator's own camera is
    refined, and no other is searched, where its similarity reaches ``SearchConfig.accepted``; networks that the options
    ask for are always used.

    Args:
        frames: key frames with the background removed.
        assets: one for each frame, in canonical pose.
        workspace: the animation's folder.
        config: all options; ``seed``, ``device``, ``search``, ``use_vggt`` and the weights' folders are used.

    Returns:
        One posed asset for each frame, all at the depth of the first; each is made from that of
        ``assets`` when it is asked for.

    Raises:
        ValueError: a frame has no foreground, or there is not one asset for each frame.
        Unavailable: a learned part that the options name is missing.
    """
    if len(frames) != len(assets):
        raise ValueError(f"camera search: {len(assets)} assets for {len(frames)} frames")
    log.info(
        "camera search: renders, their scores and the refinement on %s; optical flow and PnP on cpu", device_of(config)
    )
    stage = _Stage(workspace, config)
    placements: list[Placement] = []
    entries: list[dict[str, object]] = []
    orbit: Orbit | None = None
    depth = 0.0
    for first in range(0, len(frames), stage.at_once):
        part = [(frames[index], assets[index]) for index in range(first, min(first + stage.at_once, len(frames)))]
        results = stage.searched(part, orbit)
        for (frame, asset), found in zip(part, results, strict=True):
            orbit = found.orbit
            extrinsics = orbit.camera().extrinsics[0]
            own_depth = float((surface_center(asset.mesh) @ extrinsics[:3, :3].T + extrinsics[:3, 3])[2])
            depth = depth or own_depth
            placements.append((extrinsics, depth / own_depth, found.score))
            mean = sum(score for _, _, score in placements) / len(placements)
            shown = progress(f"similarity {mean:.3f}", f"{len(placements)} of {len(frames)}")
            log.info("%s: similarity %.3f, scale %.3f", frame.name, found.score, depth / own_depth, extra=shown)
            entries.append(camera_entry(frame, PosedAsset(asset.mesh, *placements[-1]), orbit))
        stage.write(part, [found.key for found in results], placements[first:], placements[0][0])
    text = json.dumps(entries, indent=1)
    workspace.make_file(f"{FOLDER}/cameras.json", digest(text), partial(write_text, text=text))
    return OnDemand(len(frames), lambda index: pose_asset(assets[index].mesh, *placements[index]))


class _Stage:
    """The computation and storage of the cameras of one animation's key frames.

    Attributes:
        at_once: key frames that are searched at the same time.
    """

    def __init__(self, workspace: Workspace, config: Config) -> None:
        self.workspace, self.config, self.device = workspace, config, device_of(config)
        self.options = (
            config.seed, config.search.__dict__, config.use_vggt, version(config), code_version("camera_search")
        )  # fmt: skip
        self.parts = cache(partial(LearnedParts.load, config))  # only where a frame has to be searched
        self.several = self.device.type == "cpu" and not uses_networks(config)
        self.at_once = threads.count() if self.several else 1

    def searched(self, part: Sequence[tuple[Frame, Asset]], previous: Orbit | None) -> list[_Found]:
        """Cameras of some key frames; ``previous``, that of the frame before, is the hint of the first without one."""
        if all(asset.hint is not None for _, asset in part):
            return threads.in_order(lambda pair: self._searched(*pair, None), part)
        results: list[_Found] = []
        for frame, asset in part:
            results.append(self._searched(frame, asset, results[-1].orbit if results else previous))
        return results

    def _searched(self, frame: Frame, asset: Asset, previous: Orbit | None) -> _Found:
        hint = previous if asset.hint is None else asset.hint
        hints = [] if hint is None else [hint]
        arrays = asset.mesh.arrays()
        key = digest(
            frame.rgba,
            frame.fov,
            frame.index,
            self.options,
            asset.hint is None,
            *(arrays[name] for name in sorted(arrays)),
            *(hint.parameters().numpy() for hint in hints),
        )
        own_is_enough = asset.hint is not None and not uses_networks(self.config)
        accepted = self.config.search.accepted if own_is_enough else math.inf
        search = partial(_search, frame, asset.mesh.to(self.device), hints, self.config, self.parts, accepted)
        found = self.workspace.make_arrays(f"{FOLDER}/{frame.name}.npz", key, search)
        return _Found(key, Orbit.from_parameters(torch.from_numpy(found["orbit"])), float(found["score"]))

    def write(
        self,
        part: Sequence[tuple[Frame, Asset]],
        keys: Sequence[str],
        placements: Sequence[Placement],
        first_extrinsics: Tensor,
    ) -> None:
        """Write a picture and a GLB of some key frames' posed meshes.

        Args:
            part: the key frames and their meshes.
            keys: what their cameras depend on.
            placements: of the meshes.
            first_extrinsics: (4, 4) of the first key frame's camera.
        """

        def written(each: tuple[tuple[Frame, Asset], str, Placement]) -> None:
            (frame, asset), key, placement = each
            mesh = pose_asset(asset.mesh, *placement).mesh
            draw = partial(draw_posed, frame=frame, mesh=mesh)
            self.workspace.make_file(f"{FOLDER}/{frame.name}.png", digest(key, placement[1]), draw)
            name = f"{frame.name}_re-canonicalization_sample.glb"
            write_mesh_glb_in_world(self.workspace, name, mesh, first_extrinsics)

        threads.in_order(written, zip(part, keys, placements, strict=True), several=self.several)


def pose_asset(mesh: Mesh, extrinsics: Tensor, scale: float, score: float) -> PosedAsset:
    """Mesh transformed from canonical pose into the camera's space, then scaled about the camera's centre.

    Args:
        mesh: in canonical pose.
        extrinsics: (4, 4) rigid.
        scale: factor of the scaling.
        score: similarity of its render with the frame.
    """
    posed = PosedAsset(mesh, extrinsics, scale, score)
    return PosedAsset(mesh.transformed(posed.matrix()), extrinsics, scale, score)


def surface_center(mesh: Mesh) -> Tensor:
    """Centroid of the surface (3,); an outstretched arm moves it less than the centre of the bounding box."""
    areas = face_areas(mesh.vertices, mesh.faces).double()
    middles = mesh.vertices.double()[mesh.faces].mean(1)
    return ((middles * areas[:, None]).sum(0) / areas.sum().clamp_min(1e-12)).to(mesh.vertices)


def _search(
    frame: Frame,
    mesh: Mesh,
    hints: list[Orbit],
    config: Config,
    parts: Callable[[], LearnedParts],
    accepted: float,
) -> Arrays:
    """Result of a frame's camera search as arrays; its randomness depends on the seed and the frame's index only."""
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + frame.index)
    similarity, proposers = parts().similarity, parts().proposers
    result: SearchResult = find_camera(mesh, frame, config.search, generator, hints, similarity, proposers, accepted)
    return {
        "orbit": result.orbit.parameters().numpy(),
        "score": np.float64(result.score),
        "history": np.array(list(result.history.values())),
        "steps": np.array(list(result.history)),
    }


def draw_posed(path: Path, frame: Frame, mesh: Mesh, size: int = 384) -> None:
    """Write a PNG of the frame, the posed mesh, and their overlaid masks (both white, frame red, mesh blue)."""
    color, mask = frame.tensors(size)
    height, width = color.shape[:2]
    rendering = render_mesh(mesh, frame.camera(), (height, width), channels=("color", "mask"), background=1.0)
    rendered_mask = rendering.mask[0].cpu()
    masks = torch.cat([mask, torch.minimum(mask, rendered_mask), rendered_mask], -1)
    sheet = torch.cat([color, rendering.color[0].cpu(), masks], 1).clamp(0, 1)
    iio.imwrite(path, (sheet * 255).round().to(torch.uint8).numpy())


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8."""
    path.write_text(text, "utf-8")


def camera_entry(frame: Frame, posed: PosedAsset, orbit: Orbit) -> dict[str, object]:
    """A frame's camera, scale and similarity as JSON values, for people to read."""
    return {
        "frame": frame.name,
        "index": frame.index,
        "fov": frame.fov,
        "yaw": float(orbit.yaw),
        "pitch": float(orbit.pitch),
        "radius": float(orbit.radius),
        "look_at": orbit.look_at[0].tolist(),
        "extrinsics": posed.extrinsics.tolist(),
        "scale": posed.scale,
        "score": posed.score,
    }
