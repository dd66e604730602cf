"""How often one client may ask."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from time import monotonic

# Clients that are remembered at a time; those that have not asked for long are forgotten first.
_MOST_CLIENTS = 10_000
# Minutes' worth of requests that may come at once.
_BURST = 0.2


class Rate:
    """So many requests a minute of each client, a fifth of them at once.

    The generic cell rate algorithm (ITU-T I.371): of each client one number is kept, when its allowance is whole again.

    Args:
        a_minute: requests; 0 for any number.
        clock: seconds.
    """

    def __init__(self, a_minute: float, clock: Callable[[], float] = monotonic) -> None:
        self._interval = 60.0 / a_minute if a_minute else 0.0
        self._tolerance = max(_BURST * a_minute - 1.0, 0.0) * self._interval
        self._clock = clock
        self._whole_at: dict[str, float] = {}

    def wait(self, client: str) -> float:
        """Seconds until the client may ask; 0 where it may now, which counts.

        >>> now = [0.0]
        >>> rate = Rate(10.0, lambda: now[0])
        >>> [rate.wait("a") for _ in range(3)], rate.wait("b")
        ([0.0, 0.0, 6.0], 0.0)
        """
        if not self._interval:
            return 0.0
        now, network = self._clock(), _network(client)
        whole_at = max(self._whole_at.get(network, now), now)
        if whole_at - now > self._tolerance:
            return whole_at - now - self._tolerance
        self._whole_at[network] = whole_at + self._interval
        if len(self._whole_at) > _MOST_CLIENTS:
            self._forget(now)
        return 0.0

    def _forget(self, now: float) -> None:
        """Those whose allowance is whole; and where none is, those that are nearest to it."""
        latest = sorted(self._whole_at.items(), key=lambda one: one[1])[_MOST_CLIENTS // 2 :]
        self._whole_at = {client: at for client, at in latest if at > now}


def _network(client: str) -> str:
    """An address of IPv6 is one of 2^64 that a client has."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    return client if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))
