"""Subjects of the renders: glTF characters in random poses, and random creatures."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import cv2
import numpy as np

from v2m4.character_files import Source
from v2m4.creatures.plans import random_creature
from v2m4.io.gltf import read_glb
from v2m4.io.gltf_animation import list_animations, read_animation

log = logging.getLogger(__name__)

POSES = 20  # of an animated file, over all of its clips
CLIPS = 6  # of a file, at most
TEXTURE = 256  # pixels of a texture's longer side at most


@dataclass(frozen=True)
class Subject:
    """A body in several poses.

    Attributes:
        name: path without suffix, relative to the data's folder, or the plan of a creature.
        kind: kind of body.
        poses: (T, V, 3) float32, y up, facing +z.
        faces: (F, 3) int64.
        colors: (V, 3) float32 sRGB; None with a texture.
        uvs: (V, 2) float32, row 0 of the texture at v = 0; None without a texture.
        texture: (H, W, 3) uint8.
    """

    name: str
    kind: str
    poses: np.ndarray
    faces: np.ndarray
    colors: np.ndarray | None
    uvs: np.ndarray | None = None
    texture: np.ndarray | None = None


def read_subject(source: Source, rng: np.random.Generator, poses: int = POSES) -> Subject:
    """Read a file, in poses at random times of its clips; a still one has one pose.

    Raises:
        ValueError: the file is broken, or of a kind that cannot be read.
        OSError: the file cannot be read.
    """
    clips = list_animations(source.path)
    if not clips:
        mesh = read_glb(source.path)
        vertices = mesh.vertices.numpy()[None]
    else:
        chosen = rng.permutation(len(clips))[:CLIPS]
        found = []
        for clip in chosen:
            count = max(1, poses // len(chosen))
            times = np.sort(rng.uniform(clips[clip].start, clips[clip].stop, count))
            sequence = read_animation(source.path, int(clip), times)
            mesh = sequence.mesh
            found.append(sequence.vertices.numpy())
        vertices = np.concatenate(found)
    faces = mesh.faces.numpy()
    if mesh.uvs is not None and mesh.texture is not None:
        texture = np.clip(np.rint(mesh.texture.numpy() * 255), 0, 255).astype(np.uint8)
        shrink = TEXTURE / max(texture.shape[:2])
        if shrink < 1:
            size = (max(1, round(texture.shape[1] * shrink)), max(1, round(texture.shape[0] * shrink)))
            texture = cv2.resize(texture, size, interpolation=cv2.INTER_AREA)
        uvs = mesh.uvs.numpy()
        if mesh.uv_faces is not None:  # one vertex per corner
            vertices = vertices[:, faces.reshape(-1)]
            uvs, faces = uvs[mesh.uv_faces.numpy().reshape(-1)], np.arange(faces.size).reshape(-1, 3)
        return Subject(source.name, source.kind, vertices, faces, None, uvs, texture)
    colors = np.full(vertices.shape[1:], 0.7, np.float32) if mesh.colors is None else mesh.colors.numpy()
    return Subject(source.name, source.kind, vertices, faces, colors)


def creature_subject(rng: np.random.Generator) -> Subject:
    """A random creature in one pose."""
    vertices, faces, colors, plan = random_creature(rng)
    return Subject(f"creature/{plan}", f"creature_{plan}", vertices[None].astype(np.float32), faces, colors)


class SubjectPool:
    """Random subjects: files, read once and kept, and creatures.

    Args:
        sources: files.
        creatures: share of creatures.
    """

    def __init__(self, sources: list[Source], creatures: float) -> None:
        self.sources, self.creatures = sources, creatures
        weights = np.array([source.weight for source in sources])
        self.probabilities = weights / weights.sum() if len(weights) else weights
        self._read: dict[str, Subject | None] = {}

    def draw(self, rng: np.random.Generator) -> Subject:
        """A random subject."""
        while True:
            if not self.sources or rng.uniform() < self.creatures:
                return creature_subject(rng)
            source = self.sources[int(rng.choice(len(self.sources), p=self.probabilities))]
            if source.name not in self._read:
                try:
                    self._read[source.name] = read_subject(source, rng)
                except (ValueError, OSError) as error:
                    log.warning("left out: %s", error)
                    self._read[source.name] = None
            subject = self._read[source.name]
            if subject is not None:
                return subject
