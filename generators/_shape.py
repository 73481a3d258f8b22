"""Common parts of Hunyuan3D-2, TripoSG and CraftsMan3D: an untextured shape from an image, then its texture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch

from generators._learned import LearnedGenerator, first_surface, mean_color, object_image
from generators._mvadapter import MVAdapter
from generators._surface import Y_UP, Surface, clean_surface, colored, to_canonical
from generators.base import GenerationError
from v2m4.config import Config
from v2m4.frame import Frame
from v2m4.mesh import Asset, Mesh


class Painter(Protocol):
    """A texture network; ``version`` is the fingerprint of its weights."""

    version: str

    def paint(self, surface: Surface, picture: np.ndarray) -> Mesh:
        """Textured mesh of an untextured surface.

        Args:
            surface: in canonical pose.
            picture: (S, S, 4) uint8, the object alone.
        """
        ...


class ShapeGenerator(LearnedGenerator, ABC):
    """A shape network, and a texture network unless ``--generation.paint none``."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.painter = self._painter() if config.generation.paint == "network" else None
        if self.painter is not None:
            self.version += self.painter.version

    def generate(self, frame: Frame) -> Asset:
        """Asset of a frame, see ``Generator``; without a texture network in the foreground's mean colour.

        Raises:
            GenerationError: the frame has no foreground, or the network finds no surface in it.
        """
        picture = object_image(frame)
        surface = first_surface(self.name, frame, self.config.seed, lambda seed: self._surface(picture, seed))
        return self._to_asset(frame, picture, surface)

    def _to_asset(self, frame: Frame, picture: np.ndarray, surface: Surface) -> Asset:
        """Asset from a network's surface: cleaned, in canonical pose, textured.

        Raises:
            GenerationError: no face is left after cleaning.
        """
        try:
            surface = to_canonical(clean_surface(surface, self.config.max_faces), Y_UP)
        except ValueError as error:
            raise GenerationError(f"frame {frame.name}: {error}") from error
        if self.painter is None:
            mesh = colored(surface, mean_color(frame))
            return Asset(replace(mesh, color_confidence=torch.zeros(len(mesh.vertices))))
        return Asset(self.painter.paint(surface, picture))

    def _painter(self) -> Painter:
        """Texture network: MV-Adapter, unless the owner has one."""
        return MVAdapter(self.config)

    @abstractmethod
    def _surface(self, picture: np.ndarray, seed: int) -> Surface | None:
        """Surface in the network's volume, y up and facing +z; None if the volume contains none.

        Args:
            picture: (S, S, 4) uint8, the object alone.
            seed: of the noise.
        """
