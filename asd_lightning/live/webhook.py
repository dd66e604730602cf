"""Events posted to an address."""

from __future__ import annotations

import base64
import http.client
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import unquote, urlsplit

from asd_lightning.errors import UserError
from asd_lightning.live.journal import Journal
from asd_lightning.plain_text import has_control, without_credentials


class Webhook:
    """An address that each event is posted to as JSON.

    The header ``Idempotency-Key`` is the event's id: it may come twice where an answer was lost.  An answer that is no
    2xx keeps the event, and those after it, until the receiver takes it.

    Args:
        url: http or https; a user and a password before the host are sent as HTTP's basic authentication.
        seconds: that an answer is waited for.

    Raises:
        UserError: another kind of address.
    """

    def __init__(self, url: str, seconds: float = 10.0) -> None:
        try:
            parts = urlsplit(url)
            known = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
        except ValueError:
            known = False
        if not known or has_control(url) or " " in url:
            raise UserError(f"{without_credentials(url)!s:.200}: an address of http:// or https:// is needed")
        place = parts.netloc.rpartition("@")[2]
        self.url = parts._replace(netloc=place, fragment="").geturl()
        self.seconds = seconds
        self.name = f"webhook:{parts.scheme}://{parts.hostname}:{parts.port or ''}{parts.path}"
        self._headers = {"Content-Type": "application/json"}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"

    def recover(self, journal: Journal) -> None:
        """The receiver knows ids."""

    def deliver(self, line: str) -> None:
        """Post one event.

        Raises:
            OSError: it was not taken.
        """
        headers = {**self._headers, "Idempotency-Key": str(json.loads(line)["id"])}
        request = urllib.request.Request(self.url, line.encode(), headers, method="POST")
        try:
            # Timeouts are kinds of OSError.
            with _OPENER.open(request, timeout=self.seconds) as answer:
                answer.read(1)
        except urllib.error.HTTPError as error:
            error.close()
            raise OSError(f"it answers {error.code} {error.reason}") from error
        except urllib.error.URLError as error:
            raise OSError(
                f"it cannot be reached ({getattr(error.reason, 'strerror', None) or error.reason})"
            ) from error
        except http.client.HTTPException as error:
            raise OSError(f"it does not speak HTTP ({error!r:.200})") from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An event goes to the address that was given and to no other."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)
