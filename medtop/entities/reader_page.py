"""entities.html: documents with gold and system spans to read and step through, one page that holds everything.

It holds the documents' texts: it is as confidential as they are. One document is drawn at a time; nothing is fetched,
and the one script is named by its hash in the page's policy.
"""

import base64
import hashlib
import html
import json
from importlib import resources

import medtop
from medtop.entities.flavours import distinct, overlapping
from medtop.entities.misses import kind_of, partners
from medtop.files.atomic import write_text

KINDS = ("missed", "spurious", "wrong type", "wrong boundary", "right")
"""Filters of the page; `wrong type` where the type is wrong, whatever the boundary."""


def page_spans(gold, system):
    """The spans of a document with what is to be said of each.

    Args:
        gold, system: lists of `Span`.

    Returns:
        list of dicts: side, type, kind (one of `KINDS`), detail, partner's type, score, fragments.
    """
    gold, system = distinct(gold), distinct(system)
    shared = overlapping(gold, system)
    items = []
    for side, spans, others, table in (("gold", gold, system, shared), ("system", system, gold, shared.T)):
        for span, place in zip(spans, partners(spans, others, table), strict=True):
            other = None if place is None else others[place]
            pair = (span, other) if side == "gold" else (other, span)
            detail = None if other is None else kind_of(*pair)
            kind = ("missed" if side == "gold" else "spurious") if other is None else "right"
            if detail:
                kind = "wrong type" if span.type != other.type else "wrong boundary"
            items.append(
                {
                    "side": side,
                    "type": span.type,
                    "kind": kind,
                    "detail": detail or kind,
                    "partner": None if other is None else other.type,
                    "score": span.score,
                    "fragments": [list(edges) for edges in span.fragments],
                }
            )
    return items


def segments(text, items):
    """A text cut at every edge of a span.

    Args:
        text: str.
        items: as `page_spans` gives.

    Returns:
        list of [piece, list of places in `items` of its spans]; a fragment of zero length is an empty piece.

    >>> segments("abcd", [{"fragments": [[1, 3]]}, {"fragments": [[2, 2]]}])
    [['a', []], ['b', [0]], ['', [1]], ['c', [0]], ['d', []]]
    """
    edges = [(start, end, place) for place, item in enumerate(items) for start, end in item["fragments"]]
    cuts = sorted({0, len(text), *(edge for start, end, _ in edges for edge in (start, end))})
    empty = {}
    for start, end, place in edges:
        if start == end:
            empty.setdefault(start, []).append(place)
    begins, stops = {}, {}
    for start, end, place in edges:
        if start < end:
            begins.setdefault(start, []).append(place)
            stops.setdefault(end, []).append(place)
    pieces, inside = [], []
    for cut, after in zip(cuts, [*cuts[1:], None], strict=True):
        for place in stops.get(cut, ()):
            inside.remove(place)
        if cut in empty:
            pieces.append(["", empty[cut]])
        inside += begins.get(cut, [])
        if after is not None:
            pieces.append([text[cut:after], sorted(set(inside))])
    return pieces


def write_page(path, pairs, *, title="Entities", most=500, notes=()):
    """Writes the page, whole or not at all.

    Args:
        path: the file.
        pairs: list of (gold `Document`, list of the system's spans).
        title: its heading.
        most: documents shown, those with most misses first; the page says how many are left out.
        notes: sentences shown at the top.
    """
    documents = []
    for document, system in pairs:
        items = page_spans(document.spans, system)
        wrong = sum(item["kind"] != "right" for item in items)
        documents.append((wrong, document, items))
    shown = sorted(documents, key=lambda entry: -entry[0])[:most] if len(documents) > most else documents
    notes = [
        *notes,
        f"{len(shown)} of {len(documents)} documents" + (", those with most misses" if shown is not documents else ""),
    ]
    data = {
        "kinds": KINDS,
        "documents": [
            {
                "id": document.document_id,
                "segments": segments(document.text, items),
                "spans": [{name: value for name, value in item.items() if name != "fragments"} for item in items],
            }
            for _, document, items in shown
        ],
    }
    write_text(path, _page(title, notes, data))


def _page(title, notes, data):
    templates = resources.files(medtop).joinpath("templates")
    script, style = (templates.joinpath(f"entities.{end}").read_text(encoding="utf-8") for end in ("js", "css"))
    script_hash = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{script_hash}'"
    content = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")
    sentences = html.escape("; ".join(notes))
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><style>{style}</style></head><body>'
        f"<header><h1>{html.escape(title)}</h1><p>{sentences}. This page holds the documents' texts: keep it as "
        "you keep them. Keys: j and k next and previous miss, n and p next and previous document.</p>"
        '<div id="filters"></div><div id="place"></div></header>'
        '<main><nav id="documents"></nav><article id="text"></article></main>'
        f'<script type="application/json" id="data">{content}</script><script>{script}</script></body></html>\n'
    )
