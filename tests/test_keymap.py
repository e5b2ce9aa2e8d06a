"""ui.keymap: the user's own keys."""

from textual.binding import Binding

from chatterm.ui.keymap import checked_keymap

KNOWN = [Binding("escape", "stop", "Stop", id="chat.stop"), Binding("x", "other", "No id")]


def test_known_bindings_take_keys() -> None:
    assert checked_keymap({"chat.stop": "f9,ctrl+x"}, KNOWN) == ({"chat.stop": "f9,ctrl+x"}, [])


def test_what_cannot_be_is_told_with_what_can() -> None:
    usable, problems = checked_keymap({"chat.halt": "f9", "chat.stop": "strl+x"}, KNOWN)
    assert usable == {}
    assert "chat.halt" in problems[0]
    assert "chat.stop" in problems[0]
    assert "strl+x" in problems[1]
