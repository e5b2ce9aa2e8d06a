"""The way to the engine: starts its process, carries commands and events, starts it again.

The invariant: events reach `on_event` one at a time, in order, on one thread, and between an
engine's death and the next engine's Hello there is exactly one Died, after which every run sent
before it is over.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

import msgspec

from chatterm.chat.clean import clean_line
from chatterm.engine import protocol
from chatterm.engine.protocol import Command, Event

GRACE_S = 2.0  # an engine that has not ended a stopped run by then is ended itself
LOG_LIMIT = 1024 * 1024  # bytes, above which the log begins anew, before an engine or after a run
# Without -P a file named like one of our modules in the working directory would be run.
ENGINE = [sys.executable, "-P", "-m", "chatterm.engine"]
_PACKAGE_PARENT = str(Path(__file__).resolve().parent.parent)


class Died(msgspec.Struct, frozen=True, kw_only=True):
    """The engine process has ended. `asked`: it was ended because it did not answer a Stop."""

    title: str
    advice: str
    asked: bool = False


class Client:
    """One engine process at a time, for as long as the client is open."""

    def __init__(self, log: Path, on_event: Callable[[Event | Died], None]) -> None:
        """Start an engine, which logs to the file `log`. Its events go to `on_event`."""
        self._log = log
        self._on_event = on_event
        self._runs = itertools.count(1)
        self._closing = threading.Event()
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0  # where in the log this engine's words begin
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._open: dict[int, None] = {}  # in the order sent: the engine is at work on the first
        self._stopped: set[int] = set()  # those of them that were told to end
        self._greeted = False
        self._timed: int | None = None  # the stopped run whose grace time runs
        self._grace: threading.Timer | None = None
        self._hung = False
        self._thread = threading.Thread(target=self._supervise, name="engine", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """The engine's process, or None between two of them."""
        with self._lock:
            return self._process.pid if self._process else None

    def next_run(self) -> int:
        """A number for a new run."""
        return next(self._runs)

    def send(self, command: Command) -> None:
        """Queue a command. Never blocks; without an engine it waits for the next one.

        Raises EngineError for a command that cannot go over the pipe.
        """
        frame = protocol.frame(command)
        with self._lock:
            if not isinstance(command, protocol.Stop | protocol.Tune | protocol.Pace):
                self._open[command.run] = None
            self._outbox.put(frame)
        self._wanted.set()

    def stop(self, run: int) -> None:
        """Stop a run; an engine that is at work on it and has not ended it in GRACE_S is ended."""
        self.send(protocol.Stop(run=run))
        with self._lock:
            if run in self._open:
                self._stopped.add(run)
                self._mind_grace()

    def close(self) -> None:
        """End the engine, and return when it has ended."""
        self._closing.set()
        self._wanted.set()
        with self._lock:
            self._outbox.put(None)
            self._stopped.clear()
            self._mind_grace()
        self._thread.join(timeout=GRACE_S)
        with self._lock:
            if self._process:
                self._process.kill()
        self._thread.join()

    def _mind_grace(self) -> None:
        """Time the run that the engine is at work on, if it was stopped; with the lock.

        A stopped run that waits behind another is ended when its turn comes, and has time then.
        """
        current = next(iter(self._open), None) if self._greeted else None
        timed = current if current in self._stopped else None
        if timed == self._timed:
            return
        if self._grace:
            self._grace.cancel()
        self._timed, self._grace = timed, None
        if timed is not None:
            self._grace = threading.Timer(GRACE_S, self._end_hung, (timed,))
            self._grace.daemon = True
            self._grace.start()

    def _end_hung(self, run: int) -> None:
        with self._lock:
            if self._process and run == self._timed:
                self._hung = True
                self._process.kill()

    def _supervise(self) -> None:
        while not self._closing.is_set():
            self._wanted.clear()
            if not self._one_process():
                # An engine that cannot even start is tried again only when it is needed.
                self._wanted.wait()

    def _one_process(self) -> bool:
        """Run an engine until it ends; returns whether it ever said Hello."""
        try:
            rotate(self._log)
            self._log_start = self._log.stat().st_size if self._log.exists() else 0
            process = _spawn(self._log)
        except OSError as error:
            self._bury(f"The engine cannot be started: {error.strerror or error}.", "")
            return False
        assert process.stdin
        assert process.stdout
        with self._lock:
            self._process = process
            writer = threading.Thread(
                target=_write_all, args=(process.stdin, self._outbox), daemon=True
            )
        writer.start()
        self._read_all(process.stdout)
        greeted = self._greeted
        if self._closing.is_set():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
        else:
            _let_end(process)
        if process.poll() is None:
            process.kill()
        code = process.wait()
        hung = self._hung
        if not self._closing.is_set():
            reason = "It did not answer Stop." if hung else explain_exit(code)
            said = last_words(self._log, self._log_start)
            self._bury(f"The engine ended. {reason}", said, hung)
        process.stdout.close()
        return greeted

    def _read_all(self, pipe: IO[bytes]) -> None:
        try:
            while (event := protocol.read_event(pipe)) is not None:
                self._note(event)
                self._on_event(event)
        except (OSError, msgspec.MsgspecError) as error:
            with self._log.open("a", encoding="utf-8", errors="replace") as log:
                log.write(f"chatterm: the engine's events cannot be read: {error}\n")

    def _note(self, event: Event) -> None:
        if not isinstance(event, (protocol.Hello, *protocol.LAST)):
            return
        with self._lock:
            self._greeted = True
            self._open.pop(event.run, None)
            self._stopped.discard(event.run)
            self._mind_grace()
        if rotate(self._log):
            self._log_start = 0

    def _bury(self, title: str, said: str, asked: bool = False) -> None:
        with self._lock:
            self._process = None
            self._hung = False
            self._open.clear()
            self._stopped.clear()
            self._greeted = False
            self._mind_grace()
            self._outbox.put(None)
            self._outbox = queue.SimpleQueue()
        advice = f"It said: {said}" if said else f"Its log is {self._log}."
        self._on_event(Died(title=title, advice=advice, asked=asked))


