"""chat.clean: nothing that acts on a terminal gets through, and nothing changes its length."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatterm.chat.clean import clean, clean_line, normalise_newlines

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))


@given(ANY_TEXT)
def test_no_control_character_survives(text: str) -> None:
    for character in clean(text):
        assert character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cs")


@given(ANY_TEXT, ANY_TEXT)
def test_a_stream_cleans_as_the_whole_does(first: str, second: str) -> None:
    assert clean(first) + clean(second) == clean(first + second)
    assert len(clean(first)) == len(first)


@pytest.mark.parametrize("attack", ["\x1b]52;c;aGk=\x07", "\x1b]0;title\x07", "\x9b2J", "\u202e"])
def test_escape_sequences_become_visible(attack: str) -> None:
    assert not set(clean(attack)) & {"\x1b", "\x07", "\x9b", "\u202e"}


def test_text_that_people_write_stays() -> None:
    text = "naïve 日本語 👩‍👩‍👧 עברית\n\tמה"
    assert clean(text) == text


@given(ANY_TEXT)
def test_a_line_is_one_line_within_its_limit(text: str) -> None:
    line = clean_line(text, 20)
    assert len(line) <= 20
    assert "\n" not in line


def test_newlines_of_all_systems() -> None:
    assert normalise_newlines("a\r\nb\rc\n") == "a\nb\nc\n"
