"""What a server is told when it starts, and what of that is refused."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from asd_lightning.errors import UserError

# As many samples a second as stereo at 48 kHz has: what a small FLAC file promises to unpack into has an end.
_SAMPLES_A_SECOND = 2 * 48_000


@dataclass(frozen=True)
class Settings:
    """How a detector is served.

    Attributes:
        detector: its file.
        host: address to listen at.
        port: 0 for any that is free.
        token: that requests must bear; "" asks for none.
        journal: of a running ``asd watch``.
        max_megabytes: of one request's body, in 10^6 bytes.
        max_seconds: of sound in one request.
        requests_a_minute: of one client; 0 for any number.
        read_only: nothing is accepted into the detector.
        allow_host: names besides addresses and ``localhost`` that the server is called by.

    Raises:
        UserError: a limit that is none, an address beyond this computer without a token, or a token that no header
            can carry.
    """

    detector: Path
    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    journal: Path | None = None
    max_megabytes: float = 100.0
    max_seconds: float = 600.0
    requests_a_minute: float = 300.0
    read_only: bool = False
    allow_host: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("max_megabytes", "max_seconds"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name):g}: a number above 0 is needed")
        if not 0 <= self.requests_a_minute < float("inf"):
            raise UserError(f"--requests-a-minute {self.requests_a_minute:g}: a number is needed, 0 for any number")
        if not 0 <= self.port < 1 << 16:
            raise UserError(f"--port {self.port}: a number from 0 to 65535 is needed")
        if not all("!" <= sign <= "~" for sign in self.token):
            raise UserError("the token: ASCII letters, digits and signs without spaces are needed")
        if not self.token and not is_loopback(self.host):
            raise UserError(
                f"--host {self.host}: others could reach the detector; give a token too (--token, or better ASD_TOKEN "
                "in the environment)"
            )

    @property
    def most_bytes(self) -> int:
        """Of a body."""
        return int(self.max_megabytes * 1_000_000)

    @property
    def most_samples(self) -> int:
        """Of all channels together."""
        return int(self.max_seconds * _SAMPLES_A_SECOND)

    @property
    def watched(self) -> Path:
        """The journal, by default the one that ``asd watch`` would write."""
        return self.journal or self.detector.with_name(f"{self.detector.name}.journal")


def is_loopback(host: str) -> bool:
    """Whether only this computer can reach the address.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("plant")
    (True, True, False, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
