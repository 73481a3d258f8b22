"""The camera of one frame: many views, the best by similarity, one more guess, a swarm, and the gradient at the end.

Source: V2M4 section 3.2. The mesh is searched as a small proxy in the window about the frame's object, at low
resolution; only the last few views are looked at more closely.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from camera_search.comparison import Comparison
from camera_search.pointmap import CameraGuess, MatchedPoints, Scene
from camera_search.refine import refine
from camera_search.sampling import hull_points, sample_views
from camera_search.similarity import PictureAgreement, Similarity
from camera_search.swarm import particle_swarm
from camera_search.views import NEAREST, view_angles
from v2m4.camera import Orbit
from v2m4.config import SearchConfig
from v2m4.decimate import simplified
from v2m4.frame import Frame
from v2m4.mesh import Mesh

log = logging.getLogger("v2m4.camera_search")

APART = 0.35  # radians between views that count as two, when the best are picked
SPREAD = (0.10, 0.10, 0.01, 0.01, 0.05)  # of a swarm's particles about their start
PATIENCE = 4  # rounds without progress after which a swarm stops, where there are several
MARGIN = 0.08  # of similarity, by which a swarm may be behind and go on


@dataclass(frozen=True)
class SearchResult:
    """The camera that was found.

    Attributes:
        orbit: the camera (batch of 1); ``look_at`` lies on the optical axis at the object's depth.
        score: similarity of the render with the frame, 1 is the same picture.
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
    guesses: Sequence[CameraGuess] | None = None,
) -> SearchResult:
    """Find the camera that sees a mesh as the frame shows it.

    Args:
        mesh: in canonical pose, with a texture or vertex colours.
        frame: background removed.
        config: how much work to spend.
        generator: CPU generator, source of all randomness.
        hints: cameras that may be right (batches of any size): particles among others, and the result is never worse.
        similarity: compares pictures; ``PictureAgreement`` if None.
        guesses: propose cameras from the best renders; ``MatchedPoints`` if None.

    Raises:
        ValueError: the frame has no foreground, or the mesh no faces or no colours.
    """
    with one_thread():
        return _find(mesh, frame, config, generator, hints, similarity, guesses)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread: the tensors are small, and OpenMP's threads spin for longer than they work on busy cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _find(
    mesh: Mesh,
    frame: Frame,
    config: SearchConfig,
    generator: torch.Generator,
    hints: Sequence[Orbit],
    similarity: Similarity | None,
    guesses: Sequence[CameraGuess] | None,
) -> SearchResult:
    """See ``find_camera``."""
    similarity = similarity or PictureAgreement()
    guesses = [MatchedPoints()] if guesses is None else guesses
    proxy = simplified(mesh, config.proxy_faces)
    comparison = Comparison(proxy, frame, similarity)
    closer = Comparison(simplified(mesh, config.refine_faces), frame, similarity)
    size, fine = config.size, 2 * config.size
    history: dict[str, float] = {}

    known = [_visible(comparison, hint) for hint in hints]
    given = torch.cat([*known, proxy.vertices.new_zeros(0, 5)])
    drawn = sample_views(comparison.space, hull_points(proxy), comparison.box, config.samples, generator)
    drawn = drawn[comparison.score(drawn, max(size // 2, 1)).topk(min(len(drawn), max(1, config.samples // 5))).indices]
    views = torch.cat([given, drawn])
    values = comparison.score(views, size)
    if len(given):
        history["hint"] = float(values[: len(given)].max())
    history["samples"] = float(values.max())

    def swarm(views: Tensor, values: Tensor) -> tuple[Tensor, Tensor, str]:
        return *_swarm(comparison, views, values, config, generator), "swarm"

    def guess(views: Tensor, values: Tensor) -> tuple[Tensor, Tensor, str]:
        chosen = pick_apart(views, values, config.guessed_from)
        proposed = _proposals(comparison, views[chosen], guesses, fine)
        return proposed, comparison.score(proposed, size) if len(proposed) else values[:0], "guess"

    for step in (swarm, guess) if config.islands else (guess, swarm):
        more, more_values, name = step(views, values)
        if len(more):
            history[name] = float(more_values.max())
            views, values = torch.cat([views, more]), torch.cat([values, more_values])

    chosen = pick_apart(views, values, config.refined)
    chosen = chosen[values[chosen] >= values.max() - MARGIN]
    agreement = PictureAgreement(1.0, 0.0, 0.0) if config.refine_on == "mask" else None
    refined, _ = refine(closer, views[chosen], fine, config.refine_steps, agreement)
    finalists = torch.cat([given, views[chosen], refined])
    finals = closer.score(finalists, fine)
    best = int(finals.argmax())
    history["refined"] = float(finals[best])
    log.debug("%s: %s", frame.name, " ".join(f"{name} {value:.4f}" for name, value in history.items()))
    return SearchResult(comparison.space.orbit(finalists[best : best + 1]).to("cpu"), float(finals[best]), history)


def _swarm(
    comparison: Comparison, views: Tensor, values: Tensor, config: SearchConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The best view (G, 5) of every swarm, and their values (G,): islands, or one swarm of all the best views."""
    spread = comparison.space.steps(SPREAD).to(views)
    if config.islands:
        starts, patience = views[pick_apart(views, values, config.islands)], PATIENCE
    else:
        best = values.topk(min(config.particles, len(views))).indices
        starts, patience = views[best][None], config.swarm_steps
    found = particle_swarm(
        lambda at: comparison.score(at, config.size),
        starts,
        spread,
        config.particles,
        config.swarm_steps,
        generator,
        margin=MARGIN,
        patience=patience,
    )
    return found.positions, found.values


def pick_apart(views: Tensor, values: Tensor, count: int, apart: float = APART) -> Tensor:
    """Indices of the best views (B, 5) by values (B,), best first, at most ``count``, none within ``apart`` radians."""
    order = values.argsort(descending=True, stable=True)
    picked: list[int] = []
    here = views.cpu()  # one decision for each view: nothing for a GPU
    for index in order.tolist():
        if len(picked) == count:
            break
        near = picked and float(view_angles(here[index : index + 1], here[picked]).min()) < apart
        if not near:
            picked.append(index)
    return torch.tensor(picked, dtype=torch.long, device=views.device)


def _visible(comparison: Comparison, hint: Orbit) -> Tensor:
    """Views (B, 5) of a hint's cameras that have the object in front of them."""
    extrinsics = hint.camera().extrinsics
    return comparison.space.views_of(extrinsics[_in_front(comparison, extrinsics)].to(comparison.mesh.vertices))


def _in_front(comparison: Comparison, extrinsics: Tensor) -> Tensor:
    """Whether extrinsics (B, 4, 4) see the object's centre in front of them, (B,)."""
    depth = extrinsics[:, 2, :3] @ comparison.space.center.to(extrinsics) + extrinsics[:, 2, 3]
    return depth > NEAREST


def _proposals(comparison: Comparison, views: Tensor, guesses: Sequence[CameraGuess], size: int) -> Tensor:
    """Views (K, 5) that the guesses make from renders of views (B, 5)."""
    if not guesses or len(views) == 0:
        return views[:0]
    extrinsics = torch.cat([guess.guess(Scene.of_views(comparison, views, guess.size or size)) for guess in guesses])
    extrinsics = extrinsics.to(views)
    return comparison.space.views_of(extrinsics[_in_front(comparison, extrinsics)])
