"""The C side of the engine: llama.cpp's functions as the hot path calls them, its log, its abort.

llama_cpp's own wrappers build ctypes objects for every pointer that they return; `function` gives
a second prototype of the same symbol, in plain integers, and leaves theirs alone.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from typing import Any

import llama_cpp.llama_cpp as llama

_DEBUG, _ERROR = 1, 4  # of ggml_log_level


def function(name: str, restype: Any, *argtypes: Any) -> Callable[..., Any]:
    """The function `name` of llama.cpp or ggml; where a `c_void_p` is given it takes an integer."""
    return _typed(_symbol(name), restype, argtypes)


def quick_function(name: str, restype: Any, *argtypes: Any) -> Callable[..., Any]:
    """`function` for what takes microseconds: it keeps the interpreter's lock, which is cheaper."""
    library = ctypes.PyDLL(llama._lib._name, handle=llama._lib._handle)
    return _typed(library[name], restype, argtypes)


def _typed(pointer: Any, restype: Any, argtypes: tuple[Any, ...]) -> Callable[..., Any]:
    pointer.restype = restype
    pointer.argtypes = argtypes
    return pointer  # type: ignore[no-any-return]


def _symbol(name: str) -> Any:
    if sys.platform == "win32" and name.startswith("ggml_"):
        # Windows finds no symbol through the library that depends on it. These are loaded already.
        for library in (ctypes.CDLL("ggml.dll"), ctypes.CDLL("ggml-base.dll")):
            if hasattr(library, name):
                return library[name]
    return llama._lib[name]


class StopFlag:
    """One flag that Python sets and llama.cpp's abort callback reads.

    The callback is called for every node of the compute graph. It is the C library's `strlen`
    over a one-character buffer, so it needs no interpreter, and neither holds up nor waits for
    the engine's other threads.
    """

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(2)

    def set(self) -> None:
        """From now on the flag is true; there is no way back."""
        self._buffer[0] = b"x"

    def __bool__(self) -> bool:
        return self._buffer[0] != b"\0"

    def watch(self, context: int) -> None:
        """Make `context` abort its decode when this flag is set, until another flag watches.

        The flag must live until then.
        """
        data = ctypes.cast(self._buffer, ctypes.c_void_p)
        llama.llama_set_abort_callback(context, _strlen(), data)


def _strlen() -> Any:
    library = ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)
    return ctypes.cast(library.strlen, llama.ggml_abort_callback)


class _Log:
    """llama.cpp's log: all but its debug lines to file descriptor 2; errors kept for a while."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def __call__(self, level: int, text: bytes | None, _data: Any) -> None:
        if level == _DEBUG or not text:
            return
        os.write(2, text)
        if level == _ERROR:
            self.errors.append(text.decode("utf-8", "replace").strip())


_log = _Log()
# llama.cpp keeps this pointer for as long as it lives; a collected callback would be a crash.
_log_callback = llama.llama_log_callback(_log)


def log_to_stderr() -> None:
    """Send llama.cpp's log to file descriptor 2, without its debug lines."""
    llama.llama_log_set(_log_callback, ctypes.c_void_p(None))


def take_errors() -> list[str]:
    """The errors that llama.cpp logged since the last call."""
    errors, _log.errors = _log.errors, []
    return errors
