"""What the engine's own loop costs: its decode rate ÷ llama.cpp's alone, along the whole context.

usage: python tests/bench/bench_engine.py MODEL [--threads N] [--rounds N] [--window N]

At the beginning, the middle and the end of the context, the same number of tokens is decoded by
the bare loop and through the engine process, in turn, after a prompt of the same length. Flat is
when the ratio is the same at each place: what grows with the context is then llama.cpp's own.
"""

from __future__ import annotations

import argparse
import queue
import statistics
import sys
import tempfile
from pathlib import Path

import psutil

from chatterm.chat.message import Role
from chatterm.chat.sampling import Sampling
from chatterm.client import Client, Died
from chatterm.engine import protocol
from chatterm.engine.protocol import Event

TARGETS = "0.97 for a 135M shape with a vocabulary of 128k, 0.90 at 2,000 tok/s"


class Asker:
    """An engine, asked one thing at a time."""

    def __init__(self, model: Path, threads: int, log: Path) -> None:
        self._events: queue.SimpleQueue[Event | Died] = queue.SimpleQueue()
        self._client = Client(log, self._events.put)
        load = protocol.Load(run=self.next_run(), path=str(model), n_threads=threads)
        loaded = self.ask(load)
        assert isinstance(loaded, protocol.Loaded)
        self.n_ctx = loaded.info.n_ctx

    def next_run(self) -> int:
        return self._client.next_run()

    def close(self) -> None:
        self._client.close()

    def ask(self, command: protocol.Command) -> Event:
        """Send a command; its closing event."""
        self._client.send(command)
        while True:
            event = self._events.get()
            if isinstance(event, Died | protocol.Failed):
                sys.exit(f"{event.title} {event.advice}")
            if isinstance(event, protocol.LAST) and event.run == command.run:
                return event

    def bare(self, prompt: int, tokens: int) -> float:
        """Tokens per second of llama.cpp alone."""
        done = self.ask(protocol.BareLoop(run=self.next_run(), n_prompt=prompt, n_decode=tokens))
        assert isinstance(done, protocol.BareLoopDone)
        return done.decode_tps

    def engine(self, prompt: int, tokens: int, seed: int) -> float:
        """Tokens per second through the engine's loop, records and all; 0 if it ended soon."""
        text = " the" * prompt
        message = protocol.PromptMessage(role=Role.USER, text=text)
        done = self.ask(
            protocol.Generate(
                run=self.next_run(),
                messages=(message,),
                sampling=Sampling(seed=seed, max_tokens=tokens),
                raw=True,
            )
        )
        assert isinstance(done, protocol.Finished)
        enough = done.figures.completion_tokens > tokens // 2
        return done.figures.tokens_per_s if enough else 0.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=max((psutil.cpu_count(False) or 2) - 1, 1))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--window", type=int, default=150)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asker = Asker(options.model, options.threads, Path(folder, "log"))
        last = asker.n_ctx - options.window - 64
        print(f"engine ÷ llama.cpp alone, to reach: {TARGETS}")
        for prompt in (100, last // 2, last):
            bare, engine = [], []
            for seed in range(options.rounds):
                bare.append(asker.bare(prompt, options.window))
                engine.append(asker.engine(prompt, options.window, seed))
            engine = [rate for rate in engine if rate]
            if not engine:
                sys.exit("The model ends its replies too soon to measure its rate.")
            alone, through = statistics.median(bare), statistics.median(engine)
            rates = f"{through:8.1f} ÷ {alone:8.1f} tok/s = {through / alone:.3f}"
            print(f"from token {prompt:>5}   {rates}")
        asker.close()


if __name__ == "__main__":
    main()
