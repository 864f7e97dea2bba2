"""Define the errors of requests whose form alone is wrong: unreadable, too large, of another kind."""
# ruff: noqa: D101 -- title and remedy say what a docstring would

from innerloop.errors.root import ServiceError


class MalformedRequest(ServiceError):
    pass


class BadRequest(MalformedRequest):
    code = "bad-request"
    title = "The request cannot be read"
    remedy = "A header, a query parameter or the body is not well-formed. Compare with GET /openapi.json."


class InvalidIdempotencyKey(MalformedRequest):
    code = "invalid-idempotency-key"
    title = "The Idempotency-Key header is not usable"
    remedy = "Send 1 to 255 printable ASCII characters, a new key for each new piece of work, such as a UUID."


class NotJson(MalformedRequest):
    code = "not-json"
    title = "The body is not JSON"
    remedy = "Send one JSON document in UTF-8 with Content-Type: application/json."


class NotSafetensors(MalformedRequest):
    code = "not-safetensors"
    title = "The body is not a safetensors file"
    remedy = "Send the whole file as safetensors wrote it, with Content-Type: application/vnd.safetensors."


class MethodNotAllowed(ServiceError):
    code = "method-not-allowed"
    title = "The path does not take this method"
    remedy = "The Allow header names the methods that it takes."


class TooLarge(ServiceError):
    pass


class BodyTooLarge(TooLarge):
    code = "body-too-large"
    title = "The body has too many bytes"
    remedy = "Stay below max_body_bytes of GET /limits; predict in several requests."


class DatasetTooLarge(TooLarge):
    code = "dataset-too-large"
    title = "The data set has too many rows, bytes or files"
    remedy = "Stay within max_dataset_rows, max_dataset_bytes and max_archive_entries of GET /limits, once unpacked."


class PictureTooLarge(TooLarge):
    code = "picture-too-large"
    title = "A picture has too many pixels"
    remedy = "Scale it down below max_picture_pixels of GET /limits; models see far fewer anyway."


class TextTooLong(TooLarge):
    code = "text-too-long"
    title = "A sentence has too many characters"
    remedy = "Stay within max_text_chars of GET /limits; an encoder looks at the beginning of a long text alone."


class TooManyRows(TooLarge):
    code = "too-many-rows"
    title = "Too many rows"
    remedy = "Stay within max_support_rows and max_query_rows of GET /limits; predict in several requests."


class TooManyRequestsInBatch(TooLarge):
    code = "too-many-requests-in-batch"
    title = "Too many requests in one"
    remedy = "Stay within max_batch_requests of GET /limits; send several batches."


class UnsupportedMediaType(ServiceError):
    code = "unsupported-media-type"
    title = "The body's media type is not taken"
    remedy = "Send the Content-Type that the detail names; it is application/json almost everywhere."
