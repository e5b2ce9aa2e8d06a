"""Standard output and standard error, and what becomes of a write to them that fails.

The invariant: the first failure of standard output is one OutputError, whoever wrote, and after it
nothing more is written, also not what is still buffered when the program ends. What cannot be said
on standard error is dropped: it is no reason to end.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO

import msgspec

from chatterm.errors import OutputError


def guard() -> None:
    """Make the invariant hold from here on. Raises OutputError when standard output is closed."""
    sys.stderr = _guarded(sys.stderr, told=False)
    if sys.stdout is None:
        raise OutputError("Standard output is closed.", "Leave it open, or send it to a file.")
    sys.stdout = _guarded(sys.stdout, told=True)


def write_json(value: Any) -> None:
    """Write a line of JSON, which is UTF-8 in every locale."""
    sys.stdout.flush()
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


class _Guarded(io.RawIOBase):
    """The bytes of a standard stream. `told`: its first failure is raised as an OutputError."""

    def __init__(self, raw: Any, told: bool) -> None:
        self._raw = raw
        self._told = told
        self._failed = False

    def write(self, data: Any) -> int | None:
        if not self._failed:
            try:
                written: int | None = self._raw.write(data)
            except OSError as error:
                self._failed = True
                if self._told:
                    reason = error.strerror or error
                    raise OutputError(f"Standard output cannot be written: {reason}.") from error
            else:
                return written
        return len(data)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return bool(self._raw.isatty())

    def fileno(self) -> int:
        return int(self._raw.fileno())


def _guarded(stream: TextIO | None, told: bool) -> TextIO:
    raw: Any
    if stream is None:
        raw, encoding = io.FileIO(os.devnull, "w"), "utf-8"
    else:
        # A stream without a buffer (python -u) has its raw stream in that place.
        raw, encoding = getattr(stream.buffer, "raw", stream.buffer), stream.encoding
    return io.TextIOWrapper(
        io.BufferedWriter(_Guarded(raw, told)),
        encoding=encoding,
        errors="replace",
        line_buffering=raw.isatty() or not told,
    )
