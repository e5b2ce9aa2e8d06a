"""A program in a pseudo-terminal: what a user's terminal does, and what it was shown."""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from waiting import until

if sys.platform != "win32":
    import fcntl
    import pty
    import termios

_ESCAPE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][A-B0-2]|.)")


class Program:
    """A running program with a data directory of its own. Leave the context to end it."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        columns: int = 120,
        rows: int = 40,
        folder: Path | None = None,
    ) -> None:
        self._temporary = tempfile.TemporaryDirectory()
        self.folder = folder or Path(self._temporary.name)
        self._terminal, theirs = pty.openpty()
        self.resize(columns, rows)
        self._raw = bytearray()
        self._seen = 0
        environment = {
            **os.environ,
            "CHATTERM_DATA_DIR": str(self.folder),
            "CHATTERM_CONFIG_DIR": str(self.folder),
            "CHATTERM_CACHE_DIR": str(self.folder),
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
        }
        self.process = subprocess.Popen(
            list(command),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._drain, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(timeout=5)
        self._temporary.cleanup()

    @property
    def pid(self) -> int:
        """The program's process."""
        return self.process.pid

    @property
    def raw(self) -> bytes:
        """All that the program has written to the terminal."""
        return bytes(self._raw)

    def type(self, keys: str) -> None:
        """Press keys, or send what a terminal sends for them."""
        self._seen = len(self._raw)
        os.write(self._terminal, keys.encode())

    def click(self, column: int, row: int) -> None:
        """Click with the mouse, counted from 1."""
        self.type(f"\x1b[<0;{column};{row}M\x1b[<0;{column};{row}m")

    def wait_for(self, text: str, timeout: float = 30.0) -> None:
        """Wait until `text` is drawn, after the keys that were typed last."""
        wanted = text.encode()
        until(lambda: wanted in _ESCAPE.sub(b"", bytes(self._raw[self._seen :])), timeout)

    def resize(self, columns: int, rows: int) -> None:
        """Give the terminal another size."""
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, size)
        if hasattr(self, "process"):
            self.process.send_signal(signal.SIGWINCH)

    def ended(self, timeout: float = 20.0) -> int:
        """Wait for the program's end; its exit code."""
        return self.process.wait(timeout)

    def _drain(self) -> None:
        try:
            while data := os.read(self._terminal, 65536):
                self._raw += data
        except OSError:
            return  # how the end of a pty is told on Linux
