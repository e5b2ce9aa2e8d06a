"""Text from outside, made safe for a terminal, once, where it enters.

The invariant: `clean(text)` has as many characters as `text`, so token spans and character
offsets stay valid, and cleaning a stream piece by piece equals cleaning it whole.
"""

from __future__ import annotations

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def _table() -> dict[int, str]:
    table = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"}
    table[0x7F] = "\N{SYMBOL FOR DELETE}"
    table |= dict.fromkeys(range(0x80, 0xA0), _REPLACEMENT)  # C1 controls
    table |= dict.fromkeys(range(0xD800, 0xE000), _REPLACEMENT)  # lone surrogates
    # Bidirectional overrides and isolates can make a line read otherwise than it is.
    for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A)):
        table[code] = _REPLACEMENT
    # Line and paragraph separators, which some terminals act on.
    table |= {0x2028: "\n", 0x2029: "\n"}
    return table


_TABLE = _table()


def clean(text: str) -> str:
    """Replace, one for one, each character that could act on a terminal by one that shows it.

    Keeps newline and tab. The other C0 controls and DEL become their control pictures, C1
    controls, lone surrogates and bidirectional controls become U+FFFD.
    """
    return text.translate(_TABLE)


def clean_line(text: str, limit: int = 200) -> str:
    """`clean` for a name or title: one line, at most `limit` characters."""
    line = " ".join(clean(text[: 4 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def shown(value: object, limit: int = 60) -> str:
    """Any value, as a message about it shows it: one line, at most `limit` characters."""
    try:
        return clean_line(repr(value), limit)
    except (RecursionError, ValueError):
        # Nested thousands deep, or an integer of more digits than Python writes out.
        return "…"


def normalise_newlines(text: str) -> str:
    """Text typed or pasted on any system, with `\\n` as its only line end."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
