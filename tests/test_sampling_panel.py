"""The sampling panel: one message for each change of the user, none for the program's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from hypothesis import given
from hypothesis import strategies as st
from textual import events
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import Static

from chatterm.chat.sampling import FIELDS, Sampling
from chatterm.ui.widgets.field_row import FieldRow
from chatterm.ui.widgets.sampling_panel import ORDER, PanelHeader, SamplingPanel
from chatterm.ui.widgets.slider import Slider
from chatterm.ui.widgets.stop_strings import StopEntry, StopStrings, escaped, unescaped


class Host(App[None]):
    """A panel, and what it has said."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[Sampling] = []
        self.paced: list[float] = []

    def compose(self) -> ComposeResult:
        yield SamplingPanel()

    def on_mount(self) -> None:
        self.query_one(SamplingPanel).focus_first()

    def on_sampling_panel_changed(self, event: SamplingPanel.Changed) -> None:
        self.said.append(event.sampling)

    def on_sampling_panel_pace_changed(self, event: SamplingPanel.PaceChanged) -> None:
        self.paced.append(event.pace)


def drive(
    act: Callable[[Pilot[None]], Awaitable[object]], size: tuple[int, int] = (80, 24)
) -> Host:
    host = Host()

    async def run() -> None:
        async with host.run_test(size=size) as pilot:
            await act(pilot)
            await pilot.pause()

    asyncio.run(run())
    return host


def press(*keys: str) -> Host:
    return drive(lambda pilot: pilot.press(*keys))


def test_every_number_among_the_settings_has_a_row():
    assert set(ORDER) == {*FIELDS, "pace"}


def test_one_message_for_each_change_with_the_whole_new_value():
    assert press("right", "down", "left").said == [
        Sampling(temperature=0.85),
        Sampling(temperature=0.85, top_p=0.94),
    ]


def test_quick_keys_move_the_focus_one_row_each():
    async def act(pilot: Pilot[None]) -> None:
        panel = pilot.app.query_one(SamplingPanel)
        panel.focus_first()
        for _ in range(3):
            panel.action_move(1)
        assert pilot.app.focused is panel.query_one(f"#row-{ORDER[3]}")

    drive(act)


def test_the_effect_of_a_penalty_has_room_beside_its_value():
    async def act(pilot: Pilot[None]) -> None:
        for name in ("repeat_penalty", "repeat_last_n", "presence_penalty", "frequency_penalty"):
            row, field = pilot.app.query_one(f"#row-{name}", FieldRow), FIELDS[name]
            for value in (field.lowest, field.default, field.highest):
                row.set_value(value, field.default)
                assert field.effect(value) in row.render_head(31).plain

    drive(act)


def test_whole_numbers_stay_whole():
    said = press("down", "down", "right").said
    assert said == [Sampling(top_k=41)]
    assert isinstance(said[0].top_k, int)


def test_the_pace_is_said_apart_from_the_sampling():
    async def act(pilot: Pilot[None]) -> None:
        pilot.app.query_one(SamplingPanel).show_pace(40, 40)
        await pilot.press(*["down"] * ORDER.index("pace"), "right", "r")

    host = drive(act)
    assert host.paced == [45, 40]
    assert host.said == []


def test_show_sets_every_row_and_says_nothing():
    wanted = Sampling(temperature=1.3, top_k=0, seed=7, max_tokens=500, stop=("\n", "User:"))

    async def act(pilot: Pilot[None]) -> None:
        pilot.app.query_one(SamplingPanel).show(wanted)
        await pilot.pause()
        rows = {row.field.name: row.value for row in pilot.app.query(FieldRow)}
        assert rows.pop("pace") == 0
        assert rows == {name: getattr(wanted, name) for name in FIELDS}
        listed = pilot.app.query_one(".stop-strings--list", Static)
        assert str(listed.content).split() == ["\\n", "User:"]
        assert pilot.app.query_one(PanelHeader).render().plain.split() == ["Sampling", "wild*"]

    assert drive(act).said == []


def test_the_star_is_for_what_differs_from_the_chat_s_defaults():
    async def act(pilot: Pilot[None]) -> None:
        panel = pilot.app.query_one(SamplingPanel)
        header = pilot.app.query_one(PanelHeader)
        panel.show(Sampling(temperature=0.2), Sampling(temperature=0.2))
        await pilot.pause()
        assert not header.changed
        await pilot.press("right")
        assert header.changed
        await pilot.press("r")
        assert not header.changed

    assert drive(act).said == [Sampling(temperature=0.25), Sampling(temperature=0.2)]


def test_up_and_down_reach_every_row_and_scroll_it_into_view():
    async def act(pilot: Pilot[None]) -> None:
        for name in ORDER:
            assert pilot.app.focused.field.name == name
            region = pilot.app.focused.region
            assert pilot.app.screen.region.contains_region(region)
            await pilot.press("down")
            await pilot.pause()
        assert isinstance(pilot.app.focused, StopEntry)
        await pilot.press(*["up"] * 20)
        assert pilot.app.focused.field.name == ORDER[0]

    drive(act, (40, 12))


def test_forty_rows_show_all_settings():
    async def act(pilot: Pilot[None]) -> None:
        assert pilot.app.query_one(SamplingPanel).max_scroll_y == 0

    drive(act, (120, 40))


def test_the_wheel_over_a_track_moves_the_thumb_and_over_a_label_the_list():
    async def act(pilot: Pilot[None]) -> None:
        panel = pilot.app.query_one(SamplingPanel)
        slider = pilot.app.query(Slider).first()
        await pilot._post_mouse_events([events.MouseScrollUp], slider, (5, 1))
        assert panel.scroll_y == 0
        await pilot._post_mouse_events([events.MouseScrollDown], slider, (5, 0))
        await pilot.pause()
        assert panel.scroll_target_y > 0

    assert drive(act).said == [Sampling(temperature=0.85)]


def test_stop_strings_are_added_with_escapes_and_taken_away():
    async def act(pilot: Pilot[None]) -> None:
        pilot.app.query_one(StopEntry).focus()
        await pilot.press("backslash", "n", "U", "enter", "X", "enter")
        await pilot.press("X", "enter")  # twice is once
        await pilot.press("a", "backspace", "backspace")

    assert [said.stop for said in drive(act).said] == [("\nU",), ("\nU", "X"), ("\nU",)]


def test_reset_all_is_one_message():
    assert press("right", "down", "right", "R").said[-1] == Sampling()


@given(st.text())
def test_escapes_come_back_as_they_were(text):
    assert unescaped(escaped(text)) == text
    assert "\n" not in escaped(text)


def test_markup_in_a_stop_string_is_text():
    async def act(pilot: Pilot[None]) -> None:
        pilot.app.query_one(SamplingPanel).show(Sampling(stop=("[/red]", "[@click=app.quit]x")))
        await pilot.pause()
        shown = str(pilot.app.query_one(StopStrings).query(Static)[1].content)
        assert "[/red]" in shown
        assert "[@click=app.quit]x" in shown

    drive(act)
