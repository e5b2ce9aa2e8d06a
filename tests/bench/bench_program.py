"""What the whole program costs: decode rate with the screen drawn ÷ without, and CPU of the UI.

usage: python tests/bench/bench_program.py MODEL [--tokens N] [--rounds N]

Runs `chatterm ask` and `chatterm` in a pty of 120×40 in turn, with the same model, threads and
number of tokens, and reads the rates that the engine measured. Prints the ratio of the medians,
and for the program in the pty the CPU time of its UI process per second of writing.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import sqlite3
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil

T = TypeVar("T")

PROMPT = "Write about the sea"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=max((psutil.cpu_count(False) or 2) - 1, 1))
    options = parser.parse_args()
    flags = ["-m", str(options.model), "-n", str(options.tokens), "-t", str(options.threads)]
    without, with_screen, cpu = [], [], []
    for seed in range(options.rounds):
        these = [*flags, "--seed", str(seed)]
        without.append(ask(these))
        rate, share = in_a_terminal(these)
        with_screen.append(rate)
        cpu.append(share)
    ratio = statistics.median(with_screen) / statistics.median(without)
    print(f"without a screen   {statistics.median(without):8.1f} tok/s")
    print(f"in a terminal      {statistics.median(with_screen):8.1f} tok/s")
    print(f"ratio              {ratio:8.3f} (to reach: 0.95)")
    print(f"CPU of the UI      {statistics.median(cpu) * 100:8.1f} % of a core")


def ask(flags: list[str]) -> float:
    """The decode rate of `chatterm ask`."""
    done = subprocess.run(
        [sys.executable, "-m", "chatterm", "ask", "--json", *flags, PROMPT],
        capture_output=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return float(json.loads(done.stdout)["tokens_per_s"])


def in_a_terminal(flags: list[str]) -> tuple[float, float]:
    """The decode rate of `chatterm` in a pty, and its UI's CPU seconds per second of writing."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "CHATTERM_DATA_DIR": folder,
            "CHATTERM_CONFIG_DIR": folder,
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
        }
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        command = [sys.executable, "-m", "chatterm", *flags]
        with subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
            start_new_session=True,
        ) as program:  # fmt: skip
            os.close(theirs)
            threading.Thread(target=drain, args=(ours,), daemon=True).start()
            try:
                return _one_reply(program, ours, Path(folder, "chatterm.db"))
            finally:
                program.kill()


def _one_reply(
    program: subprocess.Popen[bytes], terminal: int, database: Path
) -> tuple[float, float]:
    process = psutil.Process(program.pid)
    wait(lambda: value(database, "SELECT count(*) FROM remembered"))  # the model is loaded
    os.write(terminal, PROMPT.encode() + b"\r")
    wait(lambda: value(database, "SELECT length(text) > 0 FROM messages WHERE role = 'assistant'"))
    cpu, began = process.cpu_times(), time.monotonic()
    ended = "SELECT figures FROM messages WHERE role = 'assistant' AND ending IS NOT NULL"
    figures = json.loads(wait(lambda: value(database, ended)))
    after, took = process.cpu_times(), time.monotonic() - began
    used = after.user + after.system - cpu.user - cpu.system
    return (figures["completion_tokens"] - 1) / figures["decode_s"], used / took


def value(database: Path, query: str) -> str | None:
    """The first value of a query on the running program's database, or None."""
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
            row = db.execute(query).fetchone()
    except sqlite3.OperationalError:
        return None
    return row[0] if row else None


def wait(probe: Callable[[], T]) -> T:
    """The first true value of `probe`, looked for ten times a second."""
    deadline = time.monotonic() + 120
    while not (found := probe()):
        if time.monotonic() > deadline:
            sys.exit("The program did not get there.")
        time.sleep(0.1)
    return found


def drain(terminal: int) -> None:
    """Read what the program draws, as a terminal does."""
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:
        return


if __name__ == "__main__":
    main()
