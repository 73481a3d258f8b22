"""Camera search for one frame: sampling, proposals by correspondences, particle swarm, and gradient-based refinement.

Source: V2M4 section 3.2. A simplified mesh is rendered at low resolution in the window about the frame's object; only
the last few views are compared with a finer mesh at higher resolution.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from camera_search.comparison import RenderComparison
from camera_search.pointmap import CameraProposer, FlowPnpProposer, FrameAndRenders
from camera_search.refine import refine
from camera_search.sampling import hull_points, sample_views
from camera_search.similarity import ImageAgreement, Similarity
from camera_search.swarm import particle_swarm
from camera_search.views import NEAREST, ViewParameters, view_angles
from v2m4.camera import Orbit
from v2m4.config import SearchConfig
from v2m4.decimate import simplified
from v2m4.frame import Frame
from v2m4.mesh import Mesh
from v2m4.threads import torch_threads

log = logging.getLogger("v2m4.camera_search")

MIN_ANGLE = 0.35  # radians between distinct views
# Standard deviation of a swarm's particles about their start, in view parameters.
SWARM_SPREAD = (0.10, 0.10, 0.01, 0.01, 0.05)
PATIENCE = 4  # iterations without progress after which a swarm ends, where there are several
# Steps without progress after which a refinement ends; a generator's own camera that is accepted hardly gains.
PATIENCE_OF_REFINEMENT, PATIENCE_WITH_HINT = 16, 4
SCORE_MARGIN = 0.08  # of similarity: a swarm that is worse than the best by more ends


@dataclass(frozen=True)
class SearchResult:
    """Camera of a frame, and the similarity after each step of the search.

    Attributes:
        orbit: the camera (batch of 1); ``look_at`` lies on the optical axis at the object's depth.
        score: similarity of the render with the frame, 1 for equal images.
        history: the best similarity after each step of the search, by name, in order.
    """

    orbit: Orbit
    score: float
    history: dict[str, float] = field(default_factory=dict)


def find_camera(
    mesh: Mesh,
    frame: Frame,
    config: SearchConfig,
    generator: torch.Generator,
    hints: Sequence[Orbit] = (),
    similarity: Similarity | None = None,
    proposers: Sequence[CameraProposer] | None = None,
    accepted: float = math.inf,
) -> SearchResult:
    """Camera from which the rendering of a mesh is most similar to a frame.

    Args:
        mesh: in canonical pose, with a texture or vertex colours.
        frame: background removed.
        config: sizes of the search.
        generator: CPU generator, source of all randomness.
        hints: cameras that may be right (batches of any size); the result's similarity is never lower than theirs.
        similarity: compares renders with the frame; ``ImageAgreement()`` if None.
        proposers: propose cameras from the best renders; ``[FlowPnpProposer()]`` if None.
        accepted: similarity at which the best hint is refined and no other camera is searched.

    Raises:
        ValueError: the frame has no foreground, or the mesh no faces or no colours.
    """
    with torch_threads(1):  # for small tensors OpenMP's threads spin for longer than they compute on busy cores
        return _search(mesh, frame, config, generator, hints, similarity, proposers, accepted)


def _search(
    mesh: Mesh,
    frame: Frame,
    config: SearchConfig,
    generator: torch.Generator,
    hints: Sequence[Orbit],
    similarity: Similarity | None,
    proposers: Sequence[CameraProposer] | None,
    accepted: float,
) -> SearchResult:
    """Implementation of ``find_camera``."""
    similarity = similarity or ImageAgreement()
    proposers = [FlowPnpProposer()] if proposers is None else proposers
    parameters = ViewParameters.of_mesh(mesh, frame.aspect, frame.fov)
    comparison = RenderComparison(simplified(mesh, config.refine_faces), frame, similarity, parameters)
    size = 2 * config.size
    history: dict[str, float] = {}
    patience = PATIENCE_OF_REFINEMENT

    hinted = torch.cat([*(_hint_views(comparison, hint) for hint in hints), mesh.vertices.new_zeros(0, 5)])
    hint_scores = comparison.score(hinted, size) if len(hinted) and accepted < math.inf else hinted[:0, 0]
    if len(hint_scores) and float(hint_scores.max()) >= accepted:
        history["hint"] = float(hint_scores.max())
        patience = PATIENCE_WITH_HINT
        starts = hinted[hint_scores.argmax()][None]
    else:
        proxy_comparison = RenderComparison(simplified(mesh, config.proxy_faces), frame, similarity, parameters)
        starts = _search_sphere(proxy_comparison, hinted, config, proposers, generator, history)
    agreement = ImageAgreement(1.0, 0.0, 0.0) if config.refine_on == "mask" else None
    refined, _ = refine(comparison, starts, size, config.refine_steps, agreement, patience=patience)
    finalists = torch.cat([hinted, starts, refined])
    final_scores = comparison.score(finalists, size)
    best = int(final_scores.argmax())
    history["refined"] = float(final_scores[best])
    log.debug("%s: %s", frame.name, " ".join(f"{name} {value:.4f}" for name, value in history.items()))
    orbit = parameters.orbit(finalists[best : best + 1]).to("cpu")
    return SearchResult(orbit, float(final_scores[best]), history)


def _search_sphere(
    comparison: RenderComparison,
    hinted: Tensor,
    config: SearchConfig,
    proposers: Sequence[CameraProposer],
    generator: torch.Generator,
    history: dict[str, float],
) -> Tensor:
    """Search cameras all round the object; the best of them, apart from each other, to be refined.

    Args:
        comparison: a simplified mesh and the frame.
        hinted: views (H, 5) of the hints.
        config: sizes of the search.
        proposers: propose cameras from the best renders.
        generator: source of all randomness.
        history: the best similarity after each step is added to it.

    Returns:
        views (B, 5), best first.
    """
    size = config.size
    sampled = sample_views(
        comparison.view_parameters, hull_points(comparison.mesh), comparison.box, config.samples, generator
    )
    coarse_scores = comparison.score(sampled, max(size // 2, 1))
    sampled = sampled[coarse_scores.topk(min(len(sampled), max(1, config.samples // 5))).indices]
    views = torch.cat([hinted, sampled])
    values = comparison.score(views, size)
    if len(hinted):
        history["hint"] = float(values[: len(hinted)].max())
    history["samples"] = float(values.max())

    def swarm(views: Tensor, values: Tensor) -> tuple[Tensor, Tensor, str]:
        return *_swarm(comparison, views, values, config, generator), "swarm"

    def propose(views: Tensor, values: Tensor) -> tuple[Tensor, Tensor, str]:
        chosen = distinct_views(views, values, config.guessed_from)
        proposed = _proposals(comparison, views[chosen], proposers, 2 * size, generator)
        return proposed, comparison.score(proposed, size) if len(proposed) else values[:0], "guess"

    for step in (swarm, propose) if config.islands else (propose, swarm):
        new_views, new_values, name = step(views, values)
        if len(new_views):
            history[name] = float(new_values.max())
            views, values = torch.cat([views, new_views]), torch.cat([values, new_values])

    chosen = distinct_views(views, values, config.refined)
    return views[chosen[values[chosen] >= values.max() - SCORE_MARGIN]]


def _swarm(
    comparison: RenderComparison, views: Tensor, values: Tensor, config: SearchConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Best view of every swarm (G, 5), and their values (G,): one swarm per island, or one of all the best views."""
    spread = comparison.view_parameters.steps(SWARM_SPREAD).to(views)
    if config.islands:
        starts, patience = views[distinct_views(views, values, config.islands)], PATIENCE
    else:
        best = values.topk(min(config.particles, len(views))).indices
        starts, patience = views[best][None], config.swarm_steps
    result = particle_swarm(
        lambda at: comparison.score(at, config.size),
        starts,
        spread,
        config.particles,
        config.swarm_steps,
        generator,
        margin=SCORE_MARGIN,
        patience=patience,
    )
    return result.positions, result.values


