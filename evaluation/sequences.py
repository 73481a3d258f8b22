"""Read surface sequences in any supported form, and pair the frames of two of them.

What ``read_sequence`` reads:

- an animated .glb, .gltf or .vrm, or a .zip with one; an .fbx, through Blender;
- a still mesh of any format that ``main.py --mesh`` takes: one frame;
- a ground truth of this program, .npz;
- an .npy of points (T, N, 3 or more), ActionBench's ``surfaces.npy``;
- a folder of one animation as main.py writes it (``output_animation.glb`` at the video's frames);
- a folder of one file per frame, see ``FRAME_FILES``; for .npy, ``faces.npy`` has the faces of all frames, and without
  it they are point clouds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from v2m4.export import ANIMATION, CAMERAS, read_cameras
from v2m4.ground_truth import TRUTH_FOLDER, GroundTruth
from v2m4.io.any_mesh import read_any_mesh, read_clip
from v2m4.io.mesh_file import FORMATS
from v2m4.io.names import natural_key
from v2m4.mesh import Mesh, MeshSequence

# The kinds of files that a folder of frames may hold; the first kind found is read.
FRAME_FILES = (
    "frame_*.npy",
    *(f"frame_*{suffix}" for suffix in FORMATS),
    "mesh_*.glb",
    "*_texture_consistency_sample.glb",
    "*_consistency_sample.glb",
    "*_baseline_sample.glb",
)
FACES = "faces.npy"
FILES = (*FORMATS, ".npz", ".npy")


@dataclass(frozen=True)
class SurfaceSequence:
    """A surface through time; its topology may change from frame to frame.

    Attributes:
        frames: T meshes; one without faces is a point cloud.
        times: (T,) seconds, ascending, or None where unknown.
    """

    frames: list[Mesh]
    times: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.times is not None and len(self.times) != len(self.frames):
            raise ValueError(f"times: {len(self.times)} for {len(self.frames)} frames")

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Mesh:
        return self.frames[index]

    def __iter__(self) -> Iterator[Mesh]:
        return iter(self.frames)

    @classmethod
    def of(cls, sequence: MeshSequence, in_seconds: bool = True) -> SurfaceSequence:
        """The frames of a sequence, and its times where they are seconds."""
        frames = [sequence[index] for index in range(len(sequence))]
        return cls(frames, np.asarray(sequence.times, dtype=np.float64) if in_seconds else None)

    def select(self, indices: np.ndarray) -> SurfaceSequence:
        """Some of the frames."""
        times = None if self.times is None else self.times[indices]
        return replace(self, frames=[self.frames[index] for index in indices], times=times)


@dataclass(frozen=True)
class ReadOptions:
    """Options of reading sequence files.

    Attributes:
        clip: name or number of an animated file's clip; None is its first.
        blender_path: Blender, or a Python with bpy, for .fbx (see ``v2m4.io.blender.blender_command``).
    """

    clip: str | int | None = None
    blender_path: Path | None = None


def is_sequence(path: Path) -> bool:
    """Whether the path is a file of a known kind, or a folder of one animation."""
    path = Path(path)
    if path.is_dir():
        return (path / ANIMATION).is_file() or _frame_files(path) is not None
    return path.suffix.lower() in FILES and path.is_file()


def read_sequence(path: Path, times: np.ndarray | None = None, reading: ReadOptions | None = None) -> SurfaceSequence:
    """Read a surface sequence.

    Args:
        path: of any kind listed in the module's docstring.
        times: (T,) seconds at which an animated file is evaluated; other files give their nearest frames. None for the
            keys of an animated file, the video's frames in main.py's folder, and all frames of others.
        reading: the clip and the path of Blender.

    Raises:
        FileNotFoundError: the path does not exist, or no Blender for an .fbx.
        ValueError: it cannot be read, or ``times`` are given for a sequence without times.
        OSError: a file cannot be read.
        RuntimeError: Blender failed.
    """
    path, reading = Path(path), reading or ReadOptions()
    if path.is_dir() and (path / ANIMATION).is_file():
        return _read_result(path, times, reading)
    if path.name == ANIMATION and (path.parent / CAMERAS).is_file():
        return _read_result(path.parent, times, reading)
    if path.suffix.lower() in FORMATS and not path.is_dir():
        return SurfaceSequence.of(_read_animated(path, times, reading))
    if path.is_dir():
        sequence = _read_frames(path, reading)
    elif not path.is_file():
        raise FileNotFoundError(f"{path}: no such file or folder")
    elif path.suffix.lower() == ".npz":
        sequence = SurfaceSequence.of(GroundTruth.load(path).sequence())
    elif path.suffix.lower() == ".npy":
        sequence = _read_point_clouds(path)
    else:
        raise ValueError(f"{path}: unknown kind of sequence {path.suffix!r}; known are {' '.join(FILES)} and folders")
    if times is None:
        return sequence
    if sequence.times is None:
        raise ValueError(f"{path}: its frames have no times, so none can be found by time")
    return sequence.select(np.abs(sequence.times - np.asarray(times)[:, None]).argmin(1))


def _read_animated(path: Path, times: np.ndarray | None, reading: ReadOptions) -> MeshSequence:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    # Vertices that are split at texture seams are welded, so that topologies can be compared.
    return read_clip(path, reading.clip, times, weld=True, blender_path=reading.blender_path)


def _read_result(folder: Path, times: np.ndarray | None, reading: ReadOptions) -> SurfaceSequence:
    """An animation of main.py, at the frames of its video where ``cameras.json`` exists."""
    if times is None and (folder / CAMERAS).is_file():
        times = read_cameras(folder / CAMERAS).times
    return SurfaceSequence.of(_read_animated(folder / ANIMATION, times, reading))


def _frame_files(folder: Path) -> list[Path] | None:
    for pattern in FRAME_FILES:
        files = [file for file in folder.glob(pattern) if not file.name.startswith(".")]
        if files:
            return sorted(files, key=lambda file: natural_key(file.name))
    return None


def _read_frames(folder: Path, reading: ReadOptions) -> SurfaceSequence:
    files = _frame_files(folder)
    if files is None:
        raise FileNotFoundError(f"{folder}: no animation in it; looked for {ANIMATION}, {', '.join(FRAME_FILES)}")
    if files[0].suffix != ".npy":
        return SurfaceSequence([read_any_mesh(file, blender_path=reading.blender_path) for file in files])
    faces = torch.zeros(0, 3, dtype=torch.int64)
    if (folder / FACES).is_file():
        faces = torch.from_numpy(_load_array(folder / FACES, (None, 3)).astype(np.int64))
    frames = []
    for file in files:
        vertices = torch.from_numpy(_load_array(file, (None, None))[:, :3].astype(np.float32))
        if len(faces) and not 0 <= int(faces.min()) <= int(faces.max()) < len(vertices):
            raise ValueError(f"{folder / FACES}: names vertices that {file.name} has not (it has {len(vertices)})")
        frames.append(Mesh(vertices, faces))
    return SurfaceSequence(frames)


def _read_point_clouds(path: Path) -> SurfaceSequence:
    points = torch.from_numpy(_load_array(path, (None, None, None))[..., :3].astype(np.float32))
    faces = torch.zeros(0, 3, dtype=torch.int64)
    return SurfaceSequence([Mesh(frame, faces) for frame in points])


def _load_array(path: Path, shape: tuple[int | None, ...]) -> np.ndarray:
    """Load a numeric array of that shape (None: any length); its last axis has at least 3 entries.

    Raises:
        ValueError: it has another shape or type.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: not readable as an array of numbers ({error})") from error
    expected = f"expected an array of {len(shape)} axes, 3 coordinates along the last"
    if array.ndim != len(shape) or array.shape[-1] < 3 or (shape[-1] is not None and array.shape[-1] != shape[-1]):
        raise ValueError(f"{path}: {expected}; got shape {array.shape}")
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{path}: {expected}; got dtype {array.dtype}")
    return array


