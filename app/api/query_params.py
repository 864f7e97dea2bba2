"""Query parameters that are not known: refused, since one that is misspelt would change what is asked for."""

from collections.abc import Collection

from fastapi import Request

from innerloop.errors import InvalidRequest

MOST_SHOWN = 64


def refuse_unknown(request: Request, known: Collection[str]) -> None:
    """Raise InvalidRequest for a query parameter that is not among those known."""
    for name in request.query_params:
        if name not in known:
            said = f"the query parameters here are {', '.join(sorted(known))}" if known else "there are none here"
            raise InvalidRequest(f"the query parameter {name[:MOST_SHOWN]!r} is not known; {said}")
