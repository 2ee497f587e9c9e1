r"""brat standoff: `<document>.txt` beside `<document>.ann`.

    T1<tab>problem 10 14;19 24<tab>left  arm        a span; offsets count code points, `;` parts fragments
    A1<tab>Negation T1                              an attribute of a span, with or without a value
    R1, E1, N1, *, #1, attributes of events         kept as they are, unread

A line break or tab in a span's text is a blank there. An `.ann` file whose offsets count the byte order mark of its
text is recognised where more spans agree with the text that way.
"""

import itertools
import re

from medtop.entities.documents import Document, Span, Stated, blanked, check_spans, joined_text
from medtop.entities.format import Format, note_lines_left_out
from medtop.entities.reading import lines_of, output_file, read_text, stem, write_exactly
from medtop.files.bounded import whole_number

SUFFIXES = (".txt", ".ann")
_SPAN = re.compile(r"(T\S+)\t(\S+) (-?\d+ -?\d+(?:;-?\d+ -?\d+)*)\t?(.*)", re.DOTALL)
_ATTRIBUTE = re.compile(r"([AM]\S+)\t(\S+) (T\S+)(?: (.*))?")


def read(files, tally):
    """Yields the `Document`s of `files`; a text without `.ann`, or the reverse, goes to the rejects."""
    places = {}
    for name in files.names:
        places.setdefault(stem(name, SUFFIXES), {})["ann" if ".ann" in name[-7:] else "txt"] = name
    for document_id, pair in places.items():
        for kind in ("txt", "ann"):
            if kind not in pair and (beside := _beside(files, document_id, kind)):
                pair[kind] = beside
        if len(pair) < 2:
            there = next(iter(pair.values()))
            tally.reject(
                files.path(there),
                "",
                "file",
                f"expected a .{'ann' if 'txt' in pair else 'txt'} file beside",
                "documents",
            )
            continue
        yield read_pair(document_id, files, pair, tally)


def _beside(files, document_id, kind):
    """The other file of a pair where only one of them was named."""
    for name in (f"{document_id}.{kind}", f"{document_id}.{kind}.gz"):
        if files.path(name).is_file():
            return name
    return None


def read_pair(document_id, files, pair, tally):
    """The `Document` of a pair of files."""
    text = read_text(files.path(pair["txt"]), keep_mark=True)
    path = files.path(pair["ann"])
    stated, attributes, lines = [], {}, []
    for number, line in lines_of(read_text(path)):
        if not line.strip():
            continue
        if match := _SPAN.fullmatch(line):
            pairs = [tuple(map(whole_number, edges.split(" "))) for edges in match[3].split(";")]
            if None in itertools.chain(*pairs):
                tally.reject(path, number, "span", "expected whole numbers as start and end")
                continue
            span = Span(match[1], match[2], tuple(pairs))
            stated.append(Stated(span, match[4], number))
        elif match := _ATTRIBUTE.fullmatch(line):
            attributes[match[1]] = (match[3], match[2], match[4] or "")
        elif line[0] == "T":
            tally.reject(path, number, "span", "expected T1<tab>type start end<tab>text")
        else:
            lines.append(line)
    text, stated = _without_mark(text, stated, tally)
    document = Document(document_id, text, source=pair["txt"])
    check_spans(document, stated, path, tally)
    _give_attributes(document, attributes, path, tally)
    names = {identifier: [span, name] for identifier, (span, name, _) in attributes.items()}
    if lines or names:
        document.kept = {"brat": {"lines": lines, "attributes": names}}
    return document


def _without_mark(text, stated, tally):
    """Takes the byte order mark off; moves the spans by one where that makes more of them agree."""
    if not text.startswith("\ufeff"):
        return text, stated
    text = text[1:]
    tally.count("texts_with_byte_order_mark")
    moved = []
    for item in stated:
        fragments = tuple((start - 1, end - 1) for start, end in item.span.fragments)
        moved.append(Stated(Span(item.span.span_id, item.span.type, fragments), item.text, item.line))

    def agree(spans):
        return sum(blanked(joined_text(text, item.span.fragments)) == item.text for item in spans)

    if agree(moved) > agree(stated):
        tally.count("documents_whose_offsets_count_the_byte_order_mark")
        return text, moved
    return text, stated


def _give_attributes(document, attributes, path, tally):
    spans = {span.span_id: span for span in document.spans}
    for identifier, (target, name, value) in attributes.items():
        if target not in spans:
            tally.reject(path, "", f"attribute {identifier}", "names a span that is not there", None)
        else:
            spans[target].attributes[name] = value


def write(folder, documents, tally):
    """Writes `.txt` and `.ann` files below `folder`; scores become notes (`#1 AnnotatorNotes T1 score 0.91`)."""
    for document in documents:
        write_exactly(output_file(folder, document.document_id, ".txt"), document.text)
        lines = annotation_lines(document, tally)
        write_exactly(output_file(folder, document.document_id, ".ann"), "".join(f"{line}\n" for line in lines))


def annotation_lines(document, tally):
    """The lines of a document's `.ann` file."""
    kept = document.kept.get("brat", {})
    names = {tuple(place): identifier for identifier, place in kept.get("attributes", {}).items()}
    ids = brat_ids(document.spans)
    taken = {*names.values(), *(line.split("\t")[0] for line in kept.get("lines", ()))}
    new_attributes, new_notes = free_ids("A", taken), free_ids("#", taken)
    lines, more, written = [], [], set(ids.values())
    for span in document.spans:
        edges = ";".join(f"{start} {end}" for start, end in span.fragments)
        text = blanked(joined_text(document.text, span.fragments))
        kind = one_word(span.type, tally)
        lines.append(f"{ids[span.span_id]}\t{kind} {edges}\t{text}")
        for name, value in span.attributes.items():
            identifier = names.get((span.span_id, name)) or next(new_attributes)
            written.add(identifier)
            word = one_word(name, tally)
            more.append(f"{identifier}\t{word} {ids[span.span_id]}" + (f" {blanked(value)}" if value else ""))
        if span.score is not None:
            more.append(f"{next(new_notes)}\tAnnotatorNotes {ids[span.span_id]}\tscore {span.score:.4f}")
    return lines + more + note_lines_left_out(kept.get("lines", []), written, tally)


def one_word(name, tally):
    """A type's or attribute's name without white space, which ends it in brat."""
    word = re.sub(r"\s", "_", name)
    tally.count("names_with_white_space_written_with_an_underscore", word != name)
    return word


def brat_ids(spans):
    """dict span id -> brat's id: its own where it is one, else the next free number."""
    taken = {span.span_id for span in spans if re.fullmatch(r"T\d+", span.span_id)}
    new = free_ids("T", set(taken))
    return {span.span_id: span.span_id if span.span_id in taken else next(new) for span in spans}


def free_ids(letter, taken):
    """Yields `<letter>1`, `<letter>2`, ... without those in `taken`."""
    return (name for number in itertools.count(1) if (name := f"{letter}{number}") not in taken)


FORMAT = Format("brat", SUFFIXES, read, write, one_file_a_document=True)
