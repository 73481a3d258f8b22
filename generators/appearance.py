"""After stage 2: each key frame's mesh made anew towards its frame, seen from the camera that was found.

Only some generators can (``Refining``); the meshes of the others are left as they are.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path

import imageio.v3 as iio
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, interpolate

from generators._refine import Refining, Term
from generators.base import create
from v2m4 import dreamsim, lpips
from v2m4.camera import Camera
from v2m4.config import Config
from v2m4.device import device_of
from v2m4.frame import Frame
from v2m4.mesh import Mesh, PosedAsset
from v2m4.preflight.published import require_resolved
from v2m4.render import render_mesh
from v2m4.workspace import Arrays, Workspace, code_version, digest

log = logging.getLogger(__name__)


def refine(frames: list[Frame], posed: list[PosedAsset], workspace: Workspace, config: Config) -> list[PosedAsset]:
    """The posed meshes with another appearance, where the generator can and ``--generation.refine`` wants it.

    Args:
        frames: key frames with the background removed.
        posed: stage 2's, one for each frame.
        workspace: the animation's folder; keeps ``1_generation/<frame>_refined.npz`` and a picture beside it.
        config: all options; what counts for ``run`` counts here.

    Raises:
        GenerationError: nothing can be made of a frame.
        Unavailable: a package or weights are missing.
        ValueError: there is not one posed mesh for each frame, or an option is still ``published``.
    """
    if len(frames) != len(posed):
        raise ValueError(f"refinement: {len(posed)} meshes for {len(frames)} frames")
    require_resolved(config)
    wanted = config.generation.refine
    if wanted == "no":
        return posed
    generator = create(config.model, config)
    if not isinstance(generator, Refining):
        log.log(logging.DEBUG if wanted == "pixels" else logging.WARNING, "%s refines no meshes", config.model)
        return posed
    made_by = (config.model, getattr(generator, "version", ""), code_version("generators"))
    learned = dreamsim.version(config) + lpips.version(config) if wanted == "networks" else ""
    options = (made_by, learned, config.max_faces, config.seed, asdict(config.generation))
    terms = cache(partial(_terms, config))  # only where a mesh has to be made
    refined = []
    for frame, pose in zip(frames, posed, strict=True):
        key = digest(frame.rgba, frame.fov, frame.name, frame.index, options, pose.extrinsics.cpu().numpy())
        camera = Camera(pose.extrinsics[None], frame.fov, frame.aspect)

        def make(frame: Frame = frame, camera: Camera = camera) -> Arrays:
            return generator.refine(frame, camera, terms()).arrays()

        mesh = Mesh.from_arrays(workspace.make_arrays(f"1_generation/{frame.name}_refined.npz", key, make))
        after = replace(pose, mesh=mesh.to(pose.mesh.vertices.device).transformed(pose.matrix()))
        draw = partial(_draw, frame=frame, before=pose.mesh, after=after.mesh)
        workspace.make_file(f"1_generation/{frame.name}_refined.png", digest(key, pose.scale), draw)
        log.info("%s: refined", frame.name)
        refined.append(after)
    return refined


def _terms(config: Config) -> list[Term]:
    """The learned distances that the options ask for.

    Raises:
        Unavailable: a package or weights are missing, or cannot be loaded.
    """
    if config.generation.refine != "networks":
        return []
    dreamsim.check(config)
    device = device_of(config)
    alike, close = dreamsim.load(dreamsim.folder_of(config), device), lpips.load(config, device)

    def by_dreamsim(render: Tensor, picture: Tensor) -> Tensor:
        pair = torch.stack([render, picture]).permute(0, 3, 1, 2)
        small = interpolate(pair, (dreamsim.SIZE,) * 2, mode="bicubic", align_corners=False)
        ours, theirs = dreamsim.embedded(alike, [small[:1], small[1:]])
        return 1 - cosine_similarity(ours, theirs, dim=-1).mean()

    def by_lpips(render: Tensor, picture: Tensor) -> Tensor:
        first, second = (side.permute(2, 0, 1)[None] for side in (render, picture))
        return lpips.distance(close, first, second).mean()

    return [by_dreamsim, by_lpips]


def _draw(path: Path, frame: Frame, before: Mesh, after: Mesh, size: int = 384) -> None:
    """A PNG of the frame and of the posed mesh before and after."""
    picture, _ = frame.tensors(size)
    camera, view = frame.camera(), (picture.shape[0], picture.shape[1])
    seen = [
        render_mesh(mesh.to("cpu"), camera, view, channels=("color",), background=1.0).color[0]
        for mesh in (before, after)
    ]
    sheet = torch.cat([picture, *seen], 1).clamp(0, 1)
    iio.imwrite(path, (sheet * 255).round().to(torch.uint8).numpy())
