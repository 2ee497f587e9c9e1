r"""CoNLL: one word a line with its tag (BIO or BIOES) in the last column, an empty line after each sentence.

    chest<tab>B-problem               `-DOCSTART-` lines part documents; a file without them has one document a sentence
    pain<tab>I-problem

Words are joined by blanks and sentences by line breaks, unless the text itself stands beside, `<document>.txt`: then
words are found in it one after the other. Written from other formats, each document has a file of its own with its text
beside and four columns, `word<tab>start<tab>end<tab>tag`. An `I` that continues nothing is no entity and goes to the
rejects (as seqeval's strict mode and CoNLL-2003's IOB2 have it).
"""

import itertools
import re
from pathlib import Path

from medtop.entities.documents import Document, Span, Stated, check_spans, check_text
from medtop.entities.format import Format, by_collection
from medtop.entities.reading import lines_of, output_file, read_text, stem, write_exactly
from medtop.entities.words import document_words
from medtop.files.bounded import whole_number
from medtop.files.errors import DataError
from medtop.text import tags as tagging
from medtop.text.words import DROP, SPACE, kind_of

SUFFIXES = (".conll", ".tsv", ".bio", ".iob")
_TAG = re.compile(r"O|[BIESLU]-\S.*")
_LETTERS = {"L": "E", "U": "S"}  # BILOU's names
_BREAK = "-DOCSTART-"


def read(files, tally):
    """Yields the `Document`s of `files`."""
    for name in files.names:
        path = files.path(name)
        text = read_text(path)
        has_breaks = text.startswith(_BREAK) or f"\n{_BREAK}" in text
        blocks = list(_blocks(path, text, has_breaks, tally))
        beside = stem(str(path), SUFFIXES) + ".txt"
        raw = read_text(beside) if Path(beside).is_file() and (has_breaks or name.endswith(".conll")) else None
        if raw is not None and not has_breaks:
            blocks = [("", [sentence for _, sentences in blocks for sentence in sentences])]
        for number, (document_id, sentences) in enumerate(blocks, 1):
            whole = raw if len(blocks) == 1 else None
            default = stem(name, SUFFIXES) + ("" if len(blocks) == 1 else f"-{number}")
            document = _document(document_id or default, sentences, whole, name, path, tally)
            if document is not None:
                yield document


def _blocks(path, text, has_breaks, tally):
    """Yields (id, list of sentences), each a list of (line number, columns).

    Raises:
        DataError: where more than half of the lines are no word with its tag: another format, not a few bad lines.
    """
    document_id, sentences, sentence, opened = "", [], [], False
    words = unusable = 0
    for number, line in lines_of(text):
        columns = line.split("\t") if "\t" in line else line.split(" ")
        if line.startswith(_BREAK):
            if sentence:
                sentences.append(sentence)
            if opened or sentences:
                yield document_id, sentences
            extra = [column for column in columns[1:] if column not in ("O", "-X-", "")]
            document_id, sentences, sentence, opened = (extra[0] if extra else ""), [], [], True
        elif not line.strip():
            if sentence:
                sentences.append(sentence)
                if not has_breaks:
                    yield "", sentences
                    sentences = []
            sentence = []
        elif len(columns) < 2 or not columns[0] or not _TAG.fullmatch(columns[-1]):
            tally.reject(path, number, "tag", "expected a word and one of O, B-type, I-type, E-type, S-type", None)
            sentence.append((number, [columns[0] or "?", "O"]))
            unusable += 1
        else:
            sentence.append((number, columns))
            words += 1
    if unusable > words:
        raise DataError(
            f"{path}: expected a word and its tag in each line (CoNLL), received {unusable:,} lines without them of "
            f"{words + unusable:,}"
        )
    if sentence:
        sentences.append(sentence)
    if sentences or opened:
        yield document_id, sentences


