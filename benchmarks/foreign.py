"""Tasks unlike any that a shipped model was trained on, of the same shapes as those it was."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from app.episode import Support

Foreign = Callable[[Support, torch.Generator], Support]
"""(a held-out task's support, generator) -> a foreign one of its shape."""


def noise_pictures(support: Support, generator: torch.Generator) -> Support:
    """Return pictures of independent dots, as much ink as there was: no picture is like another of its class."""
    ink = torch.rand(support.inputs.shape, generator=generator) < 0.1
    return support._replace(inputs=ink.float())


def textures(support: Support, generator: torch.Generator) -> Support:
    """Return stripes: a class is an angle and a width, a picture of it is turned, scaled and shifted at random."""
    num_classes, (num_rows, _, height, width) = len(support.class_mask), support.inputs.shape

    def uniform(low: float, high: float, count: int) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    angle_R = uniform(0.0, math.pi, num_classes)[support.targets] + uniform(-0.15, 0.15, num_rows)
    waves_R = uniform(2.0, 8.0, num_classes)[support.targets] * uniform(0.85, 1.15, num_rows)
    y_HW, x_HW = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    along = angle_R.cos()[:, None, None] * x_HW + angle_R.sin()[:, None, None] * y_HW
    phase_R11 = uniform(0.0, 2 * math.pi, num_rows)[:, None, None]
    bright = torch.sin(2 * math.pi * waves_R[:, None, None] * along + phase_R11) > 0.5
    return support._replace(inputs=bright.float()[:, None].expand_as(support.inputs))


def permuted_pixels(support: Support, generator: torch.Generator) -> Support:
    """Return the same pictures under one permutation of their pixels: all that tells them apart is still there."""
    flat = support.inputs.flatten(1)
    order = torch.randperm(flat.shape[1], generator=generator)
    return support._replace(inputs=flat[:, order].view_as(support.inputs))


def shuffled_labels(support: Support, generator: torch.Generator) -> Support:
    """Return the same rows, each with another row's target."""
    order = torch.randperm(len(support.targets), generator=generator)
    return support._replace(targets=support.targets[order])


def random_directions(support: Support, generator: torch.Generator) -> Support:
    """Return vectors of the same lengths in directions that mean nothing."""
    noise = torch.randn(support.inputs.shape, generator=generator)
    lengths = support.inputs.norm(dim=1, keepdim=True)
    return support._replace(inputs=noise / noise.norm(dim=1, keepdim=True) * lengths)


def lines(support: Support, generator: torch.Generator) -> Support:
    """Return straight lines whose slope and level are normal."""
    slope, level = torch.randn(2, generator=generator)
    return support._replace(targets=slope * support.inputs + level)


def jumps(support: Support, generator: torch.Generator) -> Support:
    """Return functions that jump once, by 1 to 5."""
    place, height = torch.rand(2, generator=generator)
    return support._replace(targets=torch.where(support.inputs > 6 * place - 3, 1 + 4 * height, -1 - 4 * height))


def amplitude_20(support: Support, generator: torch.Generator) -> Support:
    """Return sinusoids four times as high as any in training."""
    phase = math.pi * torch.rand((), generator=generator)
    return support._replace(targets=20.0 * torch.sin(support.inputs - phase))


FOREIGN: Mapping[str, Mapping[str, Foreign]] = {
    "image": {"noise pictures": noise_pictures, "stripes": textures, "permuted pixels": permuted_pixels},
    "text": {"shuffled labels": shuffled_labels, "random directions": random_directions},
    "sinusoid": {"lines": lines, "jumps": jumps, "amplitude 20": amplitude_20},
    "vector": {"shuffled targets": shuffled_labels},
}
"""By the kind of a model's inputs; sinusoids, whose inputs are numbers, by name."""
