"""Key-frame refinement: all key frames' poses solved together, so that the interpolated frames fit the video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from registration.keyframes.descent import Descent, cosine, read_curves
from registration.keyframes.descent_state import DescentState
from registration.keyframes.energy import State, Term, total
from registration.keyframes.energy_image import Colour, Silhouette, VideoView, render_views
from registration.keyframes.template import Template, VisiblePoints
from v2m4.adam import AdamUniform
from v2m4.camera import image_fractions
from v2m4.config import RegistrationConfig
from v2m4.frame import Frame
from v2m4.geometry import vertex_normals
from v2m4.memory import return_free_memory
from v2m4.on_demand import OnDemand
from v2m4.optical_flow import FlowField, track
from v2m4.partial_results import PartialResults

ROOT_OFFSET = 1e-3  # added to a frame's energy under the square root, whose gradient is infinite at 0
KEPT_BYTES = 64 << 20  # of the frames' terms that were evaluated last
HUBER_THRESHOLD = 0.01  # threshold of the Huber loss of track residuals, of the object's size


@dataclass(frozen=True)
class Motion:
    """Image displacements of points from a key frame to another frame, by optical flow.

    Attributes:
        key: index into the list of key frames.
        index: (N,) vertices.
        displacement: (N, 2) in fractions of the image.
        confidence: (N,) in [0, 1].
        span: the object's size in fractions of the picture's height.
    """

    key: int
    index: Tensor
    displacement: Tensor
    confidence: Tensor
    span: float


def frame_motions(
    poses: Tensor, keys: Sequence[int], template: Template, frames: list[Frame], flows: Sequence[FlowField], size: int
) -> dict[int, list[Motion]]:
    """For each frame, the displacements of the visible points of the key frames before and after it.

    Args:
        poses: (K, V, 3) at the key frames.
        keys: K frame indices, ascending.
        template: the mesh of the poses.
        frames: all frames.
        flows: flow t joins frames t and t + 1.
        size: rows of the depth image that visibility is computed with.
    """
    result: dict[int, list[Motion]] = {index: [] for index in range(len(frames))}
    for position, key in enumerate(keys):
        visible = VisiblePoints.of(poses[position], template, frames[key], size)
        start = visible.pixels.cpu().double().numpy()
        for stop in {keys[max(position - 1, 0)], keys[min(position + 1, len(keys) - 1)]} - {key}:
            tracks = track(start, key, stop, flows)
            direction = 1 if stop > key else -1
            for step in range(1, len(tracks.positions)):
                confident = np.flatnonzero(tracks.confidence[step] > 0.05)
                displacement = (tracks.positions[step] - start)[confident].astype(np.float32)
                confidence = tracks.confidence[step][confident].astype(np.float32)
                chosen = torch.from_numpy(confident).to(poses.device)
                motion = Motion(
                    position,
                    visible.index[chosen],
                    torch.from_numpy(displacement).to(poses),
                    torch.from_numpy(confidence).to(poses),
                    visible.span,
                )
                result[key + direction * step].append(motion)
        return_free_memory()  # of the optical flow
    return result


def frame_terms(
    poses: Tensor, keys: Sequence[int], template: Template, frames: list[Frame], config: RegistrationConfig
) -> OnDemand[tuple[Silhouette, Colour]]:
    """Terms of each frame's silhouette and colours, in a window around the object and the poses beside the frame.

    They are made when they are asked for, and kept up to ``KEPT_BYTES``: memory does not grow with the video's length.
    """
    windows = []
    for index, frame in enumerate(frames):
        first, second, _ = interpolation_weights(keys, index)
        windows.append(template.window(frame, [poses[first], poses[second]]))

    def make(index: int) -> tuple[Silhouette, Colour]:
        view = VideoView.of(frames[index], windows[index], config.video_size, template.mesh)
        return Silhouette(config.weights.silhouette, view), Colour(config.weights.colour, view)

    return OnDemand(len(frames), make, lambda terms: sum(term.nbytes for term in terms), KEPT_BYTES)


def interpolation_weights(key_indices: Sequence[int], frame: int) -> tuple[int, int, float]:
    """The indices of the key frames before and after a frame, and the later one's weight of linear interpolation."""
    later = min(int(np.searchsorted(key_indices, frame, side="left")), len(key_indices) - 1)
    if key_indices[later] <= frame:
        return later, later, 0.0
    first, second = key_indices[later - 1], key_indices[later]
    return later - 1, later, (frame - first) / (second - first)


