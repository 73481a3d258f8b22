"""Encoder of pairs of frames, the reference and another: convolutions over both, and the optical flow between them.

A small network that is trained for minutes cannot learn to match pictures first. So each frame comes with dense optical
flow from the reference frame (dense inverse search: classical, not learned), and with itself warped back by that flow;
convolutions at a quarter of the resolution and below correct it.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, grid_sample, interpolate, layer_norm, pixel_unshuffle

from motion324.view_frame import CUBE
from v2m4.optical_flow import MEDIUM, dense_flow

FOLD = 4  # pixels of a side that become channels: the maps have a quarter of the resolution
WIDTHS = (64, 128, 192)  # channels at a quarter, an eighth and a sixteenth of the resolution
GRAY = (0.299, 0.587, 0.114)
INPUTS = 3 * 3 * FOLD**2 + 4 + 2  # three pictures, two flows, their residuals
FLOW_SCALE, RESIDUAL_SCALE = 8.0, 4.0  # of inputs, to be of order 1
LIFT, DARKEST = 0.25, 0.5 / 255  # grey that the object is lifted above the background by; brightest channel of black


class Block(nn.Module):
    """Residual block of two 3 x 3 convolutions; it starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, C, H, W)."""
        normal = layer_norm(maps.permute(0, 2, 3, 1), self.scale.shape, self.scale).permute(0, 3, 1, 2)
        return maps + self.second(nn.functional.silu(self.first(normal)))


class FlowEncoder(nn.Module):
    """Maps and tokens of all frames but the reference.

    Args:
        size: side of the frames, pixels, a multiple of 16.
        width: channels of a token.
        maps: channels of the maps.
    """

    def __init__(self, size: int, width: int, maps: int) -> None:
        super().__init__()
        if size % 16:
            raise ValueError(f"image_size: the flow encoder needs a multiple of 16, got {size}")
        self.size = size
        fine, middle, coarse = WIDTHS
        self.stem = nn.Conv2d(INPUTS, fine, 3, padding=1)
        self.fine = Block(fine)
        self.to_middle = nn.Conv2d(fine, middle, 3, stride=2, padding=1)
        self.middle = nn.Sequential(Block(middle), Block(middle))
        self.to_coarse = nn.Conv2d(middle, coarse, 3, stride=2, padding=1)
        self.coarse = nn.Sequential(Block(coarse), Block(coarse))
        self.to_tokens = nn.Conv2d(coarse, width, 1)
        self.from_tokens = nn.Conv2d(width, middle, 1)
        self.up_middle = nn.Sequential(Block(middle))
        self.from_middle = nn.Conv2d(middle, fine, 1)
        self.up_fine = nn.Sequential(Block(fine))
        self.to_maps = nn.Conv2d(fine, maps, 1)
        with torch.no_grad():
            self.to_maps.weight[:2] = 0
            self.to_maps.bias[:2] = 0  # type: ignore[index]
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def down(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Tokens (N, L, C) of the N = B * (T - 1) later frames, and maps for ``up``.

        Args:
            frames: (B, T, 3, H, W) sRGB in [0, 1], the object on black.
        """
        batch, count = frames.shape[:2]
        pictures = frames.flatten(0, 1)
        if pictures.shape[-1] != self.size or pictures.shape[-2] != self.size:
            pictures = interpolate(pictures, (self.size, self.size), mode="bilinear", antialias=True)
        inputs, flow = flow_inputs(pictures.unflatten(0, (batch, count)).float())
        fine = self.fine(self.stem(inputs.contiguous(memory_format=torch.channels_last)))
        middle = self.middle(self.to_middle(fine))
        tokens = self.to_tokens(self.coarse(self.to_coarse(middle)))
        return tokens.flatten(2).transpose(1, 2), [fine, middle, flow]

    def up(self, tokens: Tensor, skipped: list[Tensor]) -> Tensor:
        """Maps (N, M, G, G) from tokens (N, L, C) and the maps on the way down.

        The first two channels are displacements x and y in the normalised space: the flow, corrected.
        """
        fine, middle, flow = skipped
        side = middle.shape[-1] // 2
        coarse = self.from_tokens(tokens.transpose(1, 2).unflatten(2, (side, side)))
        middle = self.up_middle(middle + interpolate(coarse, scale_factor=2.0, mode="nearest"))
        fine = self.up_fine(fine + interpolate(self.from_middle(middle), scale_factor=2.0, mode="nearest"))
        maps = self.to_maps(fine)
        moved = flow * flow.new_tensor([1 / CUBE, -1 / CUBE]).reshape(2, 1, 1)
        return torch.cat([maps[:, :2] + moved, maps[:, 2:]], 1)


