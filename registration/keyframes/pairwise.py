"""Registration of the template's pose at one key frame to the mesh of the next, first coarsely, then in detail."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from registration.keyframes.descent import Descent, descend
from registration.keyframes.descent_state import stored_with_generator
from registration.keyframes.energy import Chamfer, NormalMaps, Term
from registration.keyframes.energy_image import Colour, FlowTracks, Silhouette
from registration.keyframes.energy_tracks import MultiviewTracks
from registration.keyframes.flow_propagation import lift_to_surface, propagate
from registration.keyframes.lifted_tracks import SurfaceTracks, merge_targets, vertex_targets
from registration.keyframes.nonrigid_icp import IcpFit, TargetSurface, nonrigid_icp
from registration.keyframes.rigid_fit import fit_rigid
from registration.keyframes.template import Template, VisiblePoints
from v2m4.config import RegistrationConfig
from v2m4.files import Arrays
from v2m4.frame import Frame
from v2m4.mesh import Mesh
from v2m4.optical_flow import FlowField, Tracks, track
from v2m4.partial_results import PartialResults

log = logging.getLogger("v2m4.registration")


def register_pair(
    previous: Tensor,
    template: Template,
    target: Mesh,
    frames: list[Frame],
    flows: Sequence[FlowField],
    start: int,
    stop: int,
    config: RegistrationConfig,
    generator: torch.Generator,
    ends: SurfaceTracks | None = None,
    parts: PartialResults | None = None,
) -> Descent:
    """Registers the pose at frame ``start`` to the mesh generated for frame ``stop``.

    With ``config.trust`` "yes" or "fits", the pose is that of non-rigid ICP to the target (for "fits" only if its
    residual and stretch are small). Otherwise it results from coarse alignment, as-rigid-as-possible deformation to the
    optical-flow tracks, and descent on all terms, of which the distance to the target is one.

    Args:
        previous: (V, 3), the pose at frame ``start``.
        template: the mesh that is registered.
        target: the mesh generated for frame ``stop``, in the space of the video's camera.
        frames: all frames.
        flows: flow t joins frames t and t + 1.
        start: frame index of ``previous``.
        stop: frame index of the target.
        config: options of the stage.
        generator: of all random samples.
        ends: tracks of the template's points in rendered views of the target, if there are any.
        parts: storage of the coarse fit and of the state of the descent; None for none.

    Returns:
        the pose (V, 3) at frame ``stop``, and the curves of the descent or of non-rigid ICP.
    """
    flow_tracks = None
    if needs_flow(config):
        visible = VisiblePoints.of(previous, template, frames[start], config.video_size)
        tracks = track(visible.pixels.cpu().double().numpy(), start, stop, flows)
        flow_tracks = FlowTracks(
            config.weights.flow,
            template.camera,
            visible.index,
            torch.from_numpy(tracks.positions[-1].astype(np.float32)).to(previous.device),
            torch.from_numpy(tracks.confidence[-1].astype(np.float32)).to(previous.device),
            visible.span,
        )
    if config.trust != "no":
        icp_fit = _icp_fit(
            previous, template, target, frames, flows, (start, stop), visible, tracks, config, generator, ends
        )
        if config.trust == "yes" or takes_shape(icp_fit, config):
            curves = {"residual": icp_fit.residual, "stretch": icp_fit.stretch}
            return Descent(icp_fit.vertices, curves, takes_shape=True)
        log_values = (frames[stop].name, icp_fit.residual[-1], icp_fit.stretch[-1])
        log.info(
            "%s: its mesh is not a pose of the template (residual %.4f, stretch %.4f): used as one energy term",
            *log_values,
        )
    parts = parts or PartialResults()

    def coarsely_fitted() -> Arrays:
        rigid_fit = fit_rigid(
            previous,
            [
                *_target_terms(target, template, config, generator, coarse=True),
                *([] if flow_tracks is None else [flow_tracks]),
            ],
            config.coarse_steps,
            generator,
            half_turns=config.half_turn_steps > 0,
            trial_steps=config.half_turn_steps,
            scale_prior=config.weights.coarse_scale,
        )
        return {"vertices": rigid_fit(previous).cpu().numpy()}

    stored = stored_with_generator(parts, "coarse_fit", generator, coarsely_fitted)
    initial = torch.from_numpy(stored["vertices"]).to(previous)
    if flow_tracks is not None and config.weights.flow > 0:
        index, targets, confidence = visible.index.cpu().numpy(), tracks.positions[-1], tracks.confidence[-1]
        initial = template.arap_from_tracks(initial, index, targets, confidence)
    view = template.view(frames[stop], config.video_size, [initial])
    terms: list[Term] = [
        *template.shape_terms(config),
        *_target_terms(target, template, config, generator),
        *([] if flow_tracks is None else [flow_tracks]),
        Silhouette(config.weights.silhouette, view),
        Colour(config.weights.colour, view),
    ]
    if ends is not None:
        terms.append(MultiviewTracks(config.weights.tracking, ends, template.mesh.faces))
    rate = config.fine_rate * template.unit
    return descend(initial, terms, template.large_steps, config.fine_steps, rate, generator, parts)


def needs_flow(config: RegistrationConfig) -> bool:
    """Whether the options need optical flow between the frames."""
    return config.weights.flow > 0 or config.trust != "no"


def _target_terms(
    target: Mesh, template: Template, config: RegistrationConfig, generator: torch.Generator, *, coarse: bool = False
) -> list[Term]:
    """The terms of a pose's distance to the key frame's mesh: chamfer distance and normal maps."""
    weights, faces = config.weights, template.mesh.faces
    chamfer, views = (weights.coarse_chamfer, config.coarse_views) if coarse else (weights.chamfer, config.views)
    return [
        Chamfer(chamfer, faces, target, template.unit, generator, config.points, kept_share=config.chamfer_kept),
        NormalMaps(weights.normals, faces, target, views, config.size),
    ]


def takes_shape(icp_fit: IcpFit, config: RegistrationConfig) -> bool:
    """Whether the template can take the target's shape: the fit's final residual and stretch are below their limits."""
    return bool(icp_fit.residual[-1] < config.trusted_residual and icp_fit.stretch[-1] < config.trusted_stretch)


def _icp_fit(
    previous: Tensor,
    template: Template,
    target: Mesh,
    frames: list[Frame],
    flows: Sequence[FlowField],
    frame_pair: tuple[int, int],
    visible: VisiblePoints,
    tracks: Tracks,
    config: RegistrationConfig,
    generator: torch.Generator,
    ends: SurfaceTracks | None,
) -> IcpFit:
    """Propagates the pose to the target's frame by optical flow and registers it to the target by non-rigid ICP.

    ``frame_pair`` holds the frame indices of the pose and of the target; the others are as in ``register_pair``.
    """
    propagated = propagate(previous, template, frames, flows, *frame_pair, config.video_size)[-1]
    targets = lift_to_surface(tracks, visible.index.cpu().numpy(), target, template.camera, 2 * config.video_size)
    if ends is not None:
        track_targets = vertex_targets(ends, propagated, template.mesh.faces, target, 2 * config.tracked_size)
        targets = merge_targets(targets, track_targets)
    surface = TargetSurface(target, template.unit, 4 * config.points, generator)
    return nonrigid_icp(
        propagated, template.mesh.faces, template.arap, surface, config.settle_rounds, vertex_targets=targets
    )
