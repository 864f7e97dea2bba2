"""How a process that trains keeps its memory."""

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Of mallopt(3)."""
LARGEST_MMAP_THRESHOLD = 32 << 20
"""That glibc takes."""
NEVER = 2**31 - 1


def keep_memory() -> None:
    """Keep freed memory for what is computed next, where the C library is glibc.

    It gives blocks as large as a convolution's maps back to the system, and each one that is asked for again is
    cleared page by page: a fifth of a meta-step of conv4, and more where threads do so at the same time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        mallopt(TRIM_THRESHOLD, NEVER)
