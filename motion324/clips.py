"""Clips that training samples are rendered from: frames of generated characters or of animated glTF files."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from motion324.characters import random_character
from v2m4.character_files import Source, find_sources, held_out
from v2m4.creatures.solid_texture import solid_texture
from v2m4.io.gltf_animation import list_animations, read_animation

log = logging.getLogger(__name__)

FPS = 24.0  # of the video that a window's frames are taken from
STRIDES, STRIDE_SHARES = (1, 2, 4), (0.4, 0.4, 0.2)  # Motion 3-to-4, section 4.1
LEAST_MOTION = 0.012  # mean displacement from the first frame, of its size: below, another clip is drawn
MOST_MOTION = 0.6
TRIES = 20
REPAINTED = 0.3  # share of the files' clips with a random solid texture
TEXTURE = 512  # pixels of a texture's side, at most


@dataclass(frozen=True)
class Clip:
    """A mesh in the poses of a window's frames.

    Attributes:
        name: of the file (relative, without suffix), or ``generated/<plan>``.
        kind: kind of body.
        vertices: (T, V, 3) float32, y up.
        faces: (F, 3) int64.
        colors: (V, 3) float32 sRGB; None with a texture.
        uvs: (U, 2) float32; None without a texture.
        uv_faces: (F, 3) int64; None for one UV a vertex.
        texture: (H, W, 3) float32 sRGB, row 0 at v = 0.
    """

    name: str
    kind: str
    vertices: Tensor
    faces: Tensor
    colors: Tensor | None = None
    uvs: Tensor | None = None
    uv_faces: Tensor | None = None
    texture: Tensor | None = None

    def motion(self) -> float:
        """Mean displacement of the vertices from the first frame, relative to its longest side."""
        size = float((self.vertices[0].amax(0) - self.vertices[0].amin(0)).max())
        return float((self.vertices[1:] - self.vertices[:1]).norm(dim=-1).mean()) / max(size, 1e-9)


def frame_times(frames: int, start: float, stop: float, rng: np.random.Generator) -> np.ndarray:
    """Times (frames,) of a window of a clip from ``start`` to ``stop`` seconds, at a random stride.

    Strides that do not fit are left out; a clip that is shorter than the shortest window repeats.
    """
    length = stop - start
    spans = (frames - 1) * np.array(STRIDES) / FPS
    shares = np.where(spans <= length, STRIDE_SHARES, 0)
    if shares.sum() == 0:
        stride = STRIDES[int(rng.integers(2))]
        times = rng.uniform(0, max(length, 1e-6)) + np.arange(frames) * stride / FPS
        return start + times % max(length, 1e-6)
    chosen = int(rng.choice(len(STRIDES), p=shares / shares.sum()))
    return start + rng.uniform(0, length - spans[chosen]) + np.arange(frames) * STRIDES[chosen] / FPS


def generated_clip(frames: int, rng: np.random.Generator) -> Clip:
    """Clip of a random character."""
    character = random_character(rng)
    times = frame_times(frames, 0.0, 60.0, rng)
    return Clip(
        f"generated/{character.plan}",
        f"generated_{character.plan}",
        torch.from_numpy(character.poses(times)),
        torch.from_numpy(character.faces),
        torch.from_numpy(character.colors.astype(np.float32)),
    )


def file_clip(path: Path, name: str, kind: str, frames: int, rng: np.random.Generator) -> Clip:
    """A random window of a random clip of an animated glTF file.

    Raises:
        ValueError: the file is broken, of a kind that cannot be read, or not animated.
        OSError: the file cannot be read.
    """
    animations = list_animations(path)
    if not animations:
        raise ValueError(f"{path}: has no animations")
    number = int(rng.integers(len(animations)))
    times = frame_times(frames, animations[number].start, animations[number].stop, rng)
    order = np.argsort(times, kind="stable")  # the reader wants them in order; a clip that repeats is not
    sequence = read_animation(path, number, times[order])
    vertices = sequence.vertices[torch.from_numpy(np.argsort(order, kind="stable"))]
    mesh = sequence.mesh
    if mesh.texture is None or mesh.uvs is None or rng.uniform() < REPAINTED:
        rest = vertices[0].double().numpy()
        if mesh.texture is None and mesh.colors is not None and rng.uniform() > REPAINTED:
            colors = mesh.colors
        else:
            colors = torch.from_numpy(solid_texture(rest, rest, rng).astype(np.float32))
        return Clip(name, kind, vertices, mesh.faces, colors)
    step = max(1, -(-max(mesh.texture.shape[:2]) // TEXTURE))
    return Clip(name, kind, vertices, mesh.faces, None, mesh.uvs, mesh.uv_faces, mesh.texture[::step, ::step])


class ClipPool:
    """Random clips of files and of generated characters.

    Args:
        sources: animated files.
        generated: share of generated characters; all are, without sources.
        frames: T of a clip.
    """

    def __init__(self, sources: list[Source], generated: float, frames: int) -> None:
        self.sources, self.generated, self.frames = sources, generated, frames
        weights = np.array([source.weight for source in sources])
        self.probabilities = weights / weights.sum() if len(weights) else weights
        self._broken: set[str] = set()

    def draw(self, rng: np.random.Generator) -> Clip:
        """A random clip that moves.

        Raises:
            ValueError: no clip was found that moves.
        """
        for _ in range(TRIES):
            if not self.sources or rng.uniform() < self.generated:
                clip = generated_clip(self.frames, rng)
            else:
                source = self.sources[int(rng.choice(len(self.sources), p=self.probabilities))]
                if source.name in self._broken:
                    continue
                try:
                    clip = file_clip(source.path, source.name, source.kind, self.frames, rng)
                except (ValueError, OSError) as error:
                    log.warning("left out: %s", error)
                    self._broken.add(source.name)
                    continue
            if LEAST_MOTION < clip.motion() < MOST_MOTION:
                return clip
        raise ValueError(f"no clip that moves among {TRIES} drawn ones")


def animated_sources(folder: Path) -> list[Source]:
    """The animated files below a folder.

    Raises:
        FileNotFoundError: there are none.
    """
    sources = []
    for source in find_sources(folder):
        try:
            if list_animations(source.path):
                sources.append(source)
        except (ValueError, OSError) as error:
            log.warning("left out: %s", error)
    if not sources:
        raise FileNotFoundError(f"{folder}: no animated .glb or .gltf files")
    return sources


def training_pool(data: Path | None, generated: float, frames: int) -> ClipPool:
    """Clips to train on: generated characters, and the files of all families but the held-out ones.

    Raises:
        FileNotFoundError: the folder has no animated files.
    """
    files = [] if data is None else [source for source in animated_sources(data) if not held_out(source.name)]
    return ClipPool(files, generated, frames)


def validation_pool(data: Path | None, frames: int) -> ClipPool:
    """Clips to validate on: the files of the held-out families; generated characters without a folder.

    Raises:
        FileNotFoundError: the folder has no animated files of a held-out family.
    """
    if data is None:
        return ClipPool([], 1.0, frames)
    files = [source for source in animated_sources(data) if held_out(source.name)]
    if not files:
        raise FileNotFoundError(f"{data}: none of the held-out families (see v2m4/character_files.py) is there")
    return ClipPool(files, 0.0, frames)
