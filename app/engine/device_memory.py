"""How much of a device's memory is taken."""

import os
from pathlib import Path

import torch

STATM = Path("/proc/self/statm")
"""Pages of this process: all, resident, shared, and more. Not on every system."""


def device_memory(device: torch.device) -> dict[str, int]:
    """Return bytes by what they are: `total` of the device, `reserved` by this process, `allocated` by its tensors.

    Of a CPU there is no telling tensors apart: `reserved` is what is resident of the process. What the system does not
    tell is left out. Waits for nothing that runs on the device.
    """
    if device.type == "cuda":
        return {
            "total": torch.cuda.get_device_properties(device).total_memory,
            "reserved": torch.cuda.memory_reserved(device),
            "allocated": torch.cuda.memory_allocated(device),
        }
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        return {
            "total": page * os.sysconf("SC_PHYS_PAGES"),
            "reserved": page * int(STATM.read_text(encoding="ascii").split()[1]),
        }
    except (OSError, ValueError, IndexError):
        return {}
