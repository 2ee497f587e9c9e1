"""Round trips of every format on random texts with every trap: the same text, the same spans."""

import dataclasses
import json
import re

import numpy as np
import pytest
from entity_cases import documents, meaning, random_spans, random_text, whole_word_spans

from medtop.entities.convert import ConvertOptions, convert
from medtop.entities.documents import Document, Span, Tally
from medtop.entities.formats import FORMATS, find_format
from medtop.entities.formats.i2b2_2010 import token_places
from medtop.entities.reading import input_files
from medtop.files.errors import DataError

ROUNDS = 40


def there_and_back(name, given, folder, tally=None):
    """Writes documents in a format and reads them again."""
    tally = tally or Tally()
    FORMATS[name].write(folder, given, tally)
    read = list(FORMATS[name].read(input_files(folder, FORMATS[name].suffixes), tally))
    return {document.document_id: document for document in read}, tally


def check(name, given, folder, blanks=False):
    read, tally = there_and_back(name, given, folder)
    assert tally.rejects == [], tally.rejects[:3]
    assert read.keys() == {document.document_id for document in given}
    for document in given:
        assert meaning(read[document.document_id]) == meaning(document)
    return read


@pytest.mark.parametrize("name", ["brat", "jsonl"])
def test_everything_comes_back(name, tmp_path):
    random = np.random.default_rng(1)
    for number in range(ROUNDS):
        given = documents(random)
        for document in given:
            for span in document.spans:
                if random.random() < 0.3:
                    span.attributes.update({"assertion": "absent", "negated": "x y"})
        check(name, given, tmp_path / str(number))


def test_brat_ids_attributes_relations_and_events_are_unharmed(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"left and right arm\r\npain")
    lines = [
        "T3\tSite 0 4;15 18\tleft arm", "T1\tSite 9 18\tright arm", "T2\tPain 20 24\tpain", "A2\tNegation T2",
        "A1\tCertainty T1 likely", "R1\tAt Arg1:T2 Arg2:T1", "E1\tPain:T2 At:T3", "A3\tSpeculation E1",
        "*\tEquiv T1 T3", "N1\tReference T1 MeSH:D001132\tarm", "#1\tAnnotatorNotes A1\tsure?",
    ]  # fmt: skip
    (folder / "a.ann").write_text("\n".join(lines) + "\n")
    tally = Tally()
    (document,) = FORMATS["brat"].read(input_files(folder, (".txt", ".ann")), tally)
    assert tally.rejects == [] and document.spans[0].fragments == ((0, 4), (15, 18))
    assert {span.span_id: span.attributes for span in document.spans} == {
        "T3": {}, "T1": {"Certainty": "likely"}, "T2": {"Negation": ""},
    }  # fmt: skip
    FORMATS["brat"].write(tmp_path / "out", [document], tally)
    assert sorted((tmp_path / "out/a.ann").read_text().splitlines()) == sorted(lines)
    assert (tmp_path / "out/a.txt").read_bytes() == (folder / "a.txt").read_bytes()
    document.spans.pop(2)  # what names it goes, too, and is counted
    FORMATS["brat"].write(tmp_path / "less", [document], tally)
    left = {line.split("\t")[0] for line in (tmp_path / "less/a.ann").read_text().splitlines()}
    assert left == {"T3", "T1", "A1", "*", "N1", "#1"}
    assert tally.counts["kept_lines_that_name_a_span_left_out"] == 3


@pytest.mark.parametrize("counted, spans", [(1, "T1\tx 1 4\tarm"), (0, "T1\tx 0 3\tarm")])
def test_byte_order_mark(counted, spans, tmp_path):
    """Offsets that count the mark, and offsets that do not, give the same span."""
    (tmp_path / "a.txt").write_bytes("\ufeffarm pain".encode())
    (tmp_path / "a.ann").write_bytes(f"\ufeff{spans}\n".encode())
    tally = Tally()
    (document,) = FORMATS["brat"].read(input_files(tmp_path, (".txt",)), tally)
    assert (document.text, document.spans[0].fragments) == ("arm pain", ((0, 3),))
    assert tally.counts["documents_whose_offsets_count_the_byte_order_mark"] == counted and not tally.rejects


