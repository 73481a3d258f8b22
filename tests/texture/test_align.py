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


def smooth_noise(scene):
    """Texture (H, W, 1) of smooth, irregular detail: a sum of random waves in rest positions."""
    rng = np.random.default_rng(3)
    waves, phases = rng.normal(0, 9, (20, 3)), rng.uniform(0, 6.3, (20, 3))
    value = sum(
        np.sin((scene.positions() @ wave)[..., None] + phase) for wave, phase in zip(waves, phases, strict=True)
    )
    return np.clip(0.5 + 0.12 * value, 0, 1).astype(np.float32)


def shifted(frame: Frame, x: float, y: float) -> Frame:
    moved = cv2.warpAffine(frame.rgba, np.array([[1, 0, x], [0, 1, y]]), frame.rgba.shape[1::-1])
    return Frame(frame.name, frame.index, moved)


def photometric_error(views, texture):
    """Weighted mean difference of pixels and texture."""
    errors = [np.abs(sample(texture, lookups(view.uvs, SIZE)) - view.colors).mean(1) for view in views]
    return np.average(np.concatenate(errors), weights=np.concatenate([view.weights for view in views]))


@pytest.mark.parametrize("amount", [2.0, 4.0])
def test_frames_misaligned_by_pixels_give_a_sharp_texture(all_round, amount):
    scene, truth = all_round, smooth_noise(all_round)
    rng = np.random.default_rng(0)
    frames = [shifted(frame, *rng.uniform(-amount, amount, 2)) for frame in scene.frames(truth)]
    inputs = (frames, scene.sequence.vertices, scene.mesh, scene.atlas, 160)
    views = observe_frames(*inputs)
    unaligned = least_squares(views, scene.texels, scene.seams, 0.02)
    known = unaligned.weight > 1
    aligned = align_frames(*inputs, unaligned.texture)
    sharpened = least_squares(aligned, scene.texels, scene.seams, 0.02)
    before, after = (np.abs(solution.texture - truth)[known].mean() for solution in (unaligned, sharpened))
    assert after < 0.92 * before
    assert photometric_error(aligned, sharpened.texture) < 0.5 * photometric_error(views, unaligned.texture)


def test_aligned_frames_are_unchanged(all_round):
    scene, truth = all_round, smooth_noise(all_round)
    inputs = (scene.frames(truth), scene.sequence.vertices, scene.mesh, scene.atlas, 160)
    still, moved = average(observe_frames(*inputs), SIZE), average(align_frames(*inputs, truth), SIZE)
    known = still.weight > 1
    assert np.abs(still.texture - moved.texture)[known].mean() < 0.01


def test_pixels_with_inconsistent_flow_get_little_weight(all_round):
    """Flow to a frame of something else is not consistent forwards and backwards."""
    scene, truth = all_round, smooth_noise(all_round)
    rng = np.random.default_rng(0)
    frame = scene.frames(truth)[0]
    noise = cv2.GaussianBlur(rng.random((160, 160, 3)).astype(np.float32), (0, 0), 3)
    noise = ((noise - 0.5) * 1500 + 128).clip(0, 255).astype(np.uint8)
    noise_frame = Frame("x", 0, np.dstack([noise, frame.rgba[..., 3]]))
    poses = scene.sequence.vertices[:1]
    of_frame = align_frames([frame], poses, scene.mesh, scene.atlas, 160, truth)
    of_noise = align_frames([noise_frame], poses, scene.mesh, scene.atlas, 160, truth)
    assert of_noise[0].weights.sum() < 0.5 * of_frame[0].weights.sum()
    assert torch.isfinite(torch.from_numpy(of_noise[0].colors)).all()
