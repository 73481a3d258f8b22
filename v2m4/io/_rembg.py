"""Foregrounds by rembg: BiRefNet and U2-Net as ONNX files, one picture at a time.

rembg (https://github.com/danielgatis/rembg) keeps a network as ``<model>.onnx`` in a folder of its own, and fetches it
where it is not there. Here its session is given the file instead, so that it never fetches without ``--download``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from v2m4 import threads
from v2m4.config import Config
from v2m4.device import device_of
from v2m4.owners import owners_code
from v2m4.preflight.foreground import RELEASE, RELEASED, REPOSITORY, find_rembg, require_rembg
from v2m4.weights import Unavailable, fingerprint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rembg:
    """One of rembg's networks.

    Attributes:
        model: its name.
        file: its weights.
        device: where it works; ONNX Runtime must have been built for it.
    """

    model: str
    file: Path
    device: torch.device

    def __str__(self) -> str:
        return f"rembg {self.model}"

    @property
    def identity(self) -> str:
        """Hash of the model's name and its file's name and size."""
        return fingerprint(self.model, self.file.parent, [self.file.name])

    def alphas(self, pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The object's alpha in each picture, (H, W) uint8, as the network gives it; see ``Segmenter``."""
        with owners_code(0):
            session = self._session()
            from rembg import remove
        for picture in pictures:
            with owners_code(0), np.errstate(invalid="ignore"):  # it divides by 0 where the network sees nothing
                alpha = np.asarray(remove(np.ascontiguousarray(picture), session=session, only_mask=True))
            yield alpha

    def _session(self) -> Any:
        """A session of the model, on our file."""
        import onnxruntime

        owner = _owner(self.model)

        class OnOurFile(owner):  # type: ignore[misc, valid-type]
            @classmethod
            def download_models(cls, *args: Any, **kwargs: Any) -> str:
                return str(file)

        file = self.file
        wanted = ["CPUExecutionProvider"]
        if self.device.type == "cuda":
            wanted.insert(0, "CUDAExecutionProvider")
        known = onnxruntime.get_available_providers()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads.count()
        try:
            session = OnOurFile(self.model, options, providers=[name for name in wanted if name in known])
        except Exception as error:  # ONNX Runtime has a dozen kinds of its own
            raise Unavailable(f"{file}: is not a network that rembg's {self.model} can load ({error})") from error
        if wanted[0] not in session.inner_session.get_providers():  # its libraries may be missing too
            log.warning('rembg works on the CPU: this onnxruntime starts no CUDA; pip install "rembg[gpu]"')
        return session


def open_rembg(config: Config) -> Rembg:
    """The network that ``--frames.rembg_model`` names; its file is fetched where the user allows it.

    Raises:
        Unavailable: as ``require_rembg``, or the file could not be fetched.
    """
    require_rembg(config)
    model = config.frames.rembg_model
    file = find_rembg(model, config) or _fetched(model, config)
    return Rembg(model, file, device_of(config))


def _owner(model: str) -> Any:
    """The class that rembg has for a model's sessions."""
    log.info("rembg is loaded; its first import compiles for about a minute")
    from rembg.sessions import sessions_class

    found = next((owner for owner in sessions_class if owner.name() == model), None)
    if found is None:
        raise Unavailable(f"this rembg knows no {model}; pip install --upgrade rembg")
    return found


def _fetched(model: str, config: Config) -> Path:
    """The model's file, fetched by rembg, which checks its sum, into the user's folder or its own."""
    with owners_code(0):
        owner = _owner(model)
        log.info("%s/%s is fetched", RELEASE, RELEASED[model])
        with _home(config.weights_dir and config.weights_dir / REPOSITORY):
            try:
                return Path(owner.download_models()).resolve()
            except Exception as error:  # whatever it is, there are no weights
                raise Unavailable(f"weights of {model} could not be fetched: {type(error).__name__}") from error


@contextmanager
def _home(folder: Path | None) -> Iterator[None]:
    """Let rembg fetch into a folder; None leaves it its own."""
    before = os.environ.get("U2NET_HOME")
    if folder is not None:
        os.environ["U2NET_HOME"] = str(folder.resolve())
    try:
        yield
    finally:
        if folder is not None:
            os.environ.pop("U2NET_HOME")
            if before is not None:
                os.environ["U2NET_HOME"] = before
