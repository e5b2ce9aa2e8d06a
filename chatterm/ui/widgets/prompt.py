"""The prompt: where the user writes, several lines, with history and long pastes.

The invariant: `text` as it is sent is what was typed and pasted, cleaned, however it is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, cast

from textual import events
from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual.actions import SkipAction
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.keys import Keys
from textual.message import Message
from textual.widgets import TextArea
from textual.widgets.text_area import Edit, EditResult, Location

from chatterm.chat.clean import clean, normalise_newlines
from chatterm.ui.widgets.pastes import Pastes
from chatterm.ui.widgets.prompt_history import PromptHistory

NudgeName = Literal["temperature", "top_p"]


class Prompt(TextArea):
    """A text area that sends what is in it.

    A text that begins with a slash is a command line: `commands` are the names (with it) that are
    offered then, and their help. TextArea's `text` is what is shown; `value` is what is meant.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        # With priority, or TextArea would take enter as a character, and a new line would come
        # after what is typed quickly behind it.
        Binding("enter", "send", "Send", show=False, priority=True, id="prompt.send"),
        Binding(
            "ctrl+j,alt+enter,shift+enter",
            "new_line",
            "New line",
            show=False,
            priority=True,
            id="prompt.new-line",
        ),
        Binding(
            "up", "cursor_up", "On the first line: what you sent before", show=False, id="prompt.up"
        ),
        Binding(
            "down",
            "cursor_down",
            "On the last line: what you sent after",
            show=False,
            id="prompt.down",
        ),
        Binding(
            "left", "cursor_left", "When empty: the version before", show=False, id="prompt.left"
        ),
        Binding(
            "right", "cursor_right", "When empty: the version after", show=False, id="prompt.right"
        ),
        Binding("tab", "complete", "Complete a command", show=False, id="prompt.complete"),
        Binding("escape", "dismiss", "Put the commands away", show=False, id="prompt.dismiss"),
        Binding("ctrl+g", "edit_outside", "Write in your editor", show=False, id="prompt.editor"),
        Binding("ctrl+d", "delete_right_or_quit", "When empty: quit", show=False, id="prompt.quit"),
        # super: what iTerm2 sends for the Option key.
        Binding(
            "alt+up,super+up",
            "nudge('temperature', 1)",
            "Temperature up",
            show=False,
            id="prompt.warmer",
        ),
        Binding(
            "alt+down,super+down",
            "nudge('temperature', -1)",
            "Temperature down",
            show=False,
            id="prompt.cooler",
        ),
        Binding(
            "alt+right,super+right", "nudge('top_p', 1)", "Top-p up", show=False, id="prompt.wider"
        ),
        Binding(
            "alt+left,super+left",
            "nudge('top_p', -1)",
            "Top-p down",
            show=False,
            id="prompt.narrower",
        ),
    ]

    DEFAULT_CSS = """
    Prompt {
        height: auto;
        min-height: 1;
        max-height: 8;
        border: none;
        padding: 0;
        background: transparent;
        scrollbar-size-vertical: 1;

        &:focus { border: none; }
        & .text-area--cursor-line { background: transparent; }
        & .text-area--placeholder { color: $foreground-muted; }
    }
    """

    class Submitted(Message):
        """Posted when the user sends `text`; the prompt is empty again by then."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class EditorWanted(Message):
        """Posted when `text` is to be edited in an external editor; answer with `set_text`."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class SiblingWanted(Message):
        """Posted to see the version of a message `step` places further."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    class Nudge(Message):
        """Posted to move the field `name` of the sampling settings by `steps`."""

        def __init__(self, name: NudgeName, steps: int) -> None:
            super().__init__()
            self.name = name
            self.steps = steps

    class QuitWanted(Message):
        """Posted for the end of input on an empty prompt."""

    class Completing(Message):
        """Posted when the commands that could be meant have changed; `chosen` is the index of
        the one that would be taken."""

        def __init__(self, commands: tuple[tuple[str, str], ...], chosen: int) -> None:
            super().__init__()
            self.commands = commands
            self.chosen = chosen

    def __init__(
        self,
        *,
        placeholder: str = "",
        history: Sequence[str] = (),
        commands: Sequence[tuple[str, str]] = (),
        id: str | None = None,  # noqa: A002
    ) -> None:
        """An empty prompt."""
        super().__init__(
            id=id,
            compact=True,
            highlight_cursor_line=False,
            placeholder=Content(placeholder),
        )
        self.match_cursor_bracket = False
        self.commands = tuple(commands)
        self._pastes = Pastes()
        self._past = PromptHistory(history, self._pastes.collapse)
        self._matches: tuple[tuple[str, str], ...] = ()
        self._chosen = 0

    @property
    def value(self) -> str:
        """The text as it would be sent."""
        return self._pastes.expand(self.text)

    def set_text(self, text: str) -> None:
        """Put `text` in place of what is there."""
        self._pastes.clear()
        self._past.leave()
        self._load(self._pastes.collapse(clean(normalise_newlines(text))))

    def set_placeholder(self, text: str) -> None:
        """What an empty prompt says."""
        if text != str(self.placeholder):  # or each call would draw the prompt again
            self.placeholder = Content(text)

    def suggest(self, texts: Sequence[str]) -> None:
        """Texts that down brings into the prompt, one after the other."""
        self._past.suggest(texts)

    def remember(self, text: str) -> None:
        """Add a text to the end of the history, unless it is there already."""
        self._past.remember(text)

    def edit(self, edit: Edit) -> EditResult:
        """Make an edit; one that touches the inside of a label takes all of it, or comes after."""
        top, bottom = edit.top, edit.bottom
        if top == bottom:
            edit.from_location = edit.to_location = self._off_label(bottom, 1)
        else:
            edit.from_location = self._off_label(top, 0)
            edit.to_location = self._off_label(bottom, 1)
        return super().edit(edit)

    def _off_label(self, location: Location, end: int) -> Location:
        row, column = location
        if row >= self.document.line_count:
            return location  # as TextArea names the end when it deletes the last line
        span = self._pastes.span_around(self.document.get_line(row), column)
        return location if span is None else (row, span[end])

    def _load(self, shown: str) -> None:
        self.load_text(shown)
        self.move_cursor(self.document.end)

    def on_mount(self) -> None:
        _tell_alt_enter_apart()

    async def on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        self._paste(event.text)

    def _paste(self, text: str) -> None:
        shown = self._pastes.collapse(clean(normalise_newlines(text)))
        self.replace(shown, *self.selection, maintain_selection_offset=False)

    def on_text_area_changed(self, _event: TextArea.Changed) -> None:
        self._offer(_matching(self.text, self.commands), 0)

    def _offer(self, matches: tuple[tuple[str, str], ...], chosen: int) -> None:
        if (matches, chosen) != (self._matches, self._chosen):
            self._matches, self._chosen = matches, chosen
            self.post_message(self.Completing(matches, chosen))

    def action_send(self) -> None:
        """Send the text, or complete a command that is not yet one."""
        # After the keys before it, which wait in this widget's queue.
        self.call_later(self._send)

    def action_new_line(self) -> None:
        """Start a new line."""
        self.call_later(self._new_line)

    def _send(self) -> None:
        if self._matches and self.text not in dict(self.commands):
            self.action_complete()
            return
        text = self.value
        if text.strip():
            self.set_text("")
            self.post_message(self.Submitted(text))

    def _new_line(self) -> None:
        self.replace("\n", *self.selection, maintain_selection_offset=False)

    def action_complete(self) -> None:
        """Complete the command that is chosen."""
        if not self._matches:
            raise SkipAction  # the key moves the focus
        self._load(f"{self._matches[self._chosen][0]} ")

    def action_dismiss(self) -> None:
        """Put the offered commands away."""
        if not self._matches:
            raise SkipAction  # the key is the screen's
        self._offer((), 0)

    def action_edit_outside(self) -> None:
        """Ask for an external editor."""
        self.post_message(self.EditorWanted(self.value))

    def action_delete_right_or_quit(self) -> None:
        """Delete to the right; on an empty prompt, ask to quit."""
        if self.document.end == (0, 0):
            self.post_message(self.QuitWanted())
        else:
            self.action_delete_right()

    def action_nudge(self, name: NudgeName, steps: int) -> None:
        """Ask to move a sampling setting."""
        self.post_message(self.Nudge(name, steps))

    def action_paste(self) -> None:
        """Paste what was last copied or cut here."""
        self._paste(self.app.clipboard)

    def action_cursor_up(self, select: bool = False) -> None:
        """Up; from the first line, to the text sent before this one."""
        if self._matches:
            self._offer(self._matches, max(self._chosen - 1, 0))
        elif select or not self.navigator.is_first_wrapped_line(self.selection.end):
            super().action_cursor_up(select)
        elif not self._walk(-1):
            super().action_cursor_up()

    def action_cursor_down(self, select: bool = False) -> None:
        """Down; from the last line, to the text sent after this one, or to a suggestion."""
        if self._matches:
            self._offer(self._matches, min(self._chosen + 1, len(self._matches) - 1))
        elif select or not self.navigator.is_last_wrapped_line(self.selection.end):
            super().action_cursor_down(select)
        elif not self._walk(1):
            super().action_cursor_down()

    def action_cursor_left(self, select: bool = False) -> None:
        """Left; on an empty prompt, to the version before."""
        self._move_or_switch(-1, select)

    def action_cursor_right(self, select: bool = False) -> None:
        """Right; on an empty prompt, to the version after."""
        self._move_or_switch(1, select)

    def action_cursor_page_up(self) -> None:
        """A page up, where there is more than one."""
        self._only_if_long()
        super().action_cursor_page_up()

    def action_cursor_page_down(self) -> None:
        """A page down, where there is more than one."""
        self._only_if_long()
        super().action_cursor_page_down()

    def _only_if_long(self) -> None:
        if self.wrapped_document.height <= self.size.height:
            raise SkipAction  # the key scrolls the conversation

    def _move_or_switch(self, step: int, select: bool) -> None:
        if self.document.end == (0, 0):
            self.post_message(self.SiblingWanted(step))
        elif step < 0:
            super().action_cursor_left(select)
        else:
            super().action_cursor_right(select)

    def _walk(self, step: int) -> bool:
        """Show the text `step` places further in the history, if there is one."""
        shown = self._past.walk(step, self.text)
        if shown is None:
            return False
        self._load(shown)
        return True


def _matching(text: str, commands: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The commands that `text` is the beginning of."""
    if not text.startswith("/"):
        return ()
    return tuple(command for command in commands if command[0].startswith(text))


def _tell_alt_enter_apart() -> None:
    """Have Alt+Enter arrive as ctrl+j.

    Terminals without the kitty keyboard protocol send escape and return for it, which Textual
    does not know as one key and reports as a plain enter.
    """
    cast("dict[str, Any]", ANSI_SEQUENCES_KEYS).setdefault("\x1b\r", (Keys.ControlJ,))
