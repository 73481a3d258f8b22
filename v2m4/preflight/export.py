"""What the export needs: the tool that compresses for web pages."""

from __future__ import annotations

from v2m4.config import Config
from v2m4.io.gltf_web import INSTALL, gltf_transform_command
from v2m4.weights import Unavailable


def require(config: Config) -> None:
    """Refuse, before any work, a compressed copy without the tool that writes it.

    Raises:
        Unavailable: in one line, the option, what is missing and what to do.
    """
    if config.web and config.baseline:
        raise Unavailable("--web compresses the animation; it cannot be combined with --baseline, which writes none")
    if config.web and gltf_transform_command() is None:
        raise Unavailable(f"--web: gltf-transform is not installed; {INSTALL}")
