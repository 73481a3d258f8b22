"""Single frames of held-out families against ``Inflate``: ``python -m generators.prior.evaluate --data FOLDER``.

Each subject is seen from four sides in the middle of a clip, 512 pixels, 40 degrees. The mesh and the true one are
brought to a cube of side 2, aligned by similarity ICP, and compared by 20,000 points of either surface: CD, the mean
distances of both ways added, and the F-score at 0.02.
"""

from __future__ import annotations

import csv
import logging
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.spatial import cKDTree
from tqdm import tqdm

from generators.prior.correction import correct, observe
from generators.prior.fit import generate
from generators.prior.network import load_network
from generators.prior.subjects import Subject, read_subject
from generators.prior.views import render_view, rotation
from generators.prior.weights import FILE
from v2m4 import threads
from v2m4.camera import DEFAULT_FOV
from v2m4.character_files import Source, find_sources, held_out
from v2m4.command_line import end_with, parse_options
from v2m4.frame import Frame
from v2m4.mesh import Mesh
from v2m4.similarity_transform import SimilarityIcp, SimilarityTransform

log = logging.getLogger(__name__)

YAWS = (20.0, 110.0, 200.0, 290.0)  # degrees
PITCH = 10.0
SIZE = 512
FILL = 0.7  # of the picture's height by the object's longest side
POINTS = 20_000
ICP_POINTS = 5_000
ICP_STEPS = 200
THRESHOLD = 0.02


@dataclass(frozen=True)
class Scene:
    """A frame and the true mesh behind it.

    Attributes:
        frame: 512 pixels square.
        vertices: (V, 3), camera space with y up, camera looking along -z.
        faces: (F, 3).
    """

    frame: Frame
    vertices: np.ndarray
    faces: np.ndarray


@dataclass(frozen=True)
class Score:
    """Chamfer distance and F-score of a mesh, in the cube of side 2."""

    distance: float
    fscore: float


def make_scene(subject: Subject, pose: int, yaw: float, pitch: float = PITCH) -> Scene:
    """Frame of a subject from a side; angles in degrees.

    Raises:
        ValueError: the subject is almost invisible from there.
    """
    points = subject.poses[pose].astype(np.float64)
    low, high = points.min(0), points.max(0)
    points = (points - (low + high) / 2) / (high - low).max()
    points = points @ rotation(math.radians(yaw), math.radians(pitch)).T
    half = math.tan(DEFAULT_FOV / 2)
    distance = 0.5 / (FILL * half) + points[:, 2].max()
    points[:, 2] -= distance
    camera = points * [1, -1, -1]
    tangents = camera[:, :2] / camera[:, 2:]
    reach = float(np.ptp(tangents, axis=0).max()) / 2
    view = render_view(subject, camera, np.random.default_rng(0), margin=half / reach, size=SIZE)
    if view is None:
        raise ValueError(f"{subject.name}: almost invisible at a yaw of {yaw:.0f} degrees")
    # The window of render_view is centred on the object, the picture on the optical axis.
    middle = (tangents.min(0) + tangents.max(0)) / 2 / half * SIZE / 2
    matrix = np.array([[1, 0, middle[0]], [0, 1, middle[1]]])
    rgba = cv2.warpAffine(view.image, matrix, (SIZE, SIZE), flags=cv2.INTER_NEAREST)
    return Scene(Frame(subject.name, 0, rgba, DEFAULT_FOV), points, subject.faces)


