"""All key frames at once: poses that make the linearly interpolated frames between them fit the video best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from registration.elasticity.large_steps import AdamUniform
from registration.keyframes.descent import Descent, cosine, read_curves
from registration.keyframes.energy import State, Term, total
from registration.keyframes.energy_image import Colour, Silhouette
from registration.keyframes.template import Template, VisiblePoints
from v2m4.camera import image_fractions
from v2m4.config import RegistrationConfig
from v2m4.frame import Frame
from v2m4.geometry import vertex_normals
from v2m4.optical_flow import FlowField, track

ROOT_FLOOR = 1e-3  # of a frame's energy, below which the root is smoothed
TRACK_THRESHOLD = 0.01  # of the object's size: a larger deviation counts linearly


@dataclass(frozen=True)
class Motion:
    """How far points of a key frame have moved in another frame, by the video.

    Attributes:
        key: position of the key frame in the list of key frames.
        index: (N,) vertices.
        shift: (N, 2) in fractions of the picture.
        confidence: (N,).
        span: the object's size in fractions of the picture's height.
    """

    key: int
    index: Tensor
    shift: Tensor
    confidence: Tensor
    span: float


def motions(
    poses: Tensor, keys: Sequence[int], template: Template, frames: list[Frame], flows: list[FlowField], size: int
) -> dict[int, list[Motion]]:
    """For every frame, how the visible points of its two neighbouring key frames have moved there.

    Args:
        poses: (K, V, 3) at the key frames.
        keys: K frame indices, ascending.
        template: the moving object.
        frames: all frames.
        flows: flow t joins frames t and t + 1.
        size: pixels (rows) that visibility is decided at.
    """
    found: dict[int, list[Motion]] = {index: [] for index in range(len(frames))}
    for position, key in enumerate(keys):
        seen = VisiblePoints.of(poses[position], template, frames[key], size)
        start = seen.pixels.cpu().double().numpy()
        for stop in {keys[max(position - 1, 0)], keys[min(position + 1, len(keys) - 1)]} - {key}:
            tracks = track(start, key, stop, flows)
            direction = 1 if stop > key else -1
            for step in range(1, len(tracks.positions)):
                kept = np.flatnonzero(tracks.confidence[step] > 0.05)
                shift = (tracks.positions[step] - start)[kept].astype(np.float32)
                confidence = tracks.confidence[step][kept].astype(np.float32)
                chosen = torch.from_numpy(kept).to(poses.device)
                motion = Motion(
                    position,
                    seen.index[chosen],
                    torch.from_numpy(shift).to(poses),
                    torch.from_numpy(confidence).to(poses),
                    seen.span,
                )
                found[key + direction * step].append(motion)
    return found


def blend(key_indices: Sequence[int], frame: int) -> tuple[int, int, float]:
    """Positions of the key frames around a frame, and the later one's weight."""
    later = min(int(np.searchsorted(key_indices, frame, side="left")), len(key_indices) - 1)
    if key_indices[later] <= frame:
        return later, later, 0.0
    first, second = key_indices[later - 1], key_indices[later]
    return later - 1, later, (frame - first) / (second - first)


def motion_energy(motion: Motion, pose: Tensor, key_pose: Tensor, template: Template) -> Tensor:
    """How far the pose's points are from where the video moves them, from where they are in the key frame."""
    if len(motion.index) == 0:
        return pose.sum() * 0
    moved = image_fractions(template.camera, pose.index_select(0, motion.index)) - image_fractions(
        template.camera, key_pose.index_select(0, motion.index)
    )
    stretch = moved.new_tensor([template.camera.aspect, 1.0]) / motion.span
    distance = (((moved - motion.shift) * stretch).square().sum(1) + 1e-12).sqrt()
    zero = torch.zeros_like(distance)
    loss = torch.nn.functional.huber_loss(distance, zero, reduction="none", delta=TRACK_THRESHOLD) / TRACK_THRESHOLD
    return (loss * motion.confidence).mean()


class Stay:
    """Mean squared distance of trusted poses from where they were, in units of the object's size.

    Off the surface it counts in full; along it a tenth, since a surface does not tell how far it has slid.

    Args:
        poses: (K, V, 3).
        template: the moving object.
        trusted: which of them are held.
    """

    def __init__(self, poses: Tensor, template: Template, trusted: Sequence[bool]) -> None:
        self.unit = template.unit
        self.held = torch.tensor([index for index, flag in enumerate(trusted) if flag], device=poses.device)
        self.poses = poses.index_select(0, self.held)
        self.normals = vertex_normals(self.poses, template.mesh.faces)

    def __call__(self, vertices: Tensor) -> Tensor:
        """Mean over the trusted poses and their vertices."""
        way = (vertices.index_select(0, self.held) - self.poses) / self.unit
        off = (way * self.normals).sum(2)
        return 0.9 * off.square().mean() + 0.1 * way.square().sum(2).mean()


