"""What went wrong with one animation, in one line with what to do: full disk, no permission, out of memory."""

from __future__ import annotations

import errno
from pathlib import Path

from v2m4.lock import LockedError
from v2m4.memory import return_free_memory
from v2m4.workspace import MissingResultError

FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG}
REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}
GOES_ON = "the same command goes on from there"
SELF_EXPLANATORY = (LockedError, MissingResultError)  # lines of our own, which need no type of error
# What allocators of PyTorch say, in a RuntimeError on the CPU.
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "CUDA out of memory", "CUDA error: out of memory")


def describe(error: BaseException, folder: Path) -> str:
    """One line on an error: what, where, and what to do where that is known.

    Args:
        error: that ended the work on an animation.
        folder: output of the animation.
    """
    text = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, SELF_EXPLANATORY):
        return " ".join(str(error).split())
    if is_out_of_memory(error):
        where = "the GPU's memory" if "CUDA" in text else "memory"
        advice = "--low_vram, a smaller --texture.size" if "CUDA" in text else "a smaller --frames.max_side"
        return f"out of {where} ({text}); try {advice} or fewer --max_faces; what is done stays in {folder}"
    if isinstance(error, OSError):
        if error.errno in FULL:
            return f"the disk is full, or a limit on it is reached ({text}, in {folder}); make room: {GOES_ON}"
        if error.errno in REFUSED:
            return f"no permission to write in {folder} ({text}); change it, or choose another --output"
        if error.filename is None:
            return f"{text} (working on {folder})"
    return text


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is one of missing memory: of Python, of NumPy, or of PyTorch on the CPU or a GPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # PyTorch's, on a GPU
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)


def release_memory() -> None:
    """Return memory that is not in use any more to the system and to other processes, after an error."""
    import gc
    import sys

    gc.collect()
    return_free_memory()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
