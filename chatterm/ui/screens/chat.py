"""The main screen: a conversation, its sampling settings, and the prompt.

The invariant: what is shown is a function of the session's state (`present`), painted at most 25
times a second; a reply that grows costs only its new text.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message as TextualMessage
from textual.screen import Screen
from textual.widgets import Static

from chatterm.chat.message import Message, Role
from chatterm.chat.pace import OFF, PACE
from chatterm.chat.sampling import FIELDS, with_value
from chatterm.errors import ChattermError
from chatterm.session import Session
from chatterm.state import State
from chatterm.ui import commands, present
from chatterm.ui.pulse import Pulse
from chatterm.ui.widgets.action_bar import ActionBar
from chatterm.ui.widgets.backdrop import Backdrop, Columns, Rows
from chatterm.ui.widgets.completions import Completions
from chatterm.ui.widgets.prompt import Prompt
from chatterm.ui.widgets.sampling_panel import SamplingPanel
from chatterm.ui.widgets.status_line import StatusLine
from chatterm.ui.widgets.transcript import Transcript
from chatterm.ui.widgets.welcome import Welcome

PANEL_FITS = 100  # columns, below which the sampling panel lies over the transcript
STATUS_S = 0.5  # between two values of figures that only change
QUIT_S = 2.0


class ChatScreen(Backdrop, Screen[None]):
    """A conversation. Whoever shows it opens the other screens, which it asks for by Wanted."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "escape", "Stop; then rephrase the question", id="chat.stop"),
        Binding("ctrl+c", "interrupt", "Copy, stop or quit", id="chat.interrupt", priority=True),
        Binding("ctrl+r", "retry", "Ask the same again, as a branch", id="chat.retry"),
        Binding("ctrl+o", "resume", "Continue a stopped reply", id="chat.continue"),
        Binding("ctrl+n", "new", "New chat", id="chat.new"),
        Binding("f1", "want('help')", "Help", id="app.help"),
        Binding("f2", "panel", "Show or hide the sampling panel", id="chat.sampling"),
        Binding("f3", "want('prompt')", "What the model sees", id="chat.prompt"),
        Binding("f4", "want('models')", "Models", id="app.models"),
        Binding("f5", "want('chats')", "Chats", id="app.chats"),
        Binding("pageup", "scroll_pages(-1)", "A page up in the chat", id="chat.page-up"),
        Binding("pagedown", "scroll_pages(1)", "A page down in the chat", id="chat.page-down"),
        Binding("ctrl+home", "scroll_home", "To the beginning of the chat", id="chat.home"),
        Binding("ctrl+end", "follow", "To the end of the chat, and on with it", id="chat.end"),
        Binding("tab", "app.focus_next", "To the sliders, the chat and back", id="app.next"),
        Binding("shift+tab", "app.focus_previous", "The other way round", id="app.previous"),
    ]

    class Wanted(TextualMessage):
        """Something that is not this screen's to do: help, prompt, models, chats, theme, save,
        editor, link or quit. `argument` is a name, path, text or address."""

        def __init__(self, what: str, argument: str = "") -> None:
            super().__init__()
            self.what = what
            self.argument = argument

    def __init__(self, session: Session, history: Sequence[str] = ()) -> None:
        """`history`: what was sent before, oldest first, for the prompt."""
        super().__init__()
        self.session = session
        # Kept, since it is asked when it has left the screen.
        self._prompt = Prompt(history=history, commands=commands.completions(), id="prompt")
        self._defaults = session.state.sampling
        self._shown: State | None = None
        self._status_due = 0.0
        self._rephrasing: int | None = None
        self._draft = ""  # what stood in the prompt when a question was reopened in it
        self._quit_asked = 0.0
        self._panel_wanted: bool | None = None  # None: shown where it fits

    def compose(self) -> ComposeResult:
        # The transcript has siblings only that cost nothing to draw with it (see backdrop).
        with Columns(id="header"):
            yield Static("chatterm", id="brand", markup=False)
            yield Static("", id="title", markup=False)
            yield Static("", id="model", markup=False)
        with Columns(id="body"):
            with Rows(id="main"):
                yield Transcript(id="transcript")
                yield Welcome(id="empty")
                with Rows(id="below"):
                    yield ActionBar(id="actions")
                    yield Completions(id="commands")
                    yield self._prompt
            yield SamplingPanel(self.session.state.sampling, id="panel")
        yield StatusLine(id="status")

    def on_mount(self) -> None:
        self.session.on_change = Pulse(self, self._paint).poke
        self.query_one(Prompt).focus()
        self._place_panel(self.size.width)
        self._paint()

    def on_unmount(self) -> None:
        self.session.on_change = lambda: None
        self.session.keep_unsent(self._written())

    # Painting

    def _paint(self) -> None:
        state, before = self.session.state, self._shown
        if state is before:
            return
        self._shown = state
        self._paint_transcript(state, before)
        panel = self.query_one(SamplingPanel)
        if before is None or state.sampling != before.sampling:
            panel.show(state.sampling, self._defaults)
        if before is None or (state.pace, state.options) != (before.pace, before.options):
            panel.show_pace(state.pace, state.options.pace if state.options else OFF)
        now = time.monotonic()
        if _structure(state) != (before and _structure(before)) or now >= self._status_due:
            self._status_due = now + STATUS_S
            self._paint_lines(state)
        if before is None or state.said != before.said:
            self._announce(state)
        if state.unsent:
            self._put_back(self.session.take_unsent())

    def _paint_transcript(self, state: State, before: State | None) -> None:
        transcript = self.query_one(Transcript)
        if before is None or not _same_path(state, before):
            transcript.show(present.entries(state))
            return
        running = state.running or before.running
        unchanged = state.tree is before.tree and state.running is before.running
        if running is None or unchanged:
            return
        path = state.tree.path()
        if path and path[-1].id == running.message:
            old, new = before.tree.messages[running.message], path[-1]
            if new.text != old.text:
                transcript.append(new.text[len(old.text) :])
            if _outline(state, new) != _outline(before, old):
                transcript.update(present.entry(state, new))

    def _paint_lines(self, state: State) -> None:
        title, model = present.header(state)
        self._write("#title", title)
        self._write("#model", model)
        greeting = present.welcome(state)
        self.query_one(Welcome).greeting = greeting
        self.query_one(Prompt).suggest(greeting.questions)
        self.query_one(StatusLine).show(present.status(state))
        self.query_one(ActionBar).show(present.actions(state, self._rephrasing is not None))
        self.query_one(Prompt).set_placeholder(present.placeholder(state, self._rephrasing))
        self.set_class(not state.tree.messages, "-empty")

    def _write(self, selector: str, text: str) -> None:
        line = self.query_one(selector, Static)
        if line.content != text:  # an update lays out the whole screen
            line.update(text)

    def _announce(self, state: State) -> None:
        if state.problem:
            self.notify(state.problem, severity="error", timeout=10, markup=False)
        elif state.notice:
            self.notify(state.notice, timeout=6, markup=False)

    # The prompt

    @on(Prompt.Submitted)
    def _submitted(self, event: Prompt.Submitted) -> None:
        prompt = self.query_one(Prompt)
        prompt.remember(event.text)
        try:
            parsed = commands.parse(event.text)
            if parsed:
                self._do(*parsed)
            elif self._rephrasing is not None:
                self.session.rephrase(self._rephrasing, event.text)
                self._rephrase(None)
            else:
                self.session.send(event.text)
                self.query_one(Transcript).follow()
        except ChattermError as error:
            # What was written is not lost with what could not be done.
            prompt.set_text(event.text)
            self._tell(error)

    @on(Welcome.Taken)
    def _taken(self, event: Welcome.Taken) -> None:
        prompt = self.query_one(Prompt)
        prompt.set_text(event.question)
        prompt.action_send()

    @on(Prompt.Completing)
    def _completing(self, event: Prompt.Completing) -> None:
        self.query_one(Completions).show(event.commands, event.chosen)

    @on(Prompt.EditorWanted)
    def _editor_wanted(self, event: Prompt.EditorWanted) -> None:
        self.post_message(self.Wanted("editor", event.text))

    @on(Prompt.QuitWanted)
    def _quit_wanted(self) -> None:
        self.post_message(self.Wanted("quit"))

    @on(Prompt.Nudge)
    def _nudge(self, event: Prompt.Nudge) -> None:
        field, sampling = FIELDS[event.name], self.session.state.sampling
        value = field.snap(getattr(sampling, event.name) + event.steps * field.step)
        self.session.tune(with_value(sampling, event.name, value))

    @on(SamplingPanel.Changed)
    def _tuned(self, event: SamplingPanel.Changed) -> None:
        self.session.tune(event.sampling)

    @on(SamplingPanel.PaceChanged)
    def _paced(self, event: SamplingPanel.PaceChanged) -> None:
        self.session.set_pace(event.pace)

    def draft(self) -> str | None:
        """What is written in the prompt, as yet unsent."""
        return self.query_one(Prompt).value or None

    def _put_back(self, unsent: str) -> None:
        """Put what was not sent before what is being written."""
        if self._rephrasing is None:
            prompt = self.query_one(Prompt)
            prompt.set_text(_joined(unsent, prompt.value))
        else:
            self._draft = _joined(unsent, self._draft)

    def _written(self) -> str:
        """All that is written and not sent, but for a question that was reopened and left as is."""
        written = self._prompt.value
        if self._rephrasing is None:
            return written
        question = self.session.state.tree.messages.get(self._rephrasing)
        edited = "" if question and question.text == written else written
        return _joined(self._draft, edited)

    # Stopping, and going on

    @on(ActionBar.Chosen)
    async def _chosen(self, event: ActionBar.Chosen) -> None:
        await self.run_action(event.name)

    def action_escape(self) -> None:
        """Stop; when nothing runs, leave what is begun or come back to the prompt, or, from there,
        reopen the last question."""
        state, prompt = self.session.state, self.query_one(Prompt)
        if state.running or state.loading is not None:
            self.session.stop()
        elif self._rephrasing is not None:
            self._rephrase(None)
        elif not prompt.has_focus:
            # Not by its focus(), which would come after the keys that are typed next.
            self.set_focus(prompt)
            if self.has_class("-narrow"):
                self._panel_wanted = None  # it lies over the transcript
                self._place_panel(self.size.width)
        else:
            self.action_rephrase()

    def action_interrupt(self) -> None:
        """Copy what is selected, or stop, or quit at the second time."""
        prompt = self.query_one(Prompt)
        if selected := (prompt.has_focus and prompt.selected_text) or self.get_selected_text():
            self.app.copy_to_clipboard(selected)
            self.notify("Copied what is selected.", timeout=2, markup=False)
        elif self.session.state.running or self.session.state.loading is not None:
            self.action_escape()
        elif time.monotonic() - self._quit_asked < QUIT_S:
            self.post_message(self.Wanted("quit"))
        else:
            self._quit_asked = time.monotonic()
            self.notify("Press Ctrl+C again to quit.", timeout=QUIT_S, markup=False)

    def action_send(self) -> None:
        """Send what is in the prompt."""
        self.query_one(Prompt).action_send()

    def action_rephrase(self) -> None:
        """Reopen the selected question, or the last one, to ask it otherwise."""
        question = self._question()
        if question:
            self._rephrase(question)

    def action_retry(self) -> None:
        """Ask the same question again, as a new branch."""
        if question := self._question():
            self._try(lambda: self.session.retry(question.id))

    def action_resume(self) -> None:
        """Go on with the last reply from its last token."""
        path = self.session.state.tree.path()
        if path and path[-1].role is Role.ASSISTANT:
            self._try(lambda: self.session.resume(path[-1].id))

    def action_new(self) -> None:
        """Begin a new chat."""
        self._rephrase(None)
        self._try(self.session.new)

    def action_want(self, what: str) -> None:
        """Ask for another screen."""
        self.post_message(self.Wanted(what))

    def _question(self) -> Message | None:
        """The question that is selected in the transcript or belongs to what is, else the last."""
        path = self.session.state.tree.path()
        selected = self.query_one(Transcript).selected
        before = [message.id for message in path]
        until = before.index(selected) + 1 if selected in before else len(path)
        return next((m for m in reversed(path[:until]) if m.role is Role.USER), None)

    def _rephrase(self, question: Message | None) -> None:
        """Reopen a question in the prompt, or, with None, put back what stood there before."""
        prompt = self.query_one(Prompt)
        if self._rephrasing is None:
            self._draft = prompt.value
        elif question is None:
            prompt.set_text(self._draft)
        self._rephrasing = question.id if question else None
        if question:
            prompt.set_text(question.text)
            self.set_focus(prompt)
        self._paint_lines(self.session.state)

    @on(Prompt.SiblingWanted)
    def _version_wanted(self, event: Prompt.SiblingWanted) -> None:
        if message := present.branched(self.session.state):
            self._switch(message.id, event.step)

    def action_next_version(self) -> None:
        """The next version of the last message that has several, from the last to the first."""
        if message := present.branched(self.session.state):
            siblings = self.session.state.tree.siblings(message.id)
            last = message.id == siblings[-1]
            self._switch(message.id, -len(siblings) if last else 1)

    @on(Transcript.SiblingWanted)
    def _sibling_wanted(self, event: Transcript.SiblingWanted) -> None:
        self._switch(event.key, event.offset)

    @on(Transcript.Copied)
    def _copied(self, event: Transcript.Copied) -> None:
        self.notify(event.what, timeout=2, markup=False)

    @on(Transcript.LinkClicked)
    def _link_clicked(self, event: Transcript.LinkClicked) -> None:
        self.post_message(self.Wanted("link", event.url))

    def _switch(self, message_id: int, step: int) -> None:
        sibling = self.session.state.tree.sibling(message_id, step)
        if sibling != message_id:
            self._try(lambda: self.session.select(sibling))

    # Scrolling, wherever the focus is

    def action_scroll_pages(self, pages: int) -> None:
        """Scroll the conversation."""
        transcript = self.query_one(Transcript)
        if pages < 0:
            transcript.action_page_up()
        else:
            transcript.action_page_down()

    def action_scroll_home(self) -> None:
        """To the beginning of the conversation."""
        self.query_one(Transcript).action_scroll_home()

    def action_follow(self) -> None:
        """To the end of the conversation, and on with it."""
        self.query_one(Transcript).follow()

    # The sampling panel

    def on_resize(self, event: events.Resize) -> None:
        self._place_panel(event.size.width)

    def action_panel(self) -> None:
        """Show or hide the sampling panel, and move the focus there or back."""
        panel, prompt = self.query_one(SamplingPanel), self.query_one(Prompt)
        self._panel_wanted = not panel.display
        self._place_panel(self.size.width)
        if panel.display:
            panel.focus_first()
        else:
            self.set_focus(prompt)

    def _place_panel(self, width: int) -> None:
        fits = width >= PANEL_FITS
        self.set_class(not fits, "-narrow")
        wanted = fits if self._panel_wanted is None else self._panel_wanted
        self.query_one(SamplingPanel).display = wanted

    # Commands

    def begin(self, command: commands.Command) -> None:
        """Do a command, or where more must follow it, put it into the prompt."""
        if not self.query(Prompt):
            return  # the palette's last choice, while the program ends
        if command.needs_argument:
            prompt = self.query_one(Prompt)
            prompt.set_text(f"/{command.names[0]} ")
            self.set_focus(prompt)
        else:
            self._try(lambda: self._do(command, ""))

    def _do(self, command: commands.Command, argument: str) -> None:
        getattr(self, command.method)(argument)

    def command_help(self, _argument: str) -> None:
        self.action_want("help")

    def command_new(self, _argument: str) -> None:
        self.action_new()

    def command_chats(self, _argument: str) -> None:
        self.action_want("chats")

    def command_retry(self, _argument: str) -> None:
        self.action_retry()

    def command_rephrase(self, _argument: str) -> None:
        self.action_rephrase()

    def command_continue(self, _argument: str) -> None:
        self.action_resume()

    def command_model(self, argument: str) -> None:
        self.post_message(self.Wanted("models", argument))

    def command_set(self, argument: str) -> None:
        name, value = commands.parse_setting(argument)
        if name == PACE.name:
            self.session.set_pace(value)
        else:
            self.session.tune(with_value(self.session.state.sampling, name, value))

    def command_system(self, argument: str) -> None:
        self._rephrase(None)
        self.session.new(system=argument)

    def command_prompt(self, _argument: str) -> None:
        self.action_want("prompt")

    def command_title(self, argument: str) -> None:
        self.session.rename(argument)

    def command_save(self, argument: str) -> None:
        self.post_message(self.Wanted("save", argument))

    def command_theme(self, argument: str) -> None:
        self.post_message(self.Wanted("theme", argument))

    def command_exit(self, _argument: str) -> None:
        self.post_message(self.Wanted("quit"))

    # Telling

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except ChattermError as error:
            self._tell(error)

    def _tell(self, error: ChattermError) -> None:
        self.notify(str(error), severity="error", timeout=10, markup=False)


def _same_path(state: State, before: State) -> bool:
    """Whether the same messages are shown (`Tree.replaced` keeps children and active)."""
    return (
        state.tree.children is before.tree.children
        and state.tree.active is before.tree.active
        and state.queue == before.queue
        and (state.model is None or before.model is None or state.model is before.model)
    )


def _outline(state: State, message: Message) -> tuple[object, ...]:
    """What of a message's entry can change while it is written, but for its text."""
    return (message.ending, present.note(state, message), present.marks(message))


def _structure(state: State) -> tuple[object, ...]:
    """What the lines around the transcript show at once when it changes; the rest can wait."""
    running = state.running
    return (
        state.title,
        state.model,
        state.loading,
        state.queue,
        running and (running.run, running.phase),
        state.tree.active,
    )


def _joined(*texts: str) -> str:
    return "\n\n".join(filter(None, texts))
