"""The tuned numbers of this room, in one place; options of the command line are in ``VideoTrackingConfig``.

Lengths "of the object" are relative to the longest side of the mesh's bounding box (``DeformationGraph.unit``); search
radii are relative to the longer side of the box of the frame's object in the image.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VideoTuning:
    """Weights, thresholds and iteration counts of video-driven deformation.

    Hand-set, unless a field's comment names the data that it was chosen on.
    """

    # --- Constraints and energy of a frame (observer.py) ---

    # Search radii, of the frame's object, of the first and the last round; also the scales of the Cauchy kernel.
    search_radii: tuple[float, float] = (0.06, 0.02)
    # Gauss-Newton steps with one set of constraints of a frame.
    solver_steps: int = 3
    # Points of a point tracker that constrain a frame, at most.
    track_points: int = 400
    # Weights of rigidity and of first differences over time where the options' weights are 1 and point constraints
    # have 1. Chosen on suite given_mesh (Fox Walk and Survey, RobotExpressive Wave and Walking; docs/quality.md).
    rigidity: float = 0.003
    velocity: float = 0.01

    # --- Tracking (tracker.py) ---

    # Gauss-Newton steps with the constraints from optical flow, and points that these have at most.
    flow_steps: int = 4
    flow_points: int = 600
    # Masks' IoU that a network's pose gains at least over the other starts of a frame's fit, or these are taken.
    min_prediction_gain: float = 0.05
    # Sets of hinge weights for one set of constraints of a window, and Gauss-Newton steps with each.
    window_rounds: int = 2
    window_steps: int = 3
    # Share of its frames by which a window overlaps the next.
    window_overlap: float = 0.25
    # Fixed frames before a window that its temporal smoothness refers to.
    known_frames: int = 3
    # Search radius, of the frame's object, after track was lost.
    relocation_radius: float = 0.15

    # --- Quality of fit, and loss of track (quality.py) ---

    # Points of the surface that the residual is measured at, at most.
    quality_points: int = 500
    # Ratio of an edge's length to that at rest, or its inverse, above which the edge counts as stretched.
    max_stretch_ratio: float = 1.5
    # Percentile of the edges' stretch ratios that is reported.
    stretch_percentile: float = 99.0
    # Tracking starts again from the first frame's pose where the masks' IoU is less than this share of that frame's.
    min_iou_share: float = 0.7
    # Track is lost where one of these is exceeded. Those from here to the agreement were chosen on the tuning half of
    # suite motion and on suite given_mesh. Part of the first frame's IoU that is missing,
    max_iou_decrease: float = 0.06
    # share of the outlines that are apart, beyond the first frame's,
    max_outline_mismatch: float = 0.05
    # share of the surface of another colour, beyond the first frame's,
    max_color_mismatch: float = 0.04
    # part of the first frame's agreement that is missing,
    max_agreement_decrease: float = 0.5
    # residual, percent of the frame's object, beyond the first frame's,
    max_residual_increase: float = 4.0
    # share of the edges that are stretched.
    max_stretched_share: float = 0.15
    # Share of these limits, but for the last two, that holds after a lost frame.
    continued_loss_limit: float = 0.5
    # Mean confidence of the points below which there is no residual.
    min_residual_confidence: float = 0.02

    # Difference of sRGB values, after smoothing, above which surface has another colour in the frame.
    max_color_difference: float = 0.1
    # Standard deviation of that smoothing, of the frame's object.
    color_blur: float = 0.01
    # Distance between the outlines of pose and frame, of the frame's object, above which they do not fit.
    max_outline_distance: float = 0.02

    # --- Parts that loss is reported by (parts.py, misfit.py) ---

    # Share of the nodes that a part other than the body has at most.
    max_part_share: float = 0.25
    # Share of a part's visible pixels above which the part does not fit, and share of the object's visible pixels that
    # it has at least.
    max_wrong_part_share: float = 0.4
    min_part_pixels: float = 0.01

    # --- Limbs (limbs.py) ---

    # Geodesic radius, of the object, within which a tip has the greatest mean distance from all nodes.
    tip_radius: float = 0.2
    # Geodesic distances from a tip at which a cut is tried.
    cut_levels: int = 24
    # Share of the nodes that a limb has at most.
    max_limb_share: float = 0.5
    # Length of a limb, of the object, at least.
    min_limb_length: float = 0.08
    # Radius of the cut, root mean square, of the limb's length, at most.
    max_cut_radius: float = 0.6
    # Jaccard index of two limbs' nodes from which on they are one limb.
    max_limb_overlap: float = 0.8
    # Directions over the whole sphere that a limb is rotated to, and rotations about its own axis, radians.
    candidate_directions: int = 64
    candidate_twists: tuple[float, ...] = (-1.4, -0.7, 0.7, 1.4)

    # --- Search for the limbs' rotations (limb_search.py) ---

    # Faces of the decimated mesh that is rendered.
    search_faces: int = 2000
    # Hypotheses that are kept side by side, and limbs that one of them rotates at most.
    beam_width: int = 3
    max_rotated_limbs: int = 5
    # Hypotheses that are extended from each place of the beam.
    extensions: int = 2
    # Best candidate rotations of a limb that are kept, and angle, radians, from the best beyond which a second one
    # is refined, too.
    kept_candidates: int = 12
    distinct_angle: float = 1.0
    # Radii, radians, of the balls of rotation vectors that a candidate is refined in, and candidates in each.
    refinement_radii: tuple[float, ...] = (0.4, 0.2, 0.1)
    refinement_candidates: int = 14
    # A limb is rotated where this lowers the error by more than both: this part of it, and this amount.
    min_limb_gain: float = 0.06
    min_limb_error_decrease: float = 0.01
    # Distance, of the object, by which some node of two hypotheses differs at least.
    min_hypothesis_distance: float = 0.2
    # Error that is added for each radian of rotation.
    rotation_penalty: float = 0.006
    # Levels of the image pyramid that errors are averaged over.
    pyramid_levels: int = 4
    # Weight of colour, where coverage has 1, and weight that is added where the frame's mask is not covered.
    color_weight: float = 2.0
    uncovered_weight: float = 1.0

    # --- Search for the pose of a frame that does not fit (pose_search.py) ---

    # Chosen on the tuning half of suite motion, but for the resolution and the numbers of candidates.

    # Pixels (side) of the images.
    search_size: int = 64
    # Image error, beyond the first frame's, above which a pose is searched for.
    max_error_increase: float = 0.06
    # Rotations of the whole body, and the distinct ones of them that are refined.
    rigid_candidates: int = 256
    rigid_hypotheses: int = 2
    # Ratio of the sizes in the image that is compensated by a change of distance, at most.
    max_size_ratio: float = 1.03
    # Hypotheses of the beam search over limbs, and limbs that one of them rotates at most.
    frame_beam_width: int = 2
    frame_rotated_limbs: int = 2
    # Hypotheses that are fitted in either round.
    fitted_hypotheses: int = 3
    # Error that is added for motion of the nodes from the frame before by the object's size, on average.
    motion_penalty: float = 0.15
    # Part of the tracked pose's error that a searched one gains at least.
    min_search_gain: float = 0.1

    # --- Pose of the first frame (first_frame.py) ---
    # Measured on nine pairs of poses of Fox and RobotExpressive (docs/quality.md).

    # Pixels (side) of the images that limbs are searched in.
    first_frame_search_size: int = 64
    # Rounds of search and solution, at most.
    first_frame_rounds: int = 6
    # Search radii, of the frame's object, coarse to fine; each is also the scale of the Cauchy kernel, which has a
    # least value.
    first_frame_radii: tuple[float, ...] = (0.15, 0.1, 0.06, 0.04, 0.03)
    first_frame_min_kernel_scale: float = 0.02
    # Weight of rigidity, relative to the search radius, and at least: in the first round, in which the mesh moves
    # nearly as a whole, and in those after it.
    first_frame_initial_rigidity: tuple[float, float] = (10.0, 0.1)
    first_frame_rigidity: tuple[float, float] = (0.1, 0.002)
    # Weight of differences from the pose that a solution starts from, where point constraints have 1.
    first_frame_prior: float = 0.003
    # Gauss-Newton steps with one set of constraints.
    first_frame_steps: int = 12
    # Angle in radians, and relative stretch, at which an edge of the graph keeps half of its resistance.
    first_frame_bend_scale: float = 0.3
    first_frame_strain_scale: float = 1.0
    # Part by which a round lowers the error at least, or its result is not taken.
    first_frame_min_gain: float = 0.02
    # Part by which the error with rotated limbs is less than that without, or the pose without is taken.
    first_frame_min_limb_gain: float = 0.05


TUNING = VideoTuning()
