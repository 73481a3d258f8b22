"""Stage 1: what a generator is, how one is found by name, and how it is run over the key frames."""

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
from v2m4.camera import DEFAULT_FOV, Orbit
from v2m4.config import Config, ModelName
from v2m4.frame import Frame
from v2m4.io.gltf import write_glb
from v2m4.mesh import Asset, Mesh
from v2m4.render import render_mesh
from v2m4.weights import Unavailable
from v2m4.workspace import Workspace, code_version, digest

log = logging.getLogger(__name__)

ASSET = "1_generation/{}.npz"
HINT = "hint"  # the six numbers of Asset.hint among a mesh's arrays


class GenerationError(ValueError):
    """A generator can make nothing of a frame; the message names the frame and says why."""


class Generator(Protocol):
    """Makes one textured mesh of one frame.

    Attributes:
        name: as in ``--model``.

    What a class needs (packages, weights, a GPU) stands in ``v2m4.needs.generators``; one whose results follow from
    files too has a ``version`` that tells them apart; one that several threads may call at once has a true
    ``concurrent``.
    """

    name: str

    def generate(self, frame: Frame) -> Asset:
        """A closed, textured mesh in canonical pose, and the camera if the generator knows it.

        The result follows from the frame and the config alone, never from what was generated before.

        Raises:
            GenerationError: nothing can be made of this frame.
        """
        ...


@runtime_checkable
class ClipGenerator(Protocol):
    """A generator that makes better meshes when it has seen the whole clip."""

    def of_clip(self, frames: Sequence[Frame]) -> Generator:
        """The same generator, informed by the frames; what it generates follows from them, the frame and the config.

        Args:
            frames: all key frames, in order.
        """
        ...


@runtime_checkable
class BatchGenerator(Protocol):
    """A generator that can make several meshes at once."""

    def generate_many(self, frames: Sequence[Frame]) -> list[Asset]:
        """An asset for each frame, as ``generate`` makes them, but for rounding.

        Raises:
            GenerationError: nothing can be made of a frame.
        """
        ...


Factory = Callable[[Config], Generator]
_Class = TypeVar("_Class", bound=Factory)
_FACTORIES: dict[str, Factory] = {}


def register(name: str) -> Callable[[_Class], _Class]:
    """Class decorator: make a generator known as ``name``; its file is ``generators/<name in lower case>.py``."""

    def decorate(factory: _Class) -> _Class:
        _FACTORIES[name] = factory
        return factory

    return decorate


