"""Overlays: the mesh lies where the frames show the object, over the right pictures."""

import json
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
import pytest

import rendering_video
from tests.test_rendering_video import make_result
from v2m4.io.clip import PICTURE
from v2m4.overlay import KINDS, OPACITY, OUTLINE, blended, input_frames, outlined, wiped
from v2m4.stored_picture import encoded

SIZE, FRAMES = 64, 3
BEHIND = (40, 90, 40)  # the colour behind the object


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """An animation's folder with its frames, and the input with a background that the manifest names."""
    folder = tmp_path / "out" / "ball"
    make_result(folder, frames=FRAMES)
    assert rendering_video.main(["--result_path", str(folder), "--size", str(2 * SIZE), "--device", "cpu"]) == 0
    (tmp_path / "in" / "ball").mkdir(parents=True)
    for index in range(FRAMES):
        mask = iio.imread(folder / rendering_video.MASKS / f"{index}.png")
        rgba = np.dstack([np.full((*mask.shape, 3), (20, 40, 220), np.uint8), mask])  # blue, where the mesh is red
        (folder / PICTURE.format(index)).write_bytes(encoded(rgba))
        alpha = mask[..., None] / 255
        whole = np.round(rgba[..., :3] * alpha + np.array(BEHIND) * (1 - alpha)).astype(np.uint8)
        iio.imwrite(tmp_path / "in" / "ball" / f"{index}.png", whole)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["config"] = {"root": str(tmp_path / "in"), "video": None, "frames": {"fps": 10.0, "max_side": 1080}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_the_overlay_of_a_known_mesh_coincides_with_the_mask(result: Path) -> None:
    arguments = ["--result_path", str(result), "--size", str(SIZE), "--device", "cpu", "--overlay"]
    assert rendering_video.main(arguments) == 0
    frames = input_frames(result, ["0", "1", "2"], (SIZE, SIZE))
    shown = {kind: list(iio.imiter(result / f"output_final_rendering_video_{kind}.mp4")) for kind in KINDS}
    for index, picture in enumerate(shown["overlay"]):
        changed = np.abs(picture.astype(int) - frames.pictures[str(index)]).max(-1) > 40
        alpha = iio.imread(result / PICTURE.format(index))[..., 3]
        mask = cv2.resize(alpha, (SIZE, SIZE), interpolation=cv2.INTER_AREA) > 127
        assert (changed & mask).sum() / (changed | mask).sum() > 0.9  # the outline's colour is halved by the codec
        assert shown["beside"][index].shape == (SIZE, 2 * SIZE, 3)
    assert np.abs(shown["wipe"][0].astype(int) - frames.pictures["0"])[:, 4:].mean() < 4  # it begins with the frame
    middle = shown["wipe"][1].astype(int)
    assert middle[SIZE // 2, SIZE // 2, 0] > 150  # the red mesh
    assert np.abs(middle[4, 4] - BEHIND).max() < 20  # in front of the input's background


def test_the_inputs_own_pictures_are_used_while_they_are_there(result: Path, tmp_path: Path) -> None:
    names = ["0", "1", "2"]
    frames = input_frames(result, names, (SIZE, SIZE))
    assert frames.origin == f"the frames of {tmp_path / 'in' / 'ball'}"
    assert frames.pictures["0"][2, 2].tolist() == list(BEHIND)


@pytest.mark.parametrize("change", ["moved", "other object", "frame gone", "no manifest"])
def test_else_the_pictures_without_background_over_white_and_that_is_told(
    result: Path, tmp_path: Path, change: str
) -> None:
    if change == "moved":
        (tmp_path / "in").rename(tmp_path / "elsewhere")
    elif change == "other object":
        iio.imwrite(tmp_path / "in" / "ball" / "1.png", np.full((2 * SIZE, 2 * SIZE, 3), 250, np.uint8))
    elif change == "frame gone":
        (tmp_path / "in" / "ball" / "1.png").unlink()
    else:
        (result / "manifest.json").unlink()
    frames = input_frames(result, ["0", "1", "2"], (SIZE, SIZE))
    assert frames.origin.startswith("<frame>_rmbg.png over white (")
    assert frames.pictures["1"][2, 2].tolist() == [255, 255, 255]
    assert np.abs(frames.pictures["1"][SIZE // 2, SIZE // 2].astype(int) - (20, 40, 220)).max() < 3


def test_a_frame_that_does_not_show_the_object_is_white(result: Path) -> None:
    frames = input_frames(result, ["0", "0.5"], (SIZE, SIZE))
    assert (frames.pictures["0.5"] == 255).all() and (frames.pictures["0"] < 255).any()


def test_blending_and_wiping() -> None:
    frame, color = np.full((4, 6, 3), 100, np.uint8), np.full((4, 6, 3), 255, np.uint8)
    mask = np.zeros((4, 6), np.uint8)
    mask[:, :3], color[:, :3] = 255, 20
    np.testing.assert_array_equal(blended(frame, color, mask, 1.0)[:, :3], color[:, :3])
    np.testing.assert_array_equal(blended(frame, color, mask)[:, 3:], frame[:, 3:])
    assert blended(frame, color, mask)[0, 0, 0] == round(100 * (1 - OPACITY) + 20 * OPACITY)
    half = np.full((4, 6), 128, np.uint8)  # covered by half: the render's colour over white is halfway to white
    over_white = np.round(20 * (half[..., None] / 255) + 255 * (1 - half[..., None] / 255)).astype(np.uint8)
    expected = 100 * (1 - 128 / 255) + 20 * 128 / 255
    assert abs(int(blended(frame, np.broadcast_to(over_white, frame.shape), half, 1.0)[0, 0, 0]) - expected) <= 1
    line = (outlined(frame, mask) == OUTLINE).all(-1)
    assert line[:, 2].all() and not line[:, :2].any() and not line[:, 3:].any()
    assert (wiped(frame, color, 0.5)[:, :2] == color[:, :2]).all()
    assert (wiped(frame, color, 0.0)[:, 1:] == frame[:, 1:]).all()