@torch.no_grad()
def flow_inputs(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs of the convolutions, and the flow itself.

    Args:
        frames: (B, T, 3, S, S).

    Returns:
        (B * (T - 1), C, S / 4, S / 4), and the flow (B * (T - 1), 2, S / 4, S / 4) in fractions of the side.
    """
    count, size = frames.shape[1], frames.shape[3]
    gray = torch.einsum("btchw,c->bthw", frames, frames.new_tensor(GRAY))
    gray = (1 - LIFT) * gray + LIFT * (frames.amax(2) > DARKEST)
    flows = np.stack([chained_flows((video * 255).round().byte().numpy()) for video in gray.cpu()])
    flow = torch.from_numpy(flows).to(frames).flatten(0, 1)  # (N, 2, S, S, 2)
    reference = frames[:, :1].expand(-1, count - 1, -1, -1, -1).flatten(0, 1)
    later = frames[:, 1:].flatten(0, 1)
    line = torch.arange(size, device=frames.device, dtype=frames.dtype)
    place = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)

    def warped(by: Tensor) -> Tensor:
        return grid_sample(later, (place + by + 0.5) * (2 / size) - 1, align_corners=False)

    back = [warped(flow[:, which]) for which in range(2)]
    residuals = [avg_pool2d((picture - reference).abs().mean(1, keepdim=True), FOLD) for picture in back]
    motions = [avg_pool2d(flow[:, which].permute(0, 3, 1, 2), FOLD) / size for which in range(2)]
    better = residuals[0] < residuals[1]
    best = torch.where(better, motions[0], motions[1])
    pictures = [pixel_unshuffle(picture, FOLD) for picture in (reference, later, back[1])]
    scaled = [FLOW_SCALE * motions[0], FLOW_SCALE * motions[1], RESIDUAL_SCALE * residuals[0]]
    return torch.cat([*pictures, *scaled, RESIDUAL_SCALE * residuals[1]], 1), best


def chained_flows(video: np.ndarray) -> np.ndarray:
    """Flows from the reference to each later frame: composed of those between consecutive frames, and direct ones.

    Each starts from the displacement of the object's centre, for dense inverse search finds small displacements only.

    Args:
        video: (T, S, S) uint8, the reference first; the object on black.

    Returns:
        (T - 1, 2, S, S, 2) float32 pixels as (x, y).
    """
    size = video.shape[1]
    line = np.arange(size, dtype=np.float32)
    x, y = np.meshgrid(line, line)
    found, before = [], np.zeros((size, size, 2), np.float32)
    centres = _centres(video)
    for number in range(1, len(video)):
        step = _shifted_flow(video[number - 1], video[number], centres[number] - centres[number - 1])
        at = (x + before[..., 0], y + before[..., 1])
        before = before + cv2.remap(step, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        direct = step if number == 1 else _shifted_flow(video[0], video[number], centres[number] - centres[0])
        found.append(np.stack([before, direct]))
    return np.stack(found)


def _centres(video: np.ndarray) -> np.ndarray:
    """Centre (T, 2) of what is not black in each frame, pixels; of the frame before where all is black."""
    centres, last = [], np.full(2, (video.shape[1] - 1) / 2)
    for frame in video:
        rows, columns = np.nonzero(frame > 255 * LIFT / 2)
        if len(rows):
            last = np.array([columns.mean(), rows.mean()])
        centres.append(last)
    return np.stack(centres)


def _shifted_flow(first: np.ndarray, second: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Flow between two frames, from the second one displaced by whole pixels."""
    whole = np.round(shift)
    back = np.array([[1, 0, -whole[0]], [0, 1, -whole[1]]], np.float32)
    moved = cv2.warpAffine(second, back, second.shape[::-1])
    return dense_flow(first, moved, MEDIUM) + whole.astype(np.float32)
