"""Pictures of meshes beside the truth: ``python -m generators.prior.pictures --data FOLDER --names A B``.

A row for each subject: its frame, then the contact sheets of the truth, of the mesh of ``Inflate`` and of that of the
network: front, side, back and top, colours over normals.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch

from generators.prior.correction import correct, observe
from generators.prior.evaluate import Scene, compare, make_scene
from generators.prior.fit import generate
from generators.prior.network import Prior, load_network
from generators.prior.subjects import Subject, read_subject
from generators.prior.weights import FILE
from v2m4 import threads
from v2m4.character_files import Source, find_sources
from v2m4.command_line import end_with, parse_options
from v2m4.contact_sheet import contact_sheet
from v2m4.mesh import Mesh, MeshSequence

log = logging.getLogger(__name__)

GRID = 224
MAX_FACES = 10_000
TEXTURE = 512


@dataclass
class Options:
    """Draw meshes of single frames beside the truth."""

    # Folder with .glb and .gltf files.
    data: Path
    # Subjects: ends of their names; all that match are drawn.
    names: list[str]
    output: Path = Path("prior.png")
    # Weights; those of the program unless told.
    weights: Path = FILE
    # Further files.
    extra: list[Path] = field(default_factory=list)
    # Yaws of the frames, degrees: a row for each.
    yaws: tuple[float, ...] = (20.0,)
    # Pixels of a view's side.
    size: int = 150
    threads: int = 1


def turned(mesh: Mesh, size: int) -> np.ndarray:
    """Contact sheet of one mesh, colours above normals: (2 * size, 4 * size, 3) uint8."""
    return contact_sheet(MeshSequence(mesh.vertices[None], mesh, np.zeros(1)), torch.eye(4), size, times=1)


def true_mesh(subject: Subject, scene: Scene) -> Mesh:
    """The true mesh of a scene, with its colours; those of a texture are read at the vertices."""
    if subject.colors is not None:
        colors = subject.colors
    else:
        assert subject.texture is not None
        assert subject.uvs is not None
        height, width = subject.texture.shape[:2]
        places = subject.uvs % 1.0 * [width, height]
        columns, rows = (places.astype(int) % [width, height]).T
        colors = subject.texture[rows, columns] / np.float32(255)
    return Mesh(
        torch.from_numpy(scene.vertices).float(), torch.from_numpy(scene.faces), colors=torch.from_numpy(colors).float()
    )


def draw_row(network: Prior, name: str, subject: Subject, yaw: float, size: int) -> np.ndarray:
    """Row of a subject's picture, (2 * size, 14 * size, 3) uint8; its scores are logged."""
    scene = make_scene(subject, len(subject.poses) // 2, yaw)
    base = generate(scene.frame, None, GRID, MAX_FACES, TEXTURE).mesh
    found = generate(scene.frame, correct(network, observe(network, scene.frame)), GRID, MAX_FACES, TEXTURE).mesh
    for label, mesh in (("Inflate", base), ("Prior", found)):
        score = compare(mesh, scene)
        log.info("%s at yaw %.0f: %s CD %.4f F %.3f", name, yaw, label, score.distance, score.fscore)
    rgba = scene.frame.rgba.astype(np.float32) / 255
    picture = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
    picture = cv2.resize(np.rint(picture * 255).astype(np.uint8), (2 * size, 2 * size), interpolation=cv2.INTER_AREA)
    return np.concatenate([picture, *(turned(mesh, size) for mesh in (true_mesh(subject, scene), base, found))], 1)


def draw(options: Options) -> None:
    """Write the picture.

    Raises:
        ValueError: no subject has one of the names.
    """
    sources = find_sources(options.data) + [Source(path, path.stem, "extra", 1.0) for path in options.extra]
    chosen = [source for name in options.names for source in sources if source.name.endswith(name)]
    if not chosen:
        raise ValueError(f"none of the subjects is called {' or '.join(options.names)}")
    network = load_network(options.weights)
    rows = []
    for source in chosen:
        subject = read_subject(source, np.random.default_rng(0), poses=6)
        rows += [draw_row(network, source.name, subject, yaw, options.size) for yaw in options.yaws]
    if not cv2.imwrite(str(options.output), np.concatenate(rows)[..., ::-1]):
        raise OSError(f"{options.output}: the picture could not be written")


def main() -> None:
    """Command line."""
    options = parse_options(Options, description=__doc__)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("v2m4.io").setLevel(logging.ERROR)  # notes on single files
    threads.use(options.threads)
    torch.set_grad_enabled(False)
    try:
        draw(options)
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    end_with(main)
