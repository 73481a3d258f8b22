"""The coarse fit: rotation, translation, anisotropic scale, with half-turns about the principal axes really tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from registration.keyframes.descent import cosine
from registration.keyframes.energy import State, Term, total
from v2m4.rotation import half_turn, rotation_from_6d, rotation_to_6d

CLEARLY_BETTER = 0.8  # a half-turn must bring the energy below this share of the plain start's


@dataclass(frozen=True)
class RigidFit:
    """x -> rotation (scale * (x - centre)) + centre + translation.

    Attributes:
        rotation: (3, 3).
        scale: (3,).
        translation: (3,).
        centre: (3,).
        energy: what it leaves.
        half_turn: index of the principal axis that was turned about, -1 for none.
    """

    rotation: Tensor
    scale: Tensor
    translation: Tensor
    centre: Tensor
    energy: float
    half_turn: int = -1

    def __call__(self, points: Tensor) -> Tensor:
        """Points (N, 3) aligned."""
        return (self.scale * (points - self.centre)) @ self.rotation.T + self.centre + self.translation


def principal_axes(points: Tensor) -> Tensor:
    """Unit axes of the points' covariance as rows (3, 3), longest first."""
    centred = (points - points.mean(0)).double()
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    return vectors.flip(1).T.to(points)


def fit_rigid(
    vertices: Tensor,
    terms: Sequence[Term],
    steps: int,
    generator: torch.Generator,
    rate: float = 0.01,
    half_turns: bool = True,
    trial_steps: int = 12,
    start: Tensor | None = None,
    scale_prior: float = 1.0,
) -> RigidFit:
    """The best similarity (up to anisotropic scale) of a pose to what the terms ask for.

    Every start gets a few steps; a half-turn is kept only where it is clearly better than the plain start, as
    consecutive key frames of a video rarely turn by 180 degrees; the one that is kept gets all the steps.

    Args:
        vertices: (V, 3).
        terms: the energy.
        steps: Adam steps for the start that is kept.
        generator: for terms that draw at random; every start sees the same draws.
        rate: Adam's step, in radians and in units of the object's size.
        half_turns: also start from half-turns about the three principal axes.
        trial_steps: steps before starts are compared.
        start: (3, 3) rotation to start from.
        scale_prior: weight of the mean squared logarithm of the scale.
    """
    centre = (vertices.amin(0) + vertices.amax(0)) / 2
    unit = (vertices.amax(0) - vertices.amin(0)).max()
    first = torch.eye(3).to(vertices) if start is None else start
    turns = [(-1, first)]
    if half_turns:
        turns += [(index, first @ half_turn(axis)) for index, axis in enumerate(principal_axes(vertices))]
    seed = int(torch.randint(2**31, (), generator=generator))

    def fit(turn: Tensor, count: int) -> RigidFit:
        six = rotation_to_6d(turn).clone().requires_grad_()
        shift = torch.zeros(3).to(vertices).requires_grad_()
        log_scale = torch.zeros(3).to(vertices).requires_grad_()
        optimizer = torch.optim.Adam([six, shift, log_scale], lr=rate)
        draws = torch.Generator().manual_seed(seed)
        energies: list[Tensor] = []
        for step in range(count):
            optimizer.param_groups[0]["lr"] = rate * cosine(step, count)
            optimizer.zero_grad()
            moved = (log_scale.exp() * (vertices - centre)) @ rotation_from_6d(six).T + centre + unit * shift
            energy = total(terms, State(moved, step, draws))[0] + scale_prior * log_scale.square().mean()
            energy.backward()
            optimizer.step()
            energies.append(energy.detach())
        last = torch.stack(energies).tolist()[-max(1, count // 3) :] if energies else []
        rotation = rotation_from_6d(six.detach())
        shift, log_scale = shift.detach(), log_scale.detach()
        return RigidFit(rotation, log_scale.exp(), unit * shift, centre, sum(last) / max(len(last), 1))

    chosen, turn = -1, first
    if half_turns:
        trials = [fit(candidate, trial_steps).energy for _, candidate in turns]
        best = min(range(len(turns)), key=trials.__getitem__)
        if trials[best] < CLEARLY_BETTER * trials[0]:
            chosen, turn = turns[best]
    found = fit(turn, steps)
    return RigidFit(found.rotation, found.scale, found.translation, centre, found.energy, chosen)
