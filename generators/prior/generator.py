"""The generator ``Prior``; see the package."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import copy

import torch

from generators.base import GenerationError
from generators.ground import estimate_lean
from generators.prior.correction import Observation, correct, observe, tilts_of_clip
from generators.prior.fit import generate
from generators.prior.network import load_network
from generators.prior.weights import FILE
from v2m4.config import Config
from v2m4.frame import Frame
from v2m4.mesh import Asset
from v2m4.threads import in_order
from v2m4.weights import Unavailable, fingerprint

log = logging.getLogger(__name__)

MIN_BODY_LOGIT = 0.0  # that the picture shows a body: below it the result is that of ``Inflate``


class Prior:
    """Generator by a network that predicts both sides of the object; its weights are part of the program.

    Raises:
        Unavailable: the weights are missing or broken.
    """

    name = "Prior"
    concurrent = True

    def __init__(self, config: Config) -> None:
        self.max_faces = config.max_faces
        self.grid = config.generation.grid
        self.seen: dict[str, tuple[Observation, torch.Tensor]] = {}  # by the frame's name, with the tilt over the clip
        self.texture_size = config.generation.texture_size
        try:
            self.network = load_network(FILE)
        except (OSError, ValueError) as error:
            raise Unavailable(f"{error}; install the program again, or use --model Inflate") from error
        self.version = fingerprint("prior", FILE.parent, [FILE.name])

    def of_clip(self, frames: Sequence[Frame]) -> Prior:
        """Generator that takes the object's tilt from neighbouring frames and the feet, too; see ``ClipGenerator``."""
        informed = copy(self)
        shown = [frame for frame in frames if (frame.rgba[..., 3] > 127).any()]
        observed = in_order(lambda frame: observe(self.network, frame), shown)
        seen = {frame.name: its for frame, its in zip(shown, observed, strict=True)}
        tilts = tilts_of_clip(list(seen.values()), estimate_lean(frames))
        informed.seen = {name: (seen[name], tilt) for name, tilt in zip(seen, tilts, strict=True)}
        return informed

    def generate(self, frame: Frame) -> Asset:
        """Asset of a frame; see ``Generator``.

        Raises:
            GenerationError: the frame has almost no foreground, or its outline needs too many faces.
        """
        try:
            seen, tilt = self.seen.get(frame.name) or (observe(self.network, frame), None)
            correction = None
            if float(seen.features.body[0]) < MIN_BODY_LOGIT:
                log.info("%s: no body that the network knows (a cloud, a splash?): Inflate takes over", frame.name)
            else:
                correction = correct(self.network, seen, tilt)
            return generate(frame, correction, self.grid, self.max_faces, self.texture_size)
        except ValueError as error:
            raise GenerationError(f"frame {frame.name}: {error}") from error
