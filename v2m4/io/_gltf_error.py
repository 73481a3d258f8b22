"""The error of a file that cannot be read as glTF."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class GltfError(ValueError):
    """A file that cannot be read as glTF; the message names the file and what is wrong with it."""


@contextmanager
def broken_as_gltf_error(path: Path) -> Iterator[None]:
    """Turn the errors that a malformed document causes in our code into one GltfError that names the file."""
    try:
        yield
    except GltfError:
        raise
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
        raise GltfError(f"{path}: broken glTF ({type(error).__name__}: {error})") from error
