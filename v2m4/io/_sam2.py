"""Foreground masks by SAM 2 video segmentation (Ravi et al. 2024), through transformers.

The prompt in the first frame is the user's box, or the bounding box of the weight-free method's mask and the innermost
point of that mask. Frames are streamed, and frames beyond the network's memory are dropped, so that memory use does not
grow with the clip.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from v2m4.config import Config
from v2m4.device import device_of
from v2m4.io._frame_store import FrameStore
from v2m4.io.foreground import choose_method, remove_background
from v2m4.io.matting import matte_coarse
from v2m4.owners import loading, owners_code
from v2m4.preflight.foreground import SAM2_FILES, require_sam2, sam2_weights
from v2m4.weights import Weights, fingerprint, get_weights

log = logging.getLogger(__name__)

MASK_SIDE = 256  # side of the network's mask, cells
OBJECT_ID = 1  # of the only object in a session

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Prompt:
    """SAM 2's prompt in the first frame, in pixels; (0, 0) is the upper left corner of the picture.

    Attributes:
        box: left, upper, right and lower edge.
        point: (x, y) inside the object, or None.
        origin: where box and point come from, for the log.
    """

    box: Box
    point: tuple[float, float] | None
    origin: str


def prompt_for(picture: np.ndarray, box: Box | None) -> Prompt:
    """The prompt of the first frame.

    Args:
        picture: (H, W, 3) uint8 sRGB.
        box: the user's box as fractions of width and height, or None.

    Raises:
        ValueError: no box, and the weight-free method finds no object.
    """
    height, width = picture.shape[:2]
    if box is not None:
        x0, y0, x1, y1 = box
        return Prompt((x0 * width, y0 * height, x1 * width, y1 * height), None, "--frames.sam2_box")
    method = choose_method([picture])
    mask = remove_background(picture, method)[..., 3] > 127
    if not mask.any():
        raise ValueError("foreground sam2: no object found in the first frame to show SAM 2; give --frames.sam2_box")
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    edges = (float(xs[0]), float(ys[0]), float(xs[-1] + 1), float(ys[-1] + 1))
    return Prompt(edges, (float(x) + 0.5, float(y) + 0.5), f"mask by {method}")


@dataclass(frozen=True)
class Sam2:
    """A segmenter by SAM 2.

    Attributes:
        weights: the checkpoint.
        folder: where its files are.
        device: where it runs: bfloat16 on CUDA, as its owners run it, float32 on a CPU.
        box: the object in the first frame, as fractions of width and height; None: from the weight-free method.
    """

    weights: Weights
    folder: Path
    device: torch.device
    box: Box | None = None

    def __str__(self) -> str:
        return f"sam2 {self.weights.repository}"

    @property
    def identity(self) -> str:
        """Hash of the weights' files, and the box."""
        return f"{fingerprint(self.weights.repository, self.folder, SAM2_FILES)} {self.box}"

    def alphas(self, pictures: Iterable[np.ndarray], store: FrameStore | None = None) -> Iterator[np.ndarray]:
        """The object's alpha (H, W) uint8 in each picture, its soft edges refined by colour; see ``Segmenter``.

        Nothing is kept in the store: each frame depends on the network's memory of those before it.
        """
        model, processor = self._load()
        session = None
        for index, picture in enumerate(pictures):
            if session is None:
                session = processor.init_video_session(inference_device=self.device, dtype=model.dtype)
                _prompt_session(processor, session, picture, prompt_for(picture, self.box))
            with owners_code(0), torch.inference_mode():
                logits = _frame_logits(model, processor, session, picture, index)
            _drop_old_frames(session, model.config, index)
            yield _matte(logits, picture)

    def _load(self) -> tuple[Any, Any]:
        """The network on its device, and its processor."""
        from transformers import Sam2VideoModel, Sam2VideoProcessor

        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        with loading("SAM 2", self.folder):
            processor = Sam2VideoProcessor.from_pretrained(self.folder, local_files_only=True)
            model = Sam2VideoModel.from_pretrained(self.folder, local_files_only=True, dtype=dtype)
        return model.to(self.device).eval(), processor


def open_sam2(config: Config) -> Sam2:
    """Open SAM 2 with the weights that ``--frames.sam2_weights`` names.

    Raises:
        Unavailable: as ``require_sam2``, or the weights could not be fetched.
    """
    require_sam2(config)
    weights = sam2_weights(config)
    return Sam2(weights, get_weights(weights, config), device_of(config), config.frames.sam2_box)


def _prompt_session(processor: Any, session: Any, picture: np.ndarray, prompt: Prompt) -> None:
    """Add the prompt to the session."""
    x0, y0, x1, y1 = prompt.box
    point = "" if prompt.point is None else " and the point ({:.0f}, {:.0f})".format(*prompt.point)
    log.info("SAM 2 is shown the box (%.0f, %.0f, %.0f, %.0f)%s: %s", x0, y0, x1, y1, point, prompt.origin)
    processor.add_inputs_to_inference_session(
        session,
        frame_idx=0,
        obj_ids=OBJECT_ID,
        input_boxes=[[[x0, y0, x1, y1]]],
        input_points=None if prompt.point is None else [[[list(prompt.point)]]],
        input_labels=None if prompt.point is None else [[[1]]],
        original_size=picture.shape[:2],
    )


def _frame_logits(model: Any, processor: Any, session: Any, picture: np.ndarray, index: int) -> np.ndarray:
    """The network's logits (H, W) float32 of one frame at the picture's size; positive on the object."""
    inputs = processor(images=picture, return_tensors="pt")
    result = model(session, frame=inputs["pixel_values"][0].to(model.device), frame_idx=index)
    size = list(picture.shape[:2])
    scores = processor.post_process_masks([result.pred_masks.float().cpu()], original_sizes=[size], binarize=False)[0]
    return scores[0, 0].numpy()


def _drop_old_frames(session: Any, config: Any, index: int) -> None:
    """Drop from the session what no later frame uses."""
    session.processed_frames.pop(index, None)
    memory = max(config.num_maskmem, config.max_object_pointers_in_encoder)
    for outputs in session.output_dict_per_obj.values():
        outputs["non_cond_frame_outputs"].pop(index - memory, None)


def _matte(scores: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Alpha (H, W) uint8 from logits; within 1.5 cells of the coarse mask's edge it is refined by colour."""
    coverage = 1 / (1 + np.exp(-np.clip(scores, -30, 30)))
    radius = 1.5 * max(1.0, max(picture.shape[:2]) / MASK_SIDE)
    return matte_coarse(np.ascontiguousarray(picture), coverage.astype(np.float32), radius)
