r"""i2b2/VA 2010: a text of one sentence a line, concepts by line and token, assertions and relations beside.

    txt/record-1.txt      He denies  chest pain .
    concept/record-1.con  c="chest pain" 1:2 1:3||t="problem"
    ast/record-1.ast      c="chest pain" 1:2 1:3||t="problem"||a="absent"
    rel/record-1.rel      kept as it is, unread

Lines count from 1 and end at `\n`; tokens count from 0 and are parted by ASCII white space. The folders `txt`,
`concept`, `ast` and `rel` may be missing (all files side by side). A concept's text is in lower case, with single
blanks. A span that begins or ends inside a token has no place in this format: `read` never makes one, `write` rejects
it.
"""

import re

from medtop.entities.documents import Document, Span, Stated, check_spans, collapsed
from medtop.entities.format import Format, writable_spans
from medtop.entities.reading import lines_of, output_file, read_text, stem, write_exactly
from medtop.files.bounded import whole_number

SUFFIXES = (".txt", ".con")
FOLDERS = {"txt": "txt", "con": "concept", "ast": "ast", "rel": "rel"}
"""End of the file's name -> its folder."""

_PLACE = r"(\d+):(\d+) (\d+):(\d+)"
_CONCEPT = re.compile(rf'c="(.*)" {_PLACE}\|\|t="([^"]*)"(?:\|\|s="(\d+(?:\.\d+)?)")?', re.DOTALL)
_ASSERTION = re.compile(rf'c="(.*)" {_PLACE}\|\|t="([^"]*)"\|\|a="([^"]*)"', re.DOTALL)
_TOKEN = re.compile(r"[^ \t\r\x0b\x0c]+")


def token_places(text):
    r"""list of lines, each a list of (start, end) of its tokens.

    >>> token_places("a  bc\n\nd")
    [[(0, 1), (3, 5)], [], [(7, 8)]]
    """
    places, base = [], 0
    for line in text.split("\n"):
        places.append([(base + match.start(), base + match.end()) for match in _TOKEN.finditer(line)])
        base += len(line) + 1
    return places


def document_name(name):
    """A document's id: its path without the end and without the folder that names the kind of file.

    >>> document_name("beth/concept/record-1.con"), document_name("record-1.txt")
    ('beth/record-1', 'record-1')
    """
    parts = stem(name, (".txt", ".con")).split("/")
    if len(parts) > 1 and parts[-2] in FOLDERS.values():
        parts.pop(-2)
    return "/".join(parts)


def read(files, tally):
    """Yields the `Document`s of `files`; a text without concepts' file, or the reverse, goes to the rejects."""
    places = {}
    for name in files.names:
        kind = "con" if name.removesuffix(".gz").endswith(".con") else "txt"
        pair = places.setdefault(document_name(name), {})
        if kind in pair:
            tally.reject(files.path(name), "", "file", "a second file for one document", "documents")
        pair.setdefault(kind, name)
    for document_id, pair in places.items():
        for kind in ("txt", "con"):
            if kind not in pair and (beside := _beside(files, next(iter(pair.values())), kind)):
                pair[kind] = beside
        if len(pair) < 2:
            there = next(iter(pair.values()))
            tally.reject(
                files.path(there),
                "",
                "file",
                f"expected a .{'con' if 'txt' in pair else 'txt'} file with it",
                "documents",
            )
            continue
        yield _read_document(document_id, files, pair, tally)


def _beside(files, name, kind):
    """The file of another kind that belongs to `name`, beside it or in its own folder; None without one."""
    plain = name.removesuffix(".gz").rpartition(".")[0]
    folder, _, base = plain.rpartition("/")
    above, _, last = folder.rpartition("/")
    choices = [f"{plain}.{kind}"]
    if last in FOLDERS.values():
        choices.append(f"{above}/{FOLDERS[kind]}/{base}.{kind}".lstrip("/"))
    return next(
        (choice + more for choice in choices for more in ("", ".gz") if files.path(choice + more).is_file()), None
    )