def test_pubtator(tmp_path):
    random = np.random.default_rng(2)
    for number in range(ROUNDS):
        given = []
        for place in range(6):
            text = random_text(random, without=("\n", "\r"))
            text += "\n" + random_text(random, without=("\n", "\r")) if random.random() < 0.8 else ""
            spans = random_spans(random, text, fragments=False)
            given.append(
                Document(str(place), text, [dataclasses.replace(s, attributes={"concept": "D1"}) for s in spans])
            )
        check("pubtator", given, tmp_path / str(number))
    tally = Tally()
    three = Document("9", "a\r\nb\nc", [Span("T1", "x", ((5, 6),))])
    read, _ = there_and_back("pubtator", [three], tmp_path / "lines", tally)
    assert read["9"].text == "a \nb c" and read["9"].spans[0].fragments == ((5, 6),)
    assert tally.counts["line_breaks_written_as_blanks"] == 2


@pytest.mark.parametrize("name", ["i2b2_2012", "i2b2_2014", "bioc"])
def test_xml(name, tmp_path):
    random = np.random.default_rng(3)
    for number in range(ROUNDS):
        given = documents(random, controls=False)
        for document in given:
            document.spans = [s for s in document.spans if name == "bioc" or len(s.fragments) == 1]
            document.spans = [
                dataclasses.replace(s, type="DATE", attributes={"val": "a\tb"}) if n % 2 else s
                for n, s in enumerate(document.spans)
            ]
        check(name, given, tmp_path / str(number))
    tally = Tally()
    assert [*there_and_back(name, [Document("a", "x\0"), Document("b", "x")], tmp_path / "c", tally)[0]] == ["b"]
    assert tally.reasons == {"a character that XML has no place for": 1}


def test_i2b2_2010(tmp_path):
    random = np.random.default_rng(4)
    for number in range(ROUNDS):
        given = []
        for place in range(6):
            text = random_text(random)
            tokens = [edges for line in token_places(text) for edges in line]
            spans = whole_word_spans(random, text, [a for a, _ in tokens], [b for _, b in tokens])
            more = {"assertion": "absent"} if random.random() < 0.5 else {}
            given.append(
                Document(f"beth/r{place}", text, [dataclasses.replace(s, attributes=dict(more)) for s in spans])
            )
        check("i2b2_2010", given, tmp_path / str(number))
    tally = Tally()
    there_and_back("i2b2_2010", [Document("a", "arm pain", [Span("T1", "x", ((1, 3),))])], tmp_path / "cut", tally)
    assert tally.reasons == {"begins or ends inside a token": 1}


def test_i2b2_2010_as_published(tmp_path):
    for kind, text in {
        "txt/r.txt": "Admission Date :\nHe denies  Chest Pain .\n",
        "concept/r.con": 'c="chest pain" 2:2 2:3||t="problem"\nc="x" 7:1 7:1||t="test"\nc="wrong" 2:0 2:0||t="test"\n',
        "ast/r.ast": 'c="chest pain" 2:2 2:3||t="problem"||a="absent"\n',
        "rel/r.rel": 'c="chest pain" 2:2 2:3||r="PIP"||c="chest pain" 2:2 2:3\n',
    }.items():
        path = tmp_path / "in" / kind
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    tally = Tally()
    (document,) = FORMATS["i2b2_2010"].read(input_files(tmp_path / "in", (".con",)), tally)
    assert document.document_id == "r" and document.spans == [
        Span("T1", "problem", ((28, 38),), {"assertion": "absent"})
    ]
    assert [reject[1:] for reject in tally.rejects] == [
        (2, "concept", "a line or token beyond the text"),
        (3, "span", "the span's text is not the document's text at its place"),
    ]
    FORMATS["i2b2_2010"].write(tmp_path / "out", [document], tally)
    for kind in ("txt/r.txt", "ast/r.ast", "rel/r.rel"):
        assert (tmp_path / "out" / kind).read_bytes() == (tmp_path / "in" / kind).read_bytes()


def test_conll_beside_its_text(tmp_path):
    random = np.random.default_rng(5)
    for number in range(ROUNDS):
        texts = [random_text(random, size=60) + "end." for _ in range(6)]
        check(
            "conll",
            [Document(f"d{n}", t, whole_word_spans(random, t)) for n, t in enumerate(texts)],
            tmp_path / str(number),
        )


