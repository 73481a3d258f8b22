"""All options of the program; those of one stage stand in ``v2m4.stage_config``.

The comment above a field is its help text on the command line; a preset is a set of values, not a code path.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import tyro

from v2m4.cluster_config import ClusterConfig
from v2m4.command_line import check_or_exit
from v2m4.formats import FORMATS, WITH_BLENDER, parse_formats
from v2m4.stage_config import (
    EnergyWeights,
    FramesConfig,
    GenerationConfig,
    RegistrationConfig,
    SearchConfig,
    TextureConfig,
    VideoTrackingConfig,
)

__all__ = [
    "FAST",
    "PAPER",
    "PRESETS",
    "ClusterConfig",
    "Config",
    "EnergyWeights",
    "FramesConfig",
    "GenerationConfig",
    "RegistrationConfig",
    "SearchConfig",
    "TextureConfig",
    "VideoTrackingConfig",
    "parse",
    "resolve_preset",
]

ModelName = Literal["Inflate", "Hunyuan", "TripoSG", "TRELLIS", "Craftsman", "Prior"]
OWN_MODELS = ("Inflate", "Prior")  # of these, those that are part of the program and run on the CPU
PresetName = Literal["auto", "fast", "paper"]
StageNumber = Literal[1, 2, 3, 4]
LEAST_FOV, LARGEST_FOV = 5, 120  # degrees
MOST_BONES = 255


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
    # Where the animations run: in processes on this machine (local), as tasks of a Ray cluster, or as an array of Slurm
    # jobs (on a login node). The results are the same.
    engine: Literal["local", "ray", "slurm"] = "local"
    # Animations that run at the same time, at most; 0 is 1 with local, and as many as the cluster holds with ray and
    # slurm. The threads of local are divided among them.
    jobs: int = 0
    # Address of a Ray cluster (host:port, or auto for the one on this machine). By default that of the environment
    # variable RAY_ADDRESS, else a cluster of this machine alone is started for the run.
    ray_address: str | None = None
    # Long options of sbatch, as KEY=VALUE: --slurm partition=gpu time=2:00:00 account=mine. Without time, 4 hours.
    slurm: tuple[str, ...] = ()
    # User mesh (.glb .gltf .vrm .obj .ply .stl .off, .fbx through Blender, or a .zip with one of these) to animate by
    # the video; its topology, UVs, materials and textures are kept.
    mesh: Path | None = None
    # One video file or folder of frames, in place of --root.
    video: Path | None = None
    # Source of the motion: registration between the meshes of all key frames (V2M4), or the video alone, from the first
    # frame's mesh on; feedforward is the network of Motion 3-to-4 (with --checkpoint). With --mesh, registration means
    # video.
    motion: Literal["registration", "video", "feedforward"] = "registration"
    # Weights of that network: its authors' checkpoint (.pt), or one of motion324.train (.safetensors).
    checkpoint: Path | None = None
    # With --motion feedforward: fit the mesh to the video as --motion video does, from the network's poses.
    refine: bool = False
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
    # Divide the texture by the shading of the video, under a light fitted to it, so that the asset can be lit anew.
    delight: bool = False
    # Formats of the animation, a comma-separated list of glb, fbx, usd, usdz, abc (Alembic), obj and ply (a folder with
    # one file per frame); glb is always written. Default: glb, and with --blender_path fbx, usd and abc too.
    formats: str | None = None
    # Folder of a Blender installation, for fbx, usd, usdz and abc. Without it, the one that `python -m v2m4.io.blender
    # install` made is used, else blender on PATH.
    blender_path: Path | None = None
    # Skeletal animation: auto also writes output_animation_rigged.glb, with bones and skin weights found from motion.
    rig: Literal["auto", "off"] = "auto"
    # Bones of that file, at most.
    bones: int = 32
    # How the motion of a user mesh is written: on the joints of its own skeleton, or as morph targets; auto is skeleton
    # where the file has a skin.
    write: Literal["auto", "skeleton", "morph"] = "auto"
    # Largest error of a vertex in the animated files, as a fraction of the object's longest side: poses (or keys of
    # joints) that interpolation between others gives back within it are left out. 0 leaves out none.
    tolerance: float = 0.001
    # Also write output_animation_web.glb, compressed for web pages (meshopt) by gltf-transform:
    # npm install -g @gltf-transform/cli
    web: bool = False
    # Write report.html, one offline page with the animated mesh beside the video, figures of every frame, pictures and
    # curves of the stages, settings and warnings (auto); off leaves it out.
    report: Literal["auto", "off"] = "auto"
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
    # Run this stage only: 1 generation, 2 camera search, 3 registration, 4 texture and export. The results of those
    # before it must be on disk; with --overwrite it is computed again.
    stage: StageNumber | None = None
    # Compute again from this stage on, also what is on disk.
    from_stage: StageNumber | None = None
    # Stop after this stage.
    until_stage: StageNumber | None = None
    # Log what every stage does, with its figures; debug messages and tracebacks too.
    verbose: bool = False

    frames: FramesConfig = field(default_factory=FramesConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    registration: RegistrationConfig = field(default_factory=RegistrationConfig)
    drive: VideoTrackingConfig = field(default_factory=VideoTrackingConfig)
    texture: TextureConfig = field(default_factory=TextureConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)

    @property
    def format_names(self) -> tuple[str, ...]:
        """The formats of the animation, in a fixed order.

        Raises:
            ValueError: ``formats`` names one that is not known.
        """
        if self.formats is None:
            return FORMATS[:1] if self.blender_path is None else WITH_BLENDER
        return parse_formats(self.formats)

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
        accepted=1.0,
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
    check_or_exit(arguments, Config)
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset", default="auto")
    chosen, _ = first.parse_known_args(list(arguments))
    default = PRESETS.get(resolve_preset(chosen.preset), FAST)
    return tyro.cli(Config, args=list(arguments), default=default, use_underscores=True)
