"""The stop strings of a reply: a list, and a line to add to it.

A string is shown and typed on one line: `\\n`, `\\t` and `\\\\` are newline, tab and backslash.
"""

from __future__ import annotations

import re
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from chatterm.chat.clean import clean

_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\t": "\\t"}
_CHARACTERS = {escape: character for character, escape in _ESCAPES.items()}


def escaped(text: str) -> str:
    """`text` on one line, as `unescaped` reads it."""
    return "".join(_ESCAPES.get(character, character) for character in text)


def unescaped(text: str) -> str:
    """The text that was typed with escapes; an escape that is not known stays as it is."""
    return re.sub(r"\\[\\nt]", lambda match: _CHARACTERS[match[0]], text)


class StopEntry(Input):
    """The line that takes a new stop string."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "backspace",
            "delete_left_or_last",
            "On the empty line of stop strings: remove the last",
            show=False,
            id="stop-strings.erase",
        ),
    ]

    class LastUnwanted(Message):
        """Posted when there is nothing left to erase on the line."""

    def action_delete_left_or_last(self) -> None:
        """Erase to the left, or, on the empty line, take the last string away."""
        if self.value:
            self.action_delete_left()
        else:
            self.post_message(self.LastUnwanted())


class StopStrings(Vertical):
    """Rows for stop strings. Enter adds the one typed; backspace on the empty line removes one."""

    DEFAULT_CSS = """
    StopStrings {
        height: auto;
        padding: 0 1;

        & .stop-strings--list { color: $accent; height: auto; }
        & StopEntry { padding: 0; background: transparent; }
        & StopEntry .input--placeholder { color: $foreground-muted; }
        &:focus-within { background: $surface; }
    }
    """

    class Changed(Message):
        """Posted when the user has added or removed a stop string."""

        def __init__(self, strings: tuple[str, ...]) -> None:
            super().__init__()
            self.strings = strings

    def __init__(self, stop: tuple[str, ...] = (), *, id: str | None = None) -> None:  # noqa: A002
        """Rows that show `stop`."""
        super().__init__(id=id)
        self._stop = stop

    def compose(self) -> ComposeResult:
        yield Static("stop strings", markup=False)
        yield Static(self._list(), markup=False, classes="stop-strings--list")
        yield StopEntry(placeholder=r"add one, \n is a new line", compact=True)

    def set_stop(self, stop: tuple[str, ...]) -> None:
        """Show these stop strings. Posts no message."""
        if stop == self._stop:
            return
        self._stop = stop
        if self.is_mounted:
            self._show()

    def _list(self) -> Content:
        return Content("\n").join(Content(f"  {escaped(clean(text))}") for text in self._stop)

    def _show(self) -> None:
        shown = self.query_one(".stop-strings--list", Static)
        shown.update(self._list())
        shown.display = bool(self._stop)

    def on_mount(self) -> None:
        self._show()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        text = unescaped(clean(event.value))
        event.input.clear()
        if text and text not in self._stop:
            self._change((*self._stop, text))

    def on_stop_entry_last_unwanted(self, event: StopEntry.LastUnwanted) -> None:
        event.stop()
        if self._stop:
            self._change(self._stop[:-1])

    def _change(self, stop: tuple[str, ...]) -> None:
        self._stop = stop
        self._show()
        self.post_message(self.Changed(stop))
