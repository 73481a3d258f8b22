"""The ground floor: meshes, cameras, rendering, files and workspaces. It holds no stage."""

import os

# OpenMP's threads sleep while they wait. Left to spin, they keep the cores from the rasteriser's kernels: a call of
# 1 ms took 100 ms on a busy machine. It must be set before torch is loaded, so the commands import this package first.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# numpy's BLAS has one thread: matrices are small, frames are worked on by several threads, and sums of products may
# depend on how many share them.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# OpenCV refuses pictures that declare more pixels, as v2m4.io.picture does for Pillow; it must be set before cv2 is
# loaded.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "150000000")
