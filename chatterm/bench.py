"""`chatterm bench`: what a model does on this machine, and what chatterm costs on top of it.

The invariant: what is compared is measured in turn in one run, with the same model and threads.
"""

from __future__ import annotations

import queue
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil

from chatterm.chat.clean import clean
from chatterm.chat.message import Role
from chatterm.chat.sampling import Sampling
from chatterm.chat.trace import Trace, pack_ids
from chatterm.client import Client, Died
from chatterm.engine import protocol
from chatterm.engine.protocol import Event, PromptMessage
from chatterm.errors import EngineError
from chatterm.state import ModelOptions

DECODE_TOKENS = 128
PROMPT_TOKENS = 512
LONG_PROMPT_TOKENS = 4000
ROUNDS = 5


class Sweep(msgspec.Struct, frozen=True):
    """Decode rates with a number of threads: llama.cpp alone, and through the engine process."""

    threads: int
    raw_tps: float
    engine_tps: float


class FollowUp(msgspec.Struct, frozen=True):
    """What a second turn cost: tokens in the user's message, and tokens evaluated."""

    new_tokens: int
    evaluated_tokens: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All figures. Times as named, rates in tokens per second."""

    model: str
    load_s: float
    prefill_tps: float
    sweep: list[Sweep]
    engine_over_raw: float
    stop_decode_ms: float
    stop_prefill_ms: float
    follow_up: FollowUp


class Bench:
    """An engine of its own, asked one thing at a time."""

    def __init__(self, log: Path) -> None:
        self._events: queue.SimpleQueue[Event | Died] = queue.SimpleQueue()
        self._client = Client(log, self._events.put)

    def close(self) -> None:
        """End the engine."""
        self._client.close()

    def run(self, model: ModelOptions) -> Report:
        """Measure everything. Raises EngineError."""
        loaded = self._load(model)
        info = loaded.info
        cores = max(psutil.cpu_count(logical=False) or 1, 1)
        budget = max(info.n_ctx - 64, 64)
        sweep, prefill = [], 0.0
        for threads in range(1, cores + 1):
            found, prefill_here = self._sweep(threads, budget)
            sweep.append(found)
            prefill = max(prefill, prefill_here)
        used = sweep[min(max(info.n_threads, 1), cores) - 1]
        return Report(
            model=info.name,
            load_s=round(loaded.load_s, 3),
            prefill_tps=round(prefill, 1),
            sweep=sweep,
            engine_over_raw=round(used.engine_tps / used.raw_tps, 3),
            stop_decode_ms=round(self._stop_in_decode(), 2),
            stop_prefill_ms=round(self._stop_in_prefill(min(LONG_PROMPT_TOKENS, budget)), 2),
            follow_up=self._follow_up(),
        )

    def _load(self, model: ModelOptions) -> protocol.Loaded:
        load = protocol.Load(
            run=self._client.next_run(),
            path=model.path,
            n_ctx=model.n_ctx,
            n_gpu_layers=model.n_gpu_layers,
            n_threads=model.n_threads,
        )
        for event in self._ask(load):
            if isinstance(event, protocol.Loaded):
                return event
        raise EngineError("The model was not loaded.")

    def _sweep(self, threads: int, budget: int) -> tuple[Sweep, float]:
        raw, engine, prefill = [], [], []
        tokens = min(DECODE_TOKENS, budget // 4)
        prompt = min(PROMPT_TOKENS, budget // 2)
        for seed in range(ROUNDS):
            # The same prompt for both: a token costs more the longer the context is.
            text = self._text_of(prompt, seed)
            bare = protocol.BareLoop(
                run=self._client.next_run(), n_prompt=prompt, n_decode=tokens, n_threads=threads
            )
            for event in self._ask(bare):
                if isinstance(event, protocol.BareLoopDone):
                    raw.append(event.decode_tps)
                    prefill.append(event.prefill_tps)
            finished = self._generate(text, Sampling(max_tokens=tokens, seed=seed), threads)
            if finished.figures.completion_tokens > tokens // 2:
                engine.append(finished.figures.tokens_per_s)
        if not engine:
            raise EngineError("The model ends its replies too soon to measure its rate.")
        rates = (round(statistics.median(rates), 1) for rates in (raw, engine))
        return Sweep(threads, *rates), statistics.median(prefill)

    def _stop_in_decode(self) -> float:
        times = []
        for seed in range(ROUNDS):
            command = self._command("Once upon a time", Sampling(seed=seed))
            times.append(self._time_to_stop(command, protocol.Tokens))
        return statistics.median(times)

    def _stop_in_prefill(self, tokens: int) -> float:
        times = []
        for seed in range(ROUNDS):
            # A text of its own each time, so that none of it is cached.
            command = self._command(self._text_of(tokens, 1000 + seed), Sampling(max_tokens=1))
            times.append(self._time_to_stop(command, protocol.Started))
        return statistics.median(times)

    def _time_to_stop(self, command: protocol.Generate, after: type[Event]) -> float:
        """Milliseconds from sending Stop, after the first event `after`, to Finished."""
        began = 0.0
        for event in self._ask(command):
            if isinstance(event, after) and not began:
                time.sleep(0.02)  # well into the work, not at its beginning
                began = time.perf_counter()
                self._client.stop(command.run)
        return (time.perf_counter() - began) * 1000

    def _follow_up(self) -> FollowUp:
        first = PromptMessage(role=Role.USER, text="Tell me about the sea.")
        question = "And what about the mountains, are they as old as that?"
        reply, records = "", b""
        for event in self._ask(self._chat((first,))):
            if isinstance(event, protocol.Tokens):
                reply += event.text
                records += event.records
        answer = PromptMessage(
            role=Role.ASSISTANT, text=clean(reply), tokens=pack_ids(Trace(records).ids())
        )
        second = PromptMessage(role=Role.USER, text=question)
        evaluated = 0
        for event in self._ask(self._chat((first, answer, second))):
            if isinstance(event, protocol.Finished):
                evaluated = event.figures.evaluated_tokens
        return FollowUp(self._count(question), evaluated)

    def _chat(self, messages: tuple[PromptMessage, ...]) -> protocol.Generate:
        sampling = Sampling(max_tokens=48, seed=1)
        return protocol.Generate(run=self._client.next_run(), messages=messages, sampling=sampling)

    def _text_of(self, tokens: int, seed: int) -> str:
        """A text of about, and at most, `tokens` tokens, different for each seed."""
        words = random.Random(seed)  # noqa: S311
        text = "".join(f" {words.choice(_WORDS)}" for _ in range(tokens))
        count = self._count(text)
        return text[: len(text) * tokens // max(count, 1) * 95 // 100]

    def _count(self, text: str) -> int:
        render = protocol.Render(
            run=self._client.next_run(),
            messages=(PromptMessage(role=Role.USER, text=text),),
            raw=True,
        )
        for event in self._ask(render):
            if isinstance(event, protocol.Rendered):
                return len(event.tokens)
        raise EngineError("The engine did not count.")

    def _command(self, text: str, sampling: Sampling, threads: int = 0) -> protocol.Generate:
        return protocol.Generate(
            run=self._client.next_run(),
            messages=(PromptMessage(role=Role.USER, text=text),),
            sampling=sampling,
            raw=True,
            n_threads=threads,
        )

    def _generate(self, text: str, sampling: Sampling, threads: int) -> protocol.Finished:
        for event in self._ask(self._command(text, sampling, threads)):
            if isinstance(event, protocol.Finished):
                return event
        raise EngineError("The engine did not finish.")

    def _ask(self, command: protocol.Command) -> Iterator[Event]:
        """Send a command and yield its events; the last one ends it."""
        self._client.send(command)
        while True:
            event = self._events.get()
            if isinstance(event, Died | protocol.Failed):
                raise EngineError(event.title, event.advice)
            if event.run == command.run:
                yield event
                if isinstance(event, protocol.LAST):
                    return


_WORDS = (
    "time year people way day man thing woman life child world school state family student group "
    "country problem hand part place case week company system program question work night point "
    "home water room mother area money story fact month lot right study book eye job word business"
).split()


def describe(report: Report) -> str:
    """The report for a person."""
    lines = [
        report.model,
        f"load            {report.load_s:.2f} s",
        f"prompt          {report.prefill_tps:.0f} tok/s",
    ]
    lines += [
        f"decode, {row.threads} thread{'s' if row.threads > 1 else ' '} "
        f"{row.raw_tps:8.1f} tok/s llama.cpp alone, {row.engine_tps:8.1f} through the engine "
        f"({row.engine_tps / row.raw_tps:.3f})"
        for row in report.sweep
    ]
    return "\n".join(
        [
            *lines,
            f"time to stop    {report.stop_decode_ms:.1f} ms while writing, "
            f"{report.stop_prefill_ms:.1f} ms while reading a long prompt",
            f"second turn     {report.follow_up.evaluated_tokens} tokens evaluated for "
            f"{report.follow_up.new_tokens} new ones",
        ]
    )
