"""Text from bytes: characters across tokens, stop strings, what is held back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chatterm.engine.text import ReplyText


def feed(text: ReplyText, parts: list[bytes]) -> tuple[str, bool]:
    given = ""
    for part in parts:
        piece, at_stop = text.add(part)
        given += piece
        assert text.given == len(given)
        if at_stop:
            return given, True
    return given + text.end(), False


@given(st.text(), st.data())
def test_any_split_of_the_bytes_gives_the_same_text(whole: str, data: st.DataObject) -> None:
    left, parts = whole.encode(), []
    while left:
        size = data.draw(st.integers(1, len(left)))
        parts.append(left[:size])
        left = left[size:]
    assert feed(ReplyText(), parts) == (whole, False)


@given(st.lists(st.binary(max_size=4)))
def test_invalid_bytes_become_replacement_characters(parts: list[bytes]) -> None:
    text = ReplyText()
    given, _ = feed(text, parts)
    assert b"".join(parts).decode("utf-8", "replace").startswith(given)
    assert text.length == len(given)


@given(
    st.text("abc", max_size=40),
    st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3),
    st.integers(1, 5),
)
def test_a_reply_ends_before_the_first_stop_string(whole: str, stop: list[str], size: int) -> None:
    parts = [whole[at : at + size].encode() for at in range(0, len(whole), size)]
    text = ReplyText(tuple(stop))
    given, at_stop = feed(text, parts)
    assert at_stop == any(one in whole for one in stop)
    assert not any(one in given for one in stop)
    assert whole.startswith(given)
    assert text.length == len(given)
    if not at_stop:
        assert given == whole


def test_only_what_may_become_a_stop_string_is_held_back() -> None:
    text = ReplyText(("###",))
    assert text.add(b"ab#") == ("ab", False)
    assert text.add(b"#") == ("", False)
    assert text.add(b"x") == ("##x", False)


def test_an_unfinished_character_is_dropped_and_completed_by_going_on() -> None:
    text = ReplyText()
    assert text.add("é".encode()[:1]) == ("", False)
    assert text.end() == ""
    further = ReplyText(before=b"caf" + "é".encode()[:1])
    assert further.given == 3
    assert further.add("é".encode()[1:]) == ("é", False)
    assert further.length == 4


def test_stop_strings_may_change_while_text_is_held_back() -> None:
    text = ReplyText(("xyz",))
    assert text.add(b"axy") == ("a", False)
    text.set_stop(())
    assert text.add(b"z") == ("xyz", False)
