"""What a page may do, said to the browser in the page's head: the last line of defence, should a name become markup."""

from __future__ import annotations

import base64
import hashlib


def content_policy(script: str, style: str) -> str:
    """A Content-Security-Policy for a page that carries everything with it: this script and this style alone."""
    return (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
