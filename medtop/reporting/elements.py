"""What every page is made of: one self-contained file, escaped text, tables, lists; nothing is fetched."""

import html
from importlib import resources

import medtop
from medtop.files.atomic import write_text

_MANY_COLUMNS = 10
"""From here on a table is set smaller on paper."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def write_page(path, title, sections, facts, notes, *, shared=True):
    """Writes one self-contained page of sections (name, heading, HTML); empty ones are left out."""
    sections = [section for section in sections if section[2]]
    links = "".join(f'<a href="#{name}">{heading}</a>' for name, heading, _ in sections)
    head = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<style>{resources.files(medtop).joinpath('templates/report.css').read_text(encoding='utf-8')}</style></head>"
    )
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">medtop {escape(medtop.__version__)}</p>',
        definitions(facts),
        f"<nav>{links}</nav>",
        bullets(notes),
    ]
    body += [f'<section id="{name}"><h2>{heading}</h2>{content}</section>' for name, heading, content in sections]
    write_text(path, f"{head}<body>{''.join(body)}</body></html>\n", shared=shared)


class Markup(str):
    """HTML of our own making, whose texts are escaped: a cell of `html_table` that stands as it is."""


def escape(value):
    """A value as text that HTML cannot run."""
    return html.escape(str(value), quote=True)


WITHHELD = "withheld"
"""Stands for a count that is too small to be shown (`--min_cell`)."""


def count_text(count):
    """A count with separators of thousands; `WITHHELD` for None.

    >>> count_text(1234), count_text(None)
    ('1,234', 'withheld')
    """
    return WITHHELD if count is None else f"{count:,}"


def folded(summary, content, is_open=False):
    """HTML that is folded away under a line of text; "" without content."""
    return (
        f"<details{' open' if is_open else ''}><summary>{escape(summary)}</summary>{content}</details>"
        if content
        else ""
    )


def definitions(facts):
    """A list of names and values (dict); "" for none."""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return f"<dl>{items}</dl>" if items else ""


def bullets(sentences):
    """A bulleted list of sentences; "" for none."""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f"<ul>{items}</ul>" if items else ""


def html_table(header, rows, texts=1, pooled=(), wrap=False):
    """An HTML table; the first `texts` columns are text, the rest numbers; `pooled` rows (places) stand out.

    With `wrap`, cells break into lines, so that many columns fit a page. Cells are escaped, unless they are `Markup`.
    """

    def cells(row, tag):
        return "".join(
            f"<{tag}{' class=text' if place < texts else ''}>"
            f"{cell if isinstance(cell, Markup) else escape(cell)}</{tag}>"
            for place, cell in enumerate(row)
        )

    body = "".join(
        f"<tr{' class=pooled' if place in pooled else ''}>{cells(row, 'td')}</tr>" for place, row in enumerate(rows)
    )
    names = [name for name, holds in (("wrap", wrap), ("many", len(header) >= _MANY_COLUMNS)) if holds]
    kind = f' class="{" ".join(names)}"' if names else ""
    head = f"<thead><tr>{cells(header, 'th')}</tr></thead>"
    return f'<div class="scroll"><table{kind}>{head}<tbody>{body}</tbody></table></div>'
