"""What an empty chat says: a few words, and questions that can be taken with a click."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget


class Greeting(msgspec.Struct, frozen=True):
    """The words, the questions below them, and what is said below these."""

    words: str
    questions: tuple[str, ...] = ()
    after: str = ""


class Welcome(Widget):
    """A greeting in the middle of what would be the transcript."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"welcome--question", "welcome--hover"}
    """
    | Class | Description |
    | :- | :- |
    | `welcome--question` | A question that can be taken. |
    | `welcome--hover` | The question under the mouse. |
    """

    ALLOW_SELECT = False

    DEFAULT_CSS = """
    Welcome {
        color: $foreground-muted;
        content-align: left middle;
        padding: 0 1;
        text-wrap: nowrap;

        & .welcome--question { color: $foreground; }
        & .welcome--hover { color: $accent; }
    }
    """

    greeting: reactive[Greeting] = reactive(Greeting(""))
    _hovered: reactive[int | None] = reactive(None)

    class Taken(Message):
        """Posted when a question has been clicked."""

        def __init__(self, question: str) -> None:
            super().__init__()
            self.question = question

    def render(self) -> Content:
        lines = self._lines()
        # Of one block in the middle, in which the lines begin below each other.
        widest = max(cell_len(text) for text, _ in lines)
        indent = " " * max((self.content_size.width - widest) // 2, 0)
        plain = self.get_visual_style()
        styled = []
        for text, question in lines:
            name = "welcome--hover" if question == self._hovered else "welcome--question"
            style = plain if question is None else self.get_visual_style(name)
            styled.append(Content.assemble(indent, (text, style)))
        return Content("\n").join(styled)

    def _lines(self) -> list[tuple[str, int | None]]:
        """Each line, with the index of its question if it is one."""
        greeting = self.greeting
        lines: list[tuple[str, int | None]] = [(line, None) for line in greeting.words.split("\n")]
        if greeting.questions:
            asked = [(f"› {question}", at) for at, question in enumerate(greeting.questions)]
            lines += [("", None), *asked]
        if greeting.after:
            lines += [("", None), *((line, None) for line in greeting.after.split("\n"))]
        return lines

    def _at(self, event: events.MouseEvent) -> int | None:
        """The question on the line under the mouse."""
        lines = self._lines()
        top = max((self.content_size.height - len(lines)) // 2, 0)
        at = event.screen_y - self.content_region.y - top
        return lines[at][1] if 0 <= at < len(lines) else None

    def on_mouse_move(self, event: events.MouseMove) -> None:
        self._hovered = self._at(event)

    def on_leave(self, _event: events.Leave) -> None:
        self._hovered = None

    def on_click(self, event: events.Click) -> None:
        if (at := self._at(event)) is not None:
            event.stop()
            self.post_message(self.Taken(self.greeting.questions[at]))