@dataclass(frozen=True)
class SequencePair:
    """A true and a predicted sequence of equally many frames, paired by index.

    Attributes:
        truth: T frames.
        prediction: T frames.
        note: how frames were paired, where the two sides had different numbers; else empty.
    """

    truth: SurfaceSequence
    prediction: SurfaceSequence
    note: str = ""


def read_pair(
    truth_path: Path,
    prediction_path: Path,
    truth_reading: ReadOptions | None = None,
    prediction_reading: ReadOptions | None = None,
) -> SequencePair:
    """Read two sequences and pair their frames.

    Equally many frames on both sides are paired by order. Otherwise, where both sides have times (seconds from each
    side's first frame), the prediction is evaluated at the times of the true frames within its duration. Where one side
    has no times: by order, over the shorter.

    Raises:
        FileNotFoundError, ValueError, OSError, RuntimeError: as ``read_sequence``.
    """
    truth = read_sequence(truth_path, reading=truth_reading)
    prediction = read_sequence(prediction_path, reading=prediction_reading)
    if len(truth) == len(prediction):
        return SequencePair(truth, prediction)
    if truth.times is None or prediction.times is None:
        count = min(len(truth), len(prediction))
        note = f"{len(truth)} true and {len(prediction)} predicted frames: the first {count} compared, paired by order"
        return SequencePair(truth.select(np.arange(count)), prediction.select(np.arange(count)), note)
    true_times = truth.times - truth.times[0]
    duration = float(np.ptp(prediction.times))
    # Half a frame of tolerance, so that rounding does not drop the last frame.
    tolerance = 0.5 * float(np.diff(true_times).min()) if len(true_times) > 1 else 0.0
    covered = np.flatnonzero(true_times <= duration + tolerance)
    resampled = read_sequence(prediction_path, prediction.times[0] + true_times[covered], prediction_reading)
    note = (
        f"{len(truth)} true frames over {true_times[-1]:.3f} s and {len(prediction)} predicted over {duration:.3f} s:"
        f" {len(covered)} compared, paired by time"
    )
    return SequencePair(truth.select(covered), resampled, note)


