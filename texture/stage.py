"""The texture stage: atlas, observed pixels, solution, inpainting, and images for inspection."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from texture.align import align_frames
from texture.delight import Lighting, draw_lighting, fit_lighting, without_shading
from texture.inpaint import inpaint
from texture.observe import observe_asset, observe_frames
from texture.solve import Solution, adam, drained, least_squares
from texture.solve_torch import least_squares_in_torch
from texture.system import Seams
from texture.texels import TexelMap, seam_lookups, texel_map
from texture.unwrap import Atlas, unwrap
from v2m4.config import Config
from v2m4.device import device_of
from v2m4.frame import Frame
from v2m4.memory import return_free_memory
from v2m4.mesh import Mesh, MeshSequence
from v2m4.partial_results import PartialResults
from v2m4.render import render_mesh
from v2m4.workspace import STAGE_FOLDERS, Arrays, Workspace, code_version, digest

logger = logging.getLogger(__name__)

COMPARED_FRAMES = 4  # frames drawn with the textured mesh in their pose
COMPARED_SIZE = 360  # rows of each image
ALIGNED_TO = "texture_{}"  # name of the stored texture that the frames are aligned to in a round


def run(frames: list[Frame], sequence: MeshSequence, first: Mesh, workspace: Workspace, config: Config) -> Mesh:
    """The mesh with one texture for all frames.

    Args:
        frames: every frame of the clip.
        sequence: one topology in the pose of every frame, in the video camera's space.
        first: the first frame's own textured asset, posed in the same space, of another topology.
        workspace: the animation's folder.
        config: all options; this stage reads ``texture``, ``delight``, ``seed`` and ``device``.

    Returns:
        The sequence's rest pose with texture coordinates and texture.

    Raises:
        ValueError: not one pose per frame, or no frame shows the mesh.
    """
    if len(frames) != len(sequence):
        raise ValueError(f"texture: {len(frames)} frames, but {len(sequence)} poses")
    options = config.texture
    rest = sequence.mesh
    faces = rest.faces.cpu().numpy()
    folder = STAGE_FOLDERS["texture"]
    code = code_version("texture")
    key = digest(code, options.size, rest.vertices.cpu().numpy(), faces)

    def make_atlas() -> dict[str, np.ndarray]:
        atlas = unwrap(rest.vertices.cpu().numpy(), faces, options.size)
        return {"uvs": atlas.uvs, "uv_faces": atlas.uv_faces}

    atlas = Atlas(**workspace.make_arrays(f"{folder}/uvs.npz", key, make_atlas))
    key = digest(
        key,
        asdict(options),
        config.delight,
        config.seed,
        sequence.vertices.cpu().numpy(),
        *_mesh_arrays(first),
        *_frame_contents(frames),
    )
    texels = texel_map(atlas, options.size)
    name = f"{folder}/texture.npz"

    def make_texture() -> dict[str, np.ndarray]:
        seams = Seams(*seam_lookups(atlas, faces, options.size))
        parts = workspace.partial_results(name, key)
        solution, lighting = solve(frames, sequence, first, atlas, texels, seams, config, parts)
        texture = inpaint(solution.texture, solution.observed, texels, faces, seams)
        arrays: Arrays = {
            "texture": np.round(texture * 255).astype(np.uint8),
            "weight": solution.weight.astype(np.float16),
        }
        return arrays if lighting is None else arrays | {"lighting": lighting.coefficients}

    solved = workspace.make_arrays(name, key, make_texture)
    texture = torch.from_numpy(solved["texture"].astype(np.float32) / 255).to(rest.vertices.device)
    mesh = replace(
        rest,
        uvs=torch.from_numpy(atlas.uvs).to(rest.vertices.device),
        uv_faces=torch.from_numpy(atlas.uv_faces).to(rest.vertices.device),
        texture=texture,
        color_confidence=None,
    )
    workspace.make_file(
        f"{folder}/observed.png", key, lambda path: _write(path, draw_observed(solved["weight"], texels))
    )
    workspace.make_file(
        f"{folder}/comparison.png",
        key,
        lambda path: _write(path, draw_comparison(frames, replace(sequence, mesh=mesh))),
    )
    light_image = f"{folder}/lighting.png"
    if "lighting" in solved:
        lighting = Lighting(solved["lighting"])
        workspace.make_file(light_image, key, lambda path: _write(path, draw_lighting(lighting)))
    else:
        workspace.path(light_image).unlink(missing_ok=True)  # of an earlier run with --delight
    return mesh


def solve(
    frames: list[Frame],
    sequence: MeshSequence,
    first: Mesh,
    atlas: Atlas,
    texels: TexelMap,
    seams: Seams,
    config: Config,
    parts: PartialResults | None = None,
) -> tuple[Solution, Lighting | None]:
    """Texture from observed pixels, solved again after each alignment of the frames (``config.texture.alignments``).

    With ``config.delight`` it is the albedo, and the second result is the lighting that the colours were divided by.
    Textures before an alignment are kept in ``parts``.
    """
    parts = parts or PartialResults()
    options, device = config.texture, device_of(config)
    on_cpu = device.type == "cpu"
    logger.info(
        "texture: rendering and solver (%s) on %s; atlas, optical flow and inpainting on cpu",
        options.solver,
        device,
    )
    sequence = replace(sequence, vertices=sequence.vertices.to(device), mesh=sequence.mesh.to(device))
    inputs = (frames, sequence.vertices, sequence.mesh, atlas, options.view_size)
    asset = observe_asset(first.to(device), sequence[0], atlas, options.views, options.view_size, options.asset_weight)
    solve_least_squares = least_squares if on_cpu else partial(least_squares_in_torch, device=device)
    views = observe_frames(*inputs) if parts.load(ALIGNED_TO.format(0)) is None else []
    return_free_memory()
    for number in range(options.alignments):
        once = drained(views, list(asset))
        unaligned = partial(solve_least_squares, once, texels, seams, options.smoothness)
        stored = parts.arrays(ALIGNED_TO.format(number), partial(_texture_arrays, unaligned))
        views.clear()  # where the texture was stored, they were not used
        return_free_memory()
        views = align_frames(*inputs, stored["texture"])
        return_free_memory()
    lighting = fit_lighting(views, config.seed) if config.delight else None
    views = views + asset if lighting is None else without_shading(views + asset, lighting)
    if options.solver == "adam":
        return adam(views, texels, seams, options.steps, options.total_variation, config.seed, device), lighting
    return solve_least_squares(drained(views), texels, seams, options.smoothness), lighting


def _texture_arrays(solve: Callable[[], Solution]) -> Arrays:
    """The texture of a solution, as stored."""
    return {"texture": solve().texture}


def draw_observed(weight: np.ndarray, texels: TexelMap) -> np.ndarray:
    """Image (H, W, 3) uint8 of the texels' summed weights: dark to green; red if unobserved, black outside charts."""
    brightness = np.clip(np.log10(np.maximum(weight.astype(np.float32), 1e-3)) / 3 + 1, 0, 1)
    image = np.zeros((*weight.shape, 3), dtype=np.float32)
    image[..., 1] = 60 + 195 * brightness
    image[weight <= 1e-3] = (200, 0, 0)
    image[~texels.valid] = 0
    return image.astype(np.uint8)


