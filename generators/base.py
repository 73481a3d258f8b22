"""Stage 1: the generator protocol, the registry of generators, and their run over the key frames."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar, get_args, runtime_checkable

import imageio.v3 as iio
import numpy as np
import torch

from v2m4 import threads
from v2m4.camera import DEFAULT_FOV, Camera, Orbit
from v2m4.config import Config, ModelName
from v2m4.files import read_arrays
from v2m4.frame import Frame
from v2m4.io.gltf import write_glb
from v2m4.mesh import Asset, Mesh
from v2m4.on_demand import OnDemand
from v2m4.render import render_mesh
from v2m4.report import progress
from v2m4.weights import Unavailable
from v2m4.workspace import Workspace, code_version, digest

log = logging.getLogger(__name__)

ASSET = "1_generation/{}.npz"
KEPT_BYTES = 32 << 20  # of the assets that were asked for last
HINT = "hint"  # key of the parameters of Asset.hint among a mesh's arrays


class GenerationError(ValueError):
    """A generator fails on a frame; the message names the frame and the cause."""


class Generator(Protocol):
    """Generates a textured mesh from one frame.

    Attributes:
        name: as in ``--model``.

    The requirements of a class (packages, weights, a GPU) are in ``v2m4.preflight.generators``; one whose results
    depend on files, too, has a ``version``, their fingerprint; one that several threads may call at once has a true
    ``concurrent``.
    """

    name: str

    def generate(self, frame: Frame) -> Asset:
        """Closed, textured mesh in canonical pose, and the camera if the generator knows it.

        The result depends on the frame and the config only, not on earlier calls.

        Raises:
            GenerationError: the generator fails on this frame.
        """
        ...


@runtime_checkable
class ClipGenerator(Protocol):
    """A generator that can use information from the whole clip."""

    def of_clip(self, frames: Sequence[Frame]) -> Generator:
        """The same generator with information from all frames, on which its results then depend, too.

        Args:
            frames: all key frames, in order.
        """
        ...


@runtime_checkable
class BatchGenerator(Protocol):
    """A generator that can generate several meshes in one batch."""

    def generate_many(self, frames: Sequence[Frame]) -> list[Asset]:
        """Assets of all frames, equal to those of ``generate`` up to rounding.

        Raises:
            GenerationError: the generator fails on a frame.
        """
        ...


Factory = Callable[[Config], Generator]
_Class = TypeVar("_Class", bound=Factory)
_FACTORIES: dict[str, Factory] = {}


def register(name: str) -> Callable[[_Class], _Class]:
    """Class decorator that registers a generator as ``name``; its file is ``generators/<name in lower case>.py``."""

    def decorate(factory: _Class) -> _Class:
        _FACTORIES[name] = factory
        return factory

    return decorate


def require(name: str) -> Factory:
    """Class of a generator by name; imports its module, and no other.

    Raises:
        Unavailable: there is no such generator, or it is not part of this version.
    """
    module = f"{__package__}.{name.lower()}"
    if name not in _FACTORIES:
        if name not in get_args(ModelName):
            raise Unavailable(f"no such generator; known are {', '.join(get_args(ModelName))}")
        if importlib.util.find_spec(module) is None:
            raise Unavailable(
                "this learned generator is not part of this version yet; use --model Inflate, which needs no weights"
            )
        importlib.import_module(module)
    return _FACTORIES[name]


def create(name: str, config: Config) -> Generator:
    """Instance of a generator by name.

    Raises:
        Unavailable: see ``require``.
    """
    return require(name)(config)


def run(frames: list[Frame], workspace: Workspace, config: Config) -> Sequence[Asset]:
    """Stage 1: an asset for every key frame, each written to the workspace.

    Args:
        frames: key frames with the background removed.
        workspace: the animation's folder.
        config: all options; ``model``, ``max_faces``, ``seed``, ``baseline`` and ``generation`` are used.

    Returns:
        One asset for each frame, read from the disk when it is asked for: not all of them are in memory at once.

    Raises:
        GenerationError: the generator fails on a frame.
        Unavailable: see ``require``.
    """
    generator = create(config.model, config)
    generator_version = (config.model, getattr(generator, "version", ""), code_version("generators"))
    generation_options = {
        name: value for name, value in config.generation.__dict__.items() if name != "refine"
    }  # used after stage 2
    options = (generator_version, config.max_faces, config.seed, generation_options)
    clip_digest = ""
    if isinstance(generator, ClipGenerator):
        generator, clip_digest = generator.of_clip(frames), digest([frame.content() for frame in frames])
    keys = [digest(frame.content(), frame.fov, frame.name, frame.index, options, clip_digest) for frame in frames]
    generated_ahead: dict[str, Asset] = {}
    assets = stored_assets([workspace.path(ASSET.format(frame.name)) for frame in frames])
    for position, (frame, key) in enumerate(zip(frames, keys, strict=True)):

        def make(frame: Frame = frame, position: int = position) -> dict[str, np.ndarray]:
            if frame.name not in generated_ahead:
                rest = zip(frames[position:], keys[position:], strict=True)
                stale = [other for other, its in rest if not workspace.fresh(ASSET.format(other.name), its)]
                generated_ahead.update(_generate_batch(generator, stale, config.generation.batch))
            return to_arrays(generated_ahead.pop(frame.name))

        asset = from_arrays(workspace.make_arrays(ASSET.format(frame.name), key, make))
        draw_preview = partial(write_preview, asset=asset, frame_camera=frame.camera())
        workspace.make_file(f"1_generation/{frame.name}_preview.png", key, draw_preview)
        if config.baseline:
            workspace.make_file(f"{frame.name}_baseline_sample.glb", key, partial(write_glb, mesh=asset.mesh))
        assets.keep(position, asset)
        shown = progress(step=f"{position + 1} of {len(frames)}")
        log.info("%s: %d vertices, %d faces", frame.name, len(asset.mesh.vertices), len(asset.mesh.faces), extra=shown)
    return assets


def stored_assets(files: Sequence[Path]) -> OnDemand[Asset]:
    """Assets in ``.npz`` files of ``to_arrays``, each read when it is asked for; few of them are kept in memory."""

    def read(index: int) -> Asset:
        return from_arrays(read_arrays(files[index]))

    return OnDemand(len(files), read, lambda asset: asset.mesh.nbytes, KEPT_BYTES)


def _generate_batch(generator: Generator, frames: list[Frame], count: int) -> dict[str, Asset]:
    """Assets by the frames' names: of the first frame, and of those that are generated together with it."""
    if count > 1 and isinstance(generator, BatchGenerator):
        batch = frames[:count]
        return dict(zip([frame.name for frame in batch], generator.generate_many(batch), strict=True))
    together = frames[: threads.count()] if getattr(generator, "concurrent", False) else frames[:1]
    return dict(zip([frame.name for frame in together], threads.in_order(generator.generate, together), strict=True))


