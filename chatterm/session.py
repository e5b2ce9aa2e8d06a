"""A conversation under way: the only writer of its tree and its rows in the store.

Joins tree, store and engine, and knows no user interface: whoever shows the conversation reads
`state`, one frozen value that is replaced at each change, calls the methods below, and is told of
changes by `on_change`, on whichever thread made them.

The invariant: the user's message is stored before its reply is asked for, and nothing of a reply
that was shown is ever lost or overwritten.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from chatterm.chat.clean import clean, clean_line, normalise_newlines
from chatterm.chat.message import Change, Ending, Figures, Message, Role
from chatterm.chat.pace import checked_pace
from chatterm.chat.sampling import Sampling, checked
from chatterm.chat.trace import Trace, pack_ids, placed
from chatterm.chat.tree import Tree
from chatterm.client import Client, Died
from chatterm.engine import protocol
from chatterm.engine.protocol import Event, PromptMessage
from chatterm.errors import ChattermError, EngineError, ModelError, PromptError, StoreError
from chatterm.recorder import Recorder
from chatterm.state import ModelOptions, Running, State
from chatterm.store import Store

TITLE_LENGTH = 60


class Session:
    """See the module. Methods may be called from any thread and never wait for the engine."""

    def __init__(
        self,
        store: Store,
        log: Path,
        sampling: Sampling,
        *,
        system: str = "",
        raw: bool = False,
    ) -> None:
        """A session with an empty conversation, which is stored with its first message.

        `system` begins each new conversation; with `raw` the model gets texts without a template.
        """
        self.on_change: Callable[[], None] = lambda: None
        self._store = store
        self._system = clean(system)
        self._raw = raw
        self._lock = threading.RLock()
        self._state = State(sampling=checked(sampling))
        self._ids: dict[int, bytes] = {}  # the token ids of replies, as far as they were needed
        self._renders: dict[int, Callable[[protocol.Rendered | ChattermError], None]] = {}
        self._load_run = 0
        self._deaths = 0  # of the engine, since a reply was last finished
        self._recorder = Recorder(store, self._store_failed)
        self._client = Client(log, self._on_event)

    @property
    def state(self) -> State:
        """The session as it is now."""
        return self._state

    @property
    def engine_pid(self) -> int | None:
        """The engine's process, for those who measure it."""
        return self._client.pid

    def close(self) -> None:
        """Stop, save and end the engine. What a running reply has written stays."""
        with closing(self._store), closing(self._recorder), closing(self._client), self._lock:
            self._leave()

    # The model

    def load(self, options: ModelOptions) -> None:
        """Load a model in place of the one that is loaded."""
        with self._lock:
            self._interrupt()
            self._deaths = 0
            self._set(pace=checked_pace(options.pace))
            self._load(options)

    def cancel_load(self) -> None:
        """Give up loading; what the engine still says of it is dropped."""
        with self._lock:
            if self._state.loading is not None:
                self._client.stop(self._load_run)
                self._load_run = 0
                self._set(loading=None)

    # What the user says and how they steer

    def send(self, text: str) -> None:
        """Say `text` and ask for a reply, or queue it while a reply is being written."""
        text = clean(normalise_newlines(text))
        with self._lock:
            if self._state.running:
                self._set(queue=(*self._state.queue, text))
                return
            self._need_model()
            path = self._state.tree.path()
            parent = path[-1].id if path else self._begin_conversation(text)
            self._reply_to(self._add(Role.USER, text, parent).id)

    def stop(self) -> str:
        """Stop the reply, or the loading, that is under way. Returns what was queued, unqueued."""
        with self._lock:
            queued, running = "\n\n".join(self._state.queue), self._state.running
            if running and self._state.loading is not None:
                self._interrupt()
            elif running and running.phase != "stopping":
                self._client.stop(running.run)
                self._progress(phase="stopping")
            elif not running:
                self.cancel_load()
            self._set(queue=())
            return queued

    def rephrase(self, message_id: int, text: str) -> None:
        """Ask `text` in place of a question, as a new branch."""
        with self._lock:
            self._need_model()
            self._interrupt()
            parent = self._state.tree.messages[message_id].parent
            self._reply_to(self._add(Role.USER, clean(normalise_newlines(text)), parent).id)

    def retry(self, message_id: int) -> None:
        """Ask for another reply to a question, or to the question of a reply, as a new branch."""
        with self._lock:
            self._need_model()
            self._interrupt()
            message = self._state.tree.messages[message_id]
            question = message.parent if message.role is Role.ASSISTANT else message.id
            if question is not None:
                self._reply_to(question)

    def resume(self, message_id: int) -> None:
        """Continue a reply from its exact last token."""
        with self._lock:
            self._need_model()
            self._interrupt()
            message = self._state.tree.messages[message_id]
            if message.role is Role.ASSISTANT:
                self._generate(
                    msgspec.structs.replace(
                        message,
                        ending=None,
                        problem="",
                        changes=(*message.changes, Change(self._state.sampling)),
                    )
                )

    def tune(self, sampling: Sampling) -> None:
        """Use these sampling settings, from the next token on."""
        with self._lock:
            if checked(sampling) == self._state.sampling:
                return
            self._set(sampling=sampling)
            running = self._state.running
            if running:
                message = self._state.tree.messages[running.message]
                changes = (*message.changes, Change(sampling))
                self._update(msgspec.structs.replace(message, changes=changes))
                self._client.send(
                    protocol.Tune(run=running.run, version=len(changes) - 1, sampling=sampling)
                )

    def set_pace(self, pace: float) -> None:
        """Write at most this many tokens a second from now on; 0 is no limit."""
        with self._lock:
            self._set(pace=checked_pace(pace))
            if running := self._state.running:
                self._client.send(protocol.Pace(run=running.run, pace=pace))

    def select(self, message_id: int) -> None:
        """Make the path through a message the active one."""
        with self._lock:
            tree = self._state.tree.selected(message_id)
            self._set(tree=tree)
            if self._state.conversation is not None:
                self._store.activate(self._state.conversation, tree.path())

    # Conversations

    def new(self, system: str | None = None) -> None:
        """Begin an empty conversation, with another system prompt if one is given."""
        with self._lock:
            self._leave()
            if system is not None:
                self._system = clean(system)
            self._set(conversation=None, title="", tree=Tree(), queue=())

    def open(self, conversation: int) -> None:
        """Go on with a stored conversation. Raises StoreError."""
        with self._lock:
            self._leave()
            title, sampling, tree = self._store.load(conversation)
            self._ids = {}
            self._set(
                conversation=conversation, title=title, sampling=sampling, tree=tree, queue=()
            )

    def rename(self, title: str) -> None:
        """Give the conversation another title."""
        with self._lock:
            title = clean_line(title, TITLE_LENGTH)
            if self._state.conversation is not None and title:
                self._store.rename(self._state.conversation, title)
                self._set(title=title)

    def import_messages(self, messages: Iterable[tuple[Role, str]]) -> None:
        """Begin a conversation with these messages, and reply when the last is the user's."""
        with self._lock:
            self.new(system="")
            parent: int | None = None
            for role, text in messages:
                if self._state.conversation is None:
                    self._begin_conversation(text)
                parent = self._add(role, clean(normalise_newlines(text)), parent).id

    def reply(self) -> None:
        """Ask for a reply to the last message, or to go on with it when it is the assistant's."""
        with self._lock:
            self._need_model()
            last = self._state.tree.path()[-1]
            if last.role is Role.ASSISTANT:
                self.resume(last.id)
            else:
                self._reply_to(last.id)

    def trace(self, message_id: int) -> Trace:
        """The token records of a reply, as far as it is written. Raises StoreError."""
        self._recorder.flush()
        return self._store.trace(message_id)

    def render(
        self, done: Callable[[protocol.Rendered | ChattermError], None], text: str | None = None
    ) -> None:
        """Tell `done`, on the engine's thread, what the model would get with `text` said next."""
        with self._lock:
            self._need_model()
            messages = self._prompt(self._state.tree.path())
            if not self._state.tree.messages and self._system:
                messages += (PromptMessage(role=Role.SYSTEM, text=self._system),)
            if text is not None:
                messages += (PromptMessage(role=Role.USER, text=clean(normalise_newlines(text))),)
            run = self._client.next_run()
            self._renders[run] = done
            self._client.send(protocol.Render(run=run, messages=messages, raw=self._raw))

    # Asking the engine

    def _need_model(self) -> None:
        if self._state.model is None and self._state.loading is None:
            raise ModelError("No model is loaded.", "Choose one first.")

    def _load(self, options: ModelOptions) -> None:
        self._load_run = self._client.next_run()
        self._set(options=options, model=None, loading=0.0)
        self._client.send(
            protocol.Load(
                run=self._load_run,
                path=str(options.path),
                n_ctx=options.n_ctx,
                n_gpu_layers=options.n_gpu_layers,
                n_threads=options.n_threads,
            )
        )

    def _reply_to(self, question: int) -> None:
        changes = (Change(self._state.sampling, 0, 0),)
        self._generate(self._add(Role.ASSISTANT, "", question, changes))

    def _generate(self, reply: Message) -> None:
        """Ask the engine to write `reply`, or to go on with it when it has a text."""
        if self._state.model:
            reply = msgspec.structs.replace(reply, model=self._state.model.name)
        self._update(reply)
        path = self._state.tree.path_to(reply.id)
        run = self._client.next_run()
        self._set(running=Running(run=run, message=reply.id, began=time.monotonic()))
        self._client.send(
            protocol.Generate(
                run=run,
                messages=self._prompt(path),
                sampling=self._state.sampling,
                version=len(reply.changes) - 1,
                raw=self._raw,
                pace=self._state.pace,
            )
        )

    def _prompt(self, path: tuple[Message, ...]) -> tuple[PromptMessage, ...]:
        return tuple(
            PromptMessage(role=message.role, text=message.text, tokens=self._tokens(message))
            for message in path
            if message.text or message.role is not Role.ASSISTANT
        )

    def _tokens(self, message: Message) -> bytes:
        if message.role is not Role.ASSISTANT:
            return b""
        if message.id not in self._ids:
            self._ids[message.id] = pack_ids(self.trace(message.id).ids())
        return self._ids[message.id]

    def _interrupt(self) -> None:
        """End the running reply here and now; what the engine still says of it is dropped."""
        if running := self._state.running:
            self._client.send(protocol.Stop(run=running.run))
            self._finish(Ending.STOPPED)

    def _leave(self) -> None:
        """Be done with the conversation; its settings are stored here, not at each move of one."""
        self._interrupt()
        if self._state.conversation is not None:
            self._store.set_sampling(self._state.conversation, self._state.sampling)

    # What the engine says

    def _on_event(self, event: Event | Died) -> None:
        with self._lock:
            try:
                if isinstance(event, Died):
                    self._on_died(event)
                elif event.run == self._load_run:
                    self._on_loading(event)
                elif event.run in self._renders:
                    self._on_rendered(event)
                elif self._state.running and event.run == self._state.running.run:
                    self._on_reply(self._state.running, event)
            except StoreError as error:
                self._say(problem=str(error))

    def _on_loading(self, event: Event) -> None:
        match event:
            case protocol.LoadProgress():
                self._set(loading=event.fraction)
            case protocol.Loaded():
                self._set(model=event.info, loading=None, load_s=event.load_s)
                if event.info.template_problem:
                    self._say(notice=clean(event.info.template_problem))
                # The built-in model is what there is when none is remembered.
                built_in = self._state.options is not None and self._state.options.built_in
                self._store.remember("model", "" if built_in else event.info.path)
            case protocol.Failed():
                self._set(loading=None)
                self._say(problem=str(_error(event)))

    def _on_rendered(self, event: Event) -> None:
        if isinstance(event, protocol.Rendered):
            self._renders.pop(event.run)(event)
        elif isinstance(event, protocol.Failed):
            self._renders.pop(event.run)(_error(event))

    def _on_reply(self, running: Running, event: Event) -> None:
        phase = "stopping" if running.phase == "stopping" else "reading"
        match event:
            case protocol.Started():
                self._progress(
                    phase=phase,
                    prompt_tokens=event.prompt_tokens,
                    cached_tokens=event.cached_tokens,
                    context_tokens=event.prompt_tokens,
                )
                if event.notice:
                    self._say(notice=clean(event.notice))
            case protocol.Evaluated():
                self._progress(phase=phase, evaluated=event.done / max(event.total, 1))
            case protocol.Tokens():
                self._on_tokens(running, event)
            case protocol.Finished():
                self._deaths = 0
                self._finish(event.ending, event.figures)
                self._send_queued(event.ending)
            case protocol.Failed():
                self._finish(Ending.FAILED, problem=str(_error(event)))

    def _on_tokens(self, running: Running, event: protocol.Tokens) -> None:
        message = self._state.tree.messages[running.message]
        news = Trace(event.records, event.pieces)
        before = len(self._ids.setdefault(message.id, b"")) // 4
        self._ids[message.id] += pack_ids(news.ids())
        message = msgspec.structs.replace(
            message,
            text=message.text + clean(event.text),
            changes=placed(message.changes, news, before, len(message.text)),
        )
        self._set(
            tree=self._state.tree.replaced(message),
            running=msgspec.structs.replace(
                running,
                phase=running.phase if running.phase == "stopping" else "writing",
                tokens=running.tokens + len(news),
                tokens_per_s=event.tokens_per_s,
                context_tokens=event.context_tokens,
                ttft_s=running.ttft_s or time.monotonic() - running.began,
            ),
        )
        self._recorder.add(message, event.records, event.pieces)

    def _on_died(self, event: Died) -> None:
        error = EngineError(event.title, event.advice)
        was_loading, had_model = self._state.loading is not None, self._state.model is not None
        self._set(model=None, loading=None)
        renders, self._renders = self._renders, {}
        for done in renders.values():
            done(error)
        if self._state.running and event.asked:
            self._finish(Ending.STOPPED)
        elif self._state.running:
            self._finish(Ending.FAILED, problem=str(error))
        self._deaths += not event.asked
        again = had_model and not was_loading and self._deaths < 2
        if again and self._state.options:
            self._say(problem=f"{error} The model is being loaded again.")
            self._load(self._state.options)
        elif not (was_loading and event.asked):
            self._say(problem=f"{error} Choose a model to go on.")

    def _send_queued(self, ending: Ending) -> None:
        if self._state.queue and ending is not Ending.STOPPED:
            text, *rest = self._state.queue
            self.send(text)
            self._set(queue=tuple(rest))

    # The one place where state changes

    def _set(self, **changes: Any) -> None:
        self._state = msgspec.structs.replace(self._state, **changes)
        self.on_change()

    def _say(self, problem: str = "", notice: str = "") -> None:
        self._set(problem=problem, notice=notice, said=self._state.said + 1)

    def _progress(self, **changes: Any) -> None:
        if self._state.running:
            self._set(running=msgspec.structs.replace(self._state.running, **changes))

    def _begin_conversation(self, text: str) -> int | None:
        """Store a new conversation; returns the id of its system message, if it has one."""
        title = clean_line(text, TITLE_LENGTH) or "Untitled"
        conversation = self._store.create(title, self._state.sampling)
        self._set(conversation=conversation, title=title)
        return self._add(Role.SYSTEM, self._system, None).id if self._system else None

    def _add(
        self, role: Role, text: str, parent: int | None, changes: tuple[Change, ...] = ()
    ) -> Message:
        assert self._state.conversation is not None
        message = self._store.add(
            self._state.conversation,
            Message(
                id=0, parent=parent, role=role, text=text, created=time.time(), changes=changes
            ),
        )
        self._set(tree=self._state.tree.added(message))
        return message

    def _update(self, message: Message) -> None:
        """A newer value of a reply, in the tree and, in a moment, in the store."""
        self._set(tree=self._state.tree.replaced(message))
        self._recorder.add(message)

    def _finish(self, ending: Ending, figures: Figures | None = None, problem: str = "") -> None:
        running = self._state.running
        assert running
        message = self._state.tree.messages[running.message]
        if figures is None:
            figures = Figures(
                prompt_tokens=running.prompt_tokens,
                cached_tokens=running.cached_tokens,
                completion_tokens=running.tokens,
                ttft_s=running.ttft_s,
            )
        self._update(
            msgspec.structs.replace(message, ending=ending, figures=figures, problem=problem)
        )
        self._set(running=None)
        self._recorder.flush()

    def _store_failed(self, error: ChattermError) -> None:
        with self._lock:
            self._say(problem=str(error))


def _error(event: protocol.Failed) -> ChattermError:
    kinds = {kind.__name__: kind for kind in (ModelError, PromptError)}
    return kinds.get(event.kind, EngineError)(clean(event.title), clean(event.advice))
