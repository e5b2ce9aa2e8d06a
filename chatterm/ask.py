"""`chatterm ask`: one reply, streamed to standard output.

The invariant: standard output gets the reply's text or one JSON object and nothing else; all that
is said about it goes to standard error. With --json it gets the whole object of a reply that
ended, in one of the five ways that are no failure, or nothing: when the engine dies in the middle
of a reply, the text so far is on standard output without --json, and with it only the exit code
and the error tell of it, so that whoever reads an object need not ask whether it is a good one.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from chatterm import output
from chatterm.chat.clean import clean, clean_line, shown
from chatterm.chat.message import Ending, Figures, Message, Role
from chatterm.chat.sampling import Sampling
from chatterm.chat.trace import Trace
from chatterm.engine.protocol import Rendered
from chatterm.errors import ChattermError, EngineError, PromptError
from chatterm.session import Session
from chatterm.state import ModelOptions
from chatterm.store import Store

LONGEST = 64 * 1024 * 1024  # bytes of a conversation or a prompt, far over any context
SHAPE = 'Give a JSON list like [{"role": "user", "content": "Hello"}].'


class AskOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask, and what to print."""

    messages: tuple[tuple[Role, str], ...]
    raw: bool = False
    json: bool = False
    tokens: bool = False
    stats: bool = False
    show_prompt: bool = False


def read_messages(file: Path) -> tuple[tuple[Role, str], ...]:
    """A conversation in a JSON file: a list of {role, content}. Raises PromptError.

    Other keys are ignored. The file may be a pipe, as a shell makes one of `<(command)`.
    """
    name = clean_line(str(file))
    try:
        with file.open("rb") as stream:
            text = _limited(stream, name).decode("utf-8-sig")
        given = json.loads(text)
    except OSError as error:
        raise PromptError(f"{name} cannot be read: {error.strerror}.") from error
    except RecursionError as error:
        raise PromptError(f"{name} is not a conversation: it is nested too deeply.") from error
    except ValueError as error:
        raise PromptError(f"{name} is not a conversation in JSON: {error}.", SHAPE) from error
    if not isinstance(given, list) or not given:
        raise PromptError(f"{name} is not a list of messages.", SHAPE)
    return tuple(_message(f"{name}, message {at}:", item) for at, item in enumerate(given, 1))


def _message(place: str, given: object) -> tuple[Role, str]:
    if not isinstance(given, dict):
        raise PromptError(f"{place} {shown(given)} is not a message.", SHAPE)
    role, content = given.get("role"), given.get("content")
    if role not in list(Role):
        raise PromptError(
            f"{place} role {shown(role)} is not possible.", f"It is one of {', '.join(Role)}."
        )
    if not isinstance(content, str):
        raise PromptError(f"{place} content {shown(content)} is not possible.", "It is a text.")
    try:
        content.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(content[error.start]):04x}"
        raise PromptError(
            f"{place} content has {half}, which is half of a character.",
            "Write the character itself, or both halves.",
        ) from error
    return Role(role), content


def piped() -> str:
    """What is piped in as standard input. Raises PromptError."""
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    try:
        return _limited(sys.stdin.buffer, "Standard input").decode("utf-8", "replace")
    except OSError as error:
        raise PromptError(f"Standard input cannot be read: {error.strerror}.") from error


def _limited(stream: BinaryIO, name: str) -> bytes:
    # A device never ends.
    data = stream.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise PromptError(f"{name} is longer than {LONGEST // 2**20} MB.", "Shorten it.")
    return data


def conversation(
    prompt: str, addition: str, file: Path | None, system: str
) -> tuple[tuple[Role, str], ...]:
    """What to send: the system prompt, a conversation from a file, the prompt and an addition.

    Raises PromptError when that is nothing.
    """
    given = list(read_messages(file)) if file else []
    if system and not any(role is Role.SYSTEM for role, _ in given):
        given.insert(0, (Role.SYSTEM, system))
    question = "\n\n".join(part for part in (prompt, addition.removesuffix("\n")) if part)
    if question:
        given.append((Role.USER, question))
    if all(role is Role.SYSTEM for role, _ in given):
        raise PromptError("There is nothing to ask.", 'Try: chatterm ask "Why is the sky blue?"')
    return tuple(given)


def run(options: AskOptions, model: ModelOptions, sampling: Sampling, log: Path) -> None:
    """Ask and print. Raises ChattermError, and KeyboardInterrupt after Ctrl+C."""
    changed = threading.Condition()

    def tell() -> None:
        with changed:
            changed.notify_all()

    session = Session(Store(None), log, sampling, raw=options.raw)
    session.on_change = tell
    asking = _Asking(session, changed)
    try:
        asking.load(model)
        session.import_messages(options.messages)
        if options.show_prompt:
            _print_prompt(asking.render(), options.json)
        else:
            _reply(asking, options)
    finally:
        session.close()


