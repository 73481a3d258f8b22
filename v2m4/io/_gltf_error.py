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
    except KeyError as error:
        raise GltfError(f"{path}: broken glTF (the entry {error} is missing somewhere); export it again") from error
    except IndexError as error:
        raise GltfError(f"{path}: broken glTF (an index of something that is not there); export it again") from error
    except (TypeError, AttributeError) as error:
        raise GltfError(f"{path}: broken glTF (an entry is of the wrong type); export it again") from error
    except MemoryError as error:
        raise GltfError(f"{path}: needs more memory than there is ({error}); it is broken or too large") from error
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise GltfError(f"{path}: broken glTF ({error}); export it again") from error