def test_conll_collections_give_the_same_bytes(tmp_path):
    plain = "Chest\tB-problem\npain\tI-problem\n.\tO\n\nNo\tO\nMI\tB-problem\n\n"
    (tmp_path / "train.tsv").write_text(plain)
    tally = Tally()
    read = list(FORMATS["conll"].read(input_files(tmp_path / "train.tsv", ()), tally))
    assert [document.document_id for document in read] == ["train-1", "train-2"]
    assert read[0].text == "Chest pain ." and read[0].spans[0].fragments == ((0, 10),)
    FORMATS["conll"].write(tmp_path / "out", read, tally)
    assert (tmp_path / "out/train.conll").read_text() == plain and not tally.rejects


def test_conll_that_begins_with_inside(tmp_path):
    (tmp_path / "a.tsv").write_text("pain\tI-x\nno\tO\nMI\tB-x\nMI\tI-y\nq\n")
    tally = Tally()
    (document,) = FORMATS["conll"].read(input_files(tmp_path, (".tsv",)), tally)
    assert [span.fragments for span in document.spans] == [((8, 10),)]
    assert [reject[1:3] for reject in tally.rejects] == [(5, "tag"), (1, "tag"), (4, "tag")]


def test_bad_input(tmp_path):
    """Each gives one line or one reject, and never a text."""
    with pytest.raises(DataError, match="expected files that end in .txt, .ann, found none"):
        input_files(tmp_path, FORMATS["brat"].suffixes)
    with pytest.raises(DataError, match="no such thing"):
        input_files(tmp_path / "nothing", (".txt",))
    with pytest.raises(DataError, match="expected one of brat, conll"):
        find_format("bart")
    (tmp_path / "a.txt").write_text("secret pain")
    (tmp_path / "b.ann").write_text("T1\tx 0 3\tsec\n")
    (tmp_path / "c.txt").write_text("secret pain")
    (tmp_path / "c.ann").write_text(
        "T1\tx 0 99\tsecret\nT2\tx 0 5\twrong\nTx\nT3\tx 5 2\t\nT4\tx 0 6\tsecret\nT4\tx 0 6\tsecret\n"
    )
    tally = Tally()
    (document,) = FORMATS["brat"].read(input_files(tmp_path, (".txt", ".ann")), tally)
    assert [span.span_id for span in document.spans] == ["T4"]
    assert len(tally.rejects) == 7 and "secret" not in str(tally.rejects)
    with pytest.raises(DataError, match="expected a .ann file beside"):
        list(FORMATS["brat"].read(input_files(tmp_path, (".txt",)), Tally(strict=True)))
    (tmp_path / "c.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match="c.txt: byte 3: expected UTF-8"):
        list(FORMATS["brat"].read(input_files(tmp_path, (".txt",)), tally))
    for name in ("../x", "/x", "a//b", "", ".hidden"):
        with pytest.raises(DataError, match="can name a file"):
            FORMATS["brat"].write(tmp_path, [Document(name, "")], tally)


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"conll", "jsonl"}))
@pytest.mark.parametrize("number", ["9" * 5000, "--5", "7.5", "", "\u00b2", "10" * 8])
def test_a_wrong_number_is_a_reject_and_never_a_traceback(tmp_path, name, number):
    """Every number of a file in turn: what cannot be read is in the rejects, with its place and without its text."""
    form, text = FORMATS[name], "Severe pain in the arm .\nNo fever at all .\n"
    form.write(tmp_path / "good", [Document("a", text, [Span("T1", "Problem", ((7, 11),))])], Tally())
    files = {path.relative_to(tmp_path / "good"): path for path in (tmp_path / "good").rglob("*") if path.is_file()}
    (changed,) = [path for path in files if len(files) == 1 or path.suffix in (".ann", ".con")]
    content = files[changed].read_text(encoding="utf-8")
    for place, match in enumerate(re.finditer(r"\d+", content)):
        folder = tmp_path / str(place)
        for path, good in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(good.read_bytes())
        (folder / changed).write_text(content[: match.start()] + number + content[match.end() :], encoding="utf-8")
        tally = Tally()
        spans = [
            (span.type, span.fragments)
            for document in form.read(input_files(folder, form.suffixes), tally)
            for span in document.spans
        ]
        assert spans == [("Problem", ((7, 11),))] or tally.rejects, match
        assert "pain" not in str(tally.rejects)


