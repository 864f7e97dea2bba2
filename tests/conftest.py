"""What holds for all tests: shapes are checked, and torch takes one core."""

import torch
from jaxtyping import install_import_hook

install_import_hook(["app.learners", "app.networks", "app.task_distributions"], "beartype.beartype")
torch.set_num_threads(1)  # two threads on cores that others use too spin: one file here took 208 s in place of 16
