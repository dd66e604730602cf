"""One HTTP request, tried again for as long as that makes sense."""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import requests
import urllib3

from asd_lightning import __version__
from asd_lightning.errors import UserError
from asd_lightning.foreign_files import JSON_BYTES, ForeignFileError, parse_json
from asd_lightning.plain_text import without_credentials

TIMEOUT_SECONDS = (15.0, 60.0)  # to connect, and between two pieces of the answer
_PIECE_BYTES = 1 << 14
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_OBJECT = re.compile(r"^(<[^>]*>|\w+\([^)]*\)): ")


class PassingError(Exception):
    """A fault that may be gone at the next try; ``wait_seconds`` is what the server asked for, if it did."""

    def __init__(self, message: str, wait_seconds: float | None = None) -> None:
        super().__init__(without_credentials(message))
        self.wait_seconds = wait_seconds


class SlowError(PassingError):
    """The answer comes too slowly; it is given up although some of it has arrived."""


class GaveUpError(UserError):
    """All tries have failed: the server cannot be reached from here, or not now."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often and after what pause to try again, and how slow an answer may be.

    ``tries`` counts tries in a row that bring nothing new. The pause doubles from ``first_pause_seconds`` up to
    ``longest_pause_seconds``; a server's own Retry-After goes first, up to ``longest_server_pause_seconds``.  An answer
    that brings less than ``least_bytes_per_second`` over ``patience_seconds`` is a fault.
    """

    tries: int = 8
    first_pause_seconds: float = 1.0
    longest_pause_seconds: float = 60.0
    longest_server_pause_seconds: float = 900.0
    least_bytes_per_second: float = 1000.0
    patience_seconds: float = 60.0
    sleep: Callable[[float], object] = time.sleep
    tell: Callable[[str], object] = lambda _: None  # what a person who waits should read

    def pause(self, fault: PassingError, failures: int) -> None:
        """Wait after the ``failures``-th fault in a row (counted from 1).

        Raises:
            UserError: that was the last try, or the server asks for a longer wait than is sensible.
        """
        if failures >= self.tries:
            raise GaveUpError(f"{fault} (gave up after {failures} tries; run the same command again to go on)")
        seconds = min(self.first_pause_seconds * 2 ** (failures - 1), self.longest_pause_seconds)
        if fault.wait_seconds is not None:
            if fault.wait_seconds > self.longest_server_pause_seconds:
                raise UserError(
                    f"{fault}; the server asks to wait {fault.wait_seconds:.0f} s: run the command again then"
                )
            seconds = max(fault.wait_seconds, 0.0)
        self.tell(f"{fault}: trying again in {seconds:.0f} s")
        self.sleep(seconds)


def new_session() -> requests.Session:
    """A session that says who asks; proxies come from the environment (HTTP_PROXY, HTTPS_PROXY, NO_PROXY)."""
    session = requests.Session()
    session.headers["User-Agent"] = f"asd_lightning/{__version__}"
    # Byte offsets must count the file's own bytes, not those of a compressed transfer.
    session.headers["Accept-Encoding"] = "identity"
    return session


def check_status(
    response: requests.Response, advice: str = "check the address, or name another server with --mirror"
) -> None:
    """Pass a good answer; ``advice`` ends the message of a final refusal.

    Raises:
        PassingError: worth another try (429, 5xx, time-outs), with the server's Retry-After.
        UserError: final (not found, forbidden).
    """
    if response.ok:
        return
    what = f"{response.url} answered {response.status_code} {response.reason}"
    if response.status_code in _PASSING:
        raise PassingError(what, _retry_after_seconds(response.headers.get("Retry-After")))
    raise UserError(f"{what}: {advice}")


def refuse_downgrade(
    url: str, answered: str, advice: str = "check the address, or name another server with --mirror"
) -> None:
    """Raise UserError where ``answered``, to which ``url`` was redirected, is unencrypted and ``url`` was not."""
    if url.startswith("https://") and not answered.startswith("https://"):
        raise UserError(f"{url} redirects to the unencrypted {answered}: refused; {advice}")


def pieces(response: requests.Response, policy: RetryPolicy) -> Iterator[bytes]:
    """The bytes of an answer as soon as they arrive, in pieces of any length, so that a slow answer is noticed.

    Raises:
        PassingError: the connection broke.
        SlowError: too little arrives, see ``policy``.
    """
    began, arrived = time.monotonic(), 0
    while piece := _piece(response):
        yield piece
        arrived, seconds = arrived + len(piece), time.monotonic() - began
        if seconds < policy.patience_seconds:
            continue
        if arrived < policy.least_bytes_per_second * seconds:
            raise SlowError(f"{response.url} sends {arrived / seconds:.0f} bytes a second, too few to go on")
        began, arrived = time.monotonic(), 0


def _piece(response: requests.Response) -> bytes:
    try:
        return bytes(response.raw.read1(_PIECE_BYTES, decode_content=True) or b"")
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise PassingError(f"the connection to {response.url} broke ({error})") from error


def get_json(session: requests.Session, url: str, policy: RetryPolicy) -> Any:
    """The JSON document at ``url``.

    Raises:
        UserError: final refusal, out of tries, or the answer is not JSON, or too much of it.
    """
    failures = 0
    while True:
        try:
            return _get_json_once(session, url, policy)
        except PassingError as fault:
            failures += 1
            policy.pause(fault, failures)


def _get_json_once(session: requests.Session, url: str, policy: RetryPolicy) -> Any:
    content = bytearray()
    try:
        with session.get(url, timeout=TIMEOUT_SECONDS, headers={"Accept": "application/json"}, stream=True) as response:
            refuse_downgrade(url, response.url)
            check_status(response)
            for piece in pieces(response, policy):
                content += piece
                if len(content) > JSON_BYTES:
                    break
        return parse_json(bytes(content), url)
    except ForeignFileError as error:
        raise UserError(
            f"{url} did not answer with JSON: is this the address of a record server? ({error.reason})"
        ) from error
    except requests.exceptions.RequestException as error:
        raise passing_or_final(error, url) from error


def passing_or_final(error: requests.exceptions.RequestException, url: str) -> PassingError | UserError:
    """The error for a failed request: final for a malformed address, passing for a broken connection."""
    malformed = (
        requests.exceptions.MissingSchema,
        requests.exceptions.InvalidSchema,
        requests.exceptions.InvalidURL,
        requests.exceptions.TooManyRedirects,
    )
    if isinstance(error, malformed):
        return UserError(f"cannot read {url}: {error}; give an address that starts with http:// or https://")
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    # Without the names of the objects that the fault went through.
    cause = _OBJECT.sub("", str(reason or error))
    if "CERTIFICATE_VERIFY_FAILED" in cause:
        return UserError(f"{url}: {cause}; a proxy's own certificate is named with REQUESTS_CA_BUNDLE")
    if reason is not None:
        return PassingError(f"no connection to {url} ({cause}); is there a network, or a proxy to name (HTTPS_PROXY)?")
    return PassingError(f"the connection to {url} broke ({cause})")


def _retry_after_seconds(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which holds a number or a date; None where it holds neither."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        when = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max((when - datetime.now(UTC)).total_seconds(), 0.0)
