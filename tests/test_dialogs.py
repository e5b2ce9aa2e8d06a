"""The dialogs in which something is chosen, with the keys alone and on small screens."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from textual.app import App

import chatterm.ui
from chatterm.store import Conversation
from chatterm.ui.screens.chats import ChatsScreen
from chatterm.ui.screens.dialog import Choice
from chatterm.ui.screens.models import ModelsScreen
from chatterm.ui.themes import own_variables


def chat(number: int) -> Conversation:
    return Conversation(id=number, title=f"[/red] Chat {number}", created=0, updated=0, messages=2)


CHATS = [chat(3), chat(2), chat(1)]
MODELS = [Path("/models/a.gguf"), Path("/models/b.gguf")]


class Host(App[None]):
    CSS_PATH = Path(chatterm.ui.__file__).with_name("app.tcss")

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return own_variables(self.current_theme)


def chosen(
    screen: Choice[Any], keys: Sequence[str], size: tuple[int, int] = (80, 24)
) -> tuple[list[Any], list[str]]:
    """What pressing keys has chosen, and what is seen before."""
    answers: list[Any] = []
    seen: list[str] = []

    async def run() -> None:
        host = Host()
        async with host.run_test(size=size) as pilot:
            await host.push_screen(screen, answers.append)
            await host.workers.wait_for_complete()
            await pilot.pause()
            strips = host.screen._compositor.render_strips()
            seen.extend(strip.text for strip in strips)
            await pilot.press(*keys)
            await pilot.pause()

    asyncio.run(run())
    return answers, seen


@pytest.mark.parametrize(
    ("keys", "answer"),
    [
        (["enter"], [3]),
        (["down", "down", "up", "enter"], [2]),
        (["1", "enter"], [1]),
        (["x", "enter"], []),
        (["escape"], [None]),
    ],
)
def test_a_chat_is_chosen_from_the_line_of_its_filter(
    keys: list[str], answer: list[int | None]
) -> None:
    assert chosen(ChatsScreen(CHATS), keys)[0] == answer


@pytest.mark.parametrize(
    ("keys", "answer"),
    [
        (["down", "down", "enter"], [MODELS[1]]),
        (["enter"], []),
        ([*"/x", "enter"], [Path("/x").absolute()]),
    ],
)
def test_a_model_is_chosen_or_named(keys: list[str], answer: list[Path]) -> None:
    assert chosen(ModelsScreen(MODELS, lambda: MODELS), keys)[0] == answer


@pytest.mark.parametrize("size", [(120, 40), (80, 24), (60, 16)])
def test_what_can_be_done_is_in_sight_on_a_small_screen(size: tuple[int, int]) -> None:
    screens: list[Choice[Any]] = [
        ChatsScreen([chat(n) for n in range(60)]),
        ModelsScreen([Path(f"/models/{n}") for n in range(6)], lambda: MODELS * 20),
    ]
    for screen in screens:
        _, seen = chosen(screen, [], size)
        assert any("esc close" in line for line in seen)