def refine_key_frames(
    poses: Tensor,
    keys: Sequence[int],
    template: Template,
    frames: list[Frame],
    flows: list[FlowField],
    config: RegistrationConfig,
    generator: torch.Generator,
    trusted: Sequence[bool] = (),
    further: Sequence[Sequence[Term]] = (),
) -> Descent:
    """Descend on all poses together, each step looking at a few frames, key frames and frames between them alike.

    Args:
        poses: (K, V, 3), where to start.
        keys: K frame indices, ascending, the first and the last frame among them.
        template: the moving object.
        frames: all frames.
        flows: flow t joins frames t and t + 1.
        config: options of the stage.
        generator: draws the frames.
        trusted: whether each of the K poses has the right shape all round already, and is held there.
        further: terms of each of the K poses alone.

    Returns:
        vertices (K, V, 3) and loss curves.
    """
    weights = config.weights
    moved = motions(poses, keys, template, frames, flows, config.video_size)
    views = []
    for index, frame in enumerate(frames):
        first, second, _ = blend(keys, index)
        views.append(template.view(frame, config.video_size, [poses[first], poses[second]]))
    seen: list[list[Term]] = [[Silhouette(weights.silhouette, view), Colour(weights.colour, view)] for view in views]
    shape = template.shape_terms(config)
    differential = template.large_steps.to_differential(poses).requires_grad_()
    rate = config.fine_rate * template.unit
    optimizer = AdamUniform([differential], lr=rate, betas=(0.9, 0.99))
    stay = Stay(poses, template, trusted) if any(trusted) else None
    gaps = torch.from_numpy(np.diff(np.asarray(keys, np.float32))).to(poses)[:, None, None]
    curves: dict[str, list[Tensor]] = {}
    order: list[int] = []
    for step in range(config.joint_steps):
        optimizer.param_groups[0]["lr"] = rate * cosine(step, config.joint_steps)
        optimizer.zero_grad()
        vertices = template.large_steps.from_differential(differential)
        values: dict[str, Tensor] = {}

        def note(found: dict[str, Tensor], share: float, values: dict[str, Tensor] = values) -> None:
            for name, value in found.items():
                values[name] = share * value.double() + values.get(name, 0.0)

        energy = vertices.new_zeros(())
        for _ in range(config.joint_frames):
            if not order:
                order = torch.randperm(len(frames), generator=generator).tolist()
            index = order.pop()
            first, second, weight = blend(keys, index)
            pose = torch.lerp(vertices[first], vertices[second], weight)
            found, parts = total(seen[index], State(pose, step, generator))
            # The root lets a frame that no interpolation can reach spoil its neighbours less.
            found = (found + ROOT_FLOOR).sqrt()
            flow = [motion_energy(motion, pose, vertices[motion.key], template) for motion in moved[index]]
            if flow:
                mean = torch.stack(flow).mean()
                found, parts = found + weights.flow * mean, {**parts, "flow": mean.detach()}
            energy = energy + found / config.joint_frames
            note(parts, 1 / config.joint_frames)
        for position, pose in enumerate(vertices):
            terms = [*shape, *further[position]] if further else shape
            found, parts = total(terms, State(pose, step, generator))
            energy = energy + found / len(vertices)
            note(parts, 1 / len(vertices))
        if stay is not None and weights.stay > 0:
            away = stay(vertices)
            energy = energy + weights.stay * away
            note({"stay": away.detach()}, 1.0)
        if len(vertices) > 2 and weights.smoothness > 0:
            velocity = (vertices[1:] - vertices[:-1]) / gaps
            bend = (velocity[1:] - velocity[:-1]) * gaps[1:] / template.unit
            smoothness = bend.square().sum(2).mean()
            energy = energy + weights.smoothness * smoothness
            note({"smoothness": smoothness.detach()}, 1.0)
        energy.backward()
        optimizer.step()
        for name, value in values.items():
            curves.setdefault(name, []).append(value)
    refined = template.large_steps.from_differential(differential.detach()).detach()
    return Descent(refined, read_curves(curves))
