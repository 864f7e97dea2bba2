"""The Open Inference Protocol V2 with its binary tensors: a task is a model, a revision is its version."""
