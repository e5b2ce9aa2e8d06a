"""A conversation under way: the only writer of its tree and its rows in the store.

Joins tree, store and engine, and knows no user interface: whoever shows the conversation reads
`state`, one frozen value that is replaced at each change, calls the methods below, and is told of
changes by `on_change`, on whichever thread made them.

The invariants: the user's message is stored before its reply is asked for; nothing of a reply that
was shown is ever lost or overwritten; what the user wrote and what cannot be sent is given back, in
`state.unsent`, and kept for the next start when nobody takes it.

Two locks. With the turn, one thread at a time changes which messages there are, and may wait for
the store. With the lock the state is replaced, and nothing is waited for: the engine's events and
all that steers a reply need no more than that. Who has the lock never asks for the turn.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from chatterm.chat.clean import clean, clean_line, normalise_newlines
from chatterm.chat.message import Change, Ending, Figures, Message, Role
from chatterm.chat.pace import checked_pace
from chatterm.chat.sampling import Sampling, checked
from chatterm.chat.trace import Trace, placed
from chatterm.chat.tree import Tree
from chatterm.client import Client, Died
from chatterm.engine import protocol
from chatterm.engine.protocol import Event, PromptMessage
from chatterm.errors import ChattermError, EngineError, ModelError, PromptError, StoreError
from chatterm.recorder import Recorder
from chatterm.reply_tokens import ReplyTokens
from chatterm.state import ModelOptions, Running, State
from chatterm.store import LONG_PATIENCE_S, Store

TITLE_LENGTH = 60

_OnRendered: TypeAlias = Callable[[protocol.Rendered | ChattermError], None]


class Session:
    """See the module. Methods may be called from any thread and never wait for the engine.

    Those that raise StoreError may wait for the store, a moment, or `Store.patience` at most when
    another program keeps it locked; nothing has changed then.
    """

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
        What the last session could not give back is in `state.unsent`. Raises StoreError.
        """
        self.on_change: Callable[[], None] = lambda: None
        self._store = store
        self._system = clean(system)
        self._raw = raw
        self._turn = threading.RLock()
        self._lock = threading.RLock()
        self._state = State(sampling=checked(sampling), unsent=store.take_unsent())
        self._tokens = ReplyTokens(store)
        self._renders: dict[int, _OnRendered] = {}
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
        with self._turn, self._lock:
            self._leave()
            if unsent := self._state.unsent:
                self._recorder.later("unsent", lambda store: store.keep_unsent(unsent))
        with closing(self._store), closing(self._recorder), closing(self._client):
            self._store.patience = LONG_PATIENCE_S

    # The model

    def load(self, options: ModelOptions) -> None:
        """Load a model in place of the one that is loaded, or is being loaded."""
        with self._lock:
            pace = checked_pace(options.pace)
            self._interrupt()
            self.cancel_load()
            self._deaths = 0
            self._set(pace=pace)
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
        with self._turn:
            with self._lock:
                if self._state.running or self._state.queue:
                    self._set(queue=(*self._state.queue, text))
                    return
            self._say(text)

    def stop(self) -> None:
        """Stop the reply, or the loading, that is under way, and give back what was queued."""
        with self._lock:
            running = self._state.running
            if running and self._state.loading is not None:
                self._interrupt()
            elif running and running.phase != "stopping":
                self._client.stop(running.run)
                self._progress(phase="stopping")
            elif not running:
                self.cancel_load()
            self._give_back_queue()

    def keep_unsent(self, text: str) -> None:
        """The user leaves: have what is queued, and `text`, which is not sent, given back later."""
        with self._lock:
            self._give_back_queue()
            self._set(unsent=_joined(self._state.unsent, text))

    def take_unsent(self) -> str:
        """What was given back; it is the caller's to keep from now on."""
        with self._lock:
            unsent = self._state.unsent
            self._set(unsent="")
            return unsent

    def rephrase(self, message_id: int, text: str) -> None:
        """Ask `text` in place of a question, as a new branch."""
        with self._turn:
            self._need_model()
            parent = self._state.tree.messages[message_id].parent
            self._reply_to(parent, _said(Role.USER, clean(normalise_newlines(text))))

    def retry(self, message_id: int) -> None:
        """Ask for another reply to a question, or to the question of a reply, as a new branch."""
        with self._turn:
            self._need_model()
            message = self._state.tree.messages[message_id]
            question = message.parent if message.role is Role.ASSISTANT else message.id
            if question is not None:
                self._reply_to(question)

    def resume(self, message_id: int) -> None:
        """Continue a reply from its exact last token."""
        with self._turn:
            self._need_model()
            path = self._state.tree.path_to(message_id)
            if path[-1].role is not Role.ASSISTANT:
                return
            self._tokens.learn(path)
            with self._lock:
                self._interrupt()
                message = self._state.tree.messages[message_id]
                changes = (*message.changes, Change(self._state.sampling))
                self._generate(
                    msgspec.structs.replace(message, ending=None, problem="", changes=changes)
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
        """Make the path through a message the active one. Raises StoreError."""
        with self._turn:
            if self._state.conversation is not None:
                path = self._state.tree.selected(message_id).path()
                self._store.activate(self._state.conversation, path)
            with self._lock:
                self._set(tree=self._state.tree.selected(message_id))

    # Conversations

    def new(self, system: str | None = None) -> None:
        """Begin an empty conversation, with another system prompt if one is given."""
        with self._turn, self._lock:
            self._leave()
            if system is not None:
                self._system = clean(system)
            self._set(conversation=None, title="", tree=Tree())

    def open(self, conversation: int) -> None:
        """Go on with a stored conversation. Raises StoreError."""
        with self._turn:
            if conversation == self._state.conversation:
                return
            self._recorder.flush()
            title, sampling, tree = self._store.load(conversation)
            with self._lock:
                self._leave()
                self._tokens = ReplyTokens(self._store)  # another program may have gone on with it
                self._set(conversation=conversation, title=title, sampling=sampling, tree=tree)

    def rename(self, title: str) -> None:
        """Give the conversation another title. Raises StoreError."""
        with self._turn:
            title = clean_line(title, TITLE_LENGTH)
            if self._state.conversation is not None and title:
                self._store.rename(self._state.conversation, title)
                self._set(title=title)

    def import_messages(self, messages: Iterable[tuple[Role, str]]) -> None:
        """Begin a conversation with these messages. Raises StoreError."""
        said = [_said(role, clean(normalise_newlines(text))) for role, text in messages]
        with self._turn:
            self.new(system="")
            if said:
                self._add(*said)

    def reply(self) -> None:
        """Ask for a reply to the last message, or to go on with it when it is the assistant's."""
        with self._turn:
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

    def render(self, done: _OnRendered, text: str | None = None) -> None:
        """Tell `done`, on the engine's thread, what the model would get with `text` said next."""
        with self._turn:
            self._need_model()
            path = self._state.tree.path()
            self._tokens.learn(path)
            with self._lock:
                messages = self._tokens.prompt(path)
                if not self._state.tree.messages and self._system:
                    messages += (PromptMessage(role=Role.SYSTEM, text=self._system),)
                if text is not None:
                    words = clean(normalise_newlines(text))
                    messages += (PromptMessage(role=Role.USER, text=words),)
                run = self._client.next_run()
                self._client.send(protocol.Render(run=run, messages=messages, raw=self._raw))
                self._renders[run] = done

    # Asking the engine

    def _need_model(self) -> None:
        if self._state.model is None and self._state.loading is None:
            raise ModelError("No model is loaded.", "Load one first.")

    def _load(self, options: ModelOptions) -> None:
        run = self._client.next_run()
        self._client.send(
            protocol.Load(
                run=run,
                path=options.path,
                n_ctx=options.n_ctx,
                n_gpu_layers=options.n_gpu_layers,
                n_threads=options.n_threads,
            )
        )
        self._load_run = run
        self._set(options=options, model=None, loading=0.0)

    def _say(self, text: str) -> None:
        """Say `text` at the end of the active path and ask for a reply. With the turn."""
        self._need_model()
        path = self._state.tree.path()
        self._reply_to(path[-1].id if path else None, _said(Role.USER, text))

    def _reply_to(self, parent: int | None, *said: Message) -> None:
        """Say `said` after message `parent` and have a reply written. With the turn."""
        try:
            if parent is not None:
                self._tokens.learn(self._state.tree.path_to(parent))
            added = self._add(*said, _said(Role.ASSISTANT, ""), parent=parent)
        except StoreError as error:
            raise StoreError(error.title, f"Nothing was sent. {error.advice}") from error
        with self._lock:
            self._interrupt()
            changes = (Change(self._state.sampling, 0, 0),)
            self._generate(msgspec.structs.replace(added[-1], changes=changes))

    def _generate(self, reply: Message) -> None:
        """Ask the engine to write `reply`, or to go on with it when it has a text. With the lock,
        and with the tokens of the replies up to it learned."""
        if self._state.model:
            reply = msgspec.structs.replace(reply, model=self._state.model.name)
        self._update(reply)
        run = self._client.next_run()
        try:
            self._client.send(
                protocol.Generate(
                    run=run,
                    messages=self._tokens.prompt(self._state.tree.path_to(reply.id)),
                    sampling=self._state.sampling,
                    version=len(reply.changes) - 1,
                    raw=self._raw,
                    pace=self._state.pace,
                )
            )
        except EngineError as error:
            failed = {"ending": Ending.FAILED, "problem": str(error)}
            self._update(msgspec.structs.replace(reply, **failed))
            self._give_back_queue()
        else:
            self._set(running=Running(run=run, message=reply.id, began=time.monotonic()))

    def _interrupt(self) -> None:
        """End the running reply here and now; what the engine still says of it is dropped."""
        if running := self._state.running:
            self._client.stop(running.run)
            self._finish(Ending.STOPPED)
        self._give_back_queue()

    def _leave(self) -> None:
        """Be done with the conversation; its settings are stored here, not at each move of one."""
        self._interrupt()
        conversation, sampling = self._state.conversation, self._state.sampling
        if conversation is not None:
            self._recorder.later(
                f"sampling of {conversation}",
                lambda store: store.set_sampling(conversation, sampling),
            )

    def _give_back_queue(self) -> None:
        if self._state.queue:
            self._set(unsent=_joined(self._state.unsent, *self._state.queue), queue=())

    # What the engine says

    def _on_event(self, event: Event | Died) -> None:
        with self._lock:
            answered = self._take_answered(event)
            if isinstance(event, Died):
                self._on_died(event)
            elif event.run == self._load_run:
                self._on_loading(event)
            elif self._state.running and event.run == self._state.running.run:
                self._on_reply(self._state.running, event)
        # Without the lock: who is told may wait for another thread, and the store may be locked.
        for done, answer in answered:
            done(answer)
        self._send_queued()

    def _take_answered(
        self, event: Event | Died
    ) -> list[tuple[_OnRendered, protocol.Rendered | ChattermError]]:
        """Who is to be told of a rendering now, and what."""
        if isinstance(event, Died):
            renders, self._renders = self._renders, {}
            return [(done, EngineError(event.title, event.advice)) for done in renders.values()]
        if isinstance(event, protocol.Rendered | protocol.Failed) and event.run in self._renders:
            answer = event if isinstance(event, protocol.Rendered) else _error(event)
            return [(self._renders.pop(event.run), answer)]
        return []

    def _on_loading(self, event: Event) -> None:
        match event:
            case protocol.LoadProgress():
                self._set(loading=event.fraction)
            case protocol.Loaded():
                self._set(model=event.info, loading=None, load_s=event.load_s)
                if event.info.template_problem:
                    self._tell(notice=clean(event.info.template_problem))
                # The built-in model is what there is when none is remembered.
                built_in = self._state.options is not None and self._state.options.built_in
                path = "" if built_in else str(event.info.path)
                self._recorder.later("model", lambda store: store.remember("model", path))
            case protocol.Failed():
                self._set(loading=None)
                self._tell(problem=str(_error(event)))

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
                    self._tell(notice=clean(event.notice))
            case protocol.Evaluated():
                self._progress(phase=phase, evaluated=event.done / max(event.total, 1))
            case protocol.Tokens():
                self._on_tokens(running, event)
            case protocol.Finished():
                self._deaths = 0
                self._finish(event.ending, event.figures)
            case protocol.Failed():
                self._finish(Ending.FAILED, problem=str(_error(event)))
                self._give_back_queue()

    def _on_tokens(self, running: Running, event: protocol.Tokens) -> None:
        message = self._state.tree.messages[running.message]
        news = Trace(event.records, event.pieces)
        before = self._tokens.grow(message.id, news)
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
        """Start over: the engine has forgotten the model, and all that it was asked.

        It was asked to end when it did not answer a Stop. That is no fault of what waited for it
        meanwhile, which is asked of the next one.
        """
        error = EngineError(event.title, event.advice)
        running, options = self._state.running, self._state.options
        was_loading, had_model = self._state.loading is not None, self._state.model is not None
        self._set(model=None, loading=None)
        self._deaths += not event.asked
        at_fault = not event.asked and (was_loading or self._deaths >= 2)
        again = options if (was_loading or had_model) and not at_fault else None
        waits = event.asked and again and running and running.phase == "waiting"
        if running and not waits:
            ending = Ending.STOPPED if event.asked else Ending.FAILED
            self._finish(ending, problem="" if event.asked else str(error))
            self._give_back_queue()
        if again:
            self._tell(problem=f"{error} The model is being loaded again.")
            self._load(again)
        else:
            self._tell(problem=f"{error} No model is loaded now.")
        if running and waits:
            self._generate(self._state.tree.messages[running.message])

    def _send_queued(self) -> None:
        """Say what waits, when its turn has come. Without the lock: it waits for the store."""
        while self._state.queue and not self._state.running:
            with self._turn:
                with self._lock:
                    if self._state.running or not self._state.queue:
                        return
                    text, *rest = self._state.queue
                    self._set(queue=tuple(rest))
                try:
                    self._say(text)
                except ChattermError as error:
                    with self._lock:
                        self._set(queue=(text, *self._state.queue))
                        self._give_back_queue()
                        self._tell(problem=str(error))

    # The one place where state changes

    def _set(self, **changes: Any) -> None:
        with self._lock:
            self._state = msgspec.structs.replace(self._state, **changes)
            self.on_change()

    def _tell(self, problem: str = "", notice: str = "") -> None:
        self._set(problem=problem, notice=notice, said=self._state.said + 1)

    def _progress(self, **changes: Any) -> None:
        if self._state.running:
            self._set(running=msgspec.structs.replace(self._state.running, **changes))

    def _add(self, *messages: Message, parent: int | None = None) -> tuple[Message, ...]:
        """Store messages, the first after `parent`, and make them the active path. With the turn.

        Begins a conversation where there is none.
        """
        conversation, title = self._state.conversation, self._state.title
        if conversation is None:
            title = clean_line(messages[0].text, TITLE_LENGTH) or "Untitled"
            if self._system:
                messages = (_said(Role.SYSTEM, self._system), *messages)
            conversation, added = self._store.create(title, self._state.sampling, *messages)
        else:
            first = msgspec.structs.replace(messages[0], parent=parent)
            added = self._store.add(conversation, first, *messages[1:])
        with self._lock:
            tree = self._state.tree
            for message in added:
                tree = tree.added(message)
            self._set(conversation=conversation, title=title, tree=tree)
        return added

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

    def _store_failed(self, error: ChattermError) -> None:
        with self._lock:
            self._tell(problem=str(error))


def _said(role: Role, text: str) -> Message:
    """A message that is not stored yet."""
    return Message(id=0, parent=None, role=role, text=text, created=time.time())


def _joined(*texts: str) -> str:
    return "\n\n".join(filter(None, texts))


def _error(event: protocol.Failed) -> ChattermError:
    kinds = {kind.__name__: kind for kind in (ModelError, PromptError)}
    return kinds.get(event.kind, EngineError)(clean(event.title), clean(event.advice))
