"""Stage 1: generators that make a textured mesh of one frame."""

from generators.appearance import refine
from generators.base import (
    GenerationError,
    Generator,
    create,
    register,
    require,
    run,
)

__all__ = [
    "GenerationError",
    "Generator",
    "create",
    "refine",
    "register",
    "require",
    "run",
]
