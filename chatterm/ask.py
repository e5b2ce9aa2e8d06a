"""`chatterm ask`: one reply, streamed to standard output.

The invariant: standard output gets the reply's text or one JSON object and nothing else; all that
is said about it goes to standard error.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from chatterm.chat.clean import clean
from chatterm.chat.message import Ending, Figures, Message, Role
from chatterm.chat.sampling import Sampling
from chatterm.chat.trace import Trace
from chatterm.engine.protocol import Rendered
from chatterm.errors import ChattermError, EngineError, PromptError
from chatterm.session import Session
from chatterm.state import ModelOptions
from chatterm.store import Store

INTERRUPTED = 130


class AskOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask, and what to print."""

    messages: tuple[tuple[Role, str], ...]
    raw: bool = False
    json: bool = False
    tokens: bool = False
    stats: bool = False
    show_prompt: bool = False


class _Given(msgspec.Struct, frozen=True):
    role: Role
    content: str


def read_messages(file: Path) -> tuple[tuple[Role, str], ...]:
    """A conversation in a JSON file: a list of {role, content}. Raises PromptError."""
    shape = 'Give a JSON list like [{"role": "user", "content": "Hello"}].'
    try:
        given = msgspec.json.decode(file.read_bytes(), type=list[_Given])
    except OSError as error:
        raise PromptError(f"{file} cannot be read: {error.strerror}.") from error
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise PromptError(f"{file} is not a conversation: {error}.", shape) from error
    if not given:
        raise PromptError(f"{file} has no messages.", shape)
    return tuple((message.role, message.content) for message in given)


def conversation(
    prompt: str, piped: str, file: Path | None, system: str
) -> tuple[tuple[Role, str], ...]:
    """What to send: the system prompt, a conversation from a file, the prompt and what was piped.

    Raises PromptError when that is nothing.
    """
    given = list(read_messages(file)) if file else []
    if system and not any(role is Role.SYSTEM for role, _ in given):
        given.insert(0, (Role.SYSTEM, system))
    question = "\n\n".join(part for part in (prompt, piped.removesuffix("\n")) if part)
    if question:
        given.append((Role.USER, question))
    if all(role is Role.SYSTEM for role, _ in given):
        raise PromptError("There is nothing to ask.", 'Try: chatterm ask "Why is the sky blue?"')
    return tuple(given)


def run(options: AskOptions, model: ModelOptions, sampling: Sampling, log: Path) -> int:
    """Ask, print, and return the exit code. Raises ChattermError."""
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
            return 0
        return _reply(asking, options)
    except KeyboardInterrupt:
        return INTERRUPTED
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

    def reply(self, show: Callable[[str], None]) -> tuple[Message, bool]:
        """Write a reply, each new piece of its text to `show`; also whether Ctrl+C ended it."""
        self.session.reply()
        last = self.session.state.tree.path()[-1].id
        shown = len(self.session.state.tree.messages[last].text)
        interrupted = False
        while True:
            state = self.session.state
            message = state.tree.messages[last]
            if len(message.text) > shown:
                show(message.text[shown:])
                shown = len(message.text)
            if state.running is None:
                return message, interrupted
            try:
                self.wait(lambda now=state: self.session.state is not now)  # type: ignore[misc]
            except KeyboardInterrupt:
                if interrupted:
                    raise
                interrupted = True
                self.session.stop()


def _reply(asking: _Asking, options: AskOptions) -> int:
    def show(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    message, interrupted = asking.reply((lambda _: None) if options.json else show)
    if options.json:
        trace = asking.session.trace(message.id) if options.tokens else None
        print(msgspec.json.encode(_report(message, trace)).decode())
    elif message.text and not message.text.endswith("\n"):
        show("\n")
    if options.stats:
        print(_stats(message.figures), file=sys.stderr)
    if message.ending is Ending.FAILED:
        raise EngineError(message.problem)
    return INTERRUPTED if interrupted else 0


def _report(message: Message, trace: Trace | None) -> dict[str, Any]:
    figures = message.figures
    report: dict[str, Any] = {
        "text": message.text,
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
        print(msgspec.json.encode({"prompt": rendered.prompt, "tokens": rendered.tokens}).decode())
    else:
        sys.stdout.write(clean(rendered.prompt))
        sys.stdout.flush()
