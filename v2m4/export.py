"""Export an animation: animated GLB, meshes of all frames, offsets and cameras (file names: DESIGN section 3).

The stages work in the video camera's space (OpenCV axes). The exported world is that space under the inverse of the
first key frame's extrinsics: y is up, the object is near the origin and faces +z, and the video's camera has those
extrinsics, so that the mesh seen through it overlays the video.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from v2m4.camera import Camera
from v2m4.export_rig import export_rig, remove_rig
from v2m4.io.gltf import (
    EncodedImage,
    encode_texture,
    smallest_encoding,
    split_at_seams,
    write_animation_glb,
    write_glb,
)
from v2m4.io.names import safe_name
from v2m4.keyframe_reduction import reduced_frames
from v2m4.mesh import Mesh, MeshSequence
from v2m4.threads import in_runs
from v2m4.workspace import Workspace, code_version, digest

ANIMATION, REST_MESH = "output_animation.glb", "output_mesh.glb"
WEB_ANIMATION = "output_animation_web.glb"
OFFSETS, TEXTURE = "output_vertex_offsets.npy", "output_texture.png"
CAMERAS, EXTRINSICS = "cameras.json", "extrinsics_list.pkl"
FRAME_MESH = "{}_texture_consistency_sample.glb"


@dataclass(frozen=True)
class VideoCameras:
    """The camera of every frame of the video, in the exported world.

    Attributes:
        names: names of the T frames.
        cameras: (T,) whole-picture cameras, relative to the origin.
        fps: mean rate, frames per second.
        times: (T,) float64 seconds of the frames.
        origin: (3,) in the exported world; not 0 where a user mesh is far from its file's origin.
    """

    names: list[str]
    cameras: Camera
    fps: float
    times: np.ndarray
    origin: tuple[float, ...] = (0.0, 0.0, 0.0)

    @property
    def variable_times(self) -> np.ndarray | None:
        """Times of the frames from 0 where their intervals differ; None for a uniform rate."""
        if len(self.times) < 3 or np.ptp(np.diff(self.times)) < 1e-6:
            return None
        return self.times - self.times[0]


def camera_to_world(extrinsics: Tensor) -> Tensor:
    """The inverse of rigid extrinsics (4, 4), float64.

    Raises:
        ValueError: the matrix is not a rigid transform.
    """
    rotation, translation = extrinsics[:3, :3].double().cpu(), extrinsics[:3, 3].double().cpu()
    identity = torch.eye(3, dtype=torch.float64)
    if (rotation @ rotation.T - identity).abs().max() > 1e-4 or torch.linalg.det(rotation) < 0:
        raise ValueError(f"extrinsics: expected a rotation and a translation, got {extrinsics.tolist()}")
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = rotation.T
    matrix[:3, 3] = -rotation.T @ translation
    return matrix


def to_world(sequence: MeshSequence, extrinsics: Tensor) -> MeshSequence:
    """A sequence in camera space transformed to the exported world, rest pose included."""
    matrix = camera_to_world(extrinsics)
    rotation, translation = matrix[:3, :3], matrix[:3, 3]

    def transform(points: Tensor) -> Tensor:
        return (points.detach().cpu().double() @ rotation.T + translation).float()

    vertices = torch.empty(sequence.vertices.shape)
    for row, pose in zip(vertices, sequence.vertices, strict=True):  # float64 of one pose at a time
        row.copy_(transform(pose))
    mesh = sequence.mesh.to("cpu")
    return replace(sequence, vertices=vertices, mesh=mesh.with_vertices(transform(mesh.vertices)))


def write_mesh_glb_in_world(workspace: Workspace, name: str, mesh: Mesh, extrinsics: Tensor) -> Path:
    """Write one mesh of a stage as an upright GLB in the animation's folder.

    Args:
        workspace: the animation's folder.
        name: file name, e.g. ``0_consistency_sample.glb``.
        mesh: in camera space.
        extrinsics: (4, 4) of the first key frame.
    """
    arrays = mesh.arrays()
    key = digest(
        "mesh", sorted(arrays), *(arrays[field] for field in sorted(arrays)), _nested_list(extrinsics), code_version()
    )
    upright = mesh.to("cpu").transformed(camera_to_world(extrinsics))
    return workspace.make_file(name, key, lambda path: write_glb(path, upright))


def export_animation(
    workspace: Workspace,
    sequence: MeshSequence,
    names: Sequence[str],
    times: Sequence[float] | np.ndarray,
    extrinsics: Tensor,
    *,
    fov: float,
    aspect: float,
    fps: float,
    seconds: np.ndarray | None = None,
    bones: int = 0,
    key_names: Sequence[str] | None = None,
    tolerance: float = 0.0,
) -> Path:
    """Write every result of an animation: the animated mesh, one mesh per frame, the rest pose, offsets and cameras.

    Existing files of the same content are kept.

    Args:
        workspace: the animation's folder.
        sequence: the key frames in camera space, ``times`` in frame numbers; ``sequence.mesh`` is the rest pose.
        names: names of all T frames.
        times: (T,) frame numbers of all frames, 0 for the first, ascending; frames between key frames are interpolated
            linearly.
        extrinsics: (4, 4) of the first key frame.
        fov: vertical field of view of the video's camera, radians.
        aspect: width / height of the video.
        fps: mean rate, frames per second.
        seconds: (T,) times of all frames (default: ``times / fps``).
        bones: of ``output_animation_rigged.glb``, at most; 0 for none.
        key_names: names of the morph targets (default: the name of the frame at the key frame's time, else the time).
        tolerance: poses that the linear interpolation between others gives back within this fraction of the object's
            longest side have no morph target in the animated file (``reduced_frames``), nor keys of joints in the
            rigged one; 0 writes all of them.

    Returns:
        The path of ``output_animation.glb``.

    Raises:
        ValueError: names and times differ in number, or the extrinsics are not rigid.
    """
    times = np.asarray(times, dtype=np.float64)
    if len(names) != len(times) or len(names) == 0:
        raise ValueError(f"export_animation: {len(names)} names for {len(times)} times")
    seconds = times / fps if seconds is None else np.asarray(seconds, dtype=np.float64)
    key_seconds = np.interp(np.asarray(sequence.times, dtype=np.float64), times, seconds)
    mesh = sequence.mesh.arrays()
    content = digest(
        sorted(mesh),
        *(mesh[field] for field in sorted(mesh)),
        sequence.vertices.detach().cpu().numpy(),
        np.asarray(sequence.times, dtype=np.float64),
        list(names),
        times,
        seconds,
        _nested_list(extrinsics),
        [fov, aspect, fps],
        list(key_names) if key_names is not None else None,
        code_version(),
    )
    world = to_world(sequence, extrinsics)
    camera = Camera(extrinsics.detach().cpu().float()[None], fov, aspect)
    frames = world.sampled(times)

    png_encoding: EncodedImage | None = None
    frame_encoding: EncodedImage | None = None
    if world.mesh.texture is not None:
        png = encode_texture(world.mesh.texture)
        workspace.make_file(TEXTURE, content, lambda path: _write_bytes(path, png.data))
        png_encoding, frame_encoding = png, smallest_encoding(world.mesh.texture, png)
    workspace.make_file(
        REST_MESH, content, lambda path: write_glb(path, world.mesh, camera=camera, texture=png_encoding)
    )
    workspace.make_file(OFFSETS, content, lambda path: _write_offsets(path, frames))

    def write_frame(index: int) -> None:
        write = partial(write_glb, mesh=frames[index], texture=frame_encoding)
        workspace.make_file(FRAME_MESH.format(names[index]), content, write)

    for _ in in_runs(write_frame, range(len(names))):
        pass
    write_cameras(workspace, content, names, camera, fps, seconds)
    if key_names is None:
        name_of_time = dict(zip(times.tolist(), names, strict=True))
        key_names = [
            name_of_time.get(time, f"{time:g}") for time in np.asarray(sequence.times, dtype=np.float64).tolist()
        ]
    workspace.manifest.pop("skeleton", None)  # of an earlier run with a user mesh
    if bones:
        export_rig(workspace, replace(frames, times=seconds), camera, bones, tolerance)
    else:
        remove_rig(workspace)
    kept = reduced_frames(world.vertices.numpy(), key_seconds, tolerance)
    timed = replace(world, vertices=world.vertices[torch.from_numpy(kept)], times=key_seconds[kept])
    kept_names = [key_names[index] for index in kept]
    return workspace.make_file(
        ANIMATION,
        digest(content, tolerance),
        lambda path: write_animation_glb(path, timed, camera, target_names=kept_names, texture=png_encoding),
    )


def read_cameras(path: Path) -> VideoCameras:
    """Read ``cameras.json``.

    Raises:
        ValueError: the file was not written by ``export_animation``.
        OSError: the file cannot be read.
    """
    try:
        stored = json.loads(Path(path).read_text("utf-8"))
        names = [frame["name"] for frame in stored["frames"]]
        if any(safe_name(name) != name for name in names):  # files are named after them
            raise ValueError(f"frames with names that are no file names: {names[:3]}")
        extrinsics = torch.tensor([frame["extrinsics"] for frame in stored["frames"]], dtype=torch.float64)
        origin = tuple(float(number) for number in stored.get("origin", (0.0, 0.0, 0.0)))
        extrinsics[:, :3, 3] += extrinsics[:, :3, :3] @ extrinsics.new_tensor(origin)
        fps = float(stored["fps"])
        times = [frame.get("time", index / fps) for index, frame in enumerate(stored["frames"])]
        camera = Camera(extrinsics.float(), stored["fov"], stored["aspect"])
        return VideoCameras(names, camera, fps, np.array(times, dtype=np.float64), origin)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise ValueError(f"{path}: not a cameras.json of this program ({error})") from error


def write_cameras(
    workspace: Workspace,
    key: str,
    names: Sequence[str],
    camera: Camera,
    fps: float,
    times: np.ndarray,
    origin: np.ndarray | None = None,
) -> None:
    """Write the camera of every frame as JSON, and the same matrices as a pickle for other people's scripts.

    Args:
        workspace: the animation's folder.
        key: digest of what the cameras were computed from.
        names: of the T frames.
        camera: the one camera of all frames.
        fps: mean rate, frames per second.
        times: (T,) seconds of the frames.
        origin: (3,) of the camera's coordinates in the world, where that is far from the world's own: the matrices are
            then written in float64, and ``origin`` beside them. None or 0 for none.
    """
    matrix, place = camera.extrinsics[0].numpy(), {}
    if origin is not None and origin.any():
        matrix = matrix.astype(np.float64)
        matrix[:3, 3] -= matrix[:3, :3] @ origin
        place = {"origin": origin.tolist()}
    stored = {
        "convention": "OpenCV axes (x right, y down, z forward); extrinsics map the world (y up) to the camera",
        "fov": float(camera.fov),
        "aspect": float(camera.aspect),
        "fps": float(fps),
        **place,
        "frames": [
            {"name": name, "time": time, "extrinsics": matrix.tolist()}
            for name, time in zip(names, times.tolist(), strict=True)
        ],
    }
    text = json.dumps(stored, indent=1, ensure_ascii=False)
    workspace.make_file(CAMERAS, key, lambda path: _write_bytes(path, text.encode("utf-8")))
    data = pickle.dumps([matrix.copy() for _ in names], protocol=4)
    workspace.make_file(EXTRINSICS, key, lambda path: _write_bytes(path, data))


def _write_offsets(path: Path, frames: MeshSequence) -> None:
    """Write offsets (T, S, 3) of all frames from the rest pose, for the S vertices of ``output_mesh.glb`` in order.

    The first V of them are the welded vertices; duplicates at texture seams follow.
    """
    source = split_at_seams(frames.mesh).source
    rest = frames.mesh.vertices
    header = {"descr": "<f4", "fortran_order": False, "shape": (len(frames), len(source), 3)}
    with path.open("wb") as stream:  # as np.save, pose by pose
        np.lib.format.write_array_header_1_0(stream, header)
        for pose in frames.vertices:
            stream.write((pose - rest).numpy()[source].astype("<f4").tobytes())


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _nested_list(extrinsics: Tensor) -> list[list[float]]:
    return extrinsics.detach().cpu().tolist()
