"""Both clients as one fixture."""

import pytest

from tests.innerloop.shells import Shell, awaiting, blocking


@pytest.fixture(params=[blocking, awaiting])
def shell(request: pytest.FixtureRequest) -> Shell:
    chosen: Shell = request.param
    return chosen
