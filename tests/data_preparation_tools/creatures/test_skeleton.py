import math

import numpy as np
import pytest

from data_preparation_tools.creatures.skeleton import Bone, Pose, Skeleton, leg_angles, linear_blend_skinning
from data_preparation_tools.creatures.solid import ImplicitSolid, RoundCone, euler_matrix

SKELETON = Skeleton(
    {"hip": Bone(None, (0, 0, 0)), "knee": Bone("hip", (0, -0.5, 0.1)), "foot": Bone("knee", (0, -1, 0))}
)


def _moved(transform, point):
    return (transform @ np.append(point, 1.0))[:3]


def test_the_rest_pose_leaves_everything_where_it_is():
    assert np.allclose(SKELETON.transforms(Pose({})), np.eye(4))


def test_a_child_follows_its_parent_and_turns_about_its_own_joint():
    transforms = SKELETON.transforms(Pose({"hip": (90, 0, 0), "knee": (0, 0, 90)}, (0, 0, 1)))
    assert np.allclose(_moved(transforms[1], (0, -0.5, 0.1)), euler_matrix(90) @ (0, -0.5, 0.1) + (0, 0, 1))
    assert np.allclose(transforms[1][:3, :3], euler_matrix(90) @ euler_matrix(0, 0, 90))
    assert np.allclose(transforms[1], transforms[2])


def test_a_pose_of_an_unknown_bone_is_an_error():
    with pytest.raises(KeyError, match="elbow"):
        SKELETON.transforms(Pose({"elbow": (1, 0, 0)}))


@pytest.mark.parametrize("knee_z", [0.08, -0.08])
@pytest.mark.parametrize("target", [(-0.9, 0.2), (-0.85, -0.3), (-0.6, 0.0), (-0.95, 0.05)])
def test_a_leg_brings_its_ankle_to_the_target_and_bends_the_same_way(knee_z, target):
    hip, knee, ankle = (0.0, 0.0), (-0.5, knee_z), (-1.0, 0.0)
    thigh, shank = leg_angles(hip, knee, ankle, target)
    bones = {"thigh": Bone(None, (0, *hip)), "shank": Bone("thigh", (0, *knee))}
    transforms = Skeleton(bones).transforms(Pose({"thigh": (thigh, 0, 0), "shank": (shank, 0, 0)}))
    assert np.allclose(_moved(transforms[1], (0, *ankle)), (0, *target), atol=1e-9)
    bent = _moved(transforms[0], (0, *knee))[1:]
    side = target[0] * bent[1] - target[1] * bent[0]
    assert math.copysign(1, side) == math.copysign(1, ankle[0] * knee[1] - ankle[1] * knee[0])


def test_a_leg_stretches_towards_a_target_out_of_reach():
    thigh, shank = leg_angles((0, 0), (-0.5, 0.08), (-1.0, 0.0), (0.0, 5.0))
    bones = {"thigh": Bone(None, (0, 0, 0)), "shank": Bone("thigh", (0, -0.5, 0.08))}
    transforms = Skeleton(bones).transforms(Pose({"thigh": (thigh, 0, 0), "shank": (shank, 0, 0)}))
    y, z = _moved(transforms[1], (0, -1.0, 0.0))[1:]
    assert abs(y) < 1e-6 and 1.0 < z < 2 * math.hypot(0.5, 0.08)


def test_weights_share_out_one_and_follow_the_nearest_bone():
    upper = RoundCone("hip", (1, 1, 1), 0.02, (0, 0, 0), (0, -0.5, 0), 0.1, 0.1)
    lower = RoundCone("knee", (1, 1, 1), 0.02, (0, -0.5, 0), (0, -1.0, 0), 0.1, 0.1)
    vertices = np.array([[0.1, -0.02 * index, 0.0] for index in range(50)])
    faces = np.array([[index, index + 1, index + 2] for index in range(48)])
    weights = SKELETON.weights(ImplicitSolid((upper, lower)), vertices, faces)
    assert np.allclose(weights.sum(1), 1) and (weights >= 0).all() and (weights[:, 2] < 1e-6).all()
    assert weights[0, 0] > 0.99 and weights[-1, 1] > 0.99 and (np.diff(weights[:, 1]) > -1e-9).all()


def test_blending_equal_transforms_moves_rigidly():
    vertices = np.random.default_rng(0).normal(size=(20, 3))
    weights = np.random.default_rng(1).dirichlet(np.ones(3), 20)
    rigid = np.eye(4)
    rigid[:3, :3], rigid[:3, 3] = euler_matrix(10, 20, 30), (1, 2, 3)
    assert np.allclose(
        linear_blend_skinning(vertices, weights, np.stack([rigid] * 3)), vertices @ rigid[:3, :3].T + (1, 2, 3)
    )
