"""CPU of the whole program's UI process while a reply of Markdown prose is written.

usage: python tests/bench/bench_ui.py [--seconds 10]

Runs chatterm in a pty of 120×40, its engine replaced by one that writes prose at 50 and then 500
tokens per second (a model's own speed would vary), and prints the CPU time of the UI process per
second, beside what is to be reached.
"""

from __future__ import annotations

import argparse
import os
import queue
import random
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

import psutil
from bench_transcript import prose
from in_pty import Program

from chatterm import client
from chatterm.chat.message import Ending, Figures
from chatterm.chat.trace import RECORD
from chatterm.engine import protocol

TARGETS = {50: 0.06, 500: 0.20}
FLUSH_S = 0.02  # of the engine


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    for rate, target in TARGETS.items():
        with Program([sys.executable, __file__, "program", str(rate)]) as program:
            program.wait_for("Ask anything")
            program.type("Go\r")
            program.wait_for("tok/s")
            process = psutil.Process(program.pid)
            before, began = process.cpu_times(), time.monotonic()
            time.sleep(options.seconds)
            after, took = process.cpu_times(), time.monotonic() - began
        used = (after.user + after.system - before.user - before.system) / took
        share = f"{used * 100:5.1f} % of a core   ÷ {target * 100:.0f} % = {used / target:.2f}"
        print(f"{rate:>4} tok/s   {share}")


def program(rate: str) -> None:
    """chatterm, with the engine of this file."""
    from chatterm.cli import main as chatterm

    client.ENGINE = [sys.executable, __file__, "engine", rate]
    sys.argv = ["chatterm", "-m", __file__]
    chatterm()


def engine(rate: int) -> None:
    """Speak the engine's protocol: any model loads, and each reply is prose at `rate`."""
    commands: queue.SimpleQueue[protocol.Command | None] = queue.SimpleQueue()
    events = os.fdopen(os.dup(1), "wb")
    threading.Thread(target=_read, args=(commands,), daemon=True).start()
    protocol.write(events, protocol.Hello(run=0, protocol=1, pid=os.getpid(), llama_cpp=""))
    while (command := commands.get()) is not None:
        if isinstance(command, protocol.Load):
            protocol.write(events, protocol.Loaded(run=command.run, info=_info(), load_s=0.0))
        elif isinstance(command, protocol.Generate):
            protocol.write(
                events, protocol.Started(run=command.run, prompt_tokens=5, cached_tokens=0, seed=1)
            )
            _write(events, command.run, rate)
            protocol.write(
                events, protocol.Finished(run=command.run, ending=Ending.EOG, figures=Figures())
            )


def _read(commands: queue.SimpleQueue[protocol.Command | None]) -> None:
    with os.fdopen(os.dup(0), "rb") as pipe:
        while (command := protocol.read_command(pipe)) is not None:
            commands.put(command)
    os._exit(0)


def _write(events: BinaryIO, run: int, rate: int) -> None:
    began, tokens, text = time.monotonic(), 0, ""
    pieces = prose(random.Random(1))  # noqa: S311
    while time.monotonic() - began < 60:
        time.sleep(max(FLUSH_S, 1 / rate))
        due = int((time.monotonic() - began) * rate)
        while len(text) < (due - tokens) * 5:
            text += next(pieces) + "\n\n"
        new, text = text[: int((due - tokens) * 4.5)], text[int((due - tokens) * 4.5) :]
        records = RECORD.pack(1, 0.5, 0, 0, 0, 0, *[0] * 30) * (due - tokens)
        tokens = due
        event = protocol.Tokens(
            run=run, text=new, records=records, pieces={}, context_tokens=tokens, tokens_per_s=rate
        )
        protocol.write(events, event)


def _info() -> protocol.ModelInfo:
    return protocol.ModelInfo(
        path=str(Path(__file__)), name="Prose", architecture="none", quantisation="", parameters=0,
        size_bytes=0, n_vocab=2, n_layers=0, n_ctx=65536, n_ctx_train=0, gpu_layers=0, device="CPU",
        n_threads=1, has_template=True,
    )  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] == ["program"]:
        program(sys.argv[2])
    elif sys.argv[1:2] == ["engine"]:
        engine(int(sys.argv[2]))
    else:
        main()
