"""The list of stored conversations."""

from __future__ import annotations

import time
from collections.abc import Sequence

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from chatterm.chat.clean import clean_line
from chatterm.store import Conversation
from chatterm.ui.present import plural
from chatterm.ui.screens.dialog import Choice


class ChatsScreen(Choice[int | None]):
    """Choose a conversation; the result is its id."""

    def __init__(self, conversations: Sequence[Conversation]) -> None:
        super().__init__()
        self._conversations = conversations

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Static("Chats", classes="box-title", markup=False)
            yield Input(placeholder="Words of a title…", compact=True)
            yield OptionList(id="choices", markup=False)
            yield Static("⏎ open   ↑↓ choose   esc close", classes="box-keys", markup=False)

    def on_mount(self) -> None:
        self._show("")

    @on(Input.Changed)
    def _filtered(self, event: Input.Changed) -> None:
        self._show(event.value)

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.choices.action_select()

    @on(OptionList.OptionSelected)
    def _opened(self, event: OptionList.OptionSelected) -> None:
        if event.option_id:
            self.dismiss(int(event.option_id))

    def _show(self, text: str) -> None:
        choices = self.choices
        choices.clear_options()
        now = time.time()
        for conversation in self._conversations:
            if text.lower() in conversation.title.lower():
                line = Content.assemble(
                    f"{conversation.id:>4}  {clean_line(conversation.title, 60)}  ",
                    (
                        f"{plural(conversation.messages, 'message')}, "
                        f"{ago(now - conversation.updated)}",
                        "$foreground-muted",
                    ),
                )
                choices.add_option(Option(line, id=str(conversation.id)))
        if choices.option_count:
            choices.highlighted = 0
        else:
            none = "No title has these words." if text else "No chat here yet."
            choices.add_option(Option(Content(none), disabled=True))


def ago(seconds: float) -> str:
    """How long ago, roughly: `just now`, `5 minutes ago`, `3 days ago`."""
    for size, noun in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            return f"{plural(int(seconds // size), noun)} ago"
    return "just now"