def _read_document(document_id, files, pair, tally):
    text = read_text(files.path(pair["txt"]))
    document = Document(document_id, text, source=pair["txt"])
    places, path, stated, known = token_places(text), files.path(pair["con"]), [], {}
    for number, line in lines_of(read_text(path)):
        match = _CONCEPT.fullmatch(line)
        if not line.strip():
            continue
        edges = match and _edges(places, match.groups()[1:5])
        if not edges:
            reason = "a line or token beyond the text" if match else 'expected c="..." l:t l:t||t="..."'
            tally.reject(path, number, "concept", reason)
            continue
        score = float(match[7]) if match[7] else None
        span = Span(f"T{len(stated) + 1}", match[6], (edges,), {}, score)
        stated.append(Stated(span, match[1], number))
        known[(*match.groups()[1:5], match[6])] = span
    if beside := _beside(files, pair["con"], "ast"):
        _read_assertions(files.path(beside), known, tally)
    if beside := _beside(files, pair["con"], "rel"):
        document.kept = {"i2b2_2010": {"lines": [line for _, line in lines_of(read_text(files.path(beside)))]}}
    check_spans(document, stated, path, tally, ("blanks", "white space", "case"))
    return document


def _edges(places, numbers):
    """(start, end) of tokens given as line, token, line, token; None where they are not there."""
    numbers = [whole_number(number) for number in numbers]
    if None in numbers:
        return None
    first_line, first, last_line, last = numbers
    try:
        if min(first_line, last_line) < 1:
            return None
        return places[first_line - 1][first][0], places[last_line - 1][last][1]
    except IndexError:
        return None


def _read_assertions(path, known, tally):
    for number, line in lines_of(read_text(path)):
        if not line.strip():
            continue
        match = _ASSERTION.fullmatch(line)
        span = known.get((*match.groups()[1:5], match[6])) if match else None
        if span is None:
            tally.reject(path, number, "assertion", "names no concept of the .con file", None)
        else:
            span.attributes["assertion"] = match[7]


def write(folder, documents, tally):
    """Writes `txt/`, `concept/`, and where there are any `ast/` and `rel/`, below `folder`."""
    for document in documents:
        lines = {"con": [], "ast": [], "rel": document.kept.get("i2b2_2010", {}).get("lines", [])}
        numbers = _numbers(document.text)
        for span in writable_spans(document, "i2b2_2010", tally, zero_length=False):
            if span.start not in numbers[0] or span.end not in numbers[1]:
                tally.no_place(document, span, "begins or ends inside a token")
                continue
            (line, token), (last_line, last) = numbers[0][span.start], numbers[1][span.end]
            words = collapsed(document.text[span.start : span.end]).lower()
            concept = f'c="{words}" {line}:{token} {last_line}:{last}||t="{span.type}"'
            lines["con"].append(concept + ("" if span.score is None else f'||s="{span.score:.4f}"'))
            if "assertion" in span.attributes:
                lines["ast"].append(f'{concept}||a="{span.attributes["assertion"]}"')
            tally.count("attributes_without_a_place_in_i2b2_2010", len(span.attributes.keys() - {"assertion"}))
        _write_document(folder, document, lines)


def _write_document(folder, document, lines):
    above, _, name = document.document_id.rpartition("/")
    base = f"{above}/" if above else ""
    write_exactly(output_file(folder, f"{base}txt/{name}", ".txt"), document.text)
    for kind, content in lines.items():
        if content or kind == "con":
            path = output_file(folder, f"{base}{FOLDERS[kind]}/{name}", f".{kind}")
            write_exactly(path, "".join(f"{line}\n" for line in content))


def _numbers(text):
    """dict start -> (line, token) and dict end -> (line, token) of all tokens."""
    starts, ends = {}, {}
    for line, tokens in enumerate(token_places(text), 1):
        for token, (start, end) in enumerate(tokens):
            starts[start], ends[end] = (line, token), (line, token)
    return starts, ends


FORMAT = Format("i2b2_2010", SUFFIXES, read, write, one_file_a_document=True)
