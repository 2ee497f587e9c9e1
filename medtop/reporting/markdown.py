"""Markdown in which other people's words stay words: labels, names of files and codes can neither format nor run.

A text may hold code spans (`` `like this` ``); what stands between two backticks is shown as it is.
"""

import re

_SPAN = re.compile(r"`([^`\n]+)`")
_MARKS = re.compile(r"[\\*|~]|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])|`")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_BLOCK = re.compile(r"^(\s*)([#+\-=]|\d+(?=[.)](?:\s|$)))")


def text(value):
    r"""A value as one line of text that no Markdown reader formats, links or runs, code spans kept.

    >>> print(text("1. 5*5 <b> | `a_b` [x](http://y) - a_b"))
    &#49;. 5\*5 &lt;b&gt; \| `a_b` [x\](http://y) - a_b
    """
    return _BLOCK.sub(lambda match: f"{match[1]}{_first(match[2])}", inline(value))


def inline(value):
    """`text` for what stands within a line, where no block can begin."""
    line = " ".join(str(value).split())
    parts, end = [], 0
    for span in _SPAN.finditer(line):
        parts += [_plain(line[end : span.start()]), span[0]]
        end = span.end()
        if line[end : end + 1] == "`":
            parts.append(" ")  # two backticks in a row would end no span
    return "".join([*parts, _plain(line[end:])])


def _plain(line):
    return re.sub("[&<>]", lambda match: _HTML[match[0]], _MARKS.sub(lambda match: "\\" + match[0], line))


def _first(mark):
    """The beginning of a line, so that it begins no heading, list or rule."""
    return f"&#{ord(mark[0])};{mark[1:]}" if mark.isdigit() else f"\\{mark}"


def code(value):
    """A value as a code span, for a text; backticks in it become apostrophes, which a span cannot hold otherwise."""
    return "`" + " ".join(str(value).split()).replace("`", "'") + "`"


def code_block(content, language=""):
    """Lines of a block of code, fenced by more backticks than stand in it."""
    longest = max((len(run) for run in re.findall("`+", content)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", *content.splitlines(), fence]


def table(header, rows, bold=()):
    """Lines of a table; every cell is a text; rows at the places `bold` are set in bold."""

    def cell(value):
        return re.sub(r"(?<!\\)\|", r"\\|", inline(value))  # a bar ends a cell within a code span, too

    shown = [
        [f"**{cell(value)}**" if place in bold else cell(value) for value in row] for place, row in enumerate(rows)
    ]
    lines = [map(cell, header), ["---"] * len(header), *shown]
    return [f"| {' | '.join(cells)} |" for cells in lines]
