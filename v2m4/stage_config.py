"""Dataclasses of the options of the input and of each stage.

The comment above a field is its help text on the command line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

RembgModel = Literal[
    "birefnet-massive",
    "birefnet-general",
    "birefnet-general-lite",
    "birefnet-portrait",
    "birefnet-dis",
    "birefnet-hrsod",
    "birefnet-cod",
    "u2net",
    "u2netp",
    "u2net_human_seg",
    "isnet-general-use",
]


@dataclass(frozen=True)
class FramesConfig:
    """Input: frames and their foreground masks."""

    # Foreground segmentation: auto uses the input's alpha or the masks beside it, else a plain background (key),
    # else salient: a small network for what stands out (U2-Net-p), motion, and colour models over the whole clip; where
    # its package is not installed, grabcut. The networks rembg (BiRefNet, U2-Net) and sam2 (SAM 2) are never chosen by
    # auto.
    foreground: Literal["auto", "alpha", "key", "salient", "grabcut", "rembg", "sam2"] = "auto"
    # Network that rembg runs; V2M4 uses birefnet-massive.
    rembg_model: RembgModel = "birefnet-massive"
    # Hugging Face repository of SAM 2's weights; facebook/sam2.1-hiera-tiny, -small and -base-plus are faster.
    sam2_weights: str = "facebook/sam2.1-hiera-large"
    # Bounding box of the object in the first frame, the prompt of SAM 2: left, upper, right and lower edge as fractions
    # of width and height (0.2 0.1 0.8 0.95). By default the box of the mask that auto finds.
    sam2_box: tuple[float, float, float, float] | None = None
    # Frame rate of a folder of pictures, frames per second; a video file carries its own.
    fps: float = 30.0
    # Longer side of the frames, pixels, at most: larger pictures are downsampled to save memory; 0 never does.
    max_side: int = 1080


@dataclass(frozen=True)
class GenerationConfig:
    """Stage 1: a mesh for every key frame."""

    # Longer side of the grid on which the silhouette is inflated, cells (Inflate).
    grid: int = 224
    # Texture size of the generated meshes, pixels (side).
    texture_size: int = 512
    # Texture of a learned generator's mesh: network runs its texture network (MV-Adapter for TripoSG and Craftsman,
    # which have none of their own); none gives the mesh the frame's mean colour, and stage 4 solves for the texture
    # from the video alone.
    paint: Literal["network", "none"] = "network"
    # Weights of the generator in place of the default ones, as repository or repository/subfolder
    # (Hunyuan: tencent/Hunyuan3D-2mini/hunyuan3d-dit-v2-mini), or an absolute path to a local copy.
    weights: str = ""
    # Diffusion sampling steps of a learned generator; 0 uses the number that its authors recommend.
    steps: int = 0
    # Grid resolution of a learned generator's surface extraction, cells per side; 0 uses its authors' number.
    resolution: int = 0
    # Batch size, key frames, of the shape sampling where the generator's code supports it (Hunyuan): faster on a large
    # GPU. The meshes may then depend on the composition of the batch in their last digits.
    batch: int = 1
    # Appearance refinement of a key frame's mesh once its camera is known, where the generator supports it (TRELLIS):
    # its loss is the difference of pixels between render and frame, or, as in V2M4, also the perceptual distances
    # DreamSim and LPIPS (networks). published uses the networks where they are installed.
    refine: Literal["no", "pixels", "networks", "published"] = "pixels"


@dataclass(frozen=True)
class SearchConfig:
    """Stage 2: the camera of every key frame."""

    # Similarity between a render and the frame: agreement of masks, colours and edges, or the network DreamSim;
    # published uses DreamSim where it is installed.
    similarity: Literal["agreement", "dreamsim", "published"] = "agreement"
    # Source of a further initial camera: feature matches between the frame and the best renders, or the point map of a
    # network, aligned with the mesh; published uses DUSt3R or VGGT where one is installed.
    point_map: Literal["matches", "vggt", "dust3r", "published"] = "matches"
    # Similarity with the frame at which the generator's own camera, where it knows one, is refined and no other is
    # searched; 1 always searches. A render equal to the frame has 1. Has no effect with a network in the search.
    accepted: float = 0.95
    # Random cameras that are scored first.
    samples: int = 512
    # Particle swarms, each started at one of the best views, chosen well apart; 0 runs a single swarm that starts at
    # all best views and at the initial camera from point_map, as published.
    islands: int = 8
    # Particles, the sum over all swarms.
    particles: int = 64
    # Iterations of the particle swarms.
    swarm_steps: int = 12
    # Best renders that the frame is matched with; each gives one further initial camera.
    guessed_from: int = 4
    # Best cameras that are refined by gradient descent at the end.
    refined: int = 3
    # Adam steps of that refinement.
    refine_steps: int = 60
    # Objective of that refinement: agreement of masks, colours and edges, or of the masks alone, as published.
    refine_on: Literal["picture", "mask"] = "picture"
    # Resolution of the compared window during the search, pixels (side); the refinement doubles it.
    size: int = 96
    # Faces of the decimated mesh that is rendered during the search.
    proxy_faces: int = 2000
    # Faces of the mesh that is rendered during the refinement, at most.
    refine_faces: int = 10000


@dataclass(frozen=True)
class EnergyWeights:
    """Stage 3: weights of the terms of the energy; 0 leaves a term out."""

    # L1 difference of normal maps from the key frame's own mesh, in random views over the whole sphere.
    normals: float = 0.02
    # Squared Chamfer distance to the key frame's own mesh, in the fine fit.
    chamfer: float = 1.0
    # Squared Chamfer distance in the coarse fit.
    coarse_chamfer: float = 1.0
    # Mean squared logarithm of the anisotropic scale in the coarse fit.
    coarse_scale: float = 1.0
    # As-rigid-as-possible energy, relative to the mesh of the reference key frame.
    arap: float = 2.0
    # Squared change of edge lengths, relative to the same mesh (where this is 0, arap preserves them).
    edge_length: float = 0.0
    # Squared change of face areas, relative to the same mesh.
    face_area: float = 0.0
    # Difference of masks in the video's view.
    silhouette: float = 1.0
    # Difference of colours in the video's view.
    colour: float = 1.0
    # Point tracks from key frame to key frame in the video's view; 0 also leaves out the initial as-rigid-as-possible
    # deformation by these tracks.
    flow: float = 1.0
    # Point tracks in rendered views of the key frames' meshes (with --use_tracking).
    tracking: float = 0.2
    # Squared acceleration of vertices over key frames (key-frame refinement).
    smoothness: float = 0.05
    # Squared distance from the poses that were fitted to their key frame's mesh, see trust (key-frame refinement).
    stay: float = 300.0


@dataclass(frozen=True)
class RegistrationConfig:
    """Stage 3: one topology for all key frames."""

    # Reference key frame, whose mesh is registered to all others: spread picks the one with the longest outline, where
    # limbs are apart; first is the paper's choice.
    reference: Literal["spread", "first"] = "spread"
    # Adam steps of the coarse fit (rotation, translation, anisotropic scale).
    coarse_steps: int = 40
    # Adam steps of the trial of each rotation by 180 degrees; 0 tries none.
    half_turn_steps: int = 10
    # Adam steps of the fine fit (vertices).
    fine_steps: int = 120
    # Initial step size of the fine fit, at most, relative to the object's size.
    fine_rate: float = 0.01
    # Smoothing of the gradient (lambda of Nicolet et al. 2021, Large Steps) for a mesh of 10,000 faces.
    smoothness: float = 25.0
    # Random views per step of the fine fit in which normal maps are compared.
    views: int = 1
    # Random views per step of the coarse fit.
    coarse_views: int = 1
    # Resolution of the random views, pixels (side).
    size: int = 64
    # Resolution of the video's view, a window around the object, pixels (side).
    video_size: int = 192
    # Surface samples per mesh for the Chamfer distance.
    points: int = 2000
    # Fraction of the distances, the smallest, that enters the Chamfer distance; the others are taken for parts that
    # one of the meshes lacks.
    chamfer_kept: float = 0.9
    # Steps of the key-frame refinement: all key frames' poses together, by the frames between them; 0 leaves it out.
    joint_steps: int = 240
    # Frames per step of the key-frame refinement.
    joint_frames: int = 4
    # Weight of the rigidity across the body's thickness, relative to that of its surface (ARAP).
    thickness: float = 0.5
    # Whether a key frame's mesh is accepted as correct on all sides, also where the video does not show them: the
    # reference mesh is fitted to an accepted mesh's shape (non-rigid ICP); any other is only a term of the energy.
    # fits accepts a mesh where that fit meets the limits of the next two options.
    trust: Literal["fits", "yes", "no"] = "fits"
    # Largest residual of that fit: rms distance from the mesh's surface, relative to the object's size.
    trusted_residual: float = 0.006
    # Largest deformation of that fit: mean squared relative stretch (ARAP energy).
    trusted_stretch: float = 0.1
    # Iterations of that fit (correspondences, then a solve).
    settle_rounds: int = 30
    # Point tracker in rendered views (with --use_tracking): the network CoTracker3, or dense optical flow, which needs
    # no weights.
    tracker: Literal["cotracker", "flow"] = "cotracker"
    # Rendered views of every key frame's mesh in which points are tracked.
    tracked_views: int = 20
    # Resolution of those views, pixels (side).
    tracked_size: int = 256
    # Tracked points per view, at most.
    tracked_points: int = 500
    weights: EnergyWeights = field(default_factory=EnergyWeights)


@dataclass(frozen=True)
class VideoTrackingConfig:
    """Stage 3, video-driven deformation: poses fitted to the frames (--mesh, --motion video, --inbetween fit)."""

    # Nodes of the embedded deformation graph, at most.
    nodes: int = 300
    # Resolution of a frame's window around the object, pixels (side).
    size: int = 384
    # Surface points with a photometric constraint per frame, at most.
    points: int = 1500
    # Iterations per frame: correspondences are sought anew, then the pose is solved for.
    rounds: int = 4
    # Final passes that solve for the poses of many frames together.
    passes: int = 2
    # Frames that are solved together; a longer video is solved in overlapping windows.
    window: int = 48
    # Weight of rigidity; 1 measured best. Less fits outlines closer, more preserves depth better.
    rigidity: float = 1.0
    # Weight of temporal smoothness, relative to that of rigidity.
    smoothness: float = 0.1


@dataclass(frozen=True)
class TextureConfig:
    """Stage 4: one texture for the whole animation."""

    # Texture size, pixels (side).
    size: int = 1024
    # Solver of the texels: linear least squares, or, as in the paper, Adam with total variation.
    solver: Literal["least_squares", "adam"] = "least_squares"
    # Rendered views of the first frame's mesh, in addition to the video frames.
    views: int = 16
    # Resolution of all views, pixels (side).
    view_size: int = 512
    # Weight of a rendered view of the first frame's mesh, relative to that of a video frame.
    asset_weight: float = 0.05
    # Spatial smoothness: weight of differences between neighbouring texels, relative to that of a frame's best pixel
    # (solver least_squares).
    smoothness: float = 0.1
    # Rounds of alignment: the frames are warped onto the texture by optical flow, then it is solved for again.
    alignments: int = 1
    # Adam steps (solver adam).
    steps: int = 400
    # Weight of the total variation (solver adam).
    total_variation: float = 0.01