def draw_comparison(frames: list[Frame], sequence: MeshSequence) -> np.ndarray:
    """Image (H, W, 3) uint8 of a few frames on white above the textured mesh in their poses."""
    frame_indices = np.unique(np.linspace(0, len(frames) - 1, min(COMPARED_FRAMES, len(frames))).round().astype(int))
    columns = []
    for index in frame_indices:
        frame = frames[index]
        reference = frame.tensors(COMPARED_SIZE)[0]
        camera = frame.camera(sequence.vertices.device)
        size = (reference.shape[0], reference.shape[1])
        rendered = render_mesh(sequence[int(index)], camera, size, channels=("color",), background=1.0).color
        assert rendered is not None
        columns.append(torch.cat([reference, rendered[0].cpu()], 0))
    return (torch.cat(columns, 1).clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def _write(path: Path, image: np.ndarray) -> None:
    if not cv2.imwrite(str(path), image[..., ::-1]):
        raise OSError(f"{path}: the image could not be written")


def _mesh_arrays(mesh: Mesh) -> list[np.ndarray | str]:
    """Arrays of a mesh with their names, for a digest."""
    return [part for name, array in mesh.arrays().items() for part in (name, array)]


def _frame_contents(frames: list[Frame]) -> list[tuple[str, float]]:
    """Hash of the pixels and field of view of each frame, for a digest."""
    return [(frame.content(), frame.fov) for frame in frames]
