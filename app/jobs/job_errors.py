"""What is kept of a job's end when it does not end well; an answer shows it as a problem document."""

from innerloop.errors import InnerloopError, JobCrashed


def kept_error(error: InnerloopError) -> dict[str, str]:
    """Return the code and the sentence of an error; title and status follow from the code."""
    return {"code": error.code, "detail": error.detail}


CRASHED = kept_error(
    JobCrashed("the training process died again and again without progress; its last words are in the worker's log")
)