def test_xml_that_is_dangerous_or_broken(tmp_path):
    (tmp_path / "a.xml").write_text('<!DOCTYPE x [<!ENTITY a "aaaa">]><x><TEXT>&a;</TEXT></x>')
    with pytest.raises(DataError, match="without entity declarations"):
        list(FORMATS["i2b2_2014"].read(input_files(tmp_path, (".xml",)), Tally()))
    (tmp_path / "a.xml").write_text(
        '<x><TEXT><![CDATA[A & B]]></TEXT><TAGS><EVENT id="E0" start="0" end="5" text="A & B" type="TEST"/></TAGS></x>'
    )
    tally = Tally()
    (document,) = FORMATS["i2b2_2012"].read(input_files(tmp_path, (".xml",)), tally)
    assert document.spans[0].end == 5 and tally.counts["xml_files_with_bare_ampersands"] == 1 and not tally.rejects
    (tmp_path / "a.xml").write_text("<x><TEXT>")
    assert list(FORMATS["i2b2_2012"].read(input_files(tmp_path, (".xml",)), tally)) == []
    assert tally.reasons == {"expected XML": 1}


def test_json_of_other_tools_and_of_nobody(tmp_path):
    lines = [
        {"id": 7, "text": "chest pain", "label": [[0, 5, "A"], [6, 10]]},
        {"text": "chest pain", "label": "positive", "entities": [{"start": 6, "end": 10, "label": "B"}, "x", None]},
        {
            "full_text": "a b",
            "spans": [{"start_position": 2, "end_position": 3, "entity_type": "C", "entity_value": "x"}],
        },
        ["no document"],
        {"text": "half \ud83d a pair"},
    ]
    (tmp_path / "x.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines) + "{broken\n")
    tally = Tally()
    read = list(FORMATS["jsonl"].read(input_files(tmp_path, (".jsonl",)), tally))
    assert [(d.document_id, [(s.type, s.start, s.end) for s in d.spans], d.columns) for d in read] == [
        ("7", [("A", 0, 5)], {}), ("x-2", [("B", 6, 10)], {"label": "positive"}), ("x-3", [], {}),
    ]  # fmt: skip
    assert tally.counts["documents_left_out"] == 3 and tally.counts["spans_left_out"] == 4


def test_scores_that_are_none_are_left_alone(tmp_path):
    (tmp_path / "a.pubtator").write_text("1|t|arm\n1\t0\t3\tarm\tX\tD1\tscore=high\n1\t0\t3\tarm\tX\tD1\tscore=0.5\n")
    (document,) = FORMATS["pubtator"].read(input_files(tmp_path, (".pubtator",)), Tally())
    assert [span.score for span in document.spans] == [None, 0.5]
    assert document.spans[0].attributes == {"concept": "D1", "parts": "score=high"}


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_file_of_another_kind_is_refused_by_every_format(name, tmp_path):
    (tmp_path / "table.csv").write_text("patient_id,admitted,code\nP1,2020-01-01,I10\nP2,2020-01-02,E11.9\n")
    options = ConvertOptions(((None, str(tmp_path / "table.csv")),), name)
    with pytest.raises(DataError, match="expected (documents|a word and its tag)"):
        convert(options, str(tmp_path / "out/x"), False)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("start, end", [("", "4"), ("0", ""), ("9" * 5000, "4"), ("0", "x")])
def test_conll_offsets_that_are_no_numbers_are_no_offsets(tmp_path, start, end):
    """Words then stand one after the other in the text beside, or by themselves."""
    (tmp_path / "a.conll").write_text(f"Pain\tx\t{start}\t{end}\tB-Problem\n\n")
    for text in (None, "Pain"):
        if text:
            (tmp_path / "a.txt").write_text(text)
        (document,) = FORMATS["conll"].read(input_files(tmp_path, FORMATS["conll"].suffixes), Tally())
        assert document.text == "Pain" and document.spans[0].fragments == ((0, 4),)
