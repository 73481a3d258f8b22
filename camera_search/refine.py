"""The last step: cameras follow the gradient of the picture's agreement.

Source: V2M4 section 3.2 (Adam on the silhouette after the swarm). Here colours and edges count too, and every number
has its own step, of about the same effect in the picture.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from camera_search.comparison import Comparison
from camera_search.similarity import PictureAgreement

# Of yaw, pitch (radians), the centre's tangents, the logarithm of its depth, and roll.
STEP = (0.02, 0.02, 0.004, 0.004, 0.01, 0.02)
TOLERANCE = 1e-4  # progress smaller than this is none


def refine(
    comparison: Comparison,
    views: Tensor,
    size: int,
    steps: int,
    agreement: PictureAgreement | None = None,
    rate: float = 1.0,
    patience: int = 16,
) -> tuple[Tensor, Tensor]:
    """Adam on views, all at once, steps shrinking to a hundredth along a cosine; the best of the way is kept.

    Args:
        comparison: the mesh and the frame.
        views: (B, 5) where to start, or (B, 6) to let the roll change, too.
        size: pixels (side) of the pictures.
        steps: Adam steps.
        agreement: what is maximised, differentiable; a new ``PictureAgreement`` if None.
        rate: factor on the first steps.
        patience: steps without progress of any view after which it is over.

    Returns:
        views, none worse than where it started, and their agreement (B,).
    """
    agreement = agreement or PictureAgreement()
    reference = comparison.reference(size)
    unit = comparison.space.steps(STEP[: views.shape[1]]).to(views)
    start = views.detach()
    offset = torch.zeros_like(start, requires_grad=True)
    optimizer = torch.optim.Adam([offset], lr=rate, betas=(0.8, 0.95))
    best, best_value = start.clone(), torch.full((len(start),), -math.inf).to(start)
    stale = 0
    for step in range(steps + 1):
        at = start + offset * unit
        value = agreement.score(comparison.pictures(at, size), reference)
        better = value.detach() > best_value
        stale = 0 if bool((value.detach() > best_value + TOLERANCE).any()) else stale + 1
        best = torch.where(better[:, None], at.detach(), best)
        best_value = torch.where(better, value.detach(), best_value)
        if step == steps or stale > patience:
            break
        optimizer.param_groups[0]["lr"] = rate * (0.505 + 0.495 * math.cos(math.pi * step / max(steps, 1)))
        optimizer.zero_grad()
        (-value.sum()).backward()
        assert offset.grad is not None
        offset.grad.nan_to_num_(0.0, 0.0, 0.0)
        optimizer.step()
    return best, best_value
