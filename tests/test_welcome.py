"""The welcome of an empty chat: its questions are taken with a click."""

from __future__ import annotations

import asyncio

from textual.app import App, ComposeResult

from chatterm.ui.widgets.welcome import Greeting, Welcome

GREETING = Greeting("[/red] Words.", ("[b]One?", "A longer two?"), "After.")


class Host(App[None]):
    """A welcome, and what was taken of it."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[str] = []

    def compose(self) -> ComposeResult:
        yield Welcome()

    def on_welcome_taken(self, event: Welcome.Taken) -> None:
        self.taken.append(event.question)


def test_a_click_takes_the_question_on_its_line_and_nothing_beside_them():
    host = Host()

    async def run() -> None:
        async with host.run_test(size=(60, 16)) as pilot:
            welcome = host.query_one(Welcome)
            welcome.greeting = GREETING
            await pilot.pause()
            drawn = [strip.text for strip in welcome.render_lines(welcome.region)]
            for wanted in ("[/red] Words.", "[b]One?", "A longer two?", "After."):
                (row,) = (at for at, line in enumerate(drawn) if wanted in line)
                await pilot.click(offset=(drawn[row].index(wanted), row))

    asyncio.run(run())
    assert host.taken == ["[b]One?", "A longer two?"]
