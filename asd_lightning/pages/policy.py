"""What a page may do, said to the browser in the page's head: the last line of defence, should a name become markup."""

from __future__ import annotations

import base64
import hashlib


def content_policy(script: str = "") -> str:
    """A Content-Security-Policy for a page that carries everything with it and runs ``script`` alone.

    Styles are allowed wherever they are, as swatches have theirs in attributes, which no hash covers: with nothing to
    load from anywhere, a style cannot tell anybody anything.
    """
    scripts = f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" if script else "'none'"
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data:; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
