"""What Hunyuan3D-2, TripoSG and CraftsMan3D share: a bare shape from a picture, then colours for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from generators._learned import first_surface, mean_color, object_picture
from generators._surface import Y_UP, Surface, canonical, colored, tidy
from generators.base import GenerationError
from v2m4.config import Config
from v2m4.frame import Frame
from v2m4.mesh import Asset, Mesh


def shape_and_paint(
    generator: str,
    frame: Frame,
    config: Config,
    shape: Callable[[np.ndarray, int], Surface | None],
    paint: Callable[[Surface, np.ndarray], Mesh] | None,
) -> Asset:
    """A clean mesh in canonical pose, painted, or of the frame's mean colour.

    Args:
        generator: its name, for messages.
        frame: any.
        config: ``max_faces`` and ``seed`` count here.
        shape: picture (S, S, 4) and seed to a surface, y up and facing +z, None where the network holds none.
        paint: surface in canonical pose and picture to a mesh in the same pose; None paints nothing.

    Raises:
        GenerationError: the frame has no foreground, or the network finds no surface in it.
    """
    picture = object_picture(frame)
    surface = first_surface(generator, frame, config.seed, lambda seed: shape(picture, seed))
    try:
        surface = canonical(tidy(surface, config.max_faces), Y_UP)
    except ValueError as error:
        raise GenerationError(f"frame {frame.name}: {error}") from error
    return Asset(colored(surface, mean_color(frame)) if paint is None else paint(surface, picture))
