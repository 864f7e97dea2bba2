"""How often, and how many at a time, a tenant may ask: what keeps one from using up what is everybody's."""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

from innerloop.errors import RateLimited, TooManyAtOnce

POLICY = b"ratelimit-policy"
REMAINING = b"ratelimit"
LEAST_RETRY_SECONDS = 1.0


class Rates(NamedTuple):
    """What each tenant may do; 0 is no limit."""

    requests_per_second: float
    burst_requests: int
    """How many may come at once after a while of silence; at least 1 where there is a rate."""
    requests_at_once: int
    """How many may be under way."""


class _Tenant:
    __slots__ = ("at_once", "filled", "tokens")

    def __init__(self, tokens: float, now: float) -> None:
        self.tokens, self.filled, self.at_once = tokens, now, 0


class Slot:
    """A request of a tenant's that was let in; `leave` when it is answered."""

    __slots__ = ("_tenant",)

    def __init__(self, tenant: _Tenant) -> None:
        self._tenant = tenant

    def leave(self) -> None:
        """Say that the request was answered; once."""
        self._tenant.at_once -= 1


class TenantLimits:
    """A token bucket and a count of requests under way for each tenant; for the event loop alone.

    Headers are those of the IETF's draft-ietf-httpapi-ratelimit-headers.
    """

    def __init__(self, rates: Rates, clock: Callable[[], float] = time.monotonic) -> None:
        self._rates, self._clock = rates, clock
        self._tenants: dict[str, _Tenant] = {}
        policies = []
        if rates.requests_per_second:
            window = math.ceil(rates.burst_requests / rates.requests_per_second)
            policies.append(f'"rate";q={rates.burst_requests};w={window}')
        if rates.requests_at_once:
            policies.append(f'"at-once";q={rates.requests_at_once};qu="concurrent-requests"')
        self._policy = ", ".join(policies).encode()

    def enter(self, tenant: str) -> Slot:
        """Let a request in; RateLimited, TooManyAtOnce."""
        rates, ours = self._rates, self._of(tenant)
        if rates.requests_at_once and ours.at_once >= rates.requests_at_once:
            raise TooManyAtOnce(
                f"{ours.at_once} of your requests are under way; at most {rates.requests_at_once} may",
                retry_after_seconds=LEAST_RETRY_SECONDS,
            )
        if rates.requests_per_second:
            now = self._clock()
            grown = ours.tokens + (now - ours.filled) * rates.requests_per_second
            ours.tokens, ours.filled = min(float(rates.burst_requests), grown), now
            if ours.tokens < 1:
                raise RateLimited(
                    f"you may send {rates.requests_per_second:g} requests a second, {rates.burst_requests} at once "
                    "after a pause",
                    retry_after_seconds=max(LEAST_RETRY_SECONDS, (1 - ours.tokens) / rates.requests_per_second),
                )
            ours.tokens -= 1
        ours.at_once += 1
        return Slot(ours)

    def headers(self, tenant: str) -> list[tuple[bytes, bytes]]:
        """Return what an answer to a tenant says of the limits and of what is left of them."""
        if not self._policy:
            return []
        ours, left, rates = self._of(tenant), [], self._rates
        if rates.requests_per_second:
            seconds = math.ceil((rates.burst_requests - ours.tokens) / rates.requests_per_second)
            left.append(f'"rate";r={int(ours.tokens)};t={seconds}')
        if rates.requests_at_once:
            left.append(f'"at-once";r={rates.requests_at_once - ours.at_once}')
        return [(POLICY, self._policy), (REMAINING, ", ".join(left).encode())]

    def _of(self, tenant: str) -> _Tenant:
        ours = self._tenants.get(tenant)
        if ours is None:
            ours = self._tenants[tenant] = _Tenant(self._rates.burst_requests, self._clock())
        return ours
