"""Output that nobody reads any more, such as that of ``asd train ... | head``, ends no work that takes hours."""

from __future__ import annotations

import io
import os
import sys


class _Unread(io.FileIO):
    """A file of which what is written is dropped once its reader has closed it."""

    def write(self, data: object) -> int:
        """Write, or from the first failure on drop, ``data``."""
        try:
            return super().write(data)  # type: ignore[arg-type]
        except BrokenPipeError:
            # Whoever writes to the same descriptor in another way is spared too, such as a process that is started.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(data)  # type: ignore[arg-type]


def outlive_readers() -> None:
    """Let this process go on where the readers of its output and its messages have gone.

    The library that draws tables and progress would otherwise end the process, as if the user had.
    """
    sys.stdout, sys.stderr = map(_outliving, (sys.stdout, sys.stderr))


def _outliving(stream: object) -> io.TextIOWrapper:
    if not isinstance(stream, io.TextIOWrapper) or stream.isatty():
        return stream  # type: ignore[return-value]
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Unread(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=True,
    )
