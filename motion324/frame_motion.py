"""What a later frame shows of the motion of the whole object: its crop, its box, and the similarity of the flow."""

from __future__ import annotations

import torch
from torch import Tensor

from motion324.observations import DARKEST, DIFFERENCES, FILLED, VISIBLE
from motion324.view_frame import CUBE

FEATURES = 12
SCALE = 4.0  # of all features, to be of order 1
DIFFERENCE = 0.05  # of colours, at which a point's weight falls to 1 / e


@torch.no_grad()
def frame_features(frames: Tensor, crops: Tensor, points: Tensor, observed: Tensor) -> Tensor:
    """Features (B, T - 1, FEATURES) of the later frames.

    Args:
        frames: (B, T, 3, H, W), the object on black.
        crops: (B, T, 3), see ``view_frame.following_crops``.
        points: (B, N, 3) surface points in the normalised space.
        observed: (B, T - 1, N, C) what the frames show of them, see ``observations``.

    Returns:
        crop; change of the object's box in the reference's window; logarithm of the change of its area; parameters of
        the similarity across the view that fits the displacements of the visible points (scale, rotation, shift).
    """
    boxes, areas = _boxes(frames, crops)
    log_area = (areas.clamp_min(1e-4).log() - areas[:, :1].clamp_min(1e-4).log())[:, 1:, None]
    shift = crops - crops.new_tensor([0.5, 0.5, 1.0])
    fitted = _similarity(points[..., :2], observed)
    return SCALE * torch.cat([shift[:, 1:], (boxes - boxes[:, :1])[:, 1:], log_area / 2, fitted], -1)


def _boxes(frames: Tensor, crops: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes (B, T, 4) of what is not black and its areas (B, T), in the reference's window."""
    mask = frames.amax(2) > DARKEST
    limits = []
    for lines in (mask.any(2), mask.any(3)):  # columns, rows
        count = lines.shape[-1]
        first = lines.float().argmax(-1)
        last = count - lines.flip(-1).float().argmax(-1)
        limits.append(torch.stack([first, last], -1) / count - 0.5)
    low_high = torch.stack(limits, -1)  # (B, T, 2, 2): first and last, of x and y
    placed = (crops[..., None, :2] + crops[..., None, 2:] * low_high).flatten(2)
    return (placed - 0.5) / CUBE, mask.float().mean((2, 3)) * crops[..., 2] ** 2


def _similarity(places: Tensor, observed: Tensor) -> Tensor:
    """Weighted least-squares similarity (B, T - 1, 4): scale - 1, rotation, and shift, in the plane of the view."""
    moved = observed[..., FILLED].float()
    weights = observed[..., VISIBLE].float() * torch.exp(-observed[..., DIFFERENCES].float().amin(-1) / DIFFERENCE)
    weights = weights + 1e-4
    weights = (weights / weights.sum(-1, keepdim=True))[..., None]
    at = places[:, None]
    centred = at - (at * weights).sum(2, keepdim=True)
    shift = (moved * weights).sum(2, keepdim=True)
    residual = (moved - shift) * weights
    spread = (centred.square() * weights).sum((2, 3)).clamp_min(1e-4)
    scale = (centred * residual).sum((2, 3)) / spread
    turn = (centred[..., 0] * residual[..., 1] - centred[..., 1] * residual[..., 0]).sum(2) / spread
    return torch.cat([scale[..., None], turn[..., None], shift[:, :, 0]], -1)