def motion_energy(
    motions: Sequence[Motion],
    poses: Tensor,
    pairs: Sequence[tuple[int, int]],
    factors: Sequence[float],
    template: Template,
) -> Tensor:
    """Huber loss of the differences between the points' projected displacements and the flow's.

    Args:
        motions: M, from key frames to frames.
        poses: (P, V, 3).
        pairs: M pairs of indices into the poses: that of the motion's frame, and that of its key frame.
        factors: M.
        template: its camera is used.

    Returns:
        the sum over the motions of their factor times the mean over their points, ().
    """
    parts = [part for part in zip(motions, pairs, factors, strict=True) if len(part[0].index)]
    if not parts:
        return poses.sum() * 0
    count = poses.shape[1]
    index = [motion.index + pair[end] * count for end in (0, 1) for motion, pair, _ in parts]
    points = poses.flatten(0, 1).index_select(0, torch.cat(index))
    there, here = image_fractions(template.camera, points).chunk(2)
    flow = torch.cat([motion.displacement for motion, _, _ in parts])
    weight = torch.cat([motion.confidence * (factor / len(motion.index)) for motion, _, factor in parts])
    span = torch.cat([torch.full_like(motion.confidence, motion.span) for motion, _, _ in parts])
    offset = (there - here - flow) * points.new_tensor([template.camera.aspect, 1.0]) / span[:, None]
    distance = (offset.square().sum(1) + 1e-12).sqrt()
    zero = torch.zeros_like(distance)
    loss = torch.nn.functional.huber_loss(distance, zero, reduction="none", delta=HUBER_THRESHOLD) / HUBER_THRESHOLD
    return (loss * weight).sum()


class PosePrior:
    """Prior on poses that have their key frame's shape: mean squared offset from them, in units of the object's size.

    Normal offsets have weight 1, tangential ones 0.1, since a surface does not determine tangential positions.

    Args:
        poses: (K, V, 3), the expected poses.
        template: the mesh of the poses.
        takes_shape: (K,) which of them the prior applies to.
    """

    def __init__(self, poses: Tensor, template: Template, takes_shape: Sequence[bool]) -> None:
        self.unit = template.unit
        self.constrained = torch.tensor([index for index, flag in enumerate(takes_shape) if flag], device=poses.device)
        self.poses = poses.index_select(0, self.constrained)
        self.normals = vertex_normals(self.poses, template.mesh.faces)

    def __call__(self, vertices: Tensor) -> Tensor:
        """The mean over the poses that the prior applies to and their vertices, for poses (K, V, 3)."""
        offset = (vertices.index_select(0, self.constrained) - self.poses) / self.unit
        normal_offset = (offset * self.normals).sum(2)
        return 0.9 * normal_offset.square().mean() + 0.1 * offset.square().sum(2).mean()


class VideoEnergy:
    """The energy of frames: silhouette, colour and optical flow of the interpolated poses.

    Args:
        poses: (K, V, 3), the initial poses.
        keys: K frame indices, ascending.
        template: the mesh of the poses.
        frames: all frames.
        flows: flow t joins frames t and t + 1.
        config: options of the stage.
    """

    def __init__(
        self,
        poses: Tensor,
        keys: Sequence[int],
        template: Template,
        frames: list[Frame],
        flows: Sequence[FlowField],
        config: RegistrationConfig,
    ) -> None:
        self.keys, self.template, self.weights = keys, template, config.weights
        self.motions = frame_motions(poses, keys, template, frames, flows, config.video_size)
        self.terms = frame_terms(poses, keys, template, frames, config)

    def gradient(self, poses: Tensor, chosen: Sequence[int]) -> tuple[Tensor, dict[str, Tensor]]:
        """The gradient (K, V, 3) of the mean energy of some frames, and each term's unweighted mean.

        Args:
            poses: (K, V, 3).
            chosen: B frames.
        """
        weights = self.weights
        between = [interpolation_weights(self.keys, index) for index in chosen]
        motions = [(number, motion) for number, index in enumerate(chosen) for motion in self.motions[index]]
        used = sorted({key for first, second, _ in between for key in (first, second)} | {m.key for _, m in motions})
        place = {position: number for number, position in enumerate(used)}
        leaf = poses[used].detach().requires_grad_()  # few of many
        ends = torch.tensor([[place[first], place[second]] for first, second, _ in between], device=poses.device)
        later = poses.new_tensor([weight for _, _, weight in between])[:, None, None]
        of_frames = torch.lerp(leaf.index_select(0, ends[:, 0]), leaf.index_select(0, ends[:, 1]), later)

        picture, values = poses.new_zeros(len(chosen)), {}
        if weights.silhouette or weights.colour:
            terms = [self.terms[index] for index in chosen]
            rendering = render_views([silhouette.view for silhouette, _ in terms], of_frames)
            if weights.silhouette:
                silhouettes = Silhouette.each([silhouette for silhouette, _ in terms], rendering)
                picture, values["silhouette"] = picture + weights.silhouette * silhouettes, silhouettes.detach().mean()
            if weights.colour:
                colours = Colour.each([colour for _, colour in terms], rendering)
                picture, values["colour"] = picture + weights.colour * colours, colours.detach().mean()
        # The root limits the influence of frames that interpolation cannot fit.
        energy = (picture + ROOT_OFFSET).sqrt().mean()
        if motions:
            all_poses = torch.cat([of_frames, leaf])
            pairs = [(number, len(chosen) + place[motion.key]) for number, motion in motions]
            factors = [1 / (len(chosen) * len(self.motions[chosen[number]])) for number, _ in motions]
            flow = motion_energy([motion for _, motion in motions], all_poses, pairs, factors, self.template)
            energy, values["flow"] = energy + weights.flow * flow, flow.detach()
        gradient = torch.zeros_like(poses)
        if energy.requires_grad:  # some term has a weight
            gradient[used] = torch.autograd.grad(energy, leaf)[0]
        return gradient, values