def _spawn(log: Path) -> subprocess.Popen[bytes]:
    paths = [_PACKAGE_PARENT, os.environ.get("PYTHONPATH", "")]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stderr:
        return subprocess.Popen(
            ENGINE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            # Signals that the terminal sends to the program are not for the engine.
            start_new_session=os.name == "posix",
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )


def _write_all(pipe: IO[bytes], outbox: queue.SimpleQueue[bytes | None]) -> None:
    # A dead engine's pipe is of no interest here: the reader notices the death.
    with contextlib.suppress(OSError), pipe:
        while (frame := outbox.get()) is not None:
            pipe.write(frame)
            pipe.flush()


def _let_end(process: subprocess.Popen[bytes]) -> None:
    """Give an engine whose pipe has closed a moment to end by itself, with its exit code."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=0.2)


def rotate(log: Path) -> bool:
    """Begin a log anew that has grown over LOG_LIMIT, with one older beside it; whether it had.

    It is copied and cut, since an engine, this program's or another's, may be writing to its end.
    """
    with contextlib.suppress(OSError):
        if log.stat().st_size > LOG_LIMIT:
            # Without room for the older log there is all the more reason to cut this one.
            with contextlib.suppress(OSError):
                shutil.copyfile(log, log.with_name(log.name + ".1"))
            os.truncate(log, 0)
            return True
    return False


def explain_exit(code: int) -> str:
    """An exit code of the engine in plain words."""
    if code >= 0:
        return f"It exited with code {code}."
    name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
    meaning = {
        "SIGKILL": "It was killed, most likely because memory ran out",
        "SIGSEGV": "It crashed reading memory that is not its own",
        "SIGBUS": "It crashed, most likely because the model's file changed while in use",
        "SIGABRT": "llama.cpp gave up on this model or prompt",
        "SIGFPE": "It crashed in a calculation",
        "SIGILL": "It was built for another processor",
        "SIGTERM": "It was told to end",
    }.get(name, "It crashed")
    return f"{meaning} ({name})."


def last_words(log: Path, start: int) -> str:
    """The assertion or error that the log names after byte `start`, cleaned, or nothing."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        size = log.stat().st_size
        # A log that is shorter than that was begun anew, by another program.
        file.seek(max(start if start <= size else 0, size - 65536))
        lines = file.read().decode("utf-8", "replace").splitlines()
        for line in reversed(lines):
            if re.search(r"GGML_ASSERT|GGML_ABORT|terminate called|what\(\)|MemoryError", line):
                return clean_line(re.sub(r"^.*/([\w.-]+:\d+: )", r"\1", line))
    return ""
