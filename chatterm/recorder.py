"""Keeps the reply that is being written safe in the store.

The invariant: what was given to `add` is stored at most SAVE_S later, or is kept and tried again
until it is; a newer value of a message is never overwritten by an older one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType

from chatterm.chat.message import Message
from chatterm.errors import StoreError
from chatterm.store import Store

SAVE_S = 0.5
NO_PIECES: Mapping[int, bytes] = MappingProxyType({})


class Recorder:
    """Stores a growing reply from a thread of its own, so that a slow disk delays nobody."""

    def __init__(self, store: Store, on_problem: Callable[[StoreError], None]) -> None:
        """Failures to store go to `on_problem`, each once, on the recorder's thread."""
        self._store = store
        self._on_problem = on_problem
        self._problem = ""
        self._lock = threading.Lock()
        self._storing = threading.Lock()
        self._message: Message | None = None
        self._records: list[bytes] = []
        self._pieces: dict[int, bytes] = {}
        self._dirty = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def add(
        self, message: Message, records: bytes = b"", pieces: Mapping[int, bytes] = NO_PIECES
    ) -> None:
        """The newest value of the reply, with the token records that are new since the last."""
        with self._lock:
            self._message = message
            if records:
                self._records.append(records)
            self._pieces.update(pieces)
        self._dirty.set()

    def flush(self) -> None:
        """Store now what is not stored yet. Raises StoreError; nothing is lost then."""
        with self._storing:
            with self._lock:
                message, records, pieces = self._message, self._records, self._pieces
                self._message, self._records, self._pieces = None, [], {}
                self._dirty.clear()
            if message is None:
                return
            try:
                self._store.update(message, b"".join(records), pieces)
            except StoreError:
                with self._lock:
                    self._message = self._message or message
                    self._records = records + self._records
                    self._pieces = pieces | self._pieces
                raise

    def close(self) -> None:
        """Store what is left and end. Raises StoreError."""
        self._closing.set()
        self._dirty.set()
        self._thread.join()
        self.flush()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._dirty.wait()
            self._closing.wait(SAVE_S)
            try:
                self.flush()
                self._problem = ""
            except StoreError as error:
                self._dirty.set()
                if str(error) != self._problem:
                    self._problem = str(error)
                    self._on_problem(error)
