"""Every option of the program, once. The comments are the command's help; the presets are values, not code paths."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import tyro

ModelName = Literal["Inflate", "Hunyuan", "TripoSG", "TRELLIS", "Craftsman"]
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
    """How frames become pictures with a transparent background."""

    # How the object is told from the background: auto takes a given alpha channel, else a black or white
    # background, else GrabCut; the networks rembg (BiRefNet, U2-Net) and sam2 (SAM 2) must be asked for.
    foreground: Literal["auto", "alpha", "key", "grabcut", "rembg", "sam2"] = "auto"
    # The network of rembg; V2M4 takes birefnet-massive.
    rembg_model: RembgModel = "birefnet-massive"
    # Repository of SAM 2's weights; facebook/sam2.1-hiera-tiny, -small and -base-plus are faster.
    sam2_weights: str = "facebook/sam2.1-hiera-large"
    # Where the object is in the first frame, for SAM 2: left, upper, right and lower edge as shares of width and height
    # (0.2 0.1 0.8 0.95). Without it, where auto finds it.
    sam2_box: tuple[float, float, float, float] | None = None
    # Frames per second of a folder of pictures; a video file knows its own.
    fps: float = 30.0
    # Larger pictures are reduced to this longer side, so that memory stays small; 0 keeps them as they are.
    max_side: int = 1080


@dataclass(frozen=True)
class GenerationConfig:
    """Stage 1: a mesh for every key frame."""

    # Longer side of the grid that the silhouette is inflated on, cells (Inflate).
    grid: int = 224
    # Texture size of the generated meshes, pixels.
    texture_size: int = 512
    # Colours of a learned generator's mesh: by its texture network, or none: then the mesh has the frame's mean colour
    # and stage 4 takes the texture from the video alone. TripoSG and Craftsman have none of their own: MV-Adapter's.
    paint: Literal["network", "none"] = "network"
    # Which of the owner's weights, where other than the usual ones are wanted, as repository or repository/subfolder
    # (Hunyuan: tencent/Hunyuan3D-2mini/hunyuan3d-dit-v2-mini), or an absolute path to a copy of it.
    weights: str = ""
    # Sampling steps of a learned generator; 0 takes the number that its owner recommends.
    steps: int = 0
    # Cells along a side of the volume that a learned generator's surface is taken from; 0 takes its owner's number.
    resolution: int = 0
    # Key frames whose shapes are sampled together, where the owner's code can (Hunyuan): faster on a large GPU. Meshes
    # may then differ in their last digits with what they are sampled together with.
    batch: int = 1
    # Whether a key frame's mesh is painted anew once its camera is known, where the generator can (TRELLIS): by how its
    # render's pixels differ from the frame, or also as the networks DreamSim and LPIPS see it, which V2M4 asks.
    # published takes the networks where they are installed.
    refine: Literal["no", "pixels", "networks", "published"] = "pixels"


@dataclass(frozen=True)
class SearchConfig:
    """Stage 2: the camera of every key frame."""

    # What compares renders with the frame: agreement of masks, colours and edges, or the network DreamSim; published
    # takes DreamSim where it is installed.
    similarity: Literal["agreement", "dreamsim", "published"] = "agreement"
    # Where one more guess of the camera comes from: matches between the frame and the best renders, or the point maps
    # of a network, aligned with the mesh; published takes DUSt3R or VGGT where one is installed.
    point_map: Literal["matches", "vggt", "dust3r", "published"] = "matches"
    # Cameras drawn at first.
    samples: int = 512
    # Best views, well apart, that each start a particle swarm of their own; 0 makes one swarm of all the best views and
    # of the guess, which is then made before, as published.
    islands: int = 8
    # Particles of all swarms together.
    particles: int = 64
    # Rounds of the particle swarms.
    swarm_steps: int = 12
    # Best renders that the frame is matched with, for one more guess each.
    guessed_from: int = 4
    # Views that follow the gradient at the end.
    refined: int = 3
    # Adam steps there.
    refine_steps: int = 60
    # What the gradient is of: the agreement of masks, colours and edges, or of the masks alone, as published.
    refine_on: Literal["picture", "mask"] = "picture"
    # Pixels (side) of the window that is compared while searching; the refinement doubles it.
    size: int = 96
    # Faces of the reduced mesh that is searched with.
    proxy_faces: int = 2000
    # Faces of the mesh in the refinement, at most.
    refine_faces: int = 10000


@dataclass(frozen=True)
class EnergyWeights:
    """Stage 3: weights of the energy's terms; 0 leaves a term out."""

    # L1 of normal maps in random views of the whole sphere, towards the key frame's own mesh.
    normals: float = 0.02
    # Squared distances to the key frame's own mesh.
    chamfer: float = 1.0
    # The same in the coarse fit.
    coarse_chamfer: float = 1.0
    # Mean squared logarithm of the anisotropic scale in the coarse fit.
    coarse_scale: float = 1.0
    # As-rigid-as-possible, towards the shape of the key frame whose mesh is moved.
    arap: float = 2.0
    # Squared change of edge lengths, towards the same (arap sees to it where this is 0).
    edge_length: float = 0.0
    # Squared change of face areas, towards the same.
    face_area: float = 0.0
    # Masks in the video's own view.
    silhouette: float = 1.0
    # Colours in the video's own view.
    colour: float = 1.0
    # Point tracks from key frame to key frame, in the video's own view; 0 also leaves out the as-rigid-as-possible
    # deformation by the tracks that the fine fit starts from.
    flow: float = 1.0
    # Point tracks in rendered views of the key frames' meshes (with --use_tracking).
    tracking: float = 0.2
    # Squared acceleration of vertices from key frame to key frame (joint refinement).
    smoothness: float = 0.05
    # Squared distance of trusted poses from where they took their key frame's shape (joint refinement).
    stay: float = 300.0


