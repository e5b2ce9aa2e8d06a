"""How long a stop takes, from the key in a terminal to the word on the screen.

usage: python tests/bench/bench_stop.py MODEL [--rounds N] [--prompt N]

Runs chatterm in a pty of 120×40. While a reply is written, and while a long prompt is read, it
presses Esc and waits for "stopped" to be drawn. Prints the time ÷ what is allowed: one decode and
50 ms, or 150 ms.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import psutil
from bench_program import value, wait
from in_pty import Program

READING_S = 0.150
BESIDE_DECODE_S = 0.050
REPLIES = "FROM messages WHERE role = 'assistant'"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt", type=int, default=4000, help="words of the long prompt")
    parser.add_argument("--threads", type=int, default=max((psutil.cpu_count(False) or 2) - 1, 1))
    options = parser.parse_args()
    command = [sys.executable, "-m", "chatterm", "-m", str(options.model)]
    command += ["-t", str(options.threads), "-c", "8192", "--pace", "0"]
    words = "the sea and " * (options.prompt // 3)
    rounds = [one_round(command, words) for _ in range(options.rounds)]
    writing, decode, reading = zip(*rounds, strict=True)
    allowed = statistics.median(decode) + BESIDE_DECODE_S
    for name, times, most in (("writing", writing, allowed), ("reading", reading, READING_S)):
        took = statistics.median(times)
        print(f"{name}   {took * 1000:6.1f} ms ÷ {most * 1000:.1f} ms = {took / most:.2f}")


def one_round(command: list[str], words: str) -> tuple[float, float, float]:
    """Seconds to stop while writing, of one decode, and to stop while reading `words`."""
    with Program(command) as program:
        database = program.folder / "chatterm.db"
        wait(lambda: value(database, "SELECT count(*) FROM remembered"))
        program.type("Write about the sea\r")
        wait(lambda: value(database, f"SELECT length(text) > 40 {REPLIES}"))
        writing = stopped(program)
        ended = f"SELECT figures {REPLIES} AND ending IS NOT NULL"
        figures = json.loads(wait(lambda: value(database, ended)))
        program.type("\x0e")  # a new chat
        program.wait_for("New chat")
        program.type(f"\x1b[200~{words}\x1b[201~\r")
        program.wait_for("reading the prompt")
        reading = stopped(program)
    return writing, figures["decode_s"] / max(figures["completion_tokens"] - 1, 1), reading


def stopped(program: Program) -> float:
    """Seconds from the key to the word."""
    began = time.perf_counter()
    program.type("\x1b")
    program.wait_for("stopped by you")
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
