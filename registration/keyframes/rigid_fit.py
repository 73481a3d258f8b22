"""The coarse alignment: rotation, translation and anisotropic scale by Adam, from several initial rotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from registration.keyframes.descent import cosine
from registration.keyframes.energy import State, Term, total
from v2m4.adam import Adam
from v2m4.rotation import half_turn, rotation_from_6d, rotation_to_6d

HALF_TURN_RATIO = 0.8  # a half-turn is taken if its energy is below this share of that without one


@dataclass(frozen=True)
class RigidFit:
    """The map x -> rotation (scale * (x - centre)) + centre + translation.

    Attributes:
        rotation: (3, 3).
        scale: (3,).
        translation: (3,).
        centre: (3,).
        energy: the terms' energy at the end of the fit.
        half_turn: index of the principal axis of the half-turn that the fit started from, -1 for none.
    """

    rotation: Tensor
    scale: Tensor
    translation: Tensor
    centre: Tensor
    energy: float
    half_turn: int = -1

    def __call__(self, points: Tensor) -> Tensor:
        """Points (N, 3) mapped."""
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
    """Fits rotation, translation and anisotropic scale of a pose to the terms by Adam, with several starts.

    Every start is optimised for a few steps. A half-turn is taken only if it is clearly better than the start without
    one, as an object rarely rotates by 180 degrees between key frames. The fit then runs from the start that is taken.

    Args:
        vertices: (V, 3).
        terms: of the energy.
        steps: Adam steps from the start that is taken.
        generator: of the terms' random samples, which are the same for all starts.
        rate: Adam's initial learning rate, in radians and in units of the object's size.
        half_turns: whether to start also from half-turns about the three principal axes.
        trial_steps: Adam steps from each start before they are compared.
        start: (3, 3) initial rotation; the identity if None.
        scale_prior: weight of the mean squared logarithm of the scale.
    """
    centre = (vertices.amin(0) + vertices.amax(0)) / 2
    unit = (vertices.amax(0) - vertices.amin(0)).max()
    initial = torch.eye(3).to(vertices) if start is None else start
    starts = [(-1, initial)]
    if half_turns:
        starts += [(index, initial @ half_turn(axis)) for index, axis in enumerate(principal_axes(vertices))]
    seed = int(torch.randint(2**31, (), generator=generator))

    def fit(start_rotation: Tensor, count: int) -> RigidFit:
        rotation6d = rotation_to_6d(start_rotation).clone().requires_grad_()
        offset = torch.zeros(3).to(vertices).requires_grad_()
        log_scale = torch.zeros(3).to(vertices).requires_grad_()
        optimizer = Adam([rotation6d, offset, log_scale], lr=rate)
        trial_generator = torch.Generator().manual_seed(seed)
        energies: list[Tensor] = []
        for step in range(count):
            optimizer.lr = rate * cosine(step, count)
            optimizer.zero_grad()
            transformed = (
                (log_scale.exp() * (vertices - centre)) @ rotation_from_6d(rotation6d).T + centre + unit * offset
            )
            energy = (
                total(terms, State(transformed, step, trial_generator))[0] + scale_prior * log_scale.square().mean()
            )
            energy.backward()
            optimizer.step()
            energies.append(energy.detach())
        final_energies = torch.stack(energies).tolist()[-max(1, count // 3) :] if energies else []
        rotation = rotation_from_6d(rotation6d.detach())
        offset, log_scale = offset.detach(), log_scale.detach()
        return RigidFit(
            rotation, log_scale.exp(), unit * offset, centre, sum(final_energies) / max(len(final_energies), 1)
        )

    half_turn_axis, start_rotation = -1, initial
    if half_turns:
        trials = [fit(candidate, trial_steps).energy for _, candidate in starts]
        best = min(range(len(starts)), key=trials.__getitem__)
        if trials[best] < HALF_TURN_RATIO * trials[0]:
            half_turn_axis, start_rotation = starts[best]
    best_fit = fit(start_rotation, steps)
    return RigidFit(best_fit.rotation, best_fit.scale, best_fit.translation, centre, best_fit.energy, half_turn_axis)
