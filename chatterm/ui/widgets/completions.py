"""The commands that could be meant by what is being typed, to be shown above the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.content import Content
from textual.widgets import Static

_MOST = 8


class Completions(Static):
    """A list of commands with their help; the chosen one stands out. Hidden while empty."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"completions--chosen", "completions--help"}
    """
    | Class | Description |
    | :- | :- |
    | `completions--chosen` | The command that would be taken. |
    | `completions--help` | What a command does. |
    """

    DEFAULT_CSS = """
    Completions {
        height: auto;
        padding: 0 1;
        background: $surface;
        display: none;

        & .completions--chosen { color: $accent; text-style: bold; }
        & .completions--help { color: $foreground-muted; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        """An empty list."""
        super().__init__(id=id, markup=False)

    def show(self, commands: Sequence[tuple[str, str]], chosen: int) -> None:
        """Show these commands, and which of them would be taken; with none, hide."""
        self.display = bool(commands)
        first = max(0, chosen - _MOST + 1)
        width = max((len(name) for name, _ in commands), default=0)
        plain = self.get_visual_style()
        chosen_style = self.get_visual_style("completions--chosen")
        help_style = self.get_visual_style("completions--help")
        lines = [
            Content.assemble(
                (f"{name:<{width}}  ", chosen_style if at == chosen else plain),
                (help_text, help_style),
            )
            for at, (name, help_text) in enumerate(commands)
        ]
        self.update(Content("\n").join(lines[first : first + _MOST]))
