"""What a piece of text is, as a set of bits; a theme says how each bit looks.

Layout speaks of ink only, so that a change of theme lays nothing out again.
"""

from __future__ import annotations

from typing import Final

# Later names win where two of them set the same colour.
NAMES: Final = (
    "quote",
    "code-block",
    "strong",
    "emphasis",
    "strike",
    "link",
    "url",
    "heading",
    "subheading",
    "table-head",
    "code",
    "marker",
    "rule",
    "language",
    "keyword",
    "name",
    "type",
    "string",
    "number",
    "comment",
    "inserted",
    "deleted",
    "user",
    "assistant",
    "badge",
    "note",
    "notice",
    "cursor",
    "gutter",
    "change",
    "selected",
)

(
    QUOTE,
    CODE_BLOCK,
    STRONG,
    EMPHASIS,
    STRIKE,
    LINK,
    URL,
    HEADING,
    SUBHEADING,
    TABLE_HEAD,
    CODE,
    MARKER,
    RULE,
    LANGUAGE,
    KEYWORD,
    NAME,
    TYPE,
    STRING,
    NUMBER,
    COMMENT,
    INSERTED,
    DELETED,
    USER,
    ASSISTANT,
    BADGE,
    NOTE,
    NOTICE,
    CURSOR,
    GUTTER,
    CHANGE,
    SELECTED,
) = (1 << index for index in range(len(NAMES)))

PLAIN: Final = 0
