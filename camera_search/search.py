"""Camera search for one frame: sampling, proposals by correspondences, particle swarm, and gradient-based refinement.

Source: V2M4 section 3.2. A simplified mesh is rendered at low resolution in the window about the frame's object; only
the last few views are compared with a finer mesh at higher resolution.
"""

from __future__ import annotations

import logging
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
from camera_search.views import NEAREST, view_angles
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

    Raises:
        ValueError: the frame has no foreground, or the mesh no faces or no colours.
    """
    with torch_threads(1):  # for small tensors OpenMP's threads spin for longer than they compute on busy cores
        return _search(mesh, frame, config, generator, hints, similarity, proposers)


def _search(
    mesh: Mesh,
    frame: Frame,
    config: SearchConfig,
    generator: torch.Generator,
    hints: Sequence[Orbit],
    similarity: Similarity | None,
    proposers: Sequence[CameraProposer] | None,
) -> SearchResult:
    """Implementation of ``find_camera``."""
    similarity = similarity or ImageAgreement()
    proposers = [FlowPnpProposer()] if proposers is None else proposers
    proxy = simplified(mesh, config.proxy_faces)
    comparison = RenderComparison(proxy, frame, similarity)
    fine_comparison = RenderComparison(simplified(mesh, config.refine_faces), frame, similarity)
    size, fine_size = config.size, 2 * config.size
    history: dict[str, float] = {}

    hint_views = [_hint_views(comparison, hint) for hint in hints]
    hinted = torch.cat([*hint_views, proxy.vertices.new_zeros(0, 5)])
    sampled = sample_views(comparison.view_parameters, hull_points(proxy), comparison.box, config.samples, generator)
    sampled = sampled[
        comparison.score(sampled, max(size // 2, 1)).topk(min(len(sampled), max(1, config.samples // 5))).indices
    ]
    views = torch.cat([hinted, sampled])
    values = comparison.score(views, size)
    if len(hinted):
        history["hint"] = float(values[: len(hinted)].max())
    history["samples"] = float(values.max())

    def swarm(views: Tensor, values: Tensor) -> tuple[Tensor, Tensor, str]:
        return *_swarm(comparison, views, values, config, generator), "swarm"

    def propose(views: Tensor, values: Tensor) -> tuple[Tensor, Tensor, str]:
        chosen = distinct_views(views, values, config.guessed_from)
        proposed = _proposals(comparison, views[chosen], proposers, fine_size, generator)
        return proposed, comparison.score(proposed, size) if len(proposed) else values[:0], "guess"

    for step in (swarm, propose) if config.islands else (propose, swarm):
        new_views, new_values, name = step(views, values)
        if len(new_views):
            history[name] = float(new_values.max())
            views, values = torch.cat([views, new_views]), torch.cat([values, new_values])

    chosen = distinct_views(views, values, config.refined)
    chosen = chosen[values[chosen] >= values.max() - SCORE_MARGIN]
    agreement = ImageAgreement(1.0, 0.0, 0.0) if config.refine_on == "mask" else None
    refined, _ = refine(fine_comparison, views[chosen], fine_size, config.refine_steps, agreement)
    finalists = torch.cat([hinted, views[chosen], refined])
    final_scores = fine_comparison.score(finalists, fine_size)
    best = int(final_scores.argmax())
    history["refined"] = float(final_scores[best])
    log.debug("%s: %s", frame.name, " ".join(f"{name} {value:.4f}" for name, value in history.items()))
    return SearchResult(
        comparison.view_parameters.orbit(finalists[best : best + 1]).to("cpu"), float(final_scores[best]), history
    )


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
