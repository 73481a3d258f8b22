"""Motion 3-to-4: a feed-forward network that moves a mesh as a video shows (arXiv 2601.14253)."""

import v2m4  # noqa: F401  # before torch: sets how idle threads wait
