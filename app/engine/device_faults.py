"""When the device itself fails: work that finds no memory is tried once more, and a device that is gone stays gone."""

import gc
import re
import traceback
from collections.abc import Callable
from typing import TypeVar

import structlog
import torch

from innerloop.errors import DeviceGone, DeviceOutOfMemory

Result = TypeVar("Result")
RETRY_AFTER_SECONDS = 5.0

_NO_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory|ALLOC_FAILED")
_OF_ACCELERATOR = re.compile(r"CUDA (driver |runtime )?error|CUBLAS_STATUS|CUDNN_STATUS|HIP error")
_ENDS_CONTEXT = re.compile(  # after these every call of this process fails: cudaErrorAssert and its like
    r"device-side assert|unspecified launch failure|illegal memory access|misaligned address|illegal instruction|"
    r"uncorrectable (ECC|NVLink)|launch timed out|hardware stack error|no CUDA-capable device|device.* unavailable|"
    r"unknown error|lost"
)

log = structlog.get_logger()


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that there was no memory for a tensor, on whatever device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and bool(_NO_MEMORY.search(str(error)))


def is_of_accelerator(error: BaseException) -> bool:
    """Tell whether an error comes from the device, and not from what was asked of it."""
    if isinstance(error, torch.AcceleratorError):
        return True
    return isinstance(error, RuntimeError) and bool(_OF_ACCELERATOR.search(str(error)))


class DeviceGuard:
    """Runs work on a device; may be used from any number of threads."""

    def __init__(self, device: torch.device, flush: Callable[[], None]) -> None:
        """`flush` gives back what is kept on the device and can be had again."""
        self._device, self._flush = device, flush
        self._failure: str | None = None

    @property
    def failure(self) -> str | None:
        """Why the device takes no work any more; None as long as it does."""
        return self._failure

    def run(self, work: Callable[[], Result], *, again: bool = True) -> Result:
        """Return what work gives; where there was no memory, after a flush and a second try, if that may be.

        DeviceOutOfMemory, DeviceGone; whatever else `work` raises is raised as it is.
        """
        if self._failure is not None:
            raise _gone(self._failure)
        try:
            return work()
        except Exception as error:
            if is_out_of_memory(error):
                self._note_no_memory(error, again=again)
                if not again:
                    raise _no_memory() from error
            elif self._ended(error):
                raise _gone(self._failure or "") from error
            else:
                raise
        # Outside of the handler, whose error holds the frames and with them the tensors that there was no room for.
        self._free()
        return self.run(work, again=False)

    def _free(self) -> None:
        self._flush()
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _note_no_memory(self, error: Exception, *, again: bool) -> None:
        log.warning("no memory left on the device", device=str(self._device), again=again, reason=_first_line(error))
        traceback.clear_frames(error.__traceback__)

    def _ended(self, error: Exception) -> bool:
        """Note it if an error says that the device is gone, by itself or since nothing runs there any more."""
        if not is_of_accelerator(error):
            return False
        if not _ENDS_CONTEXT.search(str(error)) and _answers(self._device):
            return False
        if self._failure is None:
            self._failure = f"the device {self._device} has failed"
            log.error("the device has failed", device=str(self._device), reason=_first_line(error))
        return True


def _answers(device: torch.device) -> bool:
    """Tell whether a device still computes."""
    try:
        return float(torch.ones(2, device=device).sum()) == 2.0
    except RuntimeError:
        return False


def _gone(failure: str) -> DeviceGone:
    return DeviceGone(
        f"{failure}, and this process ends; send the request again after Retry-After",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )


def _no_memory() -> DeviceOutOfMemory:
    return DeviceOutOfMemory(
        "the device has no memory left for this work, alone and with all caches empty; send it again with fewer rows, "
        "or after Retry-After",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:300]
