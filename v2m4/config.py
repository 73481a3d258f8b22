"""Dataclasses of all options of the program.

The comment above a field is its help text on the command line; a preset is a set of values, not a code path.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import tyro

ModelName = Literal["Inflate", "Hunyuan", "TripoSG", "TRELLIS", "Craftsman", "Prior"]
OWN_MODELS = ("Inflate", "Prior")  # of these, those that are part of the program and run on the CPU
PresetName = Literal["auto", "fast", "paper"]
LEAST_FOV, LARGEST_FOV = 5, 120  # degrees
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


@dataclass(frozen=True)
class Config:
    """Reconstruct the one moving object of a video as one animated, textured mesh.

    Every animation in --root (a folder of frames, or a video file) is processed in four stages; the result is
    <output>/<animation>/output_animation.glb.
    """

    # Folder of frame folders and video files (.mp4 .mov .webm .mkv .avi .gif ...), or one of them.
    root: Path = Path("examples")
    # Folder for the results, one sub-folder per animation.
    output: Path = Path("results")
    # The image-to-3D generator. Inflate (rules) and Prior (a small network, part of the program) need no GPU.
    model: ModelName = "Prior"
    # Number of parallel processes that share the animations of --root.
    N: int = 1
    # Index of this process, from 0 to N - 1.
    n: int = 0
    # User mesh (.glb .gltf .vrm .obj .ply .stl .off, .fbx through Blender, or a .zip with one of these) to animate by
    # the video; its topology, UVs, materials and textures are kept.
    mesh: Path | None = None
    # One video file or folder of frames, in place of --root.
    video: Path | None = None
    # Source of the motion: registration between the meshes of all key frames (V2M4), or the video alone, from the first
    # frame's mesh on. With --mesh it is always the video.
    motion: Literal["registration", "video"] = "registration"
    # One key frame in every skip frames.
    skip: int = 5
    # Poses of the frames between key frames: fitted to the video, or interpolated linearly between those of the key
    # frames, as published.
    inbetween: Literal["fit", "linear"] = "fit"
    # Choice of the key frames: every skip-th frame (even), or as many frames at the motion's turning points (motion).
    key_frames: Literal["motion", "even"] = "motion"
    # Vertical field of view of the video's camera, degrees, from 5 to 120; auto uses the focal length in the EXIF data
    # of the first picture, else 40.
    fov: float | Literal["auto"] = 40.0
    # Number of threads; 0 for all cores that the process may use. The result does not depend on it.
    threads: int = 0
    # Random seed. The same seed gives byte-identical results on the same machine (CPU).
    seed: int = 42
    # Only generate a mesh for every frame, without stages 2 to 4.
    baseline: bool = False
    # Use VGGT point maps in the camera search (short for --search.point_map vggt).
    use_vggt: bool = False
    # Track points through rendered views of the key frames' meshes and add the tracks to the registration's energy.
    use_tracking: bool = False
    # Distance of the cameras of these rendered views, in sizes of the object (with --use_tracking).
    tracking_camera_radius: float = 8.0
    # Folder of a Blender installation; the animation is then also written as .fbx, .usd and .abc.
    blender_path: Path | None = None
    # Faces of the meshes, at most.
    max_faces: int = 10000
    # Folder of network weights, one sub-folder per repository (weights/tencent/Hunyuan3D-2/...). Weights that are not
    # in it are taken from the Hugging Face cache.
    weights_dir: Path | None = None
    # Download weights that are not on disk from the Hugging Face hub; without it nothing is ever downloaded.
    download: bool = False
    # Keep only the network in use in GPU memory, the others in main memory.
    low_vram: bool = False
    # Compute device; auto uses CUDA where everything that it requires is installed.
    device: Literal["auto", "cpu", "cuda"] = "auto"
    # Default values of all options: fast (auto, on every device) is this program's method, paper V2M4's as published.
    preset: PresetName = "auto"
    # Recompute everything, including stages that an earlier run has finished.
    overwrite: bool = False
    # Log tracebacks and debug messages.
    verbose: bool = False

    frames: FramesConfig = field(default_factory=FramesConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    registration: RegistrationConfig = field(default_factory=RegistrationConfig)
    drive: VideoTrackingConfig = field(default_factory=VideoTrackingConfig)
    texture: TextureConfig = field(default_factory=TextureConfig)

    def describe(self) -> dict[str, Any]:
        """Return all options as nested dicts of plain values, for manifests and hashes."""

        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: plain(item) for name, item in value.items()}
            return str(value) if isinstance(value, Path) else value

        return plain(asdict(self))


FAST = Config(preset="fast")
# The method of V2M4's released code, as far as it is implemented here; docs/paper.md lists the differences.
PAPER = replace(
    FAST,
    preset="paper",
    key_frames="even",
    inbetween="linear",
    generation=GenerationConfig(grid=384, texture_size=1024, refine="published"),
    search=SearchConfig(
        similarity="published",
        point_map="published",
        samples=2000,
        islands=0,
        particles=200,
        swarm_steps=25,
        guessed_from=7,
        refined=1,
        refine_steps=300,
        refine_on="mask",
        size=259,
        proxy_faces=10000,
        refine_faces=40000,
    ),
    registration=RegistrationConfig(
        reference="first",
        coarse_steps=500,
        coarse_views=20,
        half_turn_steps=100,
        fine_steps=1000,
        fine_rate=0.1,
        smoothness=99.0,
        views=50,
        size=512,
        video_size=512,
        points=10000,
        chamfer_kept=1.0,
        joint_steps=0,
        thickness=0.0,
        trust="no",
        tracked_size=512,
        tracked_points=10000,
        weights=EnergyWeights(
            normals=1.0,
            chamfer=10.0,
            coarse_chamfer=0.1,
            coarse_scale=0.0,
            arap=1.0,
            edge_length=1e2,
            face_area=1e6,
            silhouette=0.0,
            colour=0.0,
            flow=0.0,
            tracking=1e-3,
            smoothness=0.0,
            stay=0.0,
        ),
    ),
    texture=TextureConfig(solver="adam", views=100, view_size=1024, asset_weight=0.5, alignments=0, steps=2500),
)
PRESETS = {"fast": FAST, "paper": PAPER}


def resolve_preset(preset: PresetName) -> PresetName:
    """Return the preset that ``auto`` selects: fast, on every device."""
    return "fast" if preset == "auto" else preset


def parse(arguments: Sequence[str]) -> Config:
    """Parse the command line; options override the values of the preset that it names.

    Raises:
        SystemExit: with code 2 after one line on bad usage, with code 0 after ``--help``.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset", default="auto")
    chosen, _ = first.parse_known_args(list(arguments))
    default = PRESETS.get(resolve_preset(chosen.preset), FAST)
    return tyro.cli(Config, args=list(arguments), default=default, use_underscores=True)
