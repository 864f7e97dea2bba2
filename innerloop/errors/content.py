"""Define the errors of requests that were read and whose content is refused."""
# ruff: noqa: D101 -- title and remedy say what a docstring would

from innerloop.errors.root import ServiceError


class InvalidContent(ServiceError):
    pass


class InvalidRequest(InvalidContent):
    code = "invalid-request"
    title = "A field is missing, unknown or of the wrong type"
    remedy = "`errors` names each field. Numbers are not taken as strings, nor booleans as numbers."


class InvalidId(InvalidContent):
    code = "invalid-id"
    title = "An id or a name has characters it may not have"
    remedy = "Ids and names are 1 to 64 of A-Z a-z 0-9 _ and -; a model may be followed by @ and a version."


class ModelMismatch(InvalidContent):
    code = "model-mismatch"
    title = "The task belongs to another model"
    remedy = "Append under the model that the task has, or adapt without append to move the task."


class IdempotencyKeyReused(InvalidContent):
    code = "idempotency-key-reused"
    title = "This Idempotency-Key came with another body before"
    remedy = "Make a new key for new work; a key is only for sending the very same request again."


class Diverged(InvalidContent):
    code = "diverged"
    title = "Adaptation became non-finite; nothing was stored"
    remedy = "Take fewer steps or a lower rate, or keep the best finite step with on_divergence best."


class TrainingDiverged(InvalidContent):
    code = "training-diverged"
    title = "Meta-training became non-finite; the model in use stays"
    remedy = "Lower the meta-learning rate or the inner rate, clip the gradient, or scale the data; then start anew."


class SupportNotStored(InvalidContent):
    code = "support-not-stored"
    title = "The support rows of this revision are not stored"
    remedy = (
        "It was adapted with store_support false and its weights alone are kept. Send all of the rows to POST /adapt."
    )


class SupportNeeded(InvalidContent):
    code = "support-needed"
    title = "Revisions of this model are stored as their support rows"
    remedy = "Leave store_support out, or have the model's authority set to weights with POST /models/{name}/authority."


class TextNotAvailable(InvalidContent):
    code = "text-not-available"
    title = "The service has no encoder for sentences"
    remedy = "Send each sentence's embedding as a list of numbers, or have the operator install the encoder."


class InvalidRows(InvalidContent):
    pass


class EmptySupport(InvalidRows):
    code = "empty-support"
    title = "The support has no rows"
    remedy = "Send at least one row of inputs and its target."


class InvalidPicture(InvalidRows):
    code = "invalid-picture"
    title = "An input is not a picture that can be read"
    remedy = "Send a whole PNG or JPEG file, base64 encoded, or numbers of the model's shape in 0..1."


class InvalidTargets(InvalidRows):
    code = "invalid-targets"
    title = "The targets are of the wrong kind"
    remedy = "Regression takes numbers. Classification takes all strings or all integers, never both."


class InvalidText(InvalidRows):
    code = "invalid-text"
    title = "An input is not a sentence that can be read"
    remedy = "Send text with words in it, to a model whose input.kind at GET /models/{name} is text."


class NonFiniteOutputs(InvalidRows):
    code = "non-finite-outputs"
    title = "The model's outputs for these inputs are not finite"
    remedy = "The inputs are far from what the model can take. Check their units and scale."


class NotFinite(InvalidRows):
    code = "not-finite"
    title = "A number is NaN, infinite or too large for float32"
    remedy = "Replace or drop the rows that have no finite value; the detail names the first of them."


class ShapeMismatch(InvalidRows):
    code = "shape-mismatch"
    title = "Rows do not have the model's shape"
    remedy = "Compare with input.shape and output.shape at GET /models/{name}; each input needs one target."


class TooFewClasses(InvalidRows):
    code = "too-few-classes"
    title = "The support has too few classes"
    remedy = "Send rows of at least two classes."


class TooManyClasses(InvalidRows):
    code = "too-many-classes"
    title = "The support has more classes than the model can hold"
    remedy = "Send fewer classes, or take a model with a larger output.shape; GET /limits has the overall cap."


class UnknownClass(InvalidRows):
    code = "unknown-class"
    title = "The validation names a class that the support lacks"
    remedy = "Add support rows of that class, or leave its rows out of the validation."


class InvalidSetting(InvalidContent):
    pass


class SettingNotSupported(InvalidSetting):
    code = "setting-not-supported"
    title = "The model's learner has no such setting"
    remedy = "Leave the setting out. On learned rates use learning_rate_scale instead of learning_rate."


class SettingOutOfRange(InvalidSetting):
    code = "setting-out-of-range"
    title = "A setting is outside its range"
    remedy = "Rates are above 0 and at most what GET /limits says."


class StepsOverLimit(InvalidSetting):
    code = "steps-over-limit"
    title = "More steps than allowed"
    remedy = "Stay at or below max_steps of the model version and of GET /limits."


class InvalidData(InvalidContent):
    pass


class InvalidArchive(InvalidData):
    code = "invalid-archive"
    title = "The archive cannot be unpacked safely"
    remedy = "Make a plain zip of class folders: relative paths, no links, no password."


class InvalidDataset(InvalidData):
    code = "invalid-dataset"
    title = "The file does not hold what its spec says"
    remedy = "Mend the file or its spec; the detail names the column, row, class or picture that is wrong."


class InvalidWeights(InvalidData):
    code = "invalid-weights"
    title = "The weights do not fit the card they come with"
    remedy = "Compare names, shapes and dtypes with a file from GET /models/{name}/versions/{version}/weights."
