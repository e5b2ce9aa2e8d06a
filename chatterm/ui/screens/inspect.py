"""What the model sees: the prompt as it is, with its control tokens told apart."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from chatterm.chat.clean import clean
from chatterm.engine.protocol import PromptToken, Rendered
from chatterm.errors import ChattermError
from chatterm.ui.present import plural
from chatterm.ui.screens.dialog import Dialog

SHOWN = 20_000  # tokens; more would be slow to lay out, and the end is what is looked for


class InspectScreen(Dialog[None]):
    """Shows an answer of `Session.render`, once it is there."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="box -tall"):
            yield Static("What the model sees", classes="box-title", markup=False)
            with VerticalScroll():
                yield Static("Asking the engine…", id="seen", markup=False)
            yield Static("↑↓ scroll   esc close", classes="box-keys", markup=False)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def show(self, answer: Rendered | ChattermError) -> None:
        """Show what the engine answered."""
        seen = self.query_one("#seen", Static)
        if isinstance(answer, ChattermError):
            seen.update(str(answer))
            return
        count = plural(len(answer.tokens), "token")
        self.query_one(".box-title", Static).update(f"What the model sees: {count}")
        seen.update(_content(answer.tokens[-SHOWN:]))
        self.query_one(VerticalScroll).scroll_end(animate=False)


def _content(tokens: Sequence[PromptToken]) -> Content:
    """The tokens' text; control tokens stand out, and show what they are in their own form."""
    parts: list[str | tuple[str, str]] = []
    run = ""
    for token in tokens:
        if not token.control:
            run += token.text
            continue
        parts += [clean(run), (clean(token.text), "$accent bold")]
        run = ""
    return Content.assemble(*parts, clean(run))
