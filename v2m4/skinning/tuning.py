"""Tuned constants of the skinning decomposition; lengths in sizes of the object (longest side of its box)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SkinningTuning:
    """Constants, chosen on the clips of RobotExpressive.glb and on two reconstructed videos.

    Attributes:
        influences: bones of a vertex, at most; game engines take four.
        rounds: rounds of weights and transforms, at most.
        converged: relative decrease of the squared error below which the rounds end.
        smoothness: weight of the squared difference of a vertex's skin weights from its neighbours' mean, against the
            squared distance per frame.
        rigid_error: rms distance below which a cluster is not split further.
        smallest_cluster: vertices of a cluster, at least.
        cluster_rounds: rounds of assignment after each split.
        patch_share: a new cluster starts from one in this many vertices of the old one.
        joint_weight: weight of a joint constraint, relative to that of all vertices of its bone.
        overlap: share of the smaller bone's skin weights that two bones should have in common.
        overlap_penalty: cost of a connection between bones that have none in common.
        joint_prior: weight of a joint's distance from the middle of the vertices that its two bones share.
        joint_rounds: rounds of weights and transforms with joint constraints.
        loose_gap: rms distance between the two ends of a joint above which its bone may translate.
        loose_ratio: and the least ratio of that distance to the rms error of the unconstrained bones.
        fitted_frames: frames that the weights are solved on, at most.
        fitted_vertices: vertices that the bones are found from, at most; the others only get weights. With 2,500 of
            5,000 to 6,000, four results took two thirds of the time (24 bones, a scratch script); their rms distance is
            2 % larger at most, the largest distance 20 %.
        neighbours: of a vertex, where only some are used.
    """

    influences: int = 4
    rounds: int = 10
    converged: float = 0.01
    smoothness: float = 1e-5
    rigid_error: float = 5e-4
    smallest_cluster: int = 4
    cluster_rounds: int = 4
    patch_share: int = 8
    joint_weight: float = 0.5
    overlap: float = 0.02
    overlap_penalty: float = 0.1
    joint_prior: float = 0.02
    joint_rounds: int = 6
    loose_gap: float = 0.01
    loose_ratio: float = 10.0
    fitted_frames: int = 120
    fitted_vertices: int = 2_500
    neighbours: int = 6


SKINNING = SkinningTuning()


@dataclass(frozen=True)
class PoseFitTuning:
    """Constants of ``pose_fit``, chosen as above; angles in radians, lengths in sizes of the object.

    Attributes:
        points: points that are fitted, at most.
        iterations: of Gauss-Newton, at most.
        converged: relative decrease of the cost below which they end.
        damping: least damping, relative to a tenth of the mean diagonal (Levenberg-Marquardt).
        largest_step: rotation increment in one iteration, at most.
        rest_weight: weight of the squared angle from the rest pose, against the mean squared distance of the points.
        acceleration_weight: the same for the squared angular acceleration per frame squared.
        parent_share: weight of the parent's rotation in the initial one, relative to the points' spread.
    """

    points: int = 1000
    iterations: int = 15
    converged: float = 1e-3
    damping: float = 1e-3
    largest_step: float = 0.5
    rest_weight: float = 1e-6
    acceleration_weight: float = 1e-6
    parent_share: float = 0.02


POSE_FIT = PoseFitTuning()
