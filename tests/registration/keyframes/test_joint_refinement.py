"""Key-frame refinement: the video's constraints on the frames between, and the prior on poses with their shape."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from registration.keyframes import joint_refinement
from registration.keyframes.joint_refinement import (
    Motion,
    PosePrior,
    frame_motions,
    frame_terms,
    interpolation_weights,
    motion_energy,
    refine_key_frames,
)
from registration.keyframes.template import Template
from tests.registration.keyframes.interrupted import killed_every
from tests.registration.shapes import painted, photographed
from v2m4.camera import image_fractions
from v2m4.config import FAST
from v2m4.optical_flow import flow_between

AWAY = torch.tensor([0.0, 0.0, 3.0])
STEP = torch.tensor([0.05, 0.0, 0.0])  # to the right, a frame
SIZE = 128
KEYS = [0, 2, 4]
CONFIG = replace(FAST.registration, video_size=SIZE, joint_steps=40)


@pytest.fixture(scope="module")
def moving(capsule):
    """A body that goes steadily to the right: the template, the true poses (5, V, 3), frames and flows."""
    vertices, faces = capsule
    rest = painted(vertices + AWAY, faces)
    poses = torch.stack([rest.vertices + index * STEP for index in range(5)])
    frames = [photographed(rest.with_vertices(pose), index) for index, pose in enumerate(poses)]
    flows = [flow_between(first, second) for first, second in itertools.pairwise(frames)]
    return Template.of(rest, 1.0, CONFIG), poses, frames, flows


def refined(moving, start, **options):
    template, _, frames, flows = moving
    config = replace(CONFIG, **options.pop("config", {}))
    generator = torch.Generator().manual_seed(0)
    return refine_key_frames(start, KEYS, template, frames, flows, config, generator, **options)


def test_blend_weighs_the_two_key_frames_around() -> None:
    for frame in range(11):
        first, second, weight = interpolation_weights([0, 4, 10], frame)
        time = (1 - weight) * [0, 4, 10][first] + weight * [0, 4, 10][second]
        assert time == pytest.approx(frame)
        assert 0 <= weight < 1
        assert second - first == (0 if frame in (0, 4, 10) else 1)


def test_motions_are_the_true_image_displacements(moving) -> None:
    template, poses, frames, flows = moving
    result = frame_motions(poses[KEYS], KEYS, template, frames, flows, SIZE)
    assert {frame: sorted(motion.key for motion in result[frame]) for frame in range(5)} == {
        0: [1], 1: [0, 1], 2: [0, 2], 3: [1, 2], 4: [1],
    }  # fmt: skip
    for frame, of_frame in result.items():
        for motion in of_frame:
            places = [image_fractions(template.camera, poses[at][motion.index]) for at in (KEYS[motion.key], frame)]
            off = (motion.displacement - (places[1] - places[0])).norm(dim=1)
            assert len(motion.index) > 100
            assert float(off.median()) * SIZE < 0.3


def energy_of(motion, pose, key_pose, template) -> float:
    return float(motion_energy([motion], torch.stack([key_pose, pose]), [(1, 0)], [1.0], template))


def test_motion_energy_is_zero_at_the_truth_and_grows_away_from_it(moving) -> None:
    template, poses, _, _ = moving
    index = torch.arange(0, len(poses[0]), 3)
    places = [image_fractions(template.camera, pose[index]) for pose in poses[:2]]
    motion = Motion(0, index, places[1] - places[0], torch.ones(len(index)), span=0.5)
    energies = [energy_of(motion, poses[1] + off * STEP, poses[0], template) for off in (0, 0.1, 0.5, 1)]
    assert energies[0] < 1e-6
    assert (np.diff(energies) > 0).all()
    silent = replace(motion, confidence=torch.zeros(len(index)))
    assert energy_of(silent, poses[1] + STEP, poses[0], template) == 0
    nothing = Motion(0, index[:0], motion.displacement[:0], motion.confidence[:0], 0.5)
    assert energy_of(nothing, poses[1], poses[0], template) == 0


def test_motion_energy_has_the_gradient_of_finite_differences(moving) -> None:
    template, poses, _, _ = moving
    template = replace(template, camera=replace(template.camera, extrinsics=template.camera.extrinsics.double()))
    index = torch.arange(0, 60, 7)
    displacement = 0.02 * torch.randn(len(index), 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    motion = Motion(0, index, displacement, torch.linspace(0.1, 1, len(index), dtype=torch.float64), 0.5)
    pose, key = (poses[at, :60].double().requires_grad_() for at in (1, 0))
    assert torch.autograd.gradcheck(
        lambda a, b: motion_energy([motion], torch.stack([a, b]), [(0, 1)], [2.0], template), (pose, key)
    )


def test_pose_prior_weights_normal_offsets_ten_times_as_much_as_tangential_ones(moving, sphere) -> None:
    vertices, faces = sphere
    template = replace(moving[0], unit=1.0, mesh=replace(moving[0].mesh, vertices=vertices, faces=faces))
    pose_prior = PosePrior(torch.stack([vertices, vertices]), template, [True, False])
    assert float(pose_prior(torch.stack([vertices, 2 * vertices]))) == 0  # the second is not held
    outward = torch.nn.functional.normalize(vertices, dim=1)
    along = torch.nn.functional.normalize(torch.cross(outward, torch.tensor([[0.3, 1.0, 0.2]]), dim=1), dim=1)
    off, slid = (float(pose_prior(torch.stack([vertices + 0.01 * offset, vertices]))) for offset in (outward, along))
    assert off == pytest.approx(1e-4, rel=0.01)
    assert slid == pytest.approx(1e-5, rel=0.05)


def test_wrong_poses_are_corrected_by_the_video(moving) -> None:
    _, poses, _, _ = moving
    start = poses[KEYS].clone()
    start[1] += torch.tensor([0.03, 0.02, 0.0])
    result = refined(moving, start)
    before, after = ((pose - poses[2])[:, :2].norm(dim=1).mean() for pose in (start[1], result.vertices[1]))
    assert after < 0.5 * before
    assert (result.vertices[[0, 2]] - poses[[0, 4]])[..., :2].norm(dim=2).mean() < 0.01
    assert all(len(curve) == 40 for curve in result.curves.values())
    assert result.curves["flow"][-8:].mean() < 0.5 * result.curves["flow"][:8].mean()
    assert "stay" not in result.curves


def test_a_pose_with_a_prior_changes_less(moving) -> None:
    _, poses, _, _ = moving
    start = poses[KEYS].clone()
    start[1] += torch.tensor([0.03, 0.02, 0.0])
    firm = {"weights": replace(CONFIG.weights, stay=20 * CONFIG.weights.stay)}
    held = refined(moving, start, takes_shape=[False, True, False], config=firm)
    free = refined(moving, start)
    displacements = [(result.vertices[1] - start[1]).norm(dim=1).mean() for result in (held, free)]
    assert displacements[0] < 0.5 * displacements[1]
    assert "stay" in held.curves


def test_extra_terms_change_their_own_pose_alone(moving) -> None:
    _, poses, _, _ = moving

    class Push:
        name, weight = "push", 100.0

        def __call__(self, state):
            return (state.vertices[:, 1] - 0.2).square().mean()

    plain = refined(moving, poses[KEYS])
    pushed = refined(moving, poses[KEYS], extra_terms=[[], [Push()], []])
    offset = (pushed.vertices - plain.vertices)[..., 1].mean(1)
    assert offset[1] > 0.02
    assert offset[[0, 2]].abs().max() < 0.5 * offset[1]
    assert len(pushed.curves["push"]) == 40


def test_no_steps_change_nothing_and_a_seed_gives_the_same_bytes(moving) -> None:
    _, poses, _, _ = moving
    unchanged = refined(moving, poses[KEYS], config={"joint_steps": 0})
    torch.testing.assert_close(unchanged.vertices, poses[KEYS], atol=1e-4, rtol=0)
    assert unchanged.curves == {}
    first, second = (refined(moving, poses[KEYS], config={"joint_steps": 5}) for _ in range(2))
    assert torch.equal(first.vertices, second.vertices)


def test_a_refinement_that_is_killed_goes_on_exactly(moving, tmp_path) -> None:
    start = moving[1][KEYS] + torch.tensor([0.02, 0.01, 0.0])
    config = {"joint_steps": 12}
    whole = refined(moving, start, config=config)
    result, kills = killed_every(5, tmp_path, lambda parts: refined(moving, start, config=config, parts=parts))
    assert kills == 2
    assert result.vertices.numpy().tobytes() == whole.vertices.numpy().tobytes()
    assert {name: values.tobytes() for name, values in result.curves.items()} == {
        name: values.tobytes() for name, values in whole.curves.items()
    }


def test_views_that_are_made_again_give_the_same_poses(moving, monkeypatch) -> None:
    _, poses, _, _ = moving
    start = poses[KEYS] + torch.tensor([0.0, 0.02, 0.0])
    kept = refined(moving, start)
    monkeypatch.setattr(joint_refinement, "KEPT_BYTES", 1)
    made_again = refined(moving, start)
    assert torch.equal(kept.vertices, made_again.vertices)


def test_views_are_kept_within_the_limit(moving, monkeypatch) -> None:
    template, poses, frames, _ = moving
    one = sum(term.nbytes for term in frame_terms(poses[KEYS], KEYS, template, frames, CONFIG)[0])
    assert one == pytest.approx(SIZE * SIZE * 4 * 4 * (1 + 1 / 16))
    monkeypatch.setattr(joint_refinement, "KEPT_BYTES", 2 * one)
    terms = frame_terms(poses[KEYS], KEYS, template, frames, CONFIG)
    for index in (0, 3, 1, 4, 2, 0):
        assert [term.name for term in terms[index]] == ["silhouette", "colour"]
        assert terms.kept_bytes <= 2 * one
