"""How limbs are turned in a picture, searched for as cameras are: turned, rendered small, and compared.

A descent finds a raised arm only where it overlaps the picture's. So limbs are turned about their joints to all sides,
and what agrees best with the picture is kept. Thousands of poses are rendered, of a reduced mesh, in a small picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import avg_pool2d

from registration.correspondences.appearance_model import AppearanceModel
from registration.deformation_graph.graph import DeformationGraph, Poses
from registration.video.limbs import Limb, ball
from v2m4.decimate import simplified, vertex_colors
from v2m4.geometry import vertex_normals
from v2m4.image_window import ImageWindow
from v2m4.mesh import Mesh
from v2m4.render import render
from v2m4.rotation import rotation_exp

FACES = 2000  # of the reduced mesh
CLOSER = 14  # turns about the best one that are tried then, in each of a few rounds
BEST, OTHER = 12, 1.0  # best turns of a limb that are remembered; radians from which on one is another than the best
GAIN, LEAST_GAIN = 0.06, 0.01  # part, and amount, by which the error must fall for a turn to be taken
FOLLOWED = 2  # limbs that are turned in a guess, for each guess that is kept
APART = 0.2  # of the object's size, by which some node of two guesses differs at least
EFFORT = 0.006  # error that a turn by one radian is worth
SCALES, COLOR = 4, 2.0  # of the pictures that are compared; weight of colour, where the mask has 1
MISSING = 1.0  # more weight where the frame's mask is not covered: a limb that hides is wrong, too


@dataclass(frozen=True)
class Comparison:
    """How much many poses at once look like a frame, at low resolution.

    Attributes:
        graph: carries the mesh.
        view: the frame.
        mesh: reduced, at rest, with vertex colours in the frame's light.
        influences: (V, n) nodes of the graph that carry its vertices.
        weights: (V, n) of them.
        offsets: (V, n, 3) from these nodes to the vertex, at rest.
        wanted: (4, h, w) colour times coverage, and coverage, of the frame.
    """

    graph: DeformationGraph
    view: ImageWindow
    mesh: Mesh
    influences: np.ndarray
    weights: np.ndarray
    offsets: np.ndarray
    wanted: Tensor

    @classmethod
    def of(cls, graph: DeformationGraph, pose: Tensor, appearance: AppearanceModel, view: ImageWindow) -> Comparison:
        """The look's paint under the light that it was fitted to, as a pose (V, 3) turns it there."""
        mask = torch.from_numpy(view.mask)[None]
        color = torch.from_numpy(view.color).permute(2, 0, 1) * mask
        lighting = appearance.lighting_factors(vertex_normals(pose, appearance.mesh.faces))
        paint = vertex_colors(appearance.mesh) * lighting
        whole = Mesh(torch.from_numpy(graph.rest).float(), appearance.mesh.faces, colors=paint.clamp(0, 1))
        mesh = simplified(whole, FACES)
        places = mesh.vertices.double().numpy()
        nearest = cKDTree(graph.rest).query(places)[1]
        influences = np.maximum(graph.influences[nearest], 0)
        offsets = places[:, None] - graph.centres[influences]
        return cls(graph, view, mesh, influences, graph.weights[nearest], offsets, torch.cat([color, mask]))

    def __call__(self, poses: Poses) -> np.ndarray:
        """What is wrong with each pose, (T,): 0 is the same picture."""
        return self._errors(np.stack([self._placed(poses[[time]]).sum(1) for time in range(len(poses))]))

    def turned(self, poses: Poses, limb: Limb, rotations: np.ndarray) -> np.ndarray:
        """The same, (T,), of one pose with a limb turned by each of (T, 3, 3)."""
        joint = limb.joint(self.graph, poses)
        moved_to_mask, inside = self._placed(poses), limb.nodes[self.influences]
        share = (self.weights * inside).sum(1)[:, None]
        moving = (moved_to_mask * inside[..., None]).sum(1) - share * joint
        still = (moved_to_mask * ~inside[..., None]).sum(1) + share * joint
        return self._errors(moving @ rotations.transpose(0, 2, 1) + still)

    def _placed(self, poses: Poses) -> np.ndarray:
        """What each carrier adds to each vertex of one pose, (V, n, 3)."""
        rotations, positions = poses.rotations[0][self.influences], poses.positions[0][self.influences]
        return self.weights[..., None] * (np.einsum("vnab,vnb->vna", rotations, self.offsets) + positions)

    def _errors(self, vertices: np.ndarray) -> np.ndarray:
        """What is wrong with vertices (T, V, 3), (T,)."""
        with torch.no_grad():
            seen = render(
                torch.from_numpy(vertices).float(),
                self.mesh.faces,
                self.view.camera,
                self.view.shape,
                colors=self.mesh.colors,
                channels=("color",),
                antialias=False,
            )
        ours = torch.cat([seen.color, seen.mask], -1).permute(0, 3, 1, 2)
        theirs, total = self.wanted[None], ours.new_zeros(len(ours))
        for scale in range(SCALES):
            if scale:
                ours, theirs = avg_pool2d(ours, 2), avg_pool2d(theirs, 2)
            off = theirs - ours
            wrong = off[:, 3].abs() + MISSING * off[:, 3].clamp_min(0) + COLOR * off[:, :3].abs().mean(1)
            total = total + wrong.sum((1, 2)) / theirs[:, 3].sum().clamp_min(1e-6)
        return (total / SCALES).double().numpy()


@dataclass(frozen=True)
class Guess:
    """A pose in which some limbs have been turned.

    Attributes:
        poses: one.
        error: what is wrong with it.
        turned: numbers of the limbs that were turned, in order.
    """

    poses: Poses
    error: float
    turned: tuple[int, ...] = ()


