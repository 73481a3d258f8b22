"""A benchmark release in the layout of Motion-80, made from ``examples/``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np

from evaluation.mesh_folder import TEXTURE
from evaluation.sequences import FACES
from v2m4.ground_truth import TRUTH_FOLDER, GroundTruth

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
SIDE = 224  # pixels, of Motion-80's pictures


def make_release(
    folder: Path, short: Mapping[str, str], long: Mapping[str, str], frames: Mapping[str, Sequence[int]]
) -> Path:
    """Write a release.

    Args:
        folder: of the release.
        short: the example that each short sample is made from, by the sample's name.
        long: the same for long samples.
        frames: indices of an example's frames that its samples hold.
    """
    for length, samples in (("short", short), ("long", long)):
        folder.mkdir(exist_ok=True)
        (folder / f"{length}_videos.txt").write_text("".join(f"{name}\n" for name in samples), "utf-8")
        for name, example in samples.items():
            write_pictures(folder / "images" / f"{name}_images" / "camera_0", example, frames[example])
            write_meshes(folder / "pcds" / f"{name}_pointclouds", example, frames[example])
    return folder


def write_pictures(folder: Path, example: str, frames: Sequence[int]) -> None:
    """Write frames of an example on black."""
    folder.mkdir(parents=True)
    files = sorted((EXAMPLES / example).glob("*.png"))
    for index, frame in enumerate(frames):
        rgba = iio.imread(files[frame]).astype(np.float32) / 255
        rgb = cv2.resize(rgba[..., :3] * rgba[..., 3:], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        iio.imwrite(folder / f"frame_{index:04d}.png", np.round(255 * rgb).astype(np.uint8))


def write_meshes(folder: Path, example: str, frames: Sequence[int]) -> None:
    """Write true meshes, and a texture with one texel for each face; rows are counted from below."""
    truth = GroundTruth.load(EXAMPLES / TRUTH_FOLDER / f"{example}.npz")
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames):
        np.save(folder / f"frame_{index:04d}.npy", truth.positions()[frame].numpy())
    np.save(folder / FACES, truth.faces)
    side = int(np.ceil(np.sqrt(len(truth.faces))))
    colors = np.zeros((side * side, 3), np.uint8)
    colors[: len(truth.faces)] = truth.colors[truth.faces].mean(1).round()
    row, column = np.divmod(np.arange(len(truth.faces)), side)
    uvs = np.stack([(column + 0.5) / side, 1 - (row + 0.5) / side], -1)
    np.savez(folder / TEXTURE, face_uvs=np.repeat(uvs[:, None], 3, 1), texture_array=colors.reshape(side, side, 3))