@dataclass(frozen=True)
class RegistrationConfig:
    """Stage 3: one topology for all key frames."""

    # Whose mesh is moved through all key frames: the one with the longest outline, where limbs stand apart, or the
    # first one, as in the paper.
    reference: Literal["spread", "first"] = "spread"
    # Adam steps of the coarse fit (rotation, translation, anisotropic scale).
    coarse_steps: int = 40
    # Adam steps of each half-turn's trial; 0 tries none.
    half_turn_steps: int = 10
    # Adam steps of the fine fit (vertices).
    fine_steps: int = 120
    # Longest step of the fine fit at first, relative to the object's size.
    fine_rate: float = 0.01
    # Smoothness of the steps (lambda of Large Steps) for a mesh of 10,000 faces.
    smoothness: float = 25.0
    # Views of the whole sphere that a step of the fine fit compares normals in.
    views: int = 1
    # The same in the coarse fit.
    coarse_views: int = 1
    # Pixels (side) of those views.
    size: int = 64
    # Pixels (side) of the video's own view, a window around the object.
    video_size: int = 192
    # Surface points that distances between meshes are measured with.
    points: int = 2000
    # Share of these distances that count, the smallest; the rest is taken for parts that one of the meshes lacks.
    chamfer_kept: float = 0.9
    # Steps of the joint refinement of all key frames by the frames between them; 0 leaves it out.
    joint_steps: int = 240
    # Frames that a step of the joint refinement looks at.
    joint_frames: int = 4
    # What holds the thickness of the body, relative to what holds its surface (ARAP).
    thickness: float = 0.5
    # Whether the key frames' meshes are trusted to be right all round, also where the video shows nothing: a trusted
    # mesh's shape is taken, another only guides. fits takes a shape if one body can have both, that is if it comes as
    # near and stretches as little as the next two options say.
    trust: Literal["fits", "yes", "no"] = "fits"
    # Largest distance from a trusted mesh's surface (rms), relative to the object's size.
    trusted_residual: float = 0.006
    # Largest mean squared relative stretch (ARAP energy) on the way there.
    trusted_stretch: float = 0.1
    # Rounds of partners and solves in which the shape of a key frame's mesh is taken.
    settle_rounds: int = 30
    # What follows points through rendered views (with --use_tracking): the network CoTracker3, or dense optical flow,
    # which needs no weights.
    tracker: Literal["cotracker", "flow"] = "cotracker"
    # Views of every key frame's mesh that points are followed in.
    tracked_views: int = 20
    # Pixels (side) of those views.
    tracked_size: int = 256
    # Points followed in a view, at most.
    tracked_points: int = 500
    weights: EnergyWeights = field(default_factory=EnergyWeights)


@dataclass(frozen=True)
class VideoTrackingConfig:
    """Stage 3 where one mesh is moved as the video shows (--mesh, --motion video, --inbetween fit)."""

    # Nodes of the deformation graph that moves the mesh, at most.
    nodes: int = 300
    # Pixels (side) of the window around the object that a frame is looked at in.
    size: int = 384
    # Points of the surface that are observed in a frame, at most.
    points: int = 1500
    # Times that a frame is observed anew and the pose solved for again.
    rounds: int = 4
    # Passes over all frames together, at the end.
    passes: int = 2
    # Frames that are solved together; longer videos go through windows that overlap.
    window: int = 48
    # Weight of rigidity, 1: what proved best. Less follows outlines closer, more keeps depth better.
    rigidity: float = 1.0
    # Weight of slow motion, against that of rigidity.
    smoothness: float = 0.1


@dataclass(frozen=True)
class TextureConfig:
    """Stage 4: one texture for the whole animation."""

    # Texture size, pixels (side).
    size: int = 1024
    # least_squares solves for the texels; adam is the paper's way (Adam + total variation).
    solver: Literal["least_squares", "adam"] = "least_squares"
    # Views of the first frame's mesh, beside the aligned view of every frame.
    views: int = 16
    # Pixels (side) of the views.
    view_size: int = 512
    # Weight of a view of the first frame's mesh, where a video frame's weight is 1.
    asset_weight: float = 0.05
    # Weight of differences between neighbouring texels, where a frame's best pixel has 1 (solver least_squares).
    smoothness: float = 0.1
    # How often the frames are shifted onto the texture by optical flow and the texture is solved again.
    alignments: int = 1
    # Adam steps (solver adam).
    steps: int = 400
    # Weight of the total variation (solver adam).
    total_variation: float = 0.01