def find_pairs(truth: Path, prediction: Path) -> tuple[list[tuple[str, Path | None, Path | None]], bool]:
    """Pair sequences by name: (name, truth, prediction) in natural order; None where one side lacks the name.

    Args:
        truth: a sequence, or a folder of sequences (or one that holds ``ground_truth/``), named as the predictions.
        prediction: a sequence, or a folder of them, as main.py's ``--output``.

    Returns:
        The pairs, and whether they were paired by name (two sequences are paired whatever their names).

    Raises:
        FileNotFoundError: a side holds nothing.
    """
    truths, predictions = _find_sequences(truth), _find_sequences(prediction)
    if is_sequence(truth) and is_sequence(prediction):
        return [(_sequence_name(prediction), Path(truth), Path(prediction))], False
    names = sorted({*truths, *predictions}, key=natural_key)
    if is_sequence(prediction):
        names = list(predictions)
    if is_sequence(truth):
        names = list(truths)
    return [(name, truths.get(name), predictions.get(name)) for name in names], True


def _find_sequences(path: Path) -> dict[str, Path]:
    """The sequences at a path, by name."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if is_sequence(path):
        return {_sequence_name(path): path}
    if path.is_file():
        raise FileNotFoundError(f"{path}: not a sequence; known are {' '.join(FILES)} and folders of them")
    if (path / TRUTH_FOLDER).is_dir():
        path = path / TRUTH_FOLDER
    # Of one name, a folder is taken before a file, and a ground truth before the mesh of its first frame.
    entries = sorted(path.iterdir(), key=lambda entry: (entry.is_dir(), entry.suffix == ".npz", entry.name))
    sequences = {_sequence_name(entry): entry for entry in entries if is_sequence(entry)}
    if not sequences:
        kinds = f"files ({' '.join(FILES)}) or folders ({ANIMATION}, {', '.join(FRAME_FILES)})"
        raise FileNotFoundError(f"{path}: no sequence in it; expected {kinds}")
    return sequences


def _sequence_name(path: Path) -> str:
    """The name of an animation: that of its folder, or of its file without the suffix."""
    path = Path(path).resolve()
    if path.is_dir():
        return path.name
    return path.parent.name if path.name == ANIMATION else path.stem
