"""Turn vertex colours, alone or times a texture, into a texture of one tile for each face."""

from __future__ import annotations

import math

import numpy as np

from v2m4.io.srgb import linear_to_srgb, srgb_to_linear

MAX_TILE = 16  # texels along each side of a face's tile
MAX_SIDE = 4096  # of the texture, texels


def painted_faces(
    colors: np.ndarray, texture: np.ndarray | None = None, uvs: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray] | None:
    """A texture in which each face has a tile of its own, and where its corners lie there.

    The corners of a face lie at centres of texels, so that bilinear interpolation gives the colours of its vertices
    exactly, and does not reach neighbouring tiles.

    Args:
        colors: (F, 3, 3) linear colours of the corners.
        texture: (H, W, 3) sRGB, by which colours are multiplied; None for the colours alone.
        uvs: (F, 3, 2) in [0, 1], of the corners in ``texture``.

    Returns:
        The texture (S, S, 3) float32 sRGB, and (F, 3, 2) texture coordinates; None where the faces are too many for a
        texture of MAX_SIDE.
    """
    columns = max(math.ceil(math.sqrt(len(colors))), 1)
    tile = 2
    if texture is not None and uvs is not None and len(uvs):
        edges = np.linalg.norm((uvs - np.roll(uvs, 1, 1)) * texture.shape[1::-1], axis=2).max(1)
        tile = int(np.clip(np.ceil(np.percentile(edges, 90)) + 1, 2, MAX_TILE))
    tile = min(tile, MAX_SIDE // columns)
    if tile < 2:
        return None
    # Barycentric coordinates of a tile's texels; beyond the diagonal they are extrapolated.
    along = np.arange(tile) / (tile - 1)
    second, third = np.meshgrid(along, along)
    weights = np.stack([1 - second - third, second, third], -1).reshape(-1, 3).astype(np.float32)  # (tile^2, 3)
    values = np.einsum("tk,fkc->ftc", weights, colors.astype(np.float32)).clip(0, 1)
    if texture is not None and uvs is not None:
        places = np.einsum("tk,fkc->ftc", weights, uvs.astype(np.float32))
        values = values * srgb_to_linear(_sampled(texture, places.reshape(-1, 2))).reshape(values.shape)
    cells = np.zeros((columns * columns, tile * tile, 3), np.float32)
    cells[: len(values)] = linear_to_srgb(values)
    grid = cells.reshape(columns, columns, tile, tile, 3).swapaxes(1, 2).reshape(columns * tile, columns * tile, 3)
    row, column = np.divmod(np.arange(len(colors)), columns)
    origin = np.stack([column, row], 1)[:, None] * tile + 0.5
    corners = origin + np.array([[0, 0], [tile - 1, 0], [0, tile - 1]])
    return grid, (corners / (columns * tile)).astype(np.float32)


def _sampled(texture: np.ndarray, uvs: np.ndarray) -> np.ndarray:
    """Bilinear interpolation of a texture (H, W, 3) at (N, 2) coordinates, its border continued; (N, 3)."""
    height, width = texture.shape[:2]
    place = uvs * [width, height] - 0.5
    low = np.floor(place).astype(np.int64)
    part = (place - low).astype(np.float32)
    left, right = low[:, 0].clip(0, width - 1), (low[:, 0] + 1).clip(0, width - 1)
    top, bottom = low[:, 1].clip(0, height - 1), (low[:, 1] + 1).clip(0, height - 1)
    upper = texture[top, left] * (1 - part[:, :1]) + texture[top, right] * part[:, :1]
    lower = texture[bottom, left] * (1 - part[:, :1]) + texture[bottom, right] * part[:, :1]
    return upper * (1 - part[:, 1:]) + lower * part[:, 1:]
