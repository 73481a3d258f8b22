import cv2
import numpy as np
import pytest
import torch

from texture.align import align_frames
from texture.observe import observe_frames
from texture.solve import average, least_squares
from texture.texels import lookups, sample
from v2m4.frame import Frame

SIZE = 128


def blobs(scene):
    """Smooth, irregular detail that flow can follow: noise, blurred over the surface's own space."""
    rng = np.random.default_rng(3)
    waves, phases = rng.normal(0, 9, (20, 3)), rng.uniform(0, 6.3, (20, 3))
    value = sum(
        np.sin((scene.positions() @ wave)[..., None] + phase) for wave, phase in zip(waves, phases, strict=True)
    )
    return np.clip(0.5 + 0.12 * value, 0, 1).astype(np.float32)


def shifted(frame: Frame, x: float, y: float) -> Frame:
    moved = cv2.warpAffine(frame.rgba, np.array([[1, 0, x], [0, 1, y]]), frame.rgba.shape[1::-1])
    return Frame(frame.name, frame.index, moved)


def disagreement(views, texture):
    """Mean difference of pixels and texture, by weight."""
    gaps = [np.abs(sample(texture, lookups(view.uvs, SIZE)) - view.colors).mean(1) for view in views]
    return np.average(np.concatenate(gaps), weights=np.concatenate([view.weights for view in views]))


@pytest.mark.parametrize("amount", [2.0, 4.0])
def test_frames_off_by_pixels_give_a_sharp_texture(all_round, amount):
    scene, truth = all_round, blobs(all_round)
    rng = np.random.default_rng(0)
    frames = [shifted(frame, *rng.uniform(-amount, amount, 2)) for frame in scene.frames(truth)]
    inputs = (frames, scene.sequence.vertices, scene.mesh, scene.atlas, 160)
    views = observe_frames(*inputs)
    blurred = least_squares(views, scene.texels, scene.seams, 0.02)
    known = blurred.weight > 1
    aligned = align_frames(*inputs, blurred.texture)
    sharp = least_squares(aligned, scene.texels, scene.seams, 0.02)
    before, after = (np.abs(solution.texture - truth)[known].mean() for solution in (blurred, sharp))
    assert after < 0.92 * before
    assert disagreement(aligned, sharp.texture) < 0.5 * disagreement(views, blurred.texture)


def test_frames_that_fit_stay_where_they_are(all_round):
    scene, truth = all_round, blobs(all_round)
    inputs = (scene.frames(truth), scene.sequence.vertices, scene.mesh, scene.atlas, 160)
    still, moved = average(observe_frames(*inputs), SIZE), average(align_frames(*inputs, truth), SIZE)
    known = still.weight > 1
    assert np.abs(still.texture - moved.texture)[known].mean() < 0.01


def test_what_the_mesh_cannot_show_is_not_trusted(all_round):
    """A frame of something else finds no way back from frame to render, and hardly counts."""
    scene, truth = all_round, blobs(all_round)
    rng = np.random.default_rng(0)
    frame = scene.frames(truth)[0]
    noise = cv2.GaussianBlur(rng.random((160, 160, 3)).astype(np.float32), (0, 0), 3)
    noise = ((noise - 0.5) * 1500 + 128).clip(0, 255).astype(np.uint8)
    other = Frame("x", 0, np.dstack([noise, frame.rgba[..., 3]]))
    poses = scene.sequence.vertices[:1]
    right = align_frames([frame], poses, scene.mesh, scene.atlas, 160, truth)
    wrong = align_frames([other], poses, scene.mesh, scene.atlas, 160, truth)
    assert wrong[0].weights.sum() < 0.5 * right[0].weights.sum()
    assert torch.isfinite(torch.from_numpy(wrong[0].colors)).all()
