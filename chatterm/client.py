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
LOG_LIMIT = 1024 * 1024  # bytes, after which the log is rotated at the next start
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
        self._outbox: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._open: set[int] = set()
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
        """Queue a command. Never blocks; without an engine it waits for the next one."""
        with self._lock:
            if not isinstance(command, protocol.Stop | protocol.Tune | protocol.Pace):
                self._open.add(command.run)
            self._outbox.put(command)
        self._wanted.set()

    def stop(self, run: int) -> None:
        """Stop a run; an engine that has not done so within GRACE_S is ended."""
        self.send(protocol.Stop(run=run))
        with self._lock:
            process = self._process
        timer = threading.Timer(GRACE_S, self._end_hung, (run, process))
        timer.daemon = True
        timer.start()

    def close(self) -> None:
        """End the engine, and return when it has ended."""
        self._closing.set()
        self._wanted.set()
        with self._lock:
            self._outbox.put(None)
        self._thread.join(timeout=GRACE_S)
        with self._lock:
            if self._process:
                self._process.kill()
        self._thread.join()

    def _end_hung(self, run: int, process: subprocess.Popen[bytes] | None) -> None:
        with self._lock:
            if process and self._process is process and run in self._open:
                self._hung = True
                process.kill()

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
            log_start = self._log.stat().st_size if self._log.exists() else 0
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
        greeted = self._read_all(process.stdout)
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
            said = last_words(self._log, log_start)
            self._bury(f"The engine ended. {reason}", said, hung)
        process.stdout.close()
        return greeted

    def _read_all(self, pipe: IO[bytes]) -> bool:
        greeted = False
        try:
            while (event := protocol.read_event(pipe)) is not None:
                greeted = greeted or isinstance(event, protocol.Hello)
                if isinstance(event, protocol.LAST):
                    with self._lock:
                        self._open.discard(event.run)
                self._on_event(event)
        except (OSError, msgspec.MsgspecError) as error:
            with self._log.open("a", encoding="utf-8", errors="replace") as log:
                log.write(f"chatterm: the engine's events cannot be read: {error}\n")
        return greeted

    def _bury(self, title: str, said: str, asked: bool = False) -> None:
        with self._lock:
            self._process = None
            self._hung = False
            self._open.clear()
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


def _write_all(pipe: IO[bytes], outbox: queue.SimpleQueue[Command | None]) -> None:
    # A dead engine's pipe is of no interest here: the reader notices the death.
    with contextlib.suppress(OSError, ValueError), pipe:
        while (command := outbox.get()) is not None:
            protocol.write(pipe, command)


def _let_end(process: subprocess.Popen[bytes]) -> None:
    """Give an engine whose pipe has closed a moment to end by itself, with its exit code."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=0.2)


def rotate(log: Path) -> None:
    """Keep one older log beside a log that has grown over LOG_LIMIT."""
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        # Another program may hold the log open, which Windows does not allow to be renamed.
        with contextlib.suppress(PermissionError):
            log.replace(log.with_name(log.name + ".1"))


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
        file.seek(max(start, log.stat().st_size - 65536))
        lines = file.read().decode("utf-8", "replace").splitlines()
        for line in reversed(lines):
            if re.search(r"GGML_ASSERT|GGML_ABORT|terminate called|what\(\)|MemoryError", line):
                return clean_line(re.sub(r"^.*/([\w.-]+:\d+: )", r"\1", line))
    return ""
