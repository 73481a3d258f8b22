"""One key frame after another: the pose of one is carried to the next, first coarsely, then in detail."""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import Tensor

from registration.keyframes.arap_from_tracks import arap_from_tracks
from registration.keyframes.descent import Descent, descend
from registration.keyframes.energy import Chamfer, NormalMaps, Term
from registration.keyframes.energy_image import Colour, FlowTracks, Silhouette
from registration.keyframes.energy_tracks import MultiviewTracks
from registration.keyframes.flow_propagation import lift_to_surface, propagate
from registration.keyframes.lifted_tracks import SurfaceTracks, merge_targets, vertex_targets
from registration.keyframes.nonrigid_icp import IcpFit, TargetSurface, nonrigid_icp
from registration.keyframes.rigid_fit import fit_rigid
from registration.keyframes.template import Template, VisiblePoints
from v2m4.config import RegistrationConfig
from v2m4.frame import Frame
from v2m4.mesh import Mesh
from v2m4.optical_flow import FlowField, Tracks, track

log = logging.getLogger("v2m4.registration")


def register_pair(
    previous: Tensor,
    template: Template,
    target: Mesh,
    frames: list[Frame],
    flows: list[FlowField],
    start: int,
    stop: int,
    config: RegistrationConfig,
    generator: torch.Generator,
    ends: SurfaceTracks | None = None,
) -> Descent:
    """The pose of frame ``stop`` from that of frame ``start``.

    Args:
        previous: (V, 3), the pose at frame ``start``.
        template: the moving object.
        target: the mesh generated for frame ``stop``, in the space of the video's camera.
        frames: all frames.
        flows: flow t joins frames t and t + 1.
        start: frame index.
        stop: frame index.
        config: options of the stage.
        generator: for everything random.
        ends: of tracks of the moving object's points in rendered views, where the target is seen.
    """
    points = None
    if needs_flow(config):
        seen = VisiblePoints.of(previous, template, frames[start], config.video_size)
        tracks = track(seen.pixels.cpu().double().numpy(), start, stop, flows)
        points = FlowTracks(
            config.weights.flow,
            template.camera,
            seen.index,
            torch.from_numpy(tracks.positions[-1].astype(np.float32)).to(previous.device),
            torch.from_numpy(tracks.confidence[-1].astype(np.float32)).to(previous.device),
            seen.span,
        )
    if config.trust != "no":
        icp_fit = _icp_fit(
            previous, template, target, frames, flows, (start, stop), seen, tracks, config, generator, ends
        )
        if config.trust == "yes" or fits(icp_fit, config):
            curves = {"residual": icp_fit.residual, "stretch": icp_fit.stretch}
            return Descent(icp_fit.vertices, curves, takes_shape=True)
        told = (frames[stop].name, icp_fit.residual[-1], icp_fit.stretch[-1])
        log.info("%s: its mesh is no pose of the same body (residual %.4f, stretch %.4f) and only guides", *told)
    rigid_fit = fit_rigid(
        previous,
        [*_towards(target, template, config, generator, coarse=True), *([] if points is None else [points])],
        config.coarse_steps,
        generator,
        half_turns=config.half_turn_steps > 0,
        trial_steps=config.half_turn_steps,
        scale_prior=config.weights.coarse_scale,
    )
    begun = rigid_fit(previous)
    if points is not None and config.weights.flow > 0:
        index, targets, confidence = seen.index.cpu().numpy(), tracks.positions[-1], tracks.confidence[-1]
        begun = arap_from_tracks(begun, template.arap, template.camera, index, targets, confidence)
    view = template.view(frames[stop], config.video_size, [begun])
    terms: list[Term] = [
        *template.shape_terms(config),
        *_towards(target, template, config, generator),
        *([] if points is None else [points]),
        Silhouette(config.weights.silhouette, view),
        Colour(config.weights.colour, view),
    ]
    if ends is not None:
        terms.append(MultiviewTracks(config.weights.tracking, ends, template.mesh.faces))
    rate = config.fine_rate * template.unit
    return descend(begun, terms, template.large_steps, config.fine_steps, rate, generator)


def needs_flow(config: RegistrationConfig) -> bool:
    """Whether the pose of a key frame follows from optical flow, too."""
    return config.weights.flow > 0 or config.trust != "no"


def _towards(
    target: Mesh, template: Template, config: RegistrationConfig, generator: torch.Generator, *, coarse: bool = False
) -> list[Term]:
    """The terms that bring a pose to the key frame's own mesh: chamfer distance and normal maps."""
    weights, faces = config.weights, template.mesh.faces
    chamfer, views = (weights.coarse_chamfer, config.coarse_views) if coarse else (weights.chamfer, config.views)
    return [
        Chamfer(chamfer, faces, target, template.unit, generator, config.points, kept_share=config.chamfer_kept),
        NormalMaps(weights.normals, faces, target, views, config.size),
    ]


def fits(icp_fit: IcpFit, config: RegistrationConfig) -> bool:
    """Whether one body can have both shapes: it reaches the target's surface, and need not stretch for it."""
    return bool(icp_fit.residual[-1] < config.trusted_residual and icp_fit.stretch[-1] < config.trusted_stretch)


def _icp_fit(
    previous: Tensor,
    template: Template,
    target: Mesh,
    frames: list[Frame],
    flows: list[FlowField],
    way: tuple[int, int],
    seen: VisiblePoints,
    tracks: Tracks,
    config: RegistrationConfig,
    generator: torch.Generator,
    ends: SurfaceTracks | None,
) -> IcpFit:
    """The pose that has the target's shape; ``way`` is the start's and the target's frame index."""
    followed = propagate(previous, template, frames, flows, *way, config.video_size)[-1]
    known = lift_to_surface(tracks, seen.index.cpu().numpy(), target, template.camera, 2 * config.video_size)
    if ends is not None:
        anchored = vertex_targets(ends, followed, template.mesh.faces, target, 2 * config.tracked_size)
        known = merge_targets(known, anchored)
    surface = TargetSurface(target, template.unit, 4 * config.points, generator)
    return nonrigid_icp(
        followed, template.mesh.faces, template.arap, surface, config.settle_rounds, vertex_targets=known
    )