@dataclass(frozen=True)
class Config:
    """One moving object in a video becomes one animated, textured mesh.

    Every animation of --root (a folder of frames, or a video file) goes through four stages and ends as
    <output>/<animation>/output_animation.glb.
    """

    # Folder of frame folders and video files (.mp4 .avi .mov).
    root: Path = Path("examples")
    # Folder for the results, one sub-folder per animation.
    output: Path = Path("results")
    # The image-to-3D generator. Inflate needs no weights and no GPU.
    model: ModelName = "Inflate"
    # Number of parallel processes that share the animations of --root.
    N: int = 1
    # Index of this process, from 0 to N - 1.
    n: int = 0
    # A mesh of your own (.glb .gltf .obj .ply .stl .off, .fbx through Blender) that is moved as the video shows; its
    # topology, UVs, materials and textures are kept.
    mesh: Path | None = None
    # One video file or folder of frames, in place of --root.
    video: Path | None = None
    # What moves the mesh: registration of a mesh for every key frame (V2M4's way), or the video alone, from the first
    # frame's mesh on. With --mesh it is always the video.
    motion: Literal["registration", "video"] = "registration"
    # One key frame in every skip frames.
    skip: int = 5
    # The frames between key frames: fitted to the video, or linear between the poses of key frames, as published.
    inbetween: Literal["fit", "linear"] = "fit"
    # Where the key frames are put: motion takes as many as even (every skip-th), but where the motion turns.
    key_frames: Literal["motion", "even"] = "motion"
    # Vertical field of view of the video's camera, degrees, from 5 to 120; auto takes the focal length that the first
    # picture's EXIF data give, else 40.
    fov: float | Literal["auto"] = 40.0
    # Threads to work with; 0 takes all cores that the process may use. The result does not depend on it.
    threads: int = 0
    # Seed of everything random. The same seed gives the same bytes on the same machine (CPU).
    seed: int = 42
    # Only generate a mesh per frame, without stages 2 to 4.
    baseline: bool = False
    # Use VGGT point maps in the camera search (short for --search.point_map vggt).
    use_vggt: bool = False
    # Follow points through rendered views of the key frames' meshes (CoTracker3) and hold the registration to them.
    use_tracking: bool = False
    # Distance of the cameras that points are tracked from, in sizes of the object (with --use_tracking).
    tracking_camera_radius: float = 8.0
    # Folder of a Blender installation; the animation is then written as .fbx, .usd and .abc too.
    blender_path: Path | None = None
    # Faces of the meshes, at most.
    max_faces: int = 10000
    # Folder with the weights of learned parts, one sub-folder per repository (weights/tencent/Hunyuan3D-2/...). Without
    # it, or where they are not there, they are looked for in the Hugging Face cache.
    weights_dir: Path | None = None
    # Fetch weights that are not on the disk from the Hugging Face hub; without it nothing is ever downloaded.
    download: bool = False
    # Keep only the network that is at work on the GPU, the others in main memory.
    low_vram: bool = False
    # Where the work is done.
    device: Literal["auto", "cpu", "cuda"] = "auto"
    # fast (auto, on every device) is the program's own way; paper is V2M4's published method, step by step.
    preset: PresetName = "auto"
    # Redo everything, also what an earlier run has finished.
    overwrite: bool = False
    # Show the trace of an error and debugging messages.
    verbose: bool = False

    frames: FramesConfig = field(default_factory=FramesConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    registration: RegistrationConfig = field(default_factory=RegistrationConfig)
    drive: VideoTrackingConfig = field(default_factory=VideoTrackingConfig)
    texture: TextureConfig = field(default_factory=TextureConfig)

    def describe(self) -> dict[str, Any]:
        """All options as plain values, for manifests and hashes."""

        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: plain(item) for name, item in value.items()}
            return str(value) if isinstance(value, Path) else value

        return plain(asdict(self))


FAST = Config(preset="fast")
# What V2M4's released code does, as far as this program has it; docs/paper.md lists what differs.
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
    """The preset that ``auto`` stands for: fast, on every device."""
    return "fast" if preset == "auto" else preset


def parse(arguments: Sequence[str]) -> Config:
    """Read the command line: first the preset, then every option over the preset's values.

    Exits with code 2 and one line on bad usage.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset", default="auto")
    chosen, _ = first.parse_known_args(list(arguments))
    default = PRESETS.get(resolve_preset(chosen.preset), FAST)
    return tyro.cli(Config, args=list(arguments), default=default, use_underscores=True)