def search_limbs(comparison: Comparison, limbs: list[Limb], poses: Poses, beam: int = 3, most: int = 5) -> list[Guess]:
    """Turn limbs about their joints, one after the other, as long as the picture gets clearly more like the frame.

    A limb that hides behind the body is wrong in a smaller part of the picture than one that sticks out in the wrong
    direction, so the best next turn may lead astray: several guesses are followed side by side.

    Args:
        comparison: with the frame.
        limbs: of its graph.
        poses: one, where to start.
        beam: guesses that are followed.
        most: turns of one guess.

    Returns:
        at most ``beam`` guesses, best first; none was turned where nothing is gained.
    """
    start = Guess(poses, float(comparison(poses)[0]))
    guesses = [(start, _trials(comparison, limbs, start, range(len(limbs))))]
    done = list(guesses)
    for _ in range(most):
        children: list[tuple[Guess, dict[int, _Trial]]] = []
        for guess, trials in guesses:
            promising = sorted(trials, key=lambda number: trials[number].cost)
            for number in promising[: FOLLOWED * beam // len(guesses)]:
                found = _followed(comparison, limbs, guess, number, trials[number].turns)
                children += [(child, trials) for child in found if child.error < _worth(guess.error)]
        guesses = []
        for child, trials in _apart(comparison, children, beam):
            again = [n for n in trials if (limbs[n].nodes & limbs[child.turned[-1]].nodes).any()]
            again += sorted(trials, key=lambda number: trials[number].cost)[:beam]
            guesses.append((child, trials | _trials(comparison, limbs, child, sorted(set(again)))))
        if not guesses:
            break
        done += guesses
    return [guess for guess, _ in _apart(comparison, done, beam)]


def _apart(
    comparison: Comparison, guesses: list[tuple[Guess, dict[int, _Trial]]], most: int
) -> list[tuple[Guess, dict[int, _Trial]]]:
    """The best guesses of which no two are much the same: else ways to hide an arm take all the places."""
    kept: list[tuple[Guess, dict[int, _Trial]]] = []
    for guess, trials in sorted(guesses, key=lambda entry: entry[0].error):
        ways = [np.linalg.norm(guess.poses.positions - other.poses.positions, axis=2).max() for other, _ in kept]
        if len(kept) < most and all(way > APART * comparison.graph.unit for way in ways):
            kept.append((guess, trials))
    return kept


def _worth(error: float) -> float:
    """The error that a turn must get below to be taken."""
    return error - max(GAIN * error, LEAST_GAIN)


@dataclass(frozen=True)
class _Trial:
    """The cost of a limb's best turn, and its best turns (N, 3), best first."""

    cost: float
    turns: np.ndarray


def _trials(comparison: Comparison, limbs: list[Limb], guess: Guess, numbers: Sequence[int]) -> dict[int, _Trial]:
    """Turns all round of some limbs; costs are relative to the guess's own error."""
    found = {}
    for number in numbers:
        turns = limbs[number].swings(comparison.graph, guess.poses)
        costs = _costs(comparison, limbs[number], guess, turns)
        order = np.argsort(costs, kind="stable")[:BEST]
        found[number] = _Trial(float(costs[order[0]]) - guess.error, turns[order])
    return found


def _followed(comparison: Comparison, limbs: list[Limb], guess: Guess, number: int, turns: np.ndarray) -> list[Guess]:
    """The guess with one more limb turned, and with a part of that limb turned as well: an arm at shoulder and elbow.

    Args:
        comparison: with the frame.
        limbs: all.
        guess: where to start.
        number: of the limb.
        turns: (N, 3) of it to start from, the best first; the best of those far from it is followed, too.
    """
    found = []
    far = np.linalg.norm(turns - turns[0], axis=1) > OTHER
    for first in [turns[:1], turns[far][:1]][: 1 + int(far.any())]:
        child = _closer(comparison, limbs, guess, number, first)
        found.append(child)
        parts = [n for n, limb in enumerate(limbs) if _within(limb, limbs[number])]
        trials = _trials(comparison, limbs, child, parts)
        if trials:
            part = min(trials, key=lambda n: trials[n].cost)
            found.append(_closer(comparison, limbs, child, part, trials[part].turns[:1]))
    return found


def _within(part: Limb, whole: Limb) -> bool:
    """Whether a limb is a part of another."""
    return bool((part.nodes <= whole.nodes).all() and part.nodes.sum() < whole.nodes.sum())


def _closer(comparison: Comparison, limbs: list[Limb], guess: Guess, number: int, turns: np.ndarray) -> Guess:
    """The guess with a limb turned, after a closer look about a turn (1, 3)."""
    limb, near = limbs[number], ball(CLOSER, 1.0)
    for radius in (0.4, 0.2, 0.1):
        around = np.concatenate([turns[:1], turns[0] + radius * near])
        turns = around[np.argsort(_costs(comparison, limb, guess, around), kind="stable")]
    poses = limb.turned(comparison.graph, guess.poses, rotation_exp(turns[:1]))
    return Guess(poses, float(_costs(comparison, limb, guess, turns[:1])[0]), (*guess.turned, number))


def _costs(comparison: Comparison, limb: Limb, guess: Guess, turns: np.ndarray) -> np.ndarray:
    """Error and effort (N,) of turns (N, 3) of a limb."""
    effort = EFFORT * np.linalg.norm(turns, axis=1)
    return comparison.turned(guess.poses, limb, rotation_exp(turns)) + effort
