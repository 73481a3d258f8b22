"""Ground truth of a synthetic animation: the mesh of every frame and the camera, in one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from v2m4.camera import Orbit
from v2m4.mesh import Mesh, MeshSequence
from v2m4.workspace import atomic

TRUTH_FOLDER = "ground_truth"  # beside the animations' folders: <root>/ground_truth/<animation>.npz
STEPS = 10000  # the quantisation: steps along the longest side of the box of all frames


@dataclass(frozen=True)
class GroundTruth:
    """Animated mesh of constant topology, quantised, as stored in <root>/ground_truth/<name>.npz.

    Attributes:
        vertices: (T, V, 3) int16; times ``step``, plus ``origin``, they are positions, y up. The error is at most half
            a step, less than 1e-4 of the size.
        step: length of one step.
        origin: (3,) position of (0, 0, 0).
        faces: (F, 3) int32, counter-clockwise from outside.
        colors: (V, 3) uint8 sRGB, albedo.
        camera: (6,) yaw, pitch, radius, look_at (``v2m4.camera.Orbit``; radians), the same for all frames.
        fov: vertical field of view, radians; the pictures are square.
        fps: frames per second.
    """

    vertices: np.ndarray
    step: np.ndarray
    origin: np.ndarray
    faces: np.ndarray
    colors: np.ndarray
    camera: np.ndarray
    fov: np.ndarray
    fps: np.ndarray

    @classmethod
    def of(
        cls, positions: np.ndarray, faces: np.ndarray, colors: np.ndarray, camera: Tensor, fov: float, fps: float
    ) -> GroundTruth:
        """Quantise positions and colours.

        Args:
            positions: (T, V, 3).
            faces: (F, 3).
            colors: (V, 3) sRGB in [0, 1].
            camera: (6,) the parameters of an ``Orbit``.
            fov: vertical field of view, radians.
            fps: frames per second.
        """
        lower, upper = positions.min((0, 1)), positions.max((0, 1))
        step = max((upper - lower).max() / STEPS, 1e-12)
        return cls(
            vertices=np.round((positions - lower) / step - STEPS / 2).astype(np.int16),
            step=np.float64(step),
            origin=lower + step * STEPS / 2,
            faces=faces.astype(np.int32),
            colors=np.round(255 * np.clip(colors, 0, 1)).astype(np.uint8),
            camera=camera.numpy(),
            fov=np.float64(fov),
            fps=np.float64(fps),
        )

    def positions(self) -> Tensor:
        """Vertices of every frame, (T, V, 3) float32."""
        return torch.from_numpy((self.vertices * self.step + self.origin).astype(np.float32))

    def orbit(self) -> Orbit:
        """The camera, a batch of 1."""
        return Orbit.from_parameters(torch.from_numpy(self.camera.astype(np.float32))[None])

    def sequence(self) -> MeshSequence:
        """The meshes with their vertex colours; times are seconds, the rest pose is the first frame's."""
        positions = self.positions()
        colors = torch.from_numpy(self.colors.astype(np.float32) / 255)
        mesh = Mesh(positions[0], torch.from_numpy(self.faces.astype(np.int64)), colors=colors)
        return MeshSequence(positions, mesh, np.arange(len(positions)) / float(self.fps))

    def save(self, path: Path) -> None:
        """Write the file atomically."""
        with atomic(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **self.__dict__)

    @classmethod
    def load(cls, path: Path) -> GroundTruth:
        """Read a file written by ``save``.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not a ground truth file.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                return cls(**{name: stored[name] for name in cls.__dataclass_fields__})
        except (KeyError, EOFError) as error:
            raise ValueError(f"{path}: not a ground truth written by this program ({error})") from error
