"""A rig found from motion reproduces it; a known tube's bones and joints are found."""

import numpy as np
import torch

from tests.v2m4.skinning import chain
from v2m4.mesh import MeshSequence
from v2m4.skinning.curves import poses_at
from v2m4.skinning.rig import Rig, fit_rig


def _skinned(rig: Rig, times: np.ndarray) -> np.ndarray:
    return rig.binding.skinned(*rig.skeleton.world(poses_at(rig.skeleton, rig.curves, times)))


def test_a_tube_of_three_bones_is_reproduced() -> None:
    sequence = chain.sequence(blend=0.02)
    rig = fit_rig(sequence, 3)
    assert len(rig.skeleton) == 3
    errors = np.linalg.norm(_skinned(rig, sequence.times) - sequence.vertices.double().numpy(), axis=2)
    assert np.sqrt((errors**2).mean()) < 0.003
    assert abs(np.sqrt((errors**2).mean()) - rig.rms) < 1e-4  # the tube is one unit long
    assert abs(errors.max() - rig.largest) < 1e-4


def test_its_joints_lie_where_the_tube_bends() -> None:
    rig = fit_rig(chain.sequence(blend=0.02), 3)
    _, origin = rig.skeleton.world(rig.skeleton.rest(1))
    joints = origin[0][rig.skeleton.parents >= 0]
    for truth in chain.JOINTS[1:]:
        assert np.linalg.norm(joints - truth, axis=1).min() < 0.03


def test_only_the_root_translates_and_weights_are_at_most_four() -> None:
    rig = fit_rig(chain.sequence(), 8)
    assert {curve.node for curve in rig.curves if curve.path == "translation"} <= {0}
    assert rig.binding.weights.shape[1] <= 4
    assert rig.binding.weights.min() >= 0
    np.testing.assert_allclose(rig.binding.weights.sum(1), 1, atol=1e-9)


def test_a_rigid_motion_needs_one_bone_and_is_exact() -> None:
    mesh, moved = chain.tube(), []
    for frame in range(6):
        angle = torch.tensor(0.3 * frame)
        rotation = torch.tensor(
            [[angle.cos(), -angle.sin(), 0], [angle.sin(), angle.cos(), 0], [0, 0, 1]], dtype=torch.float32
        )
        moved.append(mesh.vertices @ rotation.T + 0.1 * frame)
    rig = fit_rig(MeshSequence(torch.stack(moved), mesh, np.arange(6) / 30), 32)
    assert len(rig.skeleton) == 1
    assert rig.largest < 1e-4


def test_a_still_mesh_needs_no_key() -> None:
    mesh = chain.tube()
    rig = fit_rig(MeshSequence(mesh.vertices.expand(5, -1, -1), mesh, np.arange(5) / 30), 8, tolerance=1e-3)
    assert len(rig.skeleton) == 1
    assert rig.curves == []


def test_units_and_place_do_not_matter() -> None:
    sequence = chain.sequence(12)
    large = MeshSequence(
        sequence.vertices * 50 + 7, sequence.mesh.with_vertices(sequence.mesh.vertices * 50 + 7), sequence.times
    )
    first, second = fit_rig(sequence, 4), fit_rig(large, 4)
    assert abs(first.rms - second.rms) < 1e-4
    errors = np.linalg.norm(_skinned(second, large.times) - large.vertices.double().numpy(), axis=2) / 50
    assert np.sqrt((errors**2).mean()) < 0.01


def test_large_meshes_are_fitted_on_some_of_their_vertices(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    from dataclasses import replace

    from v2m4.skinning import rig as module

    monkeypatch.setattr(module, "SKINNING", replace(module.SKINNING, fitted_vertices=150))
    sequence = chain.sequence(blend=0.02)
    assert len(sequence.mesh.vertices) > 300
    rig = fit_rig(sequence, 3)
    assert len(rig.binding.weights) == len(sequence.mesh.vertices)
    assert rig.rms < 0.01


def test_a_part_that_comes_off_translates() -> None:
    """The upper third of the tube rises off the rest; the noise-free motion is reproduced with two bones."""
    sequence = chain.sequence(10, blend=0.02)
    moved = sequence.mesh.vertices.expand(10, -1, -1).clone()
    top = sequence.mesh.vertices[:, 1] > chain.JOINTS[2, 1]
    moved[:, top, 1] += torch.linspace(0, 0.4, 10)[:, None]
    rig = fit_rig(MeshSequence(moved, sequence.mesh, sequence.times), 2)
    assert rig.skeleton.translating.sum() == 2
    assert rig.rms < 0.002


def test_noise_does_not_make_a_joint_loose() -> None:
    sequence = chain.sequence(12)
    noise = torch.randn(sequence.vertices.shape, generator=torch.Generator().manual_seed(0)) * 0.004
    rig = fit_rig(MeshSequence(sequence.vertices + noise, sequence.mesh, sequence.times), 6)
    assert rig.skeleton.translating.sum() == 1
