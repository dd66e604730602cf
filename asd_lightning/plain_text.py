"""Text from the names of folders and files: it is shown as it is and never taken for markup."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING
from unicodedata import category, normalize

if TYPE_CHECKING:
    from rich.text import Text

_MARKS = re.compile(r"[\\\\|`*<>\[\]&$~]|(?<!\w)_|_(?!\w)")


# Control characters, and what ends a line or a paragraph: they break tables, and a terminal obeys some of them.
_CONTROL = frozenset({"Cc", "Zl", "Zp"})

# One slash is left where an address was taken for a path.
_SCHEME = r"\b[A-Za-z][A-Za-z0-9+.-]+:/{1,2}"
_LOGIN = re.compile(rf"""({_SCHEME})[^\s/?#'"]*@""")
_QUERY = re.compile(rf"""({_SCHEME}[^\s?'"]*)\?[^\s'"]+""")
_SECRET = r"(?:\w*_)?(?:api_?key|access_?key|token|password|passwd|secret|credentials?)"
_SECRET_KEY = re.compile(_SECRET, re.IGNORECASE)
# A reference to the environment says nothing.
_SECRET_SETTING = re.compile(rf"""(\b{_SECRET}['"]?(?:=|:[ ]*)['"]?)(?!null\b|\$\{{)[^\s'",}}\]]+""", re.IGNORECASE)
HIDDEN = "***"
"""In place of a secret."""


def is_text(value: str) -> bool:
    """Whether ``value`` can be written: an escape may spell half a character."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def without_credentials(text: str) -> str:
    """``text``, its addresses less their user, password and query: what is stored and printed is passed on."""
    return _QUERY.sub(r"\1", _LOGIN.sub(r"\1", text))


def is_secret(key: str) -> bool:
    """Whether a setting of that name opens somebody's door, such as ``api_key``."""
    return _SECRET_KEY.fullmatch(key) is not None


def without_secrets(text: str) -> str:
    """YAML, or overrides in it, without credentials in addresses and without the values of secret settings.

    >>> without_secrets("- +logger.comet.api_key=abc")
    '- +logger.comet.api_key=***'
    """
    return _SECRET_SETTING.sub(rf"\1{HIDDEN}", without_credentials(text))


def did_you_mean(word: str, words: Sequence[str]) -> str:
    """For the end of a message about ``word``: which of ``words`` was probably meant, "" where none is near."""
    found = get_close_matches(word, words, n=1)
    return f" (did you mean {found[0]}?)" if found else ""


def has_control(text: str) -> bool:
    """Whether ``text`` holds a control character or a line break of any kind."""
    return any(category(char) in _CONTROL for char in text)


def is_name(text: str) -> bool:
    """Whether ``text`` can name one file or folder: no separator, no control character, neither ``.`` nor ``..``."""
    return text not in ("", ".", "..") and not has_control(text) and "/" not in text and os.sep not in text


def composed(text: str) -> str:
    """``text`` in the normal form that tables are written in: some systems and programs take ``ü`` apart."""
    return normalize("NFC", text)


def natural_order(text: str) -> tuple[tuple[object, ...], str]:
    """Key that sorts names as people count: numbers in them by their value, letters whatever their case.

    >>> sorted(["system10", "System2", "system1"], key=natural_order)
    ['system1', 'System2', 'system10']
    """
    # Every second part is a number, so that like is compared with like.  Of two numbers the one of more digits is the
    # larger; a name may have more of them than int() reads.
    parts = re.split(r"0*([0-9]+)", text)
    return tuple((len(part), part) if place % 2 else part.lower() for place, part in enumerate(parts)), text


def file_name(text: str) -> str:
    """A name as the file system gives it, as text: UTF-8 whatever the locale, and `composed`.

    What is no UTF-8 keeps the surrogates that stand for its bytes.
    """
    return composed(os.fsencode(text).decode("utf-8", "surrogateescape"))


def printable(text: str) -> str:
    r"""``text`` with control characters, line breaks and bytes that are no UTF-8 spelled out, such as ``\x1b``."""
    return "".join(
        char.encode("unicode_escape").decode() if category(char) in _CONTROL | {"Cs"} else char for char in text
    )


def in_markdown(text: str) -> str:
    """``text`` in one line of Markdown, a cell of a table too, without meaning anything there."""
    return _MARKS.sub(r"\\\g<0>", printable(text))


def on_terminal(text: str) -> Text:
    """``text`` for a table or line of rich, which reads markup in a plain string."""
    from rich.text import Text

    return Text(printable(text))
