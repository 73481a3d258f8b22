"""ActionBench's registration: gradient descent on the chamfer distance, from many starts, with a scale per axis."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from torch import Tensor

from evaluation.alignment import affine
from evaluation.surface_points import search_tree
from v2m4 import threads

LEARNING_RATE, STEPS = 0.01, 200


def owner_starts() -> np.ndarray:
    """The start rotations of ActionBench's code, for row vectors (points @ rotation): (22, 3, 3).

    Its 24 triples of angles name two rotations twice; of the cube's 24 rotations two are missing.
    """
    quarters = [0, 90, 180, 270]
    triples = [(a, 0, r) for a in quarters for r in quarters]
    triples += [(a, e, r) for a in (0, 90) for e in (90, -90) for r in (0, 90)]
    matrices = np.round(Rotation.from_euler("XYZ", triples, degrees=True).as_matrix())
    _, first = np.unique(matrices.reshape(len(triples), 9), axis=0, return_index=True)
    return matrices[np.sort(first)]


def gradient_icp(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The affine map (scale per axis, then rotation, then translation) that brings the source to the target.

    As ActionBench's ``icp.py`` (facebookresearch/actionmesh, 66db12e) computes it: 200 Adam steps of 0.01 on the
    squared chamfer distance from every start at once, none dropped: one that is far behind half way may win. The map of
    the least distance met counts; as there, its scale and translation are those after the step that followed. For given
    neighbours the distance is a quadratic form
    of the map, so points enter through their moments and only small matrices are differentiated.

    Args:
        source: (N, 3), at the target's place and size, roughly.
        target: (M, 3).

    Returns:
        (4, 4) for column vectors.
    """
    starts = torch.from_numpy(owner_starts())
    count = len(starts)
    translation = torch.zeros(count, 3, dtype=torch.float64, requires_grad=True)
    turn = torch.tensor([[1.0, 0, 0, 0, 1, 0]], dtype=torch.float64).repeat(count, 1).requires_grad_()
    scale = torch.ones(count, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([translation, turn, scale], lr=LEARNING_RATE)
    tree = search_tree(target)
    best = np.inf
    found = np.eye(4)
    with ThreadPoolExecutor(threads.count()) as pool:
        for _ in range(STEPS):
            optimizer.zero_grad()
            rotations = starts @ _rotations(turn)
            linear = scale[:, :, None] * rotations
            maps = [(linear[k].detach().numpy(), translation[k].detach().numpy()) for k in range(count)]
            moments = torch.stack(list(pool.map(lambda one: _moments(source, target, tree, *one), maps)))
            losses = _chamfer(moments, linear, translation)
            (losses.sum() / count).backward()
            optimizer.step()
            which = int(losses.detach().argmin())
            if float(losses[which].detach()) < best:
                best = float(losses[which].detach())
                matrix = scale[which].detach()[:, None] * rotations[which].detach()
                found = affine(matrix.numpy().T, translation[which].detach().numpy().copy())
    return found


def _rotations(six: Tensor) -> Tensor:
    """Two rows (B, 6), made orthonormal and completed: (B, 3, 3). Source: Zhou et al. 2019, section 4."""
    first = torch.nn.functional.normalize(six[:, :3], dim=1)
    second = six[:, 3:] - (first * six[:, 3:]).sum(1, keepdim=True) * first
    second = torch.nn.functional.normalize(second, dim=1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], 1)


def _moments(source: np.ndarray, target: np.ndarray, tree: cKDTree, linear: np.ndarray, shift: np.ndarray) -> Tensor:
    """Second moments (7, 7) of the rows (x, 1, y) of neighbours x of the source and y of the target, both ways."""
    moved = source @ linear + shift
    there = tree.query(moved)[1]
    here = search_tree(moved).query(target)[1]
    total = np.zeros((7, 7))
    for x, y in ((source, target[there]), (source[here], target)):
        rows = np.concatenate([x, np.ones((len(x), 1)), y], 1)
        total += rows.T @ rows / len(x)
    return torch.from_numpy(total)


def _chamfer(moments: Tensor, linear: Tensor, translation: Tensor) -> Tensor:
    """Mean squared |x @ linear + translation - y| both ways, (B,), from the moments (B, 7, 7)."""
    identity = torch.eye(3, dtype=linear.dtype).expand(len(linear), 3, 3)
    residual = torch.cat([linear, translation[:, None], -identity], 1)  # (B, 7, 3)
    return (residual * (moments @ residual)).sum((1, 2))
