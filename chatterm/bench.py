"""`chatterm bench`: what a model does on this machine, and what chatterm costs on top of it.

The invariant: what is compared is measured in turn in one run, with the same model and threads.
"""

from __future__ import annotations

import queue
import random
import statistics
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import psutil

from chatterm.chat.clean import clean
from chatterm.chat.message import Ending, Role
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
QUESTION_TOKENS = 16
REPLY_TOKENS = 48
# The numbers of tokens above are for large contexts; in small ones they are parts of the context.
SMALLEST_CONTEXT = 32
ROUNDS = 5
STOP_AFTER_S = 0.02


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
    """All figures. Times as named, rates in tokens per second.

    stop_decode_ms, stop_prefill_ms: None when the model was done before it could be stopped.
    follow_up: None when two turns do not fit the context.
    """

    model: str
    load_s: float
    prefill_tps: float
    sweep: list[Sweep]
    engine_over_raw: float
    stop_decode_ms: float | None
    stop_prefill_ms: float | None
    follow_up: FollowUp | None


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
        if info.n_ctx < SMALLEST_CONTEXT:
            raise EngineError(
                f"A context of {info.n_ctx} tokens is too small to measure in.",
                f"Ask for {SMALLEST_CONTEXT} or more.",
            )
        cores = max(psutil.cpu_count(logical=False) or 1, 1)
        sweep, prefill = [], 0.0
        for threads in range(1, cores + 1):
            found, prefill_here = self._sweep(threads, info.n_ctx)
            sweep.append(found)
            prefill = max(prefill, prefill_here)
        used = sweep[min(max(info.n_threads, 1), cores) - 1]
        return Report(
            model=info.name,
            load_s=round(loaded.load_s, 3),
            prefill_tps=round(prefill, 1),
            sweep=sweep,
            engine_over_raw=round(used.engine_tps / used.raw_tps, 3),
            stop_decode_ms=self._stop_in_decode(),
            stop_prefill_ms=self._stop_in_prefill(info.n_ctx),
            follow_up=self._follow_up(info.n_ctx),
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

    def _sweep(self, threads: int, n_ctx: int) -> tuple[Sweep, float]:
        raw, engine, prefill = [], [], []
        tokens = min(DECODE_TOKENS, n_ctx // 4)
        prompt = min(PROMPT_TOKENS, n_ctx // 2)
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
            command = self._command(text, Sampling(max_tokens=tokens, seed=seed), threads)
            engine.append(self._generate(command).figures.tokens_per_s)
        rates = (round(statistics.median(rates), 1) for rates in (raw, engine))
        return Sweep(threads, *rates), statistics.median(prefill)

    def _stop_in_decode(self) -> float | None:
        text = "Once upon a time"
        commands = (self._command(text, Sampling(seed=seed)) for seed in range(ROUNDS))
        return self._time_to_stop(commands, protocol.Tokens)

    def _stop_in_prefill(self, n_ctx: int) -> float | None:
        tokens = min(LONG_PROMPT_TOKENS, n_ctx - n_ctx // 8)
        # A text of its own each time, so that none of it is cached.
        texts = (self._text_of(tokens, 1000 + seed) for seed in range(ROUNDS))
        commands = (self._command(text, Sampling(max_tokens=1)) for text in texts)
        return self._time_to_stop(commands, protocol.Started)

    def _time_to_stop(
        self, commands: Iterable[protocol.Generate], after: type[Event]
    ) -> float | None:
        """Median milliseconds from sending Stop, after the first event `after`, to Finished.

        None when each command was done before it could be stopped.
        """
        times = []
        for halvings, command in enumerate(commands):
            began = 0.0
            for event in self._ask(command):
                if isinstance(event, after) and not began:
                    # Well into the work, but sooner each time, as it may be done soon.
                    time.sleep(STOP_AFTER_S / 2**halvings)
                    began = time.perf_counter()
                    self._client.stop(command.run)
                elif isinstance(event, protocol.Finished) and event.ending is Ending.STOPPED:
                    times.append((time.perf_counter() - began) * 1000)
        return round(statistics.median(times), 2) if times else None

    def _follow_up(self, n_ctx: int) -> FollowUp | None:
        """None when the model's template leaves no room for two turns."""
        size = min(QUESTION_TOKENS, n_ctx // 8)
        first, second = (_said(Role.USER, self._text_of(size, 2000 + seed)) for seed in range(2))
        turns = (first, _said(Role.ASSISTANT, "."), second)
        room = n_ctx - self._count(turns) - 2  # a token of the second reply, and one to spare
        if room < 1:
            return None
        reply, records = "", b""
        for event in self._ask(self._chat((first,), min(REPLY_TOKENS, room))):
            if isinstance(event, protocol.Tokens):
                reply += event.text
                records += event.records
        answer = _said(Role.ASSISTANT, clean(reply), pack_ids(Trace(records).ids()))
        finished = self._generate(self._chat((first, answer, second), 1))
        return FollowUp(self._tokens_of(second.text), finished.figures.evaluated_tokens)

    def _chat(self, messages: tuple[PromptMessage, ...], tokens: int) -> protocol.Generate:
        sampling = Sampling(max_tokens=tokens, seed=1)
        return protocol.Generate(run=self._client.next_run(), messages=messages, sampling=sampling)

    def _text_of(self, tokens: int, seed: int) -> str:
        """A text of about, and at most, `tokens` tokens, different for each seed."""
        words = random.Random(seed)  # noqa: S311
        text = "".join(f" {words.choice(_WORDS)}" for _ in range(tokens))
        return text[: len(text) * tokens // max(self._tokens_of(text), 1) * 95 // 100]

    def _tokens_of(self, text: str) -> int:
        return self._count((_said(Role.USER, text),), raw=True)

    def _count(self, messages: tuple[PromptMessage, ...], *, raw: bool = False) -> int:
        """How many tokens the prompt of these messages has."""
        render = protocol.Render(run=self._client.next_run(), messages=messages, raw=raw)
        for event in self._ask(render):
            if isinstance(event, protocol.Rendered):
                return len(event.tokens)
        raise EngineError("The engine did not count.")

    def _command(self, text: str, sampling: Sampling, threads: int = 0) -> protocol.Generate:
        """One that writes until it is stopped or has its number of tokens, as BareLoop does."""
        return protocol.Generate(
            run=self._client.next_run(),
            messages=(_said(Role.USER, text),),
            sampling=sampling,
            raw=True,
            n_threads=threads,
            endless=True,
        )

    def _generate(self, command: protocol.Generate) -> protocol.Finished:
        for event in self._ask(command):
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


def _said(role: Role, text: str, tokens: bytes = b"") -> PromptMessage:
    return PromptMessage(role=role, text=text, tokens=tokens)


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
    stops = ((report.stop_decode_ms, "writing"), (report.stop_prefill_ms, "reading a long prompt"))
    lines += [
        f"time to stop    {milliseconds:.1f} ms while {doing}"
        for milliseconds, doing in stops
        if milliseconds is not None
    ]
    if report.follow_up:
        lines.append(
            f"second turn     {report.follow_up.evaluated_tokens} tokens evaluated for "
            f"{report.follow_up.new_tokens} new ones"
        )
    return "\n".join(lines)
