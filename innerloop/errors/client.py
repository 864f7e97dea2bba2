"""Define the errors that the client raises itself."""
# ruff: noqa: D101 -- title and remedy say what a docstring would

from innerloop.errors.root import ClientError


class TimedOut(ClientError):
    code = "timeout"
    title = "The service did not answer in time"
    remedy = "Give the client a longer timeout, or look at GET /readyz."


class UnexpectedAnswer(ClientError):
    code = "unexpected-answer"
    title = "The answer is not one of this service"
    remedy = "Something else answers at this address, such as a proxy, or the service is of another release."


class Unreachable(ClientError):
    code = "unreachable"
    title = "The service cannot be reached"
    remedy = "Check the address (INNERLOOP_URL) and that the service runs."


class UnreadableFile(ClientError):
    code = "unreadable-file"
    title = "A file cannot be read as rows"
    remedy = "Give JSON, CSV, npz, or folders of PNG and JPEG pictures; the detail names the file and the row."
