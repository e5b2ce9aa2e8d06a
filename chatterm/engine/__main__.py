"""`python -m chatterm.engine`: the engine's process, started by the client with a private pipe.

Its standard input and output are the pipe. They are moved out of the way before llama_cpp is
imported, so that whatever native code reads or prints there goes to the log instead.
"""

from __future__ import annotations

import os
import signal
import sys


def _take_pipe() -> tuple[int, int]:
    """Private descriptors of the pipe; 0 becomes empty and 1 the log, which is 2."""
    commands, events = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    if sys.platform == "win32":
        import msvcrt

        for descriptor in (commands, events):
            msvcrt.setmode(descriptor, os.O_BINARY)
    return commands, events


def main() -> None:
    """Serve until the pipe closes."""
    # Ctrl+C in the terminal reaches the whole process group; only the client decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    commands, events = _take_pipe()
    # Without it, a failed assertion in ggml starts a debugger to print where.
    os.environ["GGML_NO_BACKTRACE"] = "1"
    from chatterm.engine.worker import serve

    serve(os.fdopen(commands, "rb"), os.fdopen(events, "wb"))


if __name__ == "__main__":
    main()
