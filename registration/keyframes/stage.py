"""Stage 3, key-frame registration: each key frame from its neighbour, then all together; results stored on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import zip_longest
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
from v2m4.memory import return_free_memory
from v2m4.mesh import Mesh, MeshSequence, PosedAsset
from v2m4.on_demand import OnDemand
from v2m4.optical_flow import FlowFields
from v2m4.partial_results import PartialResults
from v2m4.report import progress
from v2m4.threads import in_order
from v2m4.workspace import STAGE_FOLDERS, Arrays, Workspace, code_version, digest

log = logging.getLogger("v2m4.registration")

FOLDER = STAGE_FOLDERS["registration"]
REFINEMENT_OPTIONS = ("joint_steps", "joint_frames")
CURVE_PREFIX = "curve_"  # of the names of loss curves among a descent's arrays


def run(
    frames: list[Frame], key_indices: list[int], posed: Sequence[PosedAsset], workspace: Workspace, config: Config
) -> MeshSequence:
    """Registers one mesh, the template, to the meshes of all key frames.

    Args:
        frames: all frames of the clip, background removed.
        key_indices: frame indices of the key frames, ascending.
        posed: the mesh of each key frame, in the space of the video's camera; one or two are held at a time.
        workspace: the animation's folder.
        config: all options; ``seed``, ``device``, ``registration`` and those of tracking are used.

    Returns:
        the poses of the key frames at times ``key_indices``, on the CPU; topology and appearance of the template (see
        ``RegistrationConfig.reference``), the first key frame's pose as the rest pose.

    Raises:
        ValueError: there is not one mesh for each key frame.
    """
    if len(key_indices) != len(posed) or len(posed) == 0:
        raise ValueError(f"registration: {len(posed)} meshes for {len(key_indices)} key frames")
    options, device = config.registration, device_of(config)
    log.info(
        "registration: renders, energies and descents on %s; optical flow, flow propagation and non-rigid ICP on cpu",
        device,
    )
    posed = on_device(posed, device)
    stage = _Stage(frames, key_indices, posed, workspace, config)
    names = [frames[index].name for index in key_indices]
    reference = 0 if options.reference == "first" else longest_outline([frames[index] for index in key_indices])
    log.info("%s: its mesh is the template", names[reference])
    source = posed[reference].mesh
    template = Template.of(source, frames[0].aspect, options, frames[0].fov)
    poses, takes_shape = {reference: source.vertices}, {}
    key = digest(stage.key, reference, *_fingerprint(posed[reference]))
    if config.use_tracking and len(posed) > 1:
        all_meshes = digest(stage.key, *(part for asset in posed for part in _fingerprint(asset)))
        stage.tracked = TrackedKeyFrames(posed, reference, names, workspace, config, all_meshes)
        key = digest(key, stage.tracked.key)
    forward_pairs = [(position - 1, position) for position in range(reference + 1, len(posed))]
    backward_pairs = [(position + 1, position) for position in range(reference - 1, -1, -1)]
    keys = {}
    for start, stop in forward_pairs + backward_pairs:
        keys[stop] = key = digest(key, start, stop, *_fingerprint(posed[stop]))

    def register(pair: tuple[int, int]) -> Descent:
        start, stop = pair
        compute = partial(stage.register_pair, poses[start], template, start, stop)
        return stage.descent(f"{names[stop]}.npz", keys[stop], compute)

    several = device.type == "cpu" and stage.tracked is None
    for both in zip_longest(forward_pairs, backward_pairs):  # the two directions do not depend on each other
        pairs = [pair for pair in both if pair is not None]
        for (_, stop), result in zip(pairs, in_order(register, pairs, several=several), strict=True):
            poses[stop], takes_shape[stop] = result.vertices, result.takes_shape
            shown = progress(step=f"{len(poses)} of {len(posed)}")
            log.info("%s: %s", names[stop], _final_values(result), extra=shown)
    all_poses = torch.stack([poses[position] for position in range(len(posed))])
    if options.joint_steps > 0 and len(poses) > 1:
        # The template has its own key frame's shape; the prior applies to it if it applies to all others.
        has_prior = [takes_shape.get(position, all(takes_shape.values())) for position in range(len(posed))]
        joint_key = digest(key, "joint", options.joint_steps, options.joint_frames)
        result = stage.descent("joint.npz", joint_key, partial(stage.refine, all_poses, template, has_prior))
        all_poses = result.vertices
        log.info("key-frame refinement: %s", _final_values(result))
    stage.write_outputs(source, all_poses)
    return_free_memory()
    all_poses, source = all_poses.cpu(), source.to("cpu")
    return MeshSequence(all_poses, source.with_vertices(all_poses[0]), np.asarray(key_indices, np.float64))


def on_device(posed: Sequence[PosedAsset], device: torch.device) -> Sequence[PosedAsset]:
    """The same posed assets on a device, each copied there when it is asked for."""

    def copied(index: int) -> PosedAsset:
        asset = posed[index]
        return replace(asset, mesh=asset.mesh.to(device), extrinsics=asset.extrinsics.to(device))

    return OnDemand(len(posed), copied)


class _Stage:
    """The inputs of one run, and the computation and storage of its results."""

    def __init__(
        self,
        frames: list[Frame],
        key_indices: list[int],
        posed: Sequence[PosedAsset],
        workspace: Workspace,
        config: Config,
    ) -> None:
        self.frames, self.key_indices, self.posed, self.first = frames, key_indices, posed, posed[0]
        self.workspace, self.config = workspace, config
        # The poses of pairs of key frames do not depend on the refinement of all of them.
        pairwise_options = {
            name: value for name, value in asdict(config.registration).items() if name not in REFINEMENT_OPTIONS
        }
        contents = [(frame.name, frame.fov, frame.content()) for frame in frames]
        self.key = digest(config.seed, pairwise_options, key_indices, code_version("registration"), contents)
        self.tracked: TrackedKeyFrames | None = None
        self.flows = FlowFields(frames)

    def generator(self, *parts: int) -> torch.Generator:
        """A generator seeded by the run's seed and ``parts``, independent of earlier draws."""
        return torch.Generator().manual_seed(int(digest(self.config.seed, parts)[:12], 16))

    def register_pair(
        self, previous: Tensor, template: Template, start: int, stop: int, parts: PartialResults
    ) -> Descent:
        """Registers the pose ``previous`` (V, 3) of key frame ``start`` to the mesh of its neighbour ``stop``."""
        target, options = self.posed[stop].mesh, self.config.registration
        first, last = self.key_indices[start], self.key_indices[stop]
        generator = self.generator(1, last)
        ends = None if self.tracked is None else self.tracked.ends(previous, start, stop)
        flows = self.flows if needs_flow(options) else []
        return register_pair(
            previous, template, target, self.frames, flows, first, last, options, generator, ends, parts
        )

    def refine(self, poses: Tensor, template: Template, takes_shape: list[bool], parts: PartialResults) -> Descent:
        """Refines all key frames' poses (K, V, 3) together."""
        options = self.config.registration
        generator = self.generator(0, len(poses))
        extra_terms: list[list[Term]] = []
        if self.tracked is not None:
            ends = [self.tracked.tracks.at(position) for position in range(len(poses))]
            extra_terms = [[MultiviewTracks(options.weights.tracking, part, template.mesh.faces)] for part in ends]
        return refine_key_frames(
            poses,
            self.key_indices,
            template,
            self.frames,
            self.flows,
            options,
            generator,
            takes_shape,
            extra_terms,
            parts,
        )

    def descent(self, name: str, key: str, compute: Callable[[PartialResults], Descent]) -> Descent:
        """Computes a descent, or reads it, as ``.npz``; also writes a plot of its loss curves."""
        parts = self.workspace.partial_results(f"{FOLDER}/{name}", key)

        def arrays() -> Arrays:
            computed = compute(parts)
            curves = {CURVE_PREFIX + term: values for term, values in computed.curves.items()}
            return {"vertices": computed.vertices.cpu().numpy(), "trusted": np.array(computed.takes_shape), **curves}

        return_free_memory()
        stored = self.workspace.make_arrays(f"{FOLDER}/{name}", key, arrays)
        curves = {
            term.removeprefix(CURVE_PREFIX): values for term, values in stored.items() if term.startswith(CURVE_PREFIX)
        }
        plot = f"{FOLDER}/{Path(name).stem}_loss.png"
        self.workspace.make_file(plot, key, partial(draw_curves, curves=curves))
        vertices = torch.from_numpy(stored["vertices"]).to(self.first.mesh.vertices.device)
        return Descent(vertices, curves, bool(stored["trusted"]))

    def write_outputs(self, source: Mesh, poses: Tensor) -> None:
        """Writes each key frame's mesh as GLB, and an image of it over its frame."""
        key = digest(self.key, poses.cpu().numpy(), *_fingerprint(self.first))

        def write(position: int) -> None:
            frame, mesh = self.frames[self.key_indices[position]], source.with_vertices(poses[position])
            name = f"{frame.name}_consistency_sample.glb"
            write_mesh_glb_in_world(self.workspace, name, mesh, self.first.extrinsics)
            draw = partial(write_check, frame=frame, mesh=mesh)
            self.workspace.make_file(f"{FOLDER}/{frame.name}_check.png", key, draw)

        in_order(write, range(len(poses)), several=poses.device.type == "cpu")


def longest_outline(frames: Sequence[Frame]) -> int:
    """Index of the frame with the longest outline, in which limbs are most separate.

    A mesh with separate legs can take the shape of frames where they overlap, but merged legs cannot be separated.

    Args:
        frames: key frames.
    """
    lengths = []
    for frame in frames:
        # Smoothed, as rough edges are longer; by a share of the height, to be independent of the resolution.
        smoothed = cv2.GaussianBlur(frame.rgba[..., 3], (0, 0), max(0.004 * frame.rgba.shape[0], 0.5))
        outlines, _ = cv2.findContours((smoothed > 127).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        lengths.append(sum(cv2.arcLength(outline, True) for outline in outlines))
    return int(np.argmax(lengths))


def _fingerprint(posed: PosedAsset) -> list[np.ndarray]:
    """The arrays of a posed mesh, for digests."""
    arrays = posed.mesh.arrays()
    return [arrays[name] for name in sorted(arrays)]


def _final_values(descent: Descent) -> str:
    """The terms' mean values over the last steps, for the log."""
    parts: Sequence[str] = [f"{name} {float(np.mean(values[-8:])):.4f}" for name, values in descent.curves.items()]
    return ", ".join(parts)
