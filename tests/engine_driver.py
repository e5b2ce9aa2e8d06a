"""A real engine process for tests, over its real pipe, where nothing waits for ever."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from chatterm.chat.clean import clean
from chatterm.chat.message import Role
from chatterm.chat.sampling import Sampling
from chatterm.chat.trace import Trace, pack_ids
from chatterm.engine import protocol
from chatterm.engine.protocol import (
    Command,
    Event,
    Failed,
    Finished,
    Generate,
    Hello,
    Load,
    Loaded,
    PromptMessage,
    Started,
    Tokens,
)

DEADLINE_S = 60.0
CLOSING = (
    protocol.Loaded,
    protocol.Unloaded,
    protocol.Finished,
    protocol.Rendered,
    protocol.BareLoopDone,
    protocol.Failed,
)


class Reply:
    """All events of one Generate."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events
        tokens = [event for event in events if isinstance(event, Tokens)]
        self.text = "".join(event.text for event in tokens)
        pieces = {token: piece for event in tokens for token, piece in event.pieces.items()}
        self.trace = Trace(b"".join(event.records for event in tokens), pieces)
        self.started = next((event for event in events if isinstance(event, Started)), None)
        self.end = events[-1]

    @property
    def finished(self) -> Finished:
        """The closing event of a reply that did not fail."""
        assert isinstance(self.end, Finished), self.end
        return self.end

    @property
    def ids(self) -> list[int]:
        """Ids of the tokens written."""
        return list(self.trace.ids())


class EngineDriver:
    """Starts `python -m chatterm.engine`, or another program, and talks with it.

    A context manager.
    """

    def __init__(self, log: Path, program: str = "") -> None:
        self._log_file = log.open("ab")
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, *(("-c", program) if program else ("-m", "chatterm.engine"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log_file,
        )
        self._events: queue.Queue[Event | None] = queue.Queue()
        self._run = 0
        threading.Thread(target=self._read, daemon=True).start()
        hello = self.next()
        assert isinstance(hello, Hello), hello
        self.hello = hello

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self) -> None:
        assert self.process.stdout
        while (event := protocol.read_event(self.process.stdout)) is not None:
            self._events.put(event)
        self._events.put(None)

    def send(self, command: Command) -> None:
        """Send any command."""
        assert self.process.stdin
        protocol.write(self.process.stdin, command)

    def next(self, timeout: float = DEADLINE_S) -> Event:
        """The next event."""
        event = self._events.get(timeout=timeout)
        assert event is not None, (
            f"the engine ended: {self.log.read_text('utf-8', 'replace')[-2000:]}"
        )
        return event

    def new_run(self) -> int:
        """A run number that was not used yet."""
        self._run += 1
        return self._run

    def until_closed(self, run: int) -> list[Event]:
        """The events of a run, up to its closing event; those of other runs must not mix in."""
        events = []
        while True:
            event = self.next()
            assert event.run == run, event
            events.append(event)
            if isinstance(event, CLOSING):
                return events

    def wait_for(self, accept: Callable[[Event], bool]) -> list[Event]:
        """Events up to the first that is accepted."""
        events = [self.next()]
        while not accept(events[-1]):
            events.append(self.next())
        return events

    def ask(self, make: Callable[..., Command], **fields: Any) -> Event:
        """Send a command of a new run; its closing event."""
        run = self.new_run()
        self.send(make(run=run, **fields))
        return self.until_closed(run)[-1]

    def load(self, path: Path, **fields: Any) -> Loaded:
        """Load a model that must load."""
        event = self.ask(Load, path=path, **{"n_threads": 1, **fields})
        assert isinstance(event, Loaded), event
        return event

    def load_fails(self, path: Path, **fields: Any) -> Failed:
        """Load a model that must not load."""
        event = self.ask(Load, path=path, **fields)
        assert isinstance(event, Failed), event
        return event

    def start(self, *texts: str, **fields: Any) -> int:
        """Begin a reply to messages in turn of user and assistant; its run."""
        run = self.new_run()
        messages = fields.pop("messages", None) or turns(texts)
        settings = fields.pop("sampling", None) or Sampling(seed=1, max_tokens=32)
        self.send(Generate(run=run, messages=messages, sampling=settings, **fields))
        return run

    def generate(self, *texts: str, **fields: Any) -> Reply:
        """A whole reply to messages in turn of user and assistant."""
        return Reply(self.until_closed(self.start(*texts, **fields)))

    def wait_exit(self, timeout: float = DEADLINE_S) -> int:
        """The exit status, once the process has ended."""
        return self.process.wait(timeout)

    def close(self) -> None:
        """Close the pipe, and see that the process ends."""
        assert self.process.stdin
        self.process.stdin.close()
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            self._log_file.close()


def turns(texts: Iterable[str]) -> tuple[PromptMessage, ...]:
    """Messages of the user and the assistant, in turn."""
    roles = (Role.USER, Role.ASSISTANT)
    return tuple(
        PromptMessage(role=roles[index % 2], text=text) for index, text in enumerate(texts)
    )


def spoken(*texts_and_replies: str | Reply) -> tuple[PromptMessage, ...]:
    """Messages in turn of user and assistant, with the tokens of what was really replied."""
    return tuple(
        PromptMessage(role=Role.USER, text=said)
        if isinstance(said, str)
        else PromptMessage(role=Role.ASSISTANT, text=clean(said.text), tokens=pack_ids(said.ids))
        for said in texts_and_replies
    )


def eventually(check: Callable[[], bool], timeout: float = DEADLINE_S) -> bool:
    """Whether `check` comes true before the deadline."""
    deadline = time.monotonic() + timeout
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