def sample_surface(vertices: np.ndarray, faces: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Random points (count, 3) of a surface, uniform over its area."""
    rng = np.random.default_rng(seed)
    corners = vertices[faces]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    chosen = corners[rng.choice(len(faces), count, p=areas / areas.sum())]
    u, v = np.sqrt(rng.uniform(size=(count, 1))), rng.uniform(size=(count, 1))
    return chosen[:, 0] * (1 - u) + chosen[:, 1] * (u * (1 - v)) + chosen[:, 2] * (u * v)


def _in_cube(vertices: np.ndarray) -> np.ndarray:
    """Vertices (V, 3) centred and scaled to the cube of side 2."""
    low, high = vertices.min(0), vertices.max(0)
    return (vertices - (low + high) / 2) * (2 / (high - low).max())


def compare(mesh: Mesh, scene: Scene) -> Score:
    """Score of a mesh in the frame's orientation."""
    truth = sample_surface(_in_cube(scene.vertices), scene.faces, POINTS)
    found = sample_surface(_in_cube(mesh.vertices.numpy().astype(np.float64)), mesh.faces.numpy(), POINTS, 1)
    icp = SimilarityIcp(found[:ICP_POINTS], truth[:ICP_POINTS])
    start = SimilarityTransform(1.0, np.eye(3), np.zeros(3))
    found = icp.run(start, ICP_STEPS, 1e-4)[0](found)
    one, other = cKDTree(truth).query(found)[0], cKDTree(found).query(truth)[0]
    precision, recall = float((one < THRESHOLD).mean()), float((other < THRESHOLD).mean())
    fscore = 2 * precision * recall / max(precision + recall, 1e-9)
    return Score(float(one.mean() + other.mean()), fscore)


@dataclass
class Options:
    """Compare the network with Inflate on single frames of held-out families."""

    # Folder with .glb and .gltf files, of which the held-out families are used.
    data: Path
    # Weights; those of the program unless told.
    weights: Path = FILE
    # Further files that are not trained on.
    extra: list[Path] = field(default_factory=list)
    # CSV file with the figures of every frame; those of Inflate that stand in it are not measured again.
    output: Path = Path("prior_evaluation.csv")
    # Cells of the silhouette's grid, and faces of a mesh.
    grid: int = 224
    max_faces: int = 10_000
    # Only every n-th subject.
    every: int = 1
    threads: int = 1


def _scenes(options: Options) -> list[tuple[str, str, Scene]]:
    """Name, kind and scene of every frame."""
    sources = [source for source in find_sources(options.data) if held_out(source.name)]
    sources += [Source(path, path.stem, "extra", 1.0) for path in options.extra]
    scenes = []
    for number, source in enumerate(sources[:: options.every]):
        subject = read_subject(source, np.random.default_rng(number), poses=6)
        for yaw in YAWS:
            scene = make_scene(subject, len(subject.poses) // 2, yaw)
            scenes.append((f"{source.name}@{yaw:.0f}", source.kind, scene))
    return scenes


def evaluate(options: Options) -> list[dict[str, str]]:
    """Figures of every frame; written to the output file as well."""
    network = load_network(options.weights)
    known = {}
    if options.output.exists():
        with options.output.open(newline="", encoding="utf-8") as file:
            known = {row["frame"]: row for row in csv.DictReader(file)}
    rows = []
    for name, kind, scene in tqdm(_scenes(options)):
        row = {"frame": name, "kind": kind}
        if name in known:
            row |= {key: known[name][key] for key in ("inflate_cd", "inflate_f")}
        else:
            base = compare(generate(scene.frame, None, options.grid, options.max_faces, 256).mesh, scene)
            row |= {"inflate_cd": f"{base.distance:.5f}", "inflate_f": f"{base.fscore:.5f}"}
        start = time.perf_counter()
        asset = generate(
            scene.frame, correct(network, observe(network, scene.frame)), options.grid, options.max_faces, 256
        )
        seconds = time.perf_counter() - start
        score = compare(asset.mesh, scene)
        row |= {"prior_cd": f"{score.distance:.5f}", "prior_f": f"{score.fscore:.5f}", "seconds": f"{seconds:.3f}"}
        rows.append(row)
    with options.output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return rows


def summary(rows: list[dict[str, str]]) -> list[str]:
    """Means by kind of body and by side, one line each; the last is of all."""
    groups: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault(row["kind"], []).append(row)
    for row in rows:
        groups.setdefault("yaw " + row["frame"].rsplit("@", 1)[1], []).append(row)
    groups["all"] = rows
    lines = []
    for name, members in groups.items():
        means = {
            key: float(np.mean([float(row[key]) for row in members]))
            for key in ("inflate_cd", "inflate_f", "prior_cd", "prior_f", "seconds")
        }
        lines.append(
            f"{name:14s} {len(members):4d} frames  Inflate CD {means['inflate_cd']:.4f} F {means['inflate_f']:.3f}"
            f"  Prior CD {means['prior_cd']:.4f} F {means['prior_f']:.3f}"
            f"  ratios {means['prior_cd'] / means['inflate_cd']:.3f} {means['prior_f'] / means['inflate_f']:.3f}"
            f"  {means['seconds']:.2f} s"
        )
    return lines


def main() -> None:
    """Command line."""
    options = parse_options(Options, description=__doc__)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    threads.use(options.threads)
    logging.getLogger("v2m4.io").setLevel(logging.ERROR)
    torch.set_grad_enabled(False)
    try:
        rows = evaluate(options)
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from error
    for line in summary(rows):
        log.info("%s", line)


if __name__ == "__main__":
    end_with(main)
