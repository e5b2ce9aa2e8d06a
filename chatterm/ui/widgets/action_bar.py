"""The action bar: what can be done now, as a line of small labelled keys that can be clicked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec
from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from chatterm.chat.clean import clean_line


class Action(msgspec.Struct, frozen=True):
    """Something that can be done now: `key` is what to press, as it is shown.

    An urgent one, such as Stop, stands out.
    """

    name: str
    key: str
    label: str
    urgent: bool = False

    @property
    def text(self) -> str:
        """The item as it is shown, with the space around it that can also be clicked."""
        return f" {clean_line(self.label, 40)} {clean_line(self.key, 20)} "


class ActionBar(Widget):
    """A line of actions, as wide as they are; those that do not fit are left out."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "action-bar--label",
        "action-bar--key",
        "action-bar--urgent",
        "action-bar--hover",
    }
    """
    | Class | Description |
    | :- | :- |
    | `action-bar--label` | What an action does. |
    | `action-bar--key` | The key that does it. |
    | `action-bar--urgent` | An urgent action. |
    | `action-bar--hover` | The action under the mouse. |
    """

    ALLOW_SELECT = False

    DEFAULT_CSS = """
    ActionBar {
        height: 1;
        width: auto;
        max-width: 100%;
        pointer: pointer;

        & .action-bar--label { color: $foreground; }
        & .action-bar--key { color: $foreground-muted; }
        & .action-bar--urgent { color: $error; text-style: bold; }
        & .action-bar--hover { background: $surface-lighten-1; }
    }
    """

    actions: reactive[tuple[Action, ...]] = reactive((), layout=True)
    _hovered: reactive[int | None] = reactive(None)

    class Chosen(Message):
        """Posted when an action has been clicked."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def show(self, actions: Sequence[Action]) -> None:
        """Show these actions and no others."""
        self.actions = tuple(actions)
        self._hovered = None

    def get_content_width(self, _container: Size, _viewport: Size) -> int:
        return sum(cell_len(action.text) for action in self.actions)

    def render(self) -> Content:
        items: list[Content] = []
        room = self.content_size.width
        for at, action in enumerate(self.actions):
            room -= cell_len(action.text)
            if room < 0:
                break
            items.append(self._item(action, hovered=at == self._hovered))
        return Content("").join(items)

    def _item(self, action: Action, *, hovered: bool) -> Content:
        label = "action-bar--urgent" if action.urgent else "action-bar--label"
        key_at = len(action.text) - len(clean_line(action.key, 20)) - 1
        item = Content.assemble(
            (action.text[:key_at], self.get_visual_style(label)),
            (action.text[key_at:], self.get_visual_style("action-bar--key")),
        )
        if not hovered:
            return item
        return item.stylize(self.get_visual_style("action-bar--hover", partial=True))

    def _at(self, event: events.MouseEvent) -> int | None:
        x = event.screen_x - self.content_region.x
        for at, action in enumerate(self.actions):
            x -= cell_len(action.text)
            if x < 0:
                return at
        return None

    def on_mouse_move(self, event: events.MouseMove) -> None:
        self._hovered = self._at(event)

    def on_leave(self, _event: events.Leave) -> None:
        self._hovered = None

    def on_click(self, event: events.Click) -> None:
        event.stop()
        if (at := self._at(event)) is not None:
            self.post_message(self.Chosen(self.actions[at].name))
