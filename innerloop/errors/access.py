"""Define the errors of callers who may not do what they ask for."""
# ruff: noqa: D101 -- title and remedy say what a docstring would

from innerloop.errors.root import ServiceError


class Refused(ServiceError):
    pass


class Unauthorized(Refused):
    code = "unauthorized"
    title = "There is no key, or one that is not known"
    remedy = "Send `Authorization: Bearer KEY` with a key that was made for you and was not revoked."


class ForbiddenScope(Refused):
    code = "forbidden-scope"
    title = "The key does not allow this"
    remedy = "Take a key that has the scope which the detail names."


class ForbiddenTenant(Refused):
    code = "forbidden-tenant"
    title = "This is for keys of the tenant default alone"
    remedy = "Take a key of the tenant default, whose keys are for those who run the service."


class SharedModel(Refused):
    code = "shared-model"
    title = "The model is shared, and not yours to change"
    remedy = "Upload or train a model of your own; under the same name it takes the place of the shared one for you."
