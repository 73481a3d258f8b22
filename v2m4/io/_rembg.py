"""Foreground masks by rembg: BiRefNet and U2-Net as ONNX files, picture by picture.

rembg (https://github.com/danielgatis/rembg) stores a network as ``<model>.onnx`` in a folder of its own, and downloads
it where it is missing. Here its session loads a local file, so that nothing is downloaded without ``--download``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from v2m4 import threads
from v2m4.config import Config
from v2m4.device import device_of
from v2m4.io._frame_store import FrameStore
from v2m4.owners import owners_code
from v2m4.preflight.foreground import RELEASE, RELEASED, REPOSITORY, find_rembg, require_rembg
from v2m4.weights import Unavailable, fingerprint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rembg:
    """A segmenter by one of rembg's networks.

    Attributes:
        model: the network's name.
        file: its weights.
        device: where it runs; ONNX Runtime must have been built for it.
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

    def alphas(self, pictures: Sequence[np.ndarray], store: FrameStore | None = None) -> Iterator[np.ndarray]:
        """The object's alpha (H, W) uint8 in each picture, as the network predicts it; see ``Segmenter``."""
        store = store or FrameStore()
        with owners_code(0):
            session = self._session()
            from rembg import remove

        def alpha(picture: np.ndarray) -> np.ndarray:
            with owners_code(0), np.errstate(invalid="ignore"):  # rembg divides by 0 where the network finds nothing
                return np.asarray(remove(np.ascontiguousarray(picture), session=session, only_mask=True))

        for index in range(len(pictures)):
            yield store.made("alphas", index, partial(alpha, pictures[index]), packed=True)

    def _session(self) -> Any:
        """A rembg session of the model that loads ``file``.

        Raises:
            Unavailable: the file cannot be loaded.
        """
        import onnxruntime

        session_class = _session_class(self.model)

        class LocalFileSession(session_class):  # type: ignore[misc, valid-type]
            @classmethod
            def download_models(cls, *args: Any, **kwargs: Any) -> str:
                return str(file)

        file = self.file
        requested = ["CPUExecutionProvider"]
        if self.device.type == "cuda":
            requested.insert(0, "CUDAExecutionProvider")
        available = onnxruntime.get_available_providers()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads.count()
        try:
            session = LocalFileSession(self.model, options, providers=[name for name in requested if name in available])
        except Exception as error:  # ONNX Runtime has a dozen kinds of its own
            raise Unavailable(f"{file}: is not a network that rembg's {self.model} can load ({error})") from error
        if requested[0] not in session.inner_session.get_providers():  # its libraries may be missing too
            log.warning('rembg works on the CPU: this onnxruntime starts no CUDA; pip install "rembg[gpu]"')
        return session


def open_rembg(config: Config) -> Rembg:
    """Open the network that ``--frames.rembg_model`` names; its file is downloaded where the user allows it.

    Raises:
        Unavailable: as ``require_rembg``, or the file could not be fetched.
    """
    require_rembg(config)
    model = config.frames.rembg_model
    file = find_rembg(model, config) or _download(model, config)
    return Rembg(model, file, device_of(config))


def _session_class(model: str) -> Any:
    """Rembg's session class of a model.

    Raises:
        Unavailable: this version of rembg does not know the model.
    """
    log.info("rembg is loaded; its first import compiles for about a minute")
    from rembg.sessions import sessions_class

    match = next((session_class for session_class in sessions_class if session_class.name() == model), None)
    if match is None:
        raise Unavailable(f"this rembg knows no {model}; pip install --upgrade rembg")
    return match


def _download(model: str, config: Config) -> Path:
    """Download the model's file with rembg, which checks its checksum, to the user's folder or rembg's own.

    Raises:
        Unavailable: the download failed.
    """
    with owners_code(0):
        session_class = _session_class(model)
        log.info("%s/%s is fetched", RELEASE, RELEASED[model])
        with _download_folder(config.weights_dir and config.weights_dir / REPOSITORY):
            try:
                return Path(session_class.download_models()).resolve()
            except Exception as error:  # whatever it is, there are no weights
                raise Unavailable(f"weights of {model} could not be fetched: {type(error).__name__}") from error


@contextmanager
def _download_folder(folder: Path | None) -> Iterator[None]:
    """Make rembg download to a folder; None keeps its default."""
    previous = os.environ.get("U2NET_HOME")
    if folder is not None:
        os.environ["U2NET_HOME"] = str(folder.resolve())
    try:
        yield
    finally:
        if folder is not None:
            os.environ.pop("U2NET_HOME")
            if previous is not None:
                os.environ["U2NET_HOME"] = previous
