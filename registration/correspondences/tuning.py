"""The tuned numbers of this package, in one place.

Lengths "of the object" are relative to the longer side of the bounding box of the frame's object; pixels are those of
the image window (``v2m4.image_window``). Colours are sRGB in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CorrespondenceTuning:
    """Thresholds, scales and weights of the constraints that are taken from a frame.

    Hand-set, unless a field's comment names the data that it was chosen on.
    """

    # --- All constraints of a frame (observe.py) ---

    # Distance, of the object, within which a correspondence is sought unless the caller says otherwise.
    search_radius: float = 0.06
    # Share of the point constraints that lie on the outline; the others are matched by appearance.
    outline_point_share: float = 0.35
    # Weight of the outline's constraints, where appearance has 1. Chosen on suite given_mesh (Fox, RobotExpressive).
    outline_weight: float = 0.5
    # Confidence in [0, 1] at and below which a point constraint is dropped.
    min_confidence: float = 0.02
    # Points at which the normal is constrained by shading.
    normal_points: int = 800
    # Points for tracking lie farther from the edges than this share of ``patch_radius``.
    min_tracked_edge_distance: float = 0.5

    # --- Appearance model (appearance_model.py) ---

    # Second difference of the depth, of the object, above which neighbouring pixels show different surfaces.
    depth_jump: float = 0.03
    # Coverage in [0, 1] above which a pixel shows the object alone.
    full_coverage: float = 0.99
    # Pixels that the lighting is fitted to, at least; with fewer, there is none.
    min_lighting_pixels: int = 100
    # Scale of the Huber kernel of the lighting fit, difference of sRGB values.
    lighting_kernel_scale: float = 0.06
    # Least and greatest factor that lighting, and a vertex's gain, may have on the mesh's colour.
    lighting_range: tuple[float, float] = (0.4, 2.5)

    # --- Photometric flow (photometric_flow.py) ---

    # Radius, of the object, of the neighbourhood that a pixel is normalised by.
    normalization_radius: float = 0.15
    # Standard deviation of sRGB values that counts as noise rather than texture.
    image_noise: float = 0.012
    # Grey levels of one standard deviation in a normalised image.
    gray_levels_per_deviation: float = 40.0
    # Value of the background in a normalised image, standard deviations.
    background_level: float = -3.0
    # Radius, of the object, of the structure tensor's window, and distance from edges at which a pixel is reliable.
    patch_radius: float = 0.02
    # Gradient, grey levels a pixel, at which texture determines a point's position by half.
    texture_gradient: float = 6.0
    # Share of the squared photometric error that is added to the square of ``texture_gradient``.
    photometric_error_share: float = 0.6
    # Forward-backward error of the flow at a confidence of 1/e: pixels, and share of the displacement on top of it.
    forward_backward_tolerance: float = 1.0
    relative_forward_backward_tolerance: float = 0.05
    # Photometric error at a confidence of 1/e, standard deviations of a normalised image.
    photometric_tolerance: float = 0.7
    # Cosine between normal and viewing direction at and below which the surface is not sampled.
    min_view_cosine: float = 0.25

    # --- Outline (outline.py) ---

    # Distance between the samples of the mask along a normal, pixels.
    outline_sample_step: float = 0.5
    # Standard deviation of the Gaussian that the mask is blurred with before its normals are taken, pixels.
    outline_blur: float = 1.0
    # Least cosine between the normals of the pose's and the frame's outline where they correspond.
    outline_normal_cosine: float = 0.6
    # Displacement at a confidence of 1/e, of the search radius.
    outline_displacement_scale: float = 0.7
    # Distance to the nearest correspondence above which the frame's outline counts as unexplained, pixels.
    explained_distance: float = 2.0
    # Confidence of the constraints from the unexplained outline, before their distance is counted.
    unexplained_confidence: float = 0.3
    # A point whose own correspondence is nearer than this share of the distance to the unexplained outline keeps it.
    own_correspondence_share: float = 0.5
    # Length, of the object, that unit normals are scaled to where nearest points are sought by position and normal.
    normal_length: float = 0.15
    # Distance behind the outline at which the flow of the surface is read, pixels.
    flow_sample_depth: float = 3.0

    # --- Agreement of displacements (outline.py, motion_consensus.py) ---

    # Difference of two displacements at an agreement of 1/e: pixels, and share of the displacement on top of it.
    displacement_tolerance: float = 1.5
    relative_displacement_tolerance: float = 0.3
    # Neighbours that a displacement is compared with, at most.
    consensus_neighbours: int = 24
    # Standard deviation of the neighbours' weight over their distance, of the object.
    consensus_radius: float = 0.06
    # Sum of the neighbours' weights at which their mean counts by half.
    consensus_half_weight: float = 0.2

    # --- Shading (shading.py) ---

    # Radius, of the object, of the window that brightness is averaged over.
    brightness_radius: float = 0.012
    # Brightness added before the logarithm is taken, sRGB.
    brightness_offset: float = 0.01
    # Relative contrast of the texture at a confidence of 1/e.
    brightness_contrast: float = 0.1
    # Relative change of brightness at a confidence of 1/e; also the greatest rotation of a normal, radians.
    max_shading_change: float = 0.4
    # Change of the logarithm of brightness by radian below which shading does not determine the normal.
    min_brightness_gradient: float = 1e-3
    # Confidence at and below which a normal constraint is dropped.
    min_normal_confidence: float = 1e-3
    # Confidence of a correspondence above which its brightness is compared, and how many of these there have to be.
    min_shading_confidence: float = 0.3
    min_shading_points: int = 20

    # --- Point trackers (point_trackers.py) ---

    # Frames that a tracker sees at once, and how many of them two windows share; V2M4's values.
    tracker_window: int = 32
    tracker_overlap: int = 8


TUNING = CorrespondenceTuning()
