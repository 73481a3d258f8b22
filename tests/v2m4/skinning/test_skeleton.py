"""Forward kinematics and linear blend skinning."""

import numpy as np

from tests.v2m4.skinning import chain
from v2m4.rotation import axis_rotation


def test_the_rest_pose_leaves_every_point_where_it_is() -> None:
    points = chain.tube().vertices.double().numpy()
    skeleton = chain.skeleton()
    moved = chain.binding(points).skinned(*skeleton.world(skeleton.rest(2)))
    np.testing.assert_allclose(moved, np.stack([points, points]), atol=1e-12)


def test_a_rotation_of_the_root_rotates_all_points_about_it() -> None:
    points = chain.tube().vertices.double().numpy()
    skeleton = chain.skeleton()
    poses = skeleton.rest(1)
    rotation = axis_rotation(0, np.array(0.7))
    poses.rotations[0, 0] = rotation
    moved = chain.binding(points).skinned(*skeleton.world(poses))[0]
    np.testing.assert_allclose(moved, (points - chain.JOINTS[0]) @ rotation.T + chain.JOINTS[0], atol=1e-12)


def test_bone_lengths_do_not_depend_on_rotations() -> None:
    skeleton = chain.skeleton()
    _, origin = skeleton.world(chain.poses(9))
    lengths = np.linalg.norm(np.diff(origin, axis=1), axis=2)
    np.testing.assert_allclose(lengths, np.tile(lengths[:1], (9, 1)), atol=1e-12)


def test_subtrees_and_followed_nodes() -> None:
    skeleton = chain.skeleton()
    assert skeleton.subtrees().tolist() == [[True, True, True], [False, True, True], [False, False, True]]
    assert skeleton.followed(np.array([False, True, False])).tolist() == [True, True, False]


def test_poses_skinned_one_at_a_time_are_those_of_all() -> None:
    skeleton, poses = chain.skeleton(), chain.poses(6)
    binding = chain.binding(chain.tube().vertices.double().numpy())
    world = skeleton.world(poses)
    np.testing.assert_array_equal(np.stack(list(binding.each_skinned(*world))), binding.skinned(*world))
