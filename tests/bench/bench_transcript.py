"""What the transcript costs: processor time while a reply streams, long replies, long histories.

    python tests/bench/bench_transcript.py [--seconds 10] [--only stream|long|history]

Runs the widget in a real terminal of 120×40 cells (a pty, so not on Windows) and prints, beside
each figure, its ratio to the target: at most 1 is what is wanted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from pygments.lexers import get_lexer_by_name
from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Markdown, Static

from chatterm.chat.message import Role
from chatterm.ui.themes import own_variables
from chatterm.ui.widgets.backdrop import Columns, Rows
from chatterm.ui.widgets.transcript import Entry, Transcript

CHARACTERS_PER_TOKEN = 4.5
FLUSH_S = 0.05
TARGETS = {50: 0.06, 500: 0.20}  # of a core
WORDS = (
    "the model keeps a row of notes for every token that it has read and when a new word comes "
    "only one note is written so attention costs less reading than before because keys and "
    "values stay in memory while queries come and go with each step of decoding which is why "
    "long answers remain quick until the context is full"
).split()


def _random(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311


def sentence(rng: random.Random, words: int) -> str:
    picked = [rng.choice(WORDS) for _ in range(words)]
    if rng.random() < 0.4:
        at = rng.randrange(words)
        mark = rng.choice(("**", "*", "`"))
        picked[at] = f"{mark}{picked[at]}{mark}"
    return " ".join(picked).capitalize() + "."


def paragraph(rng: random.Random, words: int) -> str:
    return " ".join(sentence(rng, rng.randint(8, 20)) for _ in range(max(words // 14, 1)))


def bullets(rng: random.Random, items: int) -> str:
    return "\n".join(f"- **{rng.choice(WORDS)}**: {sentence(rng, 12)}" for _ in range(items))


def fence(rng: random.Random, lines: int) -> str:
    body = [
        f"    total_{n} = compute({rng.randrange(99)}, name={rng.choice(WORDS)!r})  # {n}"
        if n % 7
        else f"def function_{n}(value: int) -> int:"
        for n in range(lines)
    ]
    return "\n".join(["```python", *body, "```"])


def table(rng: random.Random, rows: int) -> str:
    lines = ["| name | size | what it is |", "|---|---:|---|"]
    lines += [
        f"| {rng.choice(WORDS)} | {rng.randrange(9999)} | {sentence(rng, 6)} |" for _ in range(rows)
    ]
    return "\n".join(lines)


def prose(rng: random.Random) -> Iterator[str]:
    """Markdown as models write it, without end."""
    while True:
        yield f"## {sentence(rng, 4)}\n\n"
        yield paragraph(rng, 60) + "\n\n"
        yield paragraph(rng, 30) + "\n\n"
        yield bullets(rng, 5) + "\n\n"
        yield fence(rng, 12) + "\n\n"
        yield paragraph(rng, 50) + "\n\n"
        yield table(rng, 5) + "\n\n"


def source(characters: int, seed: int = 1) -> str:
    parts, size = [], 0
    for part in prose(_random(seed)):
        parts.append(part)
        size += len(part)
        if size >= characters:
            return "".join(parts)[:characters]
    raise AssertionError


def monster() -> dict[str, str]:
    """A reply of some 32,000 tokens, by its parts."""
    rng = _random(2)
    parts = {
        "prose": source(12_000),
        "list of 300": "\n\n" + bullets(rng, 300),
        "fence of 2,000": "\n\n" + fence(rng, 2_000),
        "table of 200": "\n\n" + table(rng, 200),
        "paragraph of 4,000 words": "\n\n" + paragraph(rng, 4_000),
    }
    return parts | {"end": "\n\n" + source(4_000, 3)}


def history(messages: int) -> list[Entry]:
    entries = []
    for key in range(messages):
        user = key % 2 == 0
        entries.append(
            Entry(
                key=key,
                role=Role.USER if user else Role.ASSISTANT,
                title="You" if user else "Model",
                text=paragraph(_random(key), 20) if user else source(1_500, key),
                plain=user,
            )
        )
    return entries


class Bench(App[None]):
    """The screen around the transcript, and what is measured in it."""

    CSS = """
    #head, #status { height: 1; }
    #body, #main { height: 1fr; }
    #prompt { height: 3; background: $surface; }
    #panel { width: 36; }
    """

    def __init__(self, what: str, rate: int, seconds: float, report: Path) -> None:
        super().__init__()
        self.what, self.rate, self.seconds, self.report = what, rate, seconds, report

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return own_variables(self.current_theme)

    def compose(self) -> ComposeResult:
        with Columns(id="head"):
            yield Static("chatterm   A chat")
        with Columns(id="body"):
            with Rows():
                if self.what == "markdown":
                    with VerticalScroll(id="main"):
                        yield Markdown()
                else:
                    yield Transcript(id="main")
                yield Static("Type while it writes…", id="prompt")
            with Rows(id="panel"):
                for number in range(12):
                    yield Static(f"setting {number}\n──────●──────")
        yield Static("50 tok/s", id="status")

    def on_mount(self) -> None:
        self.run_worker(self.measure(), exit_on_error=True)

    async def measure(self) -> None:
        await asyncio.sleep(0.5)
        get_lexer_by_name("python")  # compiled once a process, whatever streams
        measure = {"stream": self.stream, "markdown": self.markdown, "long": self.long}
        result = await measure.get(self.what, self.history)()
        self.report.write_text(json.dumps(result))
        self.exit()

    async def feed(
        self, append: Callable[[str], Awaitable[None] | None], text: str, rate: int, seconds: float
    ) -> dict[str, float]:
        """Stream `text` at `rate` tokens a second; what that cost."""
        late: list[float] = []
        start, cpu = time.perf_counter(), _cpu()
        sent, flush = 0, 0
        while (now := time.perf_counter() - start) < seconds:
            due = int(now * rate * CHARACTERS_PER_TOKEN)
            if due > sent:
                waiting = append(text[sent:due])
                if waiting is not None:
                    await waiting
                sent = due
            flush += 1
            wanted = start + flush * FLUSH_S
            await asyncio.sleep(max(wanted - time.perf_counter(), 0))
            late.append(time.perf_counter() - wanted)
        took = time.perf_counter() - start
        return {
            "cpu": (_cpu() - cpu) / took,
            "ms_token": (_cpu() - cpu) * 1000 / max(sent / CHARACTERS_PER_TOKEN, 1),
            "p95_late_ms": statistics.quantiles(late, n=20)[-1] * 1000,
            "shown": sent / (took * rate * CHARACTERS_PER_TOKEN),
        }

    async def stream(self) -> dict[str, Any]:
        transcript = self.query_one(Transcript)
        transcript.show([_open(1)])
        text = source(int(self.seconds * self.rate * CHARACTERS_PER_TOKEN) + 5_000)
        return await self.feed(transcript.append, text, self.rate, self.seconds)

    async def markdown(self) -> dict[str, Any]:
        self.query_one(VerticalScroll).anchor()
        stream = Markdown.get_stream(self.query_one(Markdown))
        text = source(int(self.seconds * self.rate * CHARACTERS_PER_TOKEN) + 5_000)
        result = await self.feed(stream.write, text, self.rate, self.seconds)
        await stream.stop()
        return result

    async def long(self) -> dict[str, Any]:
        transcript = self.query_one(Transcript)
        transcript.show([_open(1)])
        step = int(100 * CHARACTERS_PER_TOKEN * FLUSH_S)
        parts: dict[str, Any] = {}
        for name, text in monster().items():
            times = []
            for at in range(0, len(text), step):
                before = time.perf_counter()
                transcript.append(text[at : at + step])
                times.append((time.perf_counter() - before) * 1000)
                if at // step % 20 == 0:
                    await asyncio.sleep(0)
            last = times[-50:]
            parts[name] = (statistics.mean(last), max(last), max(times))
        streamed = await self.feed(transcript.append, source(60_000, 4), 100, self.seconds)
        return {"parts": parts, "end": streamed}

    async def history(self) -> dict[str, Any]:
        transcript = self.query_one(Transcript)
        transcript.show([_open(-1)])
        empty = await self.feed(transcript.append, source(60_000), 100, self.seconds)
        entries = history(1_000)
        before = time.perf_counter()
        transcript.show(entries)
        await self.painted()
        opened = time.perf_counter() - before
        keys = []
        for action in [transcript.action_page_up] * 150 + [transcript.action_scroll_up] * 150:
            before = time.perf_counter()
            action()
            await self.painted()
            keys.append((time.perf_counter() - before) * 1000)
        transcript.follow()
        transcript.show([*entries, _open(-1)])
        full = await self.feed(transcript.append, source(60_000), 100, self.seconds)
        return {
            "empty": empty,
            "full": full,
            "opened": opened,
            "p95_key_ms": statistics.quantiles(keys, n=20)[-1],
        }

    async def painted(self) -> None:
        done = asyncio.Event()
        self.screen.call_after_refresh(done.set)
        await done.wait()


def _open(key: int) -> Entry:
    return Entry(key=key, role=Role.ASSISTANT, title="Model", text="", open=True)


def _cpu() -> float:
    times = os.times()
    return times.user + times.system


def run(what: str, rate: int, seconds: float) -> dict[str, Any]:
    """One measurement in a process and a terminal of its own."""
    import fcntl
    import pty
    import struct
    import termios

    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report"
        child = subprocess.Popen(
            [sys.executable, __file__, "--child", what, str(rate), str(seconds), str(report)],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env=environment,
            start_new_session=True,
        )
        os.close(follower)
        written = bytearray()
        reader = threading.Thread(target=_drain, args=(leader, written))
        reader.start()
        child.wait()
        reader.join()
        if not report.exists():
            raise SystemExit(written[-4_000:].decode(errors="replace"))
        result: dict[str, Any] = json.loads(report.read_text())
        return result | {"bytes": len(written)}


def _drain(leader: int, written: bytearray) -> None:
    try:
        while data := os.read(leader, 65536):
            written += data
    except OSError:
        return  # the other side is closed


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--child"]:
        what, rate, seconds, report = sys.argv[2:]
        Bench(what, int(rate), float(seconds), Path(report)).run()
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--only", choices=("stream", "long", "history"))
    arguments = parser.parse_args()
    if arguments.only in (None, "stream"):
        print_stream(arguments.seconds)
    if arguments.only in (None, "long"):
        print_long(run("long", 100, arguments.seconds))
    if arguments.only in (None, "history"):
        print_history(run("history", 100, arguments.seconds))


def print_stream(seconds: float) -> None:
    """Processor time of this widget, and of Textual's own for Markdown, in turn."""
    for rate, target in TARGETS.items():
        for what in ("stream", "markdown"):
            got = run(what, rate, seconds)
            print(
                f"{what:9} {rate:4} tok/s  cpu {got['cpu'] * 100:5.1f} %"
                f"  ÷ target {got['cpu'] / target:.2f}"
                f"  late p95 {got['p95_late_ms']:.1f} ms  shown {got['shown']:.2f}"
            )


def print_long(got: dict[str, Any]) -> None:
    """A reply of 32,000 tokens with very long blocks."""
    for name, (mean, worst, ever) in got["parts"].items():
        print(
            f"{name:26} ms an append at its end: mean {mean:.2f}, worst {worst:.2f};"
            f" worst of all {ever:.1f}"
        )
    cost, late = got["end"]["ms_token"], got["end"]["p95_late_ms"]
    print(
        f"at the end, 100 tok/s: {cost:.2f} ms a token ÷ target {cost / 3:.2f}"
        f"  late p95 {late:.1f} ms ÷ target {late / 30:.2f}"
    )


def print_history(got: dict[str, Any]) -> None:
    """A thousand messages above."""
    ratio = got["full"]["cpu"] / got["empty"]["cpu"]
    print(f"1,000 messages: opened in {got['opened']:.3f} s ÷ target {got['opened'] / 0.5:.2f}")
    print(f"streaming below them ÷ in an empty chat {ratio:.2f} ÷ target {ratio / 1.2:.2f}")
    print(f"key to paint p95 {got['p95_key_ms']:.1f} ms ÷ target {got['p95_key_ms'] / 33:.2f}")


if __name__ == "__main__":
    main()
