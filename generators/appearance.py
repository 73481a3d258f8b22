"""Appearance refinement: each key frame's mesh is generated again, with the camera that stage 2 computed.

Only some generators can (``AppearanceRefiner``); the meshes of the others are returned unchanged.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path

import imageio.v3 as iio
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, interpolate

from generators._refine import AppearanceRefiner, Term
from generators.base import KEPT_BYTES, create
from v2m4 import dreamsim, lpips
from v2m4.camera import Camera
from v2m4.config import Config
from v2m4.device import device_of
from v2m4.files import read_arrays
from v2m4.frame import Frame
from v2m4.mesh import Mesh, PosedAsset
from v2m4.on_demand import OnDemand
from v2m4.preflight.published import require_resolved
from v2m4.render import render_mesh
from v2m4.workspace import Arrays, Workspace, code_version, digest

log = logging.getLogger(__name__)


def refine(
    frames: list[Frame], posed: Sequence[PosedAsset], workspace: Workspace, config: Config
) -> Sequence[PosedAsset]:
    """Posed meshes with refined appearance, if the generator supports it and ``--generation.refine`` is not ``no``.

    Args:
        frames: key frames with the background removed.
        posed: of stage 2, one for each frame.
        workspace: the animation's folder, for ``1_generation/<frame>_refined.npz`` and ``.png``.
        config: all options; this function reads the same as ``run``.

    Raises:
        GenerationError: the generator fails on a frame.
        Unavailable: a package or weights are missing.
        ValueError: there is not one posed mesh for each frame, or an option is still ``published``.
    """
    if len(frames) != len(posed):
        raise ValueError(f"refinement: {len(posed)} meshes for {len(frames)} frames")
    require_resolved(config)
    mode = config.generation.refine
    if mode == "no":
        return posed
    generator = create(config.model, config)
    if not isinstance(generator, AppearanceRefiner):
        log.log(
            logging.DEBUG if mode == "pixels" else logging.WARNING,
            "%s cannot refine the appearance of its meshes",
            config.model,
        )
        return posed
    generator_version = (config.model, getattr(generator, "version", ""), code_version("generators"))
    learned = dreamsim.version(config) + lpips.version(config) if mode == "networks" else ""
    options = (generator_version, learned, config.max_faces, config.seed, asdict(config.generation))
    terms = cache(partial(_terms, config))  # loaded only if a mesh is generated
    files: list[Path] = []
    for frame, pose in zip(frames, posed, strict=True):
        key = digest(frame.rgba, frame.fov, frame.name, frame.index, options, pose.extrinsics.cpu().numpy())
        camera = Camera(pose.extrinsics[None], frame.fov, frame.aspect)

        def make(frame: Frame = frame, camera: Camera = camera) -> Arrays:
            return generator.refine(frame, camera, terms()).arrays()

        name = f"1_generation/{frame.name}_refined.npz"
        mesh = Mesh.from_arrays(workspace.make_arrays(name, key, make))
        after = _with_mesh(pose, mesh)
        draw = partial(_draw, frame=frame, before=pose.mesh, after=after.mesh)
        workspace.make_file(f"1_generation/{frame.name}_refined.png", digest(key, pose.scale), draw)
        log.info("%s: refined", frame.name)
        files.append(workspace.path(name))

    def read(index: int) -> PosedAsset:
        return _with_mesh(posed[index], Mesh.from_arrays(read_arrays(files[index])))

    return OnDemand(len(files), read, lambda pose: pose.mesh.nbytes, KEPT_BYTES)


def _with_mesh(posed: PosedAsset, mesh: Mesh) -> PosedAsset:
    """A posed asset with another mesh in its place, given in canonical pose."""
    return replace(posed, mesh=mesh.to(posed.mesh.vertices.device).transformed(posed.matrix()))


def _terms(config: Config) -> list[Term]:
    """Learned image distances that the options name.

    Raises:
        Unavailable: a package or weights are missing, or cannot be loaded.
    """
    if config.generation.refine != "networks":
        return []
    dreamsim.check(config)
    device = device_of(config)
    dreamsim_network, lpips_network = dreamsim.load(dreamsim.folder_of(config), device), lpips.load(config, device)

    def dreamsim_distance(render: Tensor, picture: Tensor) -> Tensor:
        pair = torch.stack([render, picture]).permute(0, 3, 1, 2)
        small = interpolate(pair, (dreamsim.SIZE,) * 2, mode="bicubic", align_corners=False)
        ours, theirs = dreamsim.embedded(dreamsim_network, [small[:1], small[1:]])
        return 1 - cosine_similarity(ours, theirs, dim=-1).mean()

    def lpips_distance(render: Tensor, picture: Tensor) -> Tensor:
        first, second = (side.permute(2, 0, 1)[None] for side in (render, picture))
        return lpips.distance(lpips_network, first, second).mean()

    return [dreamsim_distance, lpips_distance]


def _draw(path: Path, frame: Frame, before: Mesh, after: Mesh, size: int = 384) -> None:
    """Write a PNG of the frame, and of the posed mesh before and after the refinement."""
    picture, _ = frame.tensors(size)
    camera, view = frame.camera(), (picture.shape[0], picture.shape[1])
    renders = [
        render_mesh(mesh.to("cpu"), camera, view, channels=("color",), background=1.0).color[0]
        for mesh in (before, after)
    ]
    sheet = torch.cat([picture, *renders], 1).clamp(0, 1)
    iio.imwrite(path, (sheet * 255).round().to(torch.uint8).numpy())