def to_arrays(asset: Asset) -> dict[str, np.ndarray]:
    """Asset as named arrays, for ``.npz`` files."""
    arrays = asset.mesh.arrays()
    if asset.hint is not None:
        arrays[HINT] = asset.hint.parameters().numpy()
    return arrays


def from_arrays(arrays: dict[str, np.ndarray]) -> Asset:
    """Asset from named arrays: the exact inverse of ``to_arrays``."""
    hint = Orbit.from_parameters(torch.from_numpy(arrays[HINT])) if HINT in arrays else None
    return Asset(Mesh.from_arrays(arrays), hint)


def write_preview(path: Path, asset: Asset, frame_camera: Camera, size: int = 256) -> None:
    """Write a PNG of the asset from its hint, the front, both sides, the back and above: colours above normals.

    Args:
        path: of the PNG.
        asset: in canonical pose.
        frame_camera: camera of the hint's frame; gives field of view and aspect.
        size: rows of one view, pixels.
    """
    angles = torch.tensor([[0.0, 0.0], [90.0, 0.0], [180.0, 0.0], [-90.0, 0.0], [0.0, 89.0]]).deg2rad()
    radius = 0.9 / math.tan(DEFAULT_FOV / 2)  # the cube's diagonal just fits
    ring = Orbit(angles[:, 0], angles[:, 1], torch.full((len(angles),), radius), torch.zeros(len(angles), 3)).camera()
    cameras = [ring[index] for index in range(len(ring))]
    if asset.hint is not None:
        cameras.insert(0, asset.hint.camera(frame_camera.fov, frame_camera.aspect))
    columns = []
    for camera in cameras:
        view = (size, max(1, round(size * camera.aspect)))
        rendering = render_mesh(asset.mesh, camera, view, channels=("color", "normal"), background=1.0)
        normal_colors = rendering.normal * rendering.normal.new_tensor([0.5, -0.5, -0.5]) + 0.5
        columns.append(torch.cat([rendering.color[0], (normal_colors * rendering.mask + 1 - rendering.mask)[0]]))
    sheet = torch.cat(columns, 1).clamp(0, 1)
    iio.imwrite(path, (sheet * 255).round().to(torch.uint8).cpu().numpy())