class _Asking:
    """A session, used by a program that waits for it."""

    def __init__(self, session: Session, changed: threading.Condition) -> None:
        self.session = session
        self._changed = changed

    def wait(self, done: Callable[[], bool]) -> None:
        # With a timeout, since Windows delivers no Ctrl+C to a thread that waits without one.
        with self._changed:
            while not done():
                self._changed.wait(0.5)

    def load(self, model: ModelOptions) -> None:
        self.session.load(model)
        self.wait(lambda: self.session.state.loading is None)
        if self.session.state.model is None:
            raise EngineError(self.session.state.problem)
        if self.session.state.notice:
            print(self.session.state.notice, file=sys.stderr)

    def render(self) -> Rendered:
        answers: list[Rendered | ChattermError] = []

        def done(answer: Rendered | ChattermError) -> None:
            with self._changed:
                answers.append(answer)
                self._changed.notify_all()

        self.session.render(done)
        self.wait(lambda: bool(answers))
        if isinstance(answers[0], ChattermError):
            raise answers[0]
        return answers[0]

    def reply(self, show: Callable[[str], None]) -> _Reply:
        """Write a reply, each new piece of its text to `show`, until it ends or Ctrl+C ends it."""
        before = self.session.state.tree.path()[-1]
        written = given = len(before.text) if before.role is Role.ASSISTANT else 0
        self.session.reply()
        reply = self.session.state.tree.path()[-1].id
        with _first_interrupt(self.session.stop) as interrupted:
            while True:
                state = self.session.state
                message = state.tree.messages[reply]
                if len(message.text) > written:
                    show(message.text[written:])
                    written = len(message.text)
                if state.running is None:
                    return _Reply(message, message.text[given:], interrupted.is_set())
                self.wait(lambda now=state: self.session.state is not now)  # type: ignore[misc]


class _Reply(msgspec.Struct, frozen=True):
    """A reply that has ended. `text`: what was written now, without what was given of it."""

    message: Message
    text: str
    interrupted: bool


@contextlib.contextmanager
def _first_interrupt(stop: Callable[[], object]) -> Iterator[threading.Event]:
    """Within it the first Ctrl+C calls `stop` and sets the event, and breaks into nothing.

    A second one is a KeyboardInterrupt, as usual.
    """
    interrupted = threading.Event()

    def handle(_signal: int, _frame: object) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()
        # On a thread, since this one may be holding the lock that `stop` needs.
        threading.Thread(target=stop, daemon=True).start()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _reply(asking: _Asking, options: AskOptions) -> None:
    def show(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    reply = asking.reply((lambda _: None) if options.json else show)
    message = reply.message
    if not options.json and reply.text and not reply.text.endswith("\n"):
        show("\n")
    if message.ending is Ending.FAILED:
        raise EngineError(message.problem)
    if options.json:
        trace = asking.session.trace(message.id) if options.tokens else None
        output.write_json(_report(reply, trace))
    if options.stats:
        print(_stats(message.figures), file=sys.stderr)
    if reply.interrupted:
        raise KeyboardInterrupt


def _report(reply: _Reply, trace: Trace | None) -> dict[str, Any]:
    message, figures = reply.message, reply.message.figures
    report: dict[str, Any] = {
        "text": reply.text,
        "finish_reason": message.ending,
        "model": message.model,
        "prompt_tokens": figures.prompt_tokens,
        "cached_tokens": figures.cached_tokens,
        "evaluated_tokens": figures.evaluated_tokens,
        "completion_tokens": figures.completion_tokens,
        "ttft_s": round(figures.ttft_s, 4),
        "tokens_per_s": round(figures.tokens_per_s, 2),
        "seed": figures.seed,
        "settings": message.changes[-1].sampling if message.changes else None,
    }
    if trace is not None:
        report["tokens"] = [_token(trace, index) for index in range(len(trace))]
    return report


def _token(trace: Trace, index: int) -> dict[str, Any]:
    record = trace[index]
    return {
        "id": record.id,
        "text": _text(record.piece),
        "p": record.p,
        "rank": record.rank,
        "top": [
            {"id": other.id, "text": _text(other.piece), "p": other.p, "p_sampled": other.p_sampled}
            for other in record.top
        ],
    }


def _text(piece: bytes) -> str:
    return clean(piece.decode("utf-8", "replace"))


def _stats(figures: Figures) -> str:
    return (
        f"{figures.prompt_tokens} prompt tokens ({figures.cached_tokens} cached), first token "
        f"after {figures.ttft_s * 1000:.0f} ms, {figures.completion_tokens} tokens at "
        f"{figures.tokens_per_s:.1f} tok/s, seed {figures.seed}"
    )


def _print_prompt(rendered: Rendered, as_json: bool) -> None:
    if as_json:
        output.write_json({"prompt": rendered.prompt, "tokens": rendered.tokens})
    else:
        sys.stdout.write(clean(rendered.prompt))
        sys.stdout.flush()