def _document(document_id, sentences, raw, name, path, tally):
    rows = [row for sentence in sentences for row in sentence]
    text, places = _joined(sentences) if raw is None else (raw, _aligned(raw, rows))
    first = rows[0][0] if rows else ""
    if places is None:
        tally.reject(path, first, "word", "words that do not stand in the text beside, in this order", "documents")
        return None
    document = Document(document_id, text, source=name)
    document.kept = {"collection": stem(name, SUFFIXES)} if raw is None else {}
    middle = [columns[1:-1] for _, columns in rows] if raw is None else []
    counts = [len(sentence) for sentence in sentences]
    flat = [edge for place in places for edge in place]
    document.kept["conll"] = {"sentences": counts, "words": flat, **({"middle": middle} if any(middle) else {})}
    if not check_text(document, path, tally, first):
        return None
    stated = []
    begin = 0
    for count in counts:
        tags = [_own_letter(columns[-1]) for _, columns in rows[begin : begin + count]]
        scheme = "bioes" if any(tag[0] in "ES" for tag in tags) else "bio"
        ranges, bad = tagging.decode(tags, scheme)
        for place in bad:
            tally.reject(path, rows[begin + place][0], "tag", "a tag that continues no entity of its type", None)
        for start, after, kind in ranges:
            edges = (places[begin + start][0], places[begin + after - 1][1])
            stated.append(Stated(Span(f"T{len(stated) + 1}", kind, (edges,)), None, rows[begin + start][0]))
        begin += count
    check_spans(document, stated, path, tally)
    return document


def _own_letter(tag):
    return _LETTERS.get(tag[0], tag[0]) + tag[1:]


def _joined(sentences):
    """The text made of words, and their places."""
    lines, places, base = [], [], 0
    for sentence in sentences:
        for _, (word, *_) in sentence:
            places.append((base, base + len(word)))
            base += len(word) + 1
        lines.append(" ".join(columns[0] for _, columns in sentence))
    return "\n".join(lines), places


def _aligned(text, rows):
    """Where the words stand in a text: at the offsets of their columns, else one after the other with nothing between
    but white space and characters that no word keeps; None where they do not."""
    edges = [columns[-3:-1] for _, columns in rows]
    places = [tuple(map(whole_number, edge)) for edge in edges]
    if all(len(columns) > 3 for _, columns in rows) and all(
        place is not None and place >= 0 for place in itertools.chain(*places)
    ):
        same = all(text[start:end] == columns[0] for (start, end), (_, columns) in zip(places, rows, strict=True))
        apart = all(before[1] <= after[0] for before, after in itertools.pairwise(places))
        return places if same and apart else None
    places, at = [], 0
    for _, (word, *_) in rows:
        while not text.startswith(word, at):
            if at >= len(text) or kind_of(text[at], False) not in (SPACE, DROP):
                return None
            at += 1
        places.append((at, at + len(word)))
        at += len(word)
    return places


def write(folder, documents, tally):
    """Writes documents that came from CoNLL files back to such files, each other one to a file of its own."""

    def from_others():
        for document in documents:
            if "conll" in document.kept and "collection" in document.kept:
                yield document
            else:
                _write_alone(folder, document, tally)

    for name, group in by_collection(from_others(), ".conll"):
        group = list(group)
        with open(output_file(folder, name, ""), "wb") as file:
            for document in group:
                if not re.fullmatch(rf"{re.escape(document.kept['collection'])}(-\d+)?", document.document_id):
                    file.write(f"{_BREAK}\t{document.document_id}\n\n".encode())
                elif any(len(other.kept["conll"]["sentences"]) > 1 for other in group) and len(group) > 1:
                    file.write(f"{_BREAK}\tO\n\n".encode())
                file.write("".join(f"{line}\n" for line in document_lines(document, tally)).encode("utf-8"))


def _write_alone(folder, document, tally):
    write_exactly(output_file(folder, document.document_id, ".txt"), document.text)
    lines = document_lines(document, tally, offsets=True)
    write_exactly(output_file(folder, document.document_id, ".conll"), "".join(f"{line}\n" for line in lines))


def document_lines(document, tally, offsets=False):
    """The lines of a document: its own words where it came from CoNLL, else ours."""
    kept = document.kept.get("conll", {})
    split = document_words(document, whole_spans=True)
    starts, ends, counts = split.starts, split.ends, split.counts
    middle = kept.get("middle") or [[]] * len(starts)
    ranges = tagging.word_ranges(starts, ends, document.spans, tally)
    written = {span.span_id for _, _, span in ranges}
    for span in document.spans:
        if span.span_id not in written:
            tally.no_place(document, span, "overlaps a longer span, or holds no word: CoNLL has none such")
    tags = tagging.encode(len(starts), [(first, after, span.type) for first, after, span in ranges])
    tally.count("attributes_without_a_place_in_conll", sum(len(span.attributes) for span in document.spans))
    lines, at = [], 0
    for count in counts:
        for place in range(at, at + count):
            edges = [str(starts[place]), str(ends[place])] if offsets else []
            word = document.text[starts[place] : ends[place]]
            lines.append("\t".join([word, *middle[place], *edges, tags[place]]))
        lines.append("")
        at += count
    return lines


FORMAT = Format("conll", SUFFIXES, read, write, one_file_a_document=False)