def term_gradient(terms: Sequence[Term], state: State) -> tuple[Tensor, dict[str, Tensor]]:
    """The gradient of the weighted sum of terms in the state's vertices, and each term's unweighted value."""
    leaf = state.vertices.detach().requires_grad_()
    value, values = total(terms, State(leaf, state.step, state.generator))
    return torch.autograd.grad(value, leaf)[0] if value.requires_grad else torch.zeros_like(leaf), values


def add_values(values: dict[str, Tensor], more: dict[str, Tensor], factor: float) -> None:
    """Add ``factor`` times the terms' values to those that are there."""
    for name, value in more.items():
        values[name] = factor * value.double() + values.get(name, 0.0)


def refine_key_frames(
    poses: Tensor,
    keys: Sequence[int],
    template: Template,
    frames: list[Frame],
    flows: Sequence[FlowField],
    config: RegistrationConfig,
    generator: torch.Generator,
    takes_shape: Sequence[bool] = (),
    extra_terms: Sequence[Sequence[Term]] = (),
    parts: PartialResults | None = None,
) -> Descent:
    """Refines all poses together by stochastic descent: each step evaluates a few frames, key frames or between them.

    Args:
        poses: (K, V, 3), the initial poses.
        keys: K frame indices, ascending, the first and the last frame among them.
        template: the mesh of the poses.
        frames: all frames.
        flows: flow t joins frames t and t + 1.
        config: options of the stage.
        generator: of the order of the frames and of the terms' random samples.
        takes_shape: (K,) whether a pose has its key frame's shape already, so that ``PosePrior`` applies to it.
        extra_terms: additional terms of each of the K poses.
        parts: storage of the state between two steps; None for none.

    Returns:
        vertices (K, V, 3) and loss curves.
    """
    weights = config.weights
    video = VideoEnergy(poses, keys, template, frames, flows, config)
    shape = template.shape_terms(config)
    differential = template.large_steps.to_differential(poses).requires_grad_()
    rate = config.fine_rate * template.unit
    optimizer = AdamUniform([differential], lr=rate, betas=(0.9, 0.99))
    pose_prior = PosePrior(poses, template, takes_shape) if any(takes_shape) else None
    gaps = torch.from_numpy(np.diff(np.asarray(keys, np.float32))).to(poses)[:, None, None]
    state = DescentState(parts or PartialResults(), "descent", differential, optimizer, generator)
    for step in range(state.steps, config.joint_steps):
        optimizer.lr = rate * cosine(step, config.joint_steps)
        optimizer.zero_grad()
        vertices = template.large_steps.from_differential(differential)
        chosen = []
        for _ in range(config.joint_frames):
            if not state.order:
                state.order = torch.randperm(len(frames), generator=generator).tolist()
            chosen.append(state.order.pop())
        detached = vertices.detach()
        gradient, values = video.gradient(detached, chosen)
        of_shape, shape_values = term_gradient(shape, State(detached, step, generator))
        gradient += of_shape
        add_values(values, shape_values, 1.0)
        for position, terms in enumerate(extra_terms):
            of_pose, pose_values = term_gradient(terms, State(detached[position], step, generator))
            gradient[position] += of_pose / len(poses)
            add_values(values, pose_values, 1 / len(poses))
        energy = (vertices * gradient).sum()  # has the gradient that the terms have in the vertices
        if pose_prior is not None and weights.stay > 0:
            prior = pose_prior(vertices)
            energy = energy + weights.stay * prior
            add_values(values, {"stay": prior.detach()}, 1.0)
        if len(vertices) > 2 and weights.smoothness > 0:
            velocity = (vertices[1:] - vertices[:-1]) / gaps
            acceleration = (velocity[1:] - velocity[:-1]) * gaps[1:] / template.unit
            smoothness = acceleration.square().sum(2).mean()
            energy = energy + weights.smoothness * smoothness
            add_values(values, {"smoothness": smoothness.detach()}, 1.0)
        energy.backward()
        optimizer.step()
        state.add(values)
    refined = template.large_steps.from_differential(differential.detach()).detach()
    return Descent(refined, read_curves(state.curves))
