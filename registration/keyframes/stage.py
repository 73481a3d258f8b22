"""Stage 3 as the driver calls it: key frame after key frame, then all of them together; every step kept on disk."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from registration.diagnostics import draw_curves, write_check
from registration.keyframes.descent import Descent
from registration.keyframes.energy import Term
from registration.keyframes.energy_tracks import MultiviewTracks
from registration.keyframes.joint_refinement import refine_key_frames
from registration.keyframes.multiview_tracks import TrackedKeyFrames
from registration.keyframes.pairwise import needs_flow, register_pair
from registration.keyframes.template import Template
from v2m4.config import Config
from v2m4.device import device_of
from v2m4.export import write_mesh_glb_in_world
from v2m4.frame import Frame
from v2m4.mesh import Mesh, MeshSequence, PosedAsset
from v2m4.optical_flow import FlowField, flow_between
from v2m4.threads import in_order
from v2m4.workspace import Arrays, Workspace, code_version, digest

log = logging.getLogger("v2m4.registration")

FOLDER = "3_registration"
CURVE = "curve_"  # before a term's name, among a descent's arrays


def run(
    frames: list[Frame], key_indices: list[int], posed: list[PosedAsset], workspace: Workspace, config: Config
) -> MeshSequence:
    """Stage 3: one topology for all key frames.

    Args:
        frames: all frames of the clip, background removed.
        key_indices: frame indices of the key frames, ascending.
        posed: the mesh of each key frame, in the space of the video's camera.
        workspace: the animation's folder.
        config: all options; ``seed``, ``device`` and ``registration`` count here.

    Returns:
        the poses of the key frames at times ``key_indices``, on the CPU; topology and look of one key frame's mesh (see
        ``RegistrationConfig.reference``), the first key frame's pose as the rest pose.

    Raises:
        ValueError: there is not one mesh for each key frame.
    """
    if len(key_indices) != len(posed) or not posed:
        raise ValueError(f"registration: {len(posed)} meshes for {len(key_indices)} key frames")
    options, device = config.registration, device_of(config)
    log.info(
        "registration: renders, energies and descents on %s; optical flow, flow propagation and non-rigid ICP on cpu",
        device,
    )
    posed = [replace(asset, mesh=asset.mesh.to(device), extrinsics=asset.extrinsics.to(device)) for asset in posed]
    stage = _Stage(frames, key_indices, posed, workspace, config)
    names = [frames[index].name for index in key_indices]
    reference = 0 if options.reference == "first" else longest_outline([frames[index] for index in key_indices])
    log.info("%s: the mesh that moves", names[reference])
    source = posed[reference].mesh
    template = Template.of(source, frames[0].aspect, options, frames[0].fov)
    poses, trusted = {reference: source.vertices}, {}
    key = digest(stage.key, reference, *_fingerprint(posed[reference]))
    if config.use_tracking and len(posed) > 1:
        every = digest(stage.key, *(part for asset in posed for part in _fingerprint(asset)))
        stage.tracked = TrackedKeyFrames(posed, reference, names, workspace, config, every)
        key = digest(key, stage.tracked.key)
    onward = [(position - 1, position) for position in range(reference + 1, len(posed))]
    backward = [(position + 1, position) for position in range(reference - 1, -1, -1)]
    for start, stop in onward + backward:
        key = digest(key, start, stop, *_fingerprint(posed[stop]))
        found = stage.descent(
            f"{names[stop]}.npz", key, partial(stage.register_pair, poses[start], template, start, stop)
        )
        poses[stop], trusted[stop] = found.vertices, found.takes_shape
        log.info("%s: %s", names[stop], _last(found))
    together = torch.stack([poses[position] for position in range(len(posed))])
    if options.joint_steps > 0 and len(poses) > 1:
        # The mesh that moves has its own key frame's shape; that is right where the others' shapes are.
        held = [trusted.get(position, all(trusted.values())) for position in range(len(posed))]
        found = stage.descent("joint.npz", digest(key, "joint"), partial(stage.refine, together, template, held))
        together = found.vertices
        log.info("all key frames together: %s", _last(found))
    stage.show(source, together)
    together, source = together.cpu(), source.to("cpu")
    return MeshSequence(together, source.with_vertices(together[0]), np.asarray(key_indices, np.float64))


class _Stage:
    """The inputs of one run, and what it leaves on disk."""

    def __init__(
        self,
        frames: list[Frame],
        key_indices: list[int],
        posed: list[PosedAsset],
        workspace: Workspace,
        config: Config,
    ) -> None:
        self.frames, self.key_indices, self.posed = frames, key_indices, posed
        self.workspace, self.config = workspace, config
        pictures = [part for frame in frames for part in (frame.name, frame.fov, frame.rgba)]
        options = (config.seed, asdict(config.registration), key_indices, code_version("registration"))
        self.key = digest(options, *pictures)
        self.tracked: TrackedKeyFrames | None = None
        self._flows: list[FlowField] | None = None

    @property
    def flows(self) -> list[FlowField]:
        """Flow t joins frames t and t + 1; computed when first asked for."""
        if self._flows is None:
            self._flows = in_order(lambda pair: flow_between(*pair), pairwise(self.frames))
        return self._flows

    def generator(self, *parts: int) -> torch.Generator:
        """Randomness that follows from the seed and the piece of work alone."""
        return torch.Generator().manual_seed(int(digest(self.config.seed, parts)[:12], 16))

    def register_pair(self, previous: Tensor, template: Template, start: int, stop: int) -> Descent:
        """The pose of one key frame from that of a neighbour; both given by their positions among the key frames."""
        target, options = self.posed[stop].mesh, self.config.registration
        first, last = self.key_indices[start], self.key_indices[stop]
        generator = self.generator(1, last)
        ends = None if self.tracked is None else self.tracked.ends(previous, start, stop)
        flows = self.flows if needs_flow(options) else []
        return register_pair(previous, template, target, self.frames, flows, first, last, options, generator, ends)

    def refine(self, poses: Tensor, template: Template, trusted: list[bool]) -> Descent:
        """All poses together."""
        options = self.config.registration
        generator = self.generator(0, len(poses))
        further: list[list[Term]] = []
        if self.tracked is not None:
            ends = [self.tracked.tracks.at(position) for position in range(len(poses))]
            further = [[MultiviewTracks(options.weights.tracking, part, template.mesh.faces)] for part in ends]
        return refine_key_frames(
            poses, self.key_indices, template, self.frames, self.flows, options, generator, trusted, further
        )

    def descent(self, name: str, key: str, make: partial[Descent]) -> Descent:
        """A descent kept as ``.npz``, with a picture of its loss curves beside it."""

        def arrays() -> Arrays:
            made = make()
            curves = {CURVE + term: values for term, values in made.curves.items()}
            return {"vertices": made.vertices.cpu().numpy(), "trusted": np.array(made.takes_shape), **curves}

        stored = self.workspace.make_arrays(f"{FOLDER}/{name}", key, arrays)
        curves = {term.removeprefix(CURVE): values for term, values in stored.items() if term.startswith(CURVE)}
        picture = f"{FOLDER}/{Path(name).stem}_loss.png"
        self.workspace.make_file(picture, key, partial(draw_curves, curves=curves))
        vertices = torch.from_numpy(stored["vertices"]).to(self.posed[0].mesh.vertices.device)
        return Descent(vertices, curves, bool(stored["trusted"]))

    def show(self, source: Mesh, poses: Tensor) -> None:
        """Each key frame's mesh as GLB, and a picture of it over its frame."""
        for position, index in enumerate(self.key_indices):
            frame, mesh = self.frames[index], source.with_vertices(poses[position])
            name = f"{frame.name}_consistency_sample.glb"
            write_mesh_glb_in_world(self.workspace, name, mesh, self.posed[0].extrinsics)
            key = digest(self.key, poses.cpu().numpy(), *_fingerprint(self.posed[0]))
            draw = partial(write_check, frame=frame, mesh=mesh)
            self.workspace.make_file(f"{FOLDER}/{frame.name}_check.png", key, draw)


def longest_outline(frames: Sequence[Frame]) -> int:
    """Position of the frame with the longest outline: where limbs stand apart, its mesh can follow all other frames.

    A mesh whose legs are one lump never shows two; one with two legs can hide one behind the other.

    Args:
        frames: key frames.
    """
    lengths = []
    for frame in frames:
        # Smoothed, lest a rough edge counts for a long one; at a fixed share of the height, for any resolution.
        soft = cv2.GaussianBlur(frame.rgba[..., 3], (0, 0), max(0.004 * frame.rgba.shape[0], 0.5))
        outlines, _ = cv2.findContours((soft > 127).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        lengths.append(sum(cv2.arcLength(outline, True) for outline in outlines))
    return int(np.argmax(lengths))


def _fingerprint(posed: PosedAsset) -> list[np.ndarray]:
    """What a posed mesh is made of, for digests."""
    arrays = posed.mesh.arrays()
    return [arrays[name] for name in sorted(arrays)]


def _last(descent: Descent) -> str:
    """The terms' values at the end, for the log."""
    parts: Sequence[str] = [f"{name} {float(np.mean(values[-8:])):.4f}" for name, values in descent.curves.items()]
    return ", ".join(parts)