def require(name: str) -> Factory:
    """The generator's class; its file is imported now, and only its.

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
    """A generator by name.

    Raises:
        Unavailable: see ``require``.
    """
    return require(name)(config)


def run(frames: list[Frame], workspace: Workspace, config: Config) -> list[Asset]:
    """Stage 1: an asset for every key frame, each kept in the workspace.

    Args:
        frames: key frames with the background removed.
        workspace: the animation's folder.
        config: all options; ``model``, ``max_faces``, ``seed``, ``baseline`` and ``generation`` count here.

    Returns:
        one asset for each frame, as read back from the disk.

    Raises:
        GenerationError: nothing can be made of a frame.
        Unavailable: see ``require``.
    """
    generator = create(config.model, config)
    made_by = (config.model, getattr(generator, "version", ""), code_version("generators"))
    asked = {name: value for name, value in config.generation.__dict__.items() if name != "refine"}  # that comes later
    options = (made_by, config.max_faces, config.seed, asked)
    clip = ""
    if isinstance(generator, ClipGenerator):
        generator, clip = generator.of_clip(frames), digest(*[frame.rgba for frame in frames])
    keys = [digest(frame.rgba, frame.name, frame.index, options, clip) for frame in frames]
    ahead: dict[str, Asset] = {}
    assets = []
    for position, (frame, key) in enumerate(zip(frames, keys, strict=True)):
        workspace.make_file(f"{frame.name}_rmbg.png", digest(frame.rgba), partial(_write_picture, picture=frame.rgba))

        def make(frame: Frame = frame, position: int = position) -> dict[str, np.ndarray]:
            if frame.name not in ahead:
                rest = zip(frames[position:], keys[position:], strict=True)
                stale = [other for other, its in rest if not workspace.fresh(ASSET.format(other.name), its)]
                ahead.update(_generated(generator, stale, config.generation.batch))
            return to_arrays(ahead.pop(frame.name))

        asset = from_arrays(workspace.make_arrays(ASSET.format(frame.name), key, make))
        draw_preview = partial(write_preview, asset=asset, aspect=frame.aspect)
        workspace.make_file(f"1_generation/{frame.name}_preview.png", key, draw_preview)
        if config.baseline:
            workspace.make_file(f"{frame.name}_baseline_sample.glb", key, partial(write_glb, mesh=asset.mesh))
        log.info("%s: %d vertices, %d faces", frame.name, len(asset.mesh.vertices), len(asset.mesh.faces))
        assets.append(asset)
    return assets


def _generated(generator: Generator, frames: list[Frame], count: int) -> dict[str, Asset]:
    """The asset of the first frame, and of so many with it as are made at once, by the frames' names."""
    if count > 1 and isinstance(generator, BatchGenerator):
        together = frames[:count]
        return dict(zip([frame.name for frame in together], generator.generate_many(together), strict=True))
    together = frames[: threads.count()] if getattr(generator, "concurrent", False) else frames[:1]
    return dict(zip([frame.name for frame in together], threads.in_order(generator.generate, together), strict=True))


def to_arrays(asset: Asset) -> dict[str, np.ndarray]:
    """An asset as named arrays, for ``.npz`` files."""
    arrays = asset.mesh.arrays()
    if asset.hint is not None:
        arrays[HINT] = asset.hint.parameters().numpy()
    return arrays


def from_arrays(arrays: dict[str, np.ndarray]) -> Asset:
    """The inverse of ``to_arrays``, exactly."""
    hint = Orbit.from_parameters(torch.from_numpy(arrays[HINT])) if HINT in arrays else None
    return Asset(Mesh.from_arrays(arrays), hint)


def write_preview(path: Path, asset: Asset, aspect: float = 1.0, size: int = 256) -> None:
    """A PNG of the asset from its hint and from the front, both sides, the back and above: colour over normals.

    Args:
        path: where to.
        asset: in canonical pose.
        aspect: width / height of the frame that the hint belongs to.
        size: pixels of one view.
    """
    angles = torch.tensor([[0.0, 0.0], [90.0, 0.0], [180.0, 0.0], [-90.0, 0.0], [0.0, 89.0]]).deg2rad()
    radius = 0.9 / math.tan(DEFAULT_FOV / 2)  # the cube's diagonal just fits
    ring = Orbit(angles[:, 0], angles[:, 1], torch.full((len(angles),), radius), torch.zeros(len(angles), 3)).camera()
    cameras = [ring[index] for index in range(len(ring))]
    if asset.hint is not None:
        cameras.insert(0, asset.hint.camera(aspect=aspect))
    columns = []
    for camera in cameras:
        view = (size, max(1, round(size * camera.aspect)))
        seen = render_mesh(asset.mesh, camera, view, channels=("color", "normal"), background=1.0)
        facing = seen.normal * seen.normal.new_tensor([0.5, -0.5, -0.5]) + 0.5
        columns.append(torch.cat([seen.color[0], (facing * seen.mask + 1 - seen.mask)[0]]))
    sheet = torch.cat(columns, 1).clamp(0, 1)
    iio.imwrite(path, (sheet * 255).round().to(torch.uint8).cpu().numpy())


def _write_picture(path: Path, picture: np.ndarray) -> None:
    """An (H, W, C) uint8 picture as a PNG."""
    iio.imwrite(path, picture)
