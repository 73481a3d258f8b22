"""Stage 3 by the feed-forward network: one mesh is moved as the video shows (``--motion feedforward``)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from motion324.checkpoint import load_network
from motion324.network import MotionNetwork
from motion324.predict import Prediction, predict
from motion324.predict_in_view import predict_in_view
from motion324.view_frame import CAMERA_AXES
from v2m4.config import Config
from v2m4.frame import Frame
from v2m4.mesh import Mesh, MeshSequence, PosedAsset
from v2m4.workspace import STAGE_FOLDERS, Arrays, Workspace, code_version, digest

log = logging.getLogger("v2m4.motion324")

FOLDER = STAGE_FOLDERS["registration"]


def run(frames: list[Frame], posed: PosedAsset, workspace: Workspace, config: Config) -> MeshSequence:
    """Poses of one mesh in all frames of a video, predicted by the network of ``--checkpoint``.

    Args:
        frames: all T frames, background removed.
        posed: the first frame's mesh, in the video camera's space.
        workspace: the animation's folder.
        config: all options; ``checkpoint`` and ``device`` are used.

    Returns:
        Poses at times 0 to T - 1, in the video camera's space; its rest pose is that of ``posed``.

    Raises:
        ValueError: the checkpoint is no network of this program or of Motion 3-to-4.
        OSError: it cannot be read.
    """
    assert config.checkpoint is not None  # preflight
    log.info("motion: feed-forward network of %s on %s", config.checkpoint.name, config.device)
    arrays = posed.mesh.arrays()
    key = digest(
        "feedforward",
        digest(config.checkpoint.read_bytes()),
        [(frame.name, frame.content()) for frame in frames],
        frames[0].camera().fov,
        *(arrays[field] for field in sorted(arrays)),
        config.device,
        config.seed,
        code_version("motion324"),
    )
    make = partial(_predicted, frames, posed.mesh, config.checkpoint, config)
    poses = torch.from_numpy(workspace.make_arrays(f"{FOLDER}/feedforward.npz", key, make)["vertices"])
    return MeshSequence(poses, posed.mesh, np.arange(len(frames), dtype=np.float64))


def predictor(frames: list[Frame], workspace: Workspace, config: Config) -> Callable[[Mesh], Tensor]:
    """Function of a mesh, posed as in the first frame: its poses (T, V, 3) in all frames, as of ``run``."""

    def predict(mesh: Mesh) -> Tensor:
        posed = PosedAsset(mesh, torch.eye(4), 1.0)
        return run(frames, posed, workspace, config).vertices

    return predict


def _predicted(frames: Sequence[Frame], mesh: Mesh, checkpoint: Path, config: Config) -> Arrays:
    """The poses of a mesh in the video camera's space; a published network sees it y up, as the camera sees it."""
    network = load_network(checkpoint).to(config.device)
    options = Prediction(anchored=True, seed=config.seed)
    if isinstance(network, MotionNetwork):
        flip = CAMERA_AXES.to(mesh.vertices)
        turned = mesh.with_vertices(mesh.vertices @ flip)
        poses = predict(network, turned, frames, options=options).vertices @ flip
    else:
        poses = predict_in_view(network, mesh, frames, options=options).vertices
    return {"vertices": poses.detach().cpu().numpy().astype(np.float32)}
