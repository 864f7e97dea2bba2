"""How much memory a device has, and how much is taken."""

import pytest
import torch

from app.engine.device_memory import device_memory


def test_of_a_cpu_the_memory_of_the_process_is_told() -> None:
    before = device_memory(torch.device("cpu"))
    assert 0 < before["reserved"] < before["total"]
    held = torch.ones(25_000_000)
    after = device_memory(torch.device("cpu"))
    assert after["total"] == before["total"]
    assert after["reserved"] - before["reserved"] > held.numel() * 3
    assert "allocated" not in after


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_of_a_gpu_tensors_are_told_apart() -> None:
    device = torch.empty(0, device="cuda").device
    before = device_memory(device)
    held = torch.ones(25_000_000, device=device)
    after = device_memory(device)
    assert after["allocated"] - before["allocated"] >= held.numel() * 4
    assert after["allocated"] <= after["reserved"] <= after["total"]