def distinct_views(views: Tensor, values: Tensor, count: int, min_angle: float = MIN_ANGLE) -> Tensor:
    """Indices of at most ``count`` views (B, 5) of highest values (B,), best first, all ``min_angle`` radians apart."""
    order = values.argsort(descending=True, stable=True)
    picked: list[int] = []
    views_on_cpu = views.cpu()  # sequential, so faster on the CPU
    for index in order.tolist():
        if len(picked) == count:
            break
        is_near = picked and float(view_angles(views_on_cpu[index : index + 1], views_on_cpu[picked]).min()) < min_angle
        if not is_near:
            picked.append(index)
    return torch.tensor(picked, dtype=torch.long, device=views.device)


def _hint_views(comparison: RenderComparison, hint: Orbit) -> Tensor:
    """Views (B, 5) of those cameras of a hint that have the object in front of them."""
    extrinsics = hint.camera().extrinsics
    return comparison.view_parameters.views_of(
        extrinsics[_in_front(comparison, extrinsics)].to(comparison.mesh.vertices)
    )


def _in_front(comparison: RenderComparison, extrinsics: Tensor) -> Tensor:
    """Whether the object's centre is in front of cameras with extrinsics (B, 4, 4), (B,) bool."""
    depth = extrinsics[:, 2, :3] @ comparison.view_parameters.center.to(extrinsics) + extrinsics[:, 2, 3]
    return depth > NEAREST


def _proposals(
    comparison: RenderComparison,
    views: Tensor,
    proposers: Sequence[CameraProposer],
    size: int,
    generator: torch.Generator,
) -> Tensor:
    """Views (K, 5) proposed from renders of views (B, 5)."""
    if not proposers or len(views) == 0:
        return views[:0]
    scenes = (FrameAndRenders.of_views(comparison, views, proposer.size or size) for proposer in proposers)
    extrinsics = torch.cat(
        [proposer.propose(scene, generator) for proposer, scene in zip(proposers, scenes, strict=True)]
    )
    extrinsics = extrinsics.to(views)
    return comparison.view_parameters.views_of(extrinsics[_in_front(comparison, extrinsics)])
