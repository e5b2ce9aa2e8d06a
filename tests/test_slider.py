"""A slider: where values lie on its track, keys, typing, mouse."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from chatterm.chat.sampling import FIELDS
from chatterm.ui.widgets.field_row import FieldRow
from chatterm.ui.widgets.scale import place_of, stepped, value_at
from chatterm.ui.widgets.seed_row import SeedRow
from chatterm.ui.widgets.slider import Slider

TRACKS = [field for field in FIELDS.values() if field.name != "seed"]


class Host(App[None]):
    """A slider, or a row, and what it has said."""

    def __init__(self, row: FieldRow) -> None:
        super().__init__()
        self.row = row
        self.said: list[tuple[str, float]] = []

    def compose(self) -> ComposeResult:
        yield self.row
        yield Slider(FIELDS["top_k"], id="other")

    def on_mount(self) -> None:
        self.row.focus()

    def on_field_row_changed(self, event: FieldRow.Changed) -> None:
        self.said.append((event.field, event.value))


def drive(row: FieldRow, act: Callable[[Pilot[None]], Awaitable[object]]) -> Host:
    """What a host with `row` looks like after `act`."""
    host = Host(row)

    async def run() -> None:
        async with host.run_test(size=(34, 10)) as pilot:
            await act(pilot)
            await pilot.pause()

    asyncio.run(run())
    return host


def press(row: FieldRow, *keys: str) -> Host:
    return drive(row, lambda pilot: pilot.press(*keys))


@pytest.mark.parametrize("field", TRACKS, ids=lambda field: field.name)
@given(place=st.floats(0, 1))
def test_every_place_gives_an_allowed_value_that_lies_there(field, place):
    value = value_at(field, place)
    assert field.snap(value) == value
    stops = field.stops or range(int((field.highest - field.lowest) / field.step) + 1)
    assert abs(place_of(field, value) - place) <= 0.5 / (len(stops) - 1) + 1e-9


@pytest.mark.parametrize("field", TRACKS, ids=lambda field: field.name)
def test_steps_walk_the_whole_track_from_end_to_end(field):
    value, places = value_at(field, 0), []
    while place_of(field, value) < 1:
        places.append(place_of(field, value))
        value = stepped(field, value, 1)
    assert places == sorted(set(places))
    assert stepped(field, value, 1) == value == value_at(field, 1)
    assert stepped(field, value_at(field, 0), -1) == value_at(field, 0)


def test_no_limit_lies_right_of_every_number():
    field = FIELDS["max_tokens"]
    assert place_of(field, -1) == 1
    assert stepped(field, -1, -1) == 8192
    assert stepped(field, 8192, 1) == -1


def test_a_step_from_between_two_stops_goes_to_the_next_one():
    field = FIELDS["max_tokens"]
    assert stepped(field, 500, 1) == 512
    assert stepped(field, 500, -1) == 384
    assert place_of(field, 384) < place_of(field, 500) < place_of(field, 512)


def test_keys_step_and_announce_each_value():
    host = press(Slider(FIELDS["temperature"]), "right", "left", "shift+right", "end", "home")
    assert host.said == [("temperature", value) for value in (0.85, 0.8, 1.05, 2.0, 0.0)]


def test_a_step_beyond_the_end_says_nothing():
    assert press(Slider(FIELDS["temperature"], 2.0), "right").said == []


def test_r_goes_back_to_the_default_it_was_given():
    row = Slider(FIELDS["temperature"])
    row.set_value(1.5, default=0.6)
    assert press(row, "r").said == [("temperature", 0.6)]


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("1", ".", "2", "3", "enter"), 1.25),  # snapped to the step
        (("9", "9", "enter"), 2.0),  # and to the range
        (("1", ".", "7", "backspace", "5", "enter"), 1.5),
        (("1", "tab"), 1.0),  # leaving takes it
    ],
)
def test_a_typed_number_is_taken(keys, value):
    assert press(Slider(FIELDS["temperature"]), *keys).said == [("temperature", value)]


@pytest.mark.parametrize(
    "keys", [("1", "escape"), ("-", "enter"), (".", "tab"), ("1", "backspace")]
)
def test_what_is_dropped_or_no_number_changes_nothing(keys):
    host = press(Slider(FIELDS["temperature"]), *keys)
    assert host.said == []
    assert host.row.typed == ""


def test_keys_that_mean_nothing_to_a_slider_are_left_to_the_screen():
    class Listening(Host):
        BINDINGS = [(key, f"hear('{key}')") for key in ("escape", "enter", "backspace")]  # noqa: RUF012
        heard: ClassVar[list[str]] = []

        def action_hear(self, key: str) -> None:
            self.heard.append(key)

    async def run() -> None:
        async with Listening(Slider(FIELDS["temperature"])).run_test() as pilot:
            await pilot.press("escape", "enter", "backspace")
            await pilot.press("1", "backspace", "1", "enter", "1", "escape")  # these are its own

    asyncio.run(run())
    assert Listening.heard == ["escape", "enter", "backspace"]


def test_a_value_set_by_the_program_is_shown_as_it_is_and_not_announced():
    row = Slider(FIELDS["top_k"])
    shown: list[str] = []

    async def act(pilot: Pilot[None]) -> None:
        row.set_value(500)
        await pilot.pause()
        shown.append(row.render().plain)

    assert drive(row, act).said == []
    assert "500*" in shown[0]
    assert shown[0].endswith("●")


def test_the_track_shows_thumb_filled_part_and_default():
    row = Slider(FIELDS["temperature"], 1.0)
    rows: list[str] = []

    async def act(_pilot: Pilot[None]) -> None:
        rows.extend(row.render().plain.split("\n"))

    drive(row, act)
    assert rows[0].split() == ["temperature", "lively", "1.00*"]
    assert len(rows[0]) == len(rows[1]) == 32
    assert rows[1].index("┷") == round(0.4 * 31)
    assert rows[1].index("●") == round(0.5 * 31)
    assert rows[1].replace("┷", "━").startswith("━" * 16 + "●─")


def test_a_field_with_two_sides_is_filled_from_zero():
    row = Slider(FIELDS["presence_penalty"], 1.0)
    rows: list[str] = []

    async def act(_pilot: Pilot[None]) -> None:
        rows.extend(row.render().plain.split("\n"))

    drive(row, act)
    assert rows[1].startswith("─" * 16)
    assert "━" in rows[1][16:24]


def test_click_and_drag_move_the_thumb_also_beyond_the_track():
    row = Slider(FIELDS["temperature"])

    async def act(pilot: Pilot[None]) -> None:
        await pilot.mouse_down(row, offset=(1, 1))
        await pilot.hover(row, offset=(20, 1))
        await pilot.hover("#other", offset=(33, 1))  # captured: it still follows
        await pilot.mouse_up("#other", offset=(33, 1))
        await pilot.hover(row, offset=(5, 1))

    values = [value for _, value in drive(row, act).said]
    assert values[0] == 0.0
    assert values[1] == pytest.approx(1.25, abs=0.05)
    assert values[-1] == 2.0


def test_a_click_on_the_label_only_gives_the_focus():
    row = Slider(FIELDS["temperature"])
    assert drive(row, lambda pilot: pilot.click(row, offset=(3, 0))).said == []


def test_the_seed_is_drawn_typed_and_left_to_chance_again():
    host = press(SeedRow(FIELDS["seed"]), "n", "r", "4", "2", "enter", "right")
    drawn, *rest = host.said
    assert drawn[1] >= 0
    assert rest == [("seed", -1.0), ("seed", 42.0), ("seed", 43.0)]
