"""Markdown as it is written: source in pieces in, lines for a terminal of some width out.

    ink       what a piece of text is (strong, code, heading…), which a theme gives a look
    blocks    source -> blocks, line by line, in linear time
    inline    a paragraph's source -> runs of inked text
    wrap      runs -> lines of a width
    code      fenced code -> highlighted lines
    table     tables -> lines
    layout    block -> lines, remembering what cannot change any more

Nothing here knows Textual or a colour. One invariant holds everywhere: when a text is complete,
its lines do not depend on the pieces in which it came.
"""
