"""Help: every key that there is, as the user has it."""

from __future__ import annotations

import asyncio

import pytest
from textual.app import App
from textual.widgets import TextArea

from chatterm.ui.app import PLACES
from chatterm.ui.commands import COMMANDS
from chatterm.ui.screens.help import HelpScreen, HelpText


def help_lines(size: tuple[int, int], keys: dict[str, str]) -> list[str]:
    async def run() -> list[str]:
        async with App[None]().run_test(size=size) as pilot:
            await pilot.app.push_screen(HelpScreen([place.with_keys(keys) for place in PLACES]))
            await pilot.pause()
            text = pilot.app.screen.query_one(HelpText)
            return [strip.text.rstrip() for strip in text.render_lines(text.size.region)]

    return asyncio.run(run())


def test_every_binding_says_what_it_does_and_ours_can_be_changed() -> None:
    *own, editing = PLACES
    assert all(binding.description for place in PLACES for binding in place.bindings)
    ids = [binding.id for place in own for binding in place.bindings]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    assert len(editing.bindings) > 20


def test_a_key_that_the_prompt_gives_another_meaning_is_listed_with_that_alone() -> None:
    editing = {key for binding in PLACES[-1].bindings for key in binding.key.split(",")}
    assert "delete" in editing
    assert editing.isdisjoint({"up", "ctrl+d", "ctrl+c", "pageup"})
    named = {key for binding in TextArea.BINDINGS for key in binding.key.split(",")}  # type: ignore[union-attr]
    listed = {key for place in PLACES for b in place.bindings for key in b.key.split(",")}
    assert named <= listed


@pytest.mark.parametrize("size", [(120, 40), (60, 16)])
def test_it_fits_and_names_the_users_own_key(size: tuple[int, int]) -> None:
    lines = help_lines(size, {"chat.retry": "f9"})
    (retry,) = [line for line in lines if line.startswith("  f9 ")]
    assert "Ask the same again" in retry
    text = "\n".join(lines)
    assert not any(line.startswith("  ctrl+r ") for line in lines)
    assert "ctrl+j  alt+enter  shift+enter" in text
    for place in PLACES[:-1]:
        assert all(str(binding.id) in text for binding in place.bindings)
    for command in COMMANDS:
        assert f"/{command.names[0]}" in text
