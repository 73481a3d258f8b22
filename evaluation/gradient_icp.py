"""ActionBench's registration: gradient descent on the chamfer distance from many starts, with a scale per axis."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from evaluation.alignment import affine
from evaluation.surface_points import search_tree
from v2m4 import threads
from v2m4.rotation import axis_rotation, rotation_from_6d

LEARNING_RATE, STEPS = 0.01, 200


def actionbench_starts() -> np.ndarray:
    """The start rotations of ActionBench's code, for row vectors (points @ rotation): (22, 3, 3).

    Its 24 triples of Euler angles contain two rotations twice; two of the cube's 24 rotations are missing.
    """
    quarters = [0, 90, 180, 270]
    triples = [(a, 0, r) for a in quarters for r in quarters]
    triples += [(a, e, r) for a in (0, 90) for e in (90, -90) for r in (0, 90)]
    x, y, z = (axis_rotation(axis, angles) for axis, angles in enumerate(np.radians(triples).T))
    matrices = np.round(x @ y @ z)
    _, first = np.unique(matrices.reshape(len(triples), 9), axis=0, return_index=True)
    return matrices[np.sort(first)]


def gradient_icp(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The affine map (scale per axis, then rotation, then translation) that brings the source to the target.

    As ActionBench's ``icp.py`` (facebookresearch/actionmesh, 66db12e) does it: 200 Adam steps of 0.01 on the squared
    chamfer distance from every start at once; none is dropped, since one that is far behind half way may win. The map
    of the least distance is returned; as there, its scale and translation are those after the following step. For fixed
    neighbours the distance is a quadratic form of the map, so points enter through their second moments and only small
    matrices are differentiated.

    Args:
        source: (N, 3), roughly at the target's position and size.
        target: (M, 3).

    Returns:
        (4, 4) for column vectors.
    """
    starts = torch.from_numpy(actionbench_starts())
    count = len(starts)
    translation = torch.zeros(count, 3, dtype=torch.float64, requires_grad=True)
    rotation_6d = torch.tensor([[1.0, 0, 0, 0, 1, 0]], dtype=torch.float64).repeat(count, 1).requires_grad_()
    scale = torch.ones(count, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([translation, rotation_6d, scale], lr=LEARNING_RATE)
    tree = search_tree(target)
    best_loss = np.inf
    best_map = np.eye(4)
    with ThreadPoolExecutor(threads.count()) as pool:
        for _ in range(STEPS):
            optimizer.zero_grad()
            rotations = starts @ rotation_from_6d(rotation_6d)
            linear = scale[:, :, None] * rotations
            maps = [(linear[k].detach().numpy(), translation[k].detach().numpy()) for k in range(count)]
            moments = torch.stack(list(pool.map(lambda one: _moments(source, target, tree, *one), maps)))
            losses = _chamfer(moments, linear, translation)
            (losses.sum() / count).backward()
            optimizer.step()
            best_start = int(losses.detach().argmin())
            if float(losses[best_start].detach()) < best_loss:
                best_loss = float(losses[best_start].detach())
                matrix = scale[best_start].detach()[:, None] * rotations[best_start].detach()
                best_map = affine(matrix.numpy().T, translation[best_start].detach().numpy().copy())
    return best_map


def _moments(
    source: np.ndarray, target: np.ndarray, tree: cKDTree, linear: np.ndarray, translation: np.ndarray
) -> Tensor:
    """Second moments (7, 7) of the vectors (x, 1, y) of nearest pairs, x of the source, y of the target, both ways."""
    moved = source @ linear + translation
    target_index = tree.query(moved)[1]
    source_index = search_tree(moved).query(target)[1]
    moments = np.zeros((7, 7))
    for x, y in ((source, target[target_index]), (source[source_index], target)):
        rows = np.concatenate([x, np.ones((len(x), 1)), y], 1)
        moments += rows.T @ rows / len(x)
    return torch.from_numpy(moments)


def _chamfer(moments: Tensor, linear: Tensor, translation: Tensor) -> Tensor:
    """Squared chamfer distances (B,), mean |x @ linear + translation - y|^2, from the moments (B, 7, 7)."""
    identity = torch.eye(3, dtype=linear.dtype).expand(len(linear), 3, 3)
    residual = torch.cat([linear, translation[:, None], -identity], 1)  # (B, 7, 3)
    return (residual * (moments @ residual)).sum((1, 2))
