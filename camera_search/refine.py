"""Refinement of cameras by Adam on the differentiable agreement of renders and frame.

Source: V2M4 section 3.2 (Adam on the silhouette after the swarm). Here colours and edges are compared, too, and every
view parameter has its own step size, of about the same effect in the image.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from camera_search.comparison import RenderComparison
from camera_search.similarity import ImageAgreement
from v2m4.adam import Adam

# Of yaw, pitch (radians), the centre's tangents, the logarithm of its depth, and roll.
STEP_SIZES = (0.02, 0.02, 0.004, 0.004, 0.01, 0.02)
TOLERANCE = 1e-4  # smaller gains of agreement are no progress


def refine(
    comparison: RenderComparison,
    views: Tensor,
    size: int,
    steps: int,
    agreement: ImageAgreement | None = None,
    rate: float = 1.0,
    patience: int = 16,
) -> tuple[Tensor, Tensor]:
    """Views of highest agreement on the path of Adam from each start; the rate falls to a hundredth along a cosine.

    Args:
        comparison: the mesh and the frame.
        views: (B, 5) initial values, or (B, 6) to optimise the roll, too.
        size: side of the images, pixels.
        steps: Adam steps.
        agreement: is maximised; ``ImageAgreement()`` if None.
        rate: factor on the initial step sizes.
        patience: steps without progress of any view after which it ends.

    Returns:
        Views, none worse than its initial value, and their agreement (B,).
    """
    agreement = agreement or ImageAgreement()
    reference = comparison.reference(size)
    step_sizes = comparison.view_parameters.steps(STEP_SIZES[: views.shape[1]]).to(views)
    start = views.detach()
    offset = torch.zeros_like(start, requires_grad=True)
    optimizer = Adam([offset], lr=rate, betas=(0.8, 0.95))
    best, best_value = start.clone(), torch.full((len(start),), -math.inf).to(start)
    steps_without_progress = 0
    for step in range(steps + 1):
        current = start + offset * step_sizes
        value = agreement.score(comparison.render(current, size), reference)
        improved = value.detach() > best_value
        steps_without_progress = (
            0 if bool((value.detach() > best_value + TOLERANCE).any()) else steps_without_progress + 1
        )
        best = torch.where(improved[:, None], current.detach(), best)
        best_value = torch.where(improved, value.detach(), best_value)
        if step == steps or steps_without_progress > patience:
            break
        optimizer.lr = rate * (0.505 + 0.495 * math.cos(math.pi * step / max(steps, 1)))
        optimizer.zero_grad()
        (-value.sum()).backward()
        assert offset.grad is not None
        offset.grad.nan_to_num_(0.0, 0.0, 0.0)
        optimizer.step()
    return best, best_value
