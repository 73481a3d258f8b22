"""Stage 1: generators that make a textured mesh of one frame."""

from generators.base import (
    GenerationError,
    Generator,
    check,
    create,
    register,
    require,
    run,
)

__all__ = [
    "GenerationError",
    "Generator",
    "check",
    "create",
    "register",
    "require",
    "run",
]
