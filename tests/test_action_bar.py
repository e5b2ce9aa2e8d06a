"""The action bar: what it shows can be clicked, and text is text."""

from __future__ import annotations

import asyncio

from textual.app import App, ComposeResult

from chatterm.ui.widgets.action_bar import Action, ActionBar

ACTIONS = (
    Action("stop", "esc", "■ Stop", urgent=True),
    Action("retry", "^r", "[/red]"),
    Action("continue", "^o", "続ける"),
)


class Host(App[None]):
    """A bar, and what was chosen on it."""

    def __init__(self) -> None:
        super().__init__()
        self.chosen: list[str] = []

    def compose(self) -> ComposeResult:
        yield ActionBar()

    def on_action_bar_chosen(self, event: ActionBar.Chosen) -> None:
        self.chosen.append(event.name)


def test_a_click_chooses_the_action_under_it():
    async def run() -> list[str]:
        host = Host()
        async with host.run_test(size=(60, 3)) as pilot:
            bar = host.query_one(ActionBar)
            bar.show(ACTIONS)
            await pilot.pause()
            shown = bar.render().plain
            assert shown == " ■ Stop esc  [/red] ^r  続ける ^o "
            for action in ACTIONS:
                at = shown.index(action.label)
                await pilot.click(bar, offset=(at + 1, 0))
            await pilot.pause()
        return host.chosen

    assert asyncio.run(run()) == ["stop", "retry", "continue"]


def test_what_does_not_fit_is_left_out_and_nothing_is_empty():
    async def run() -> tuple[str, int]:
        host = Host()
        async with host.run_test(size=(20, 3)) as pilot:
            bar = host.query_one(ActionBar)
            bar.show(ACTIONS)
            await pilot.pause()
            narrow = bar.render().plain
            bar.show(())
            await pilot.pause()
            return narrow, bar.size.width

    assert asyncio.run(run()) == (" ■ Stop esc ", 0)
