"""Bad input ends with one line and leaves nothing; hostile text is found all the same."""

import itertools
import os
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixed_key import write_key
from notes_with_identifiers import NOTES, SECRETS, read_notes, write_notes, write_roster

from medtop.deidentification.detect import Detector
from medtop.deidentification.plan import DeidentifyOptions
from medtop.deidentification.roster import Roster, read_roster
from medtop.deidentification.run import deidentify
from medtop.files.errors import DataError


@pytest.fixture
def site(tmp_path):
    write_roster(tmp_path / "roster.csv")
    write_key(tmp_path / "key")
    write_notes(tmp_path / "notes.csv")
    return tmp_path


def table(site, text):
    (site / "notes.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return {}


def parquet(site, **columns):
    pq.write_table(pa.table(columns), site / "n.parquet")
    return {"input": f"{site}/n.parquet"}


def written(site, name, content, **flags):
    path = site / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return flags


def readable_key(site):
    os.chmod(site / "key", 0o644)
    return {"key_file": f"{site}/key", "replace": "surrogate"}


def key_within(site):
    (site / "out").mkdir()
    write_key(site / "out/key")
    return {"key_file": f"{site}/out/key", "replace": "surrogate"}


def another_text(site):
    write_notes(site / "gold", [("n1", "", "Zelda Fairbanks another text")])
    (site / "gold/n1.ann").write_text("T1\tNAME 0 5\tZelda\n")
    return {"gold": f"{site}/gold"}


BAD = {
    "no input": (lambda site: {"input": f"{site}/none.csv"}, "found no such thing"),
    "another kind": (lambda site: written(site, "a.docx", "x", input=f"{site}/a.docx"), "found another kind"),
    "empty folder": (lambda site: (site / "e").mkdir() or {"input": f"{site}/e"}, "expected files that end in .txt"),
    "empty file": (lambda site: table(site, ""), "expected a column text"),
    "no text column": (lambda site: table(site, "id,body\n1,Zelda\n"), "expected a column text or note_text"),
    "unknown column": (lambda site: {"text_column": "words"}, "--text_column: expected a header"),
    "kept column unknown": (lambda site: {"keep_columns": ("when",)}, "--keep_columns: expected headers"),
    "header twice": (lambda site: table(site, "id,text,text\n1,a,b\n"), "expected distinct headers"),
    "another encoding": (lambda site: table(site, "id,text\n1,Zélda\n".encode("latin-1")), "expected UTF-8"),
    "row too long": (lambda site: table(site, "id,text\n1,Zelda,3\n"), "line 2: expected 2 values, received 3"),
    "row too short": (lambda site: table(site, "id,text\n1\n"), "line 2: expected 2 values, received 1"),
    "open quote": (lambda site: table(site, 'id,text\n1,"Zelda\n2,x\n'), "expected CSV, received another content"),
    "id twice": (lambda site: table(site, "id,text\nZelda,a\nZelda,b\n"), "row 2: expected ids that occur once"),
    "null text": (lambda site: parquet(site, id=["1"], text=pa.array([None], pa.string())), "expected a text"),
    "numbers as text": (lambda site: parquet(site, id=["1"], text=[12345]), "expected a text"),
    "damaged Parquet": (lambda site: written(site, "b.parquet", "PAR1", input=f"{site}/b.parquet"), "Parquet"),
    "text not UTF-8": (lambda site: written(site, "f/a.txt", b"Zelda \xff", input=f"{site}/f"), "byte 6"),
    "no roster": (lambda site: {"roster": f"{site}/none.csv"}, "expected a roster"),
    "roster without names": (lambda site: written(site, "r.csv", "a\nZelda\n", roster=f"{site}/r.csv"), "first_name"),
    "roster ragged": (lambda site: written(site, "r.csv", "name\nZelda,2\n", roster=f"{site}/r.csv"), "line 2"),
    "roster encoding": (lambda site: written(site, "r.csv", b"name\nZ\xe9\n", roster=f"{site}/r.csv"), "UTF-8"),
    "roster no Parquet": (lambda site: written(site, "r.parquet", "x", roster=f"{site}/r.parquet"), "Parquet"),
    "key readable": (readable_key, "mode 0600"),
    "key within the output": (key_within, "outside of the output"),
    "no key": (lambda site: {"replace": "surrogate"}, "--replace=surrogate needs --key_file"),
    "key missing": (lambda site: {"key_file": f"{site}/k", "replace": "surrogate"}, "expected a key file, found none"),
    "rules of another name": (lambda site: {"rules": "all"}, "--rules: expected default, none or a JSON file"),
    "rules that are no list": (lambda site: written(site, "r", '{"a": 1}', rules=f"{site}/r"), "another content"),
    "rule that is no pattern": (
        lambda site: written(site, "r", '[{"type": "MRN", "name": "n", "pattern": "("}]', rules=f"{site}/r"),
        "rule 1: pattern: expected a regular expression",
    ),
    "rule that matches nothing": (
        lambda site: written(site, "r", '[{"type": "MRN", "name": "n", "pattern": "x*"}]', rules=f"{site}/r"),
        "needs a character",
    ),
    "unknown policy": (lambda site: {"policy": "all"}, "--policy: expected safe_harbor, limited"),
    "policy of unknown types": (lambda site: written(site, "p", '{"keep": [""]}', policy=f"{site}/p"), "types"),
    "policy of another form": (lambda site: written(site, "p.json", "[1]", policy=f"{site}/p.json"), "another content"),
    "output is the input's folder": (lambda site: {"output": f"{site}"}, "apart from --input"),
    "output holds things": (lambda site: written(site, "out/mine.txt", "x"), "expected a new folder"),
    "model without a run": (lambda site: {"model": f"{site}"}, "expected a run that was trained"),
    "thresholds without a model": (lambda site: {"model_thresholds": "x"}, "no effect without --model"),
    "nothing to look for": (lambda site: {"rules": "none", "roster": ""}, "nothing is looked for"),
    "gold of another text": (another_text, "expected the texts of --input"),
    "file to verify missing": (lambda site: {"verify": True, "verify_files": (f"{site}/v",)}, "found none"),
    "files without verify": (lambda site: {"verify_files": ("v",)}, "no effect without --verify"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_line_without_content(site, kind):
    make, message = BAD[kind]
    usual = {"input": f"{site}/notes.csv", "output": f"{site}/out", "roster": f"{site}/roster.csv"}
    flags = usual | make(site)
    before = sorted(path for path in site.rglob("*") if ".out.deidentify" not in str(path))
    with pytest.raises(DataError, match=message.replace("(", r"\(")) as error:
        deidentify(DeidentifyOptions(**flags))
    assert len(str(error.value).splitlines()) == 1 and not any(secret in str(error.value) for secret in SECRETS)
    if kind != "file to verify missing":
        assert before == sorted(path for path in site.rglob("*") if ".out.deidentify" not in str(path))


HOSTILE = [
    ("in a table", "| name | dob |\n| Zelda Fairbanks | 3/14/1950 |", ["Zelda", "Fairbanks", "3/14/1950"]),
    ("over a line's end", "seen by Zelda\nFairbanks on March\n14, 2014", ["Zelda", "Fairbanks", "March\n14, 2014"]),
    ("hyphenated", "Ms. Fair-\nbanks called from 617-555-\n0101", ["Fair-\nbanks", "617-555-\n0101"]),
    ("Cyrillic letters", "Zеldа Fаirbаnks", ["Zеldа", "Fаirbаnks"]),
    ("full width", "Ｚｅｌｄａ ６１７－５５５－０１０１", ["Ｚｅｌｄａ", "６１７－５５５－０１０１"]),
    ("zero width", "Zel\u200bda Fair\u2060banks 47\u200b11-0815", ["Zel\u200bda", "banks", "47\u200b11-0815"]),
    ("soft hyphens", "Fair\u00adbanks", ["Fair\u00adbanks"]),
    ("combining accents", "Ze\u0301lda Fairbanks\u0301", ["Ze\u0301lda", "Fairbanks\u0301"]),
    ("composed accents", "Zélda Fairbänks", ["Zélda", "Fairbänks"]),
    ("right to left marks", "\u202bZelda\u202c Fairbanks", ["Zelda", "Fairbanks"]),
    ("no-break blanks", "call 617\u00a0555\u00a00101", ["617\u00a0555\u00a00101"]),
    ("typographic dashes", "617–555–0101", ["617–555–0101"]),
    ("lower case", "zelda fairbanks came", ["zelda", "fairbanks"]),
    ("upper case", "ZELDA FAIRBANKS CAME", ["ZELDA", "FAIRBANKS"]),
    ("turned round", "FAIRBANKS, ZELDA M.", ["FAIRBANKS", "ZELDA"]),
    ("mistyped", "Zlda Fairbnks", ["Zlda", "Fairbnks"]),
    ("possessive", "Fairbanks's chart, Zelda's son", ["Fairbanks", "Zelda"]),
    ("tabs between", "MRN:\t4711-0815\tDOB:\t3/14/1950", ["4711-0815", "3/14/1950"]),
    ("no blanks", "MRN:4711-0815;DOB:3/14/1950;SSN:123-45-6789", ["4711-0815", "3/14/1950", "123-45-6789"]),
    ("number in another form", "chart 4711 0815", ["4711 0815"]),
    ("in brackets", "(Fairbanks) [Zelda] <617-555-0101>", ["Fairbanks", "Zelda", "617-555-0101"]),
    ("mail with a name", "zelda.fairbanks@example.org", ["zelda.fairbanks@example.org"]),
    ("mail with blanks", "z.f @ example . org", ["z.f @ example . org"]),
    ("scanner's digits", "DOB O3/l4/195O", ["O3/l4/195O"]),
    ("carriage returns", "Zelda\r\nFairbanks\r\n3/14/1950\r\n", ["Zelda", "Fairbanks", "3/14/1950"]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "expected"), HOSTILE)
def test_hostile_text(site, kind, text, expected):
    """Every letter and digit of what must be found is covered."""
    found = Detector(roster=read_roster(site / "roster.csv")).find(text, "p1")
    covered = {place for item in found for place in range(item.start, item.end)}
    for piece in expected:
        start = text.index(piece)
        left = [
            text[place] for place in range(start, start + len(piece)) if text[place].isalnum() and place not in covered
        ]
        assert not left, (kind, piece)


@pytest.mark.slow
def test_200_000_words(site):
    """One note of 200,000 words: linear time, everything found, the rest untouched."""
    plain = "The lungs were clear and 40 mg of furosemide was given twice daily. "
    text = (plain * 60 + "Zelda Fairbanks came on 3/14/2014. ") * 250
    assert len(text.split()) > 190_000
    detector = Detector(roster=read_roster(site / "roster.csv"))
    begin = time.process_time()
    found = detector.find(text, "p1")
    long = time.process_time() - begin
    assert len(found) == 750
    begin = time.process_time()
    detector.find(text[: len(text) // 10], "p1")
    assert long < 25 * (time.process_time() - begin) + 1


def test_empty_and_blank_notes(site):
    write_notes(site / "f", [("a", "", ""), ("b", "", " \r\n\t"), ("c", "", "\ufeffZelda Fairbanks")])
    options = DeidentifyOptions(input=f"{site}/f", output=f"{site}/out", roster=f"{site}/roster.csv", verify=True)
    _, leaks = deidentify(options)
    assert leaks == []
    assert read_notes(site / "out/notes") == {"a": "", "b": " \r\n\t", "c": "\ufeff[NAME] [NAME]"}


def test_no_eponym_and_no_common_word_is_lost(site):
    """A roster with people called Parkinson, Young and Mark takes no clinical term and no verb."""
    names = ("Mark Young", "Grace Parkinson", "Will Foley", "April Graves", "Rose Long")
    people = [dict(zip(("first_name", "last_name"), name.split(), strict=True)) for name in names]
    text = (
        "Parkinson disease, Graves' disease and long QT; Foley catheter; MS and LA enlargement. A young man will be "
        "seen in the clinic. Mark the site. Grace period. Rose to 5.2. Long standing pain, Young onset."
    )
    assert [text[item.start : item.end] for item in Detector(roster=Roster(people)).find(text)] == []
    text = "Seen with Grace Parkinson and Dr. Foley."
    assert [text[item.start : item.end] for item in Detector(roster=Roster(people)).find(text)] == [
        "Grace",
        "Parkinson",
        "Foley",
    ]


def test_the_audit_is_made_of_places(site):
    deidentify(DeidentifyOptions(input=f"{site}/notes.csv", output=f"{site}/out", roster=f"{site}/roster.csv", gold=""))
    audit = (site / "out/audit.jsonl").read_text()
    assert (site / "out/audit.jsonl").stat().st_mode & 0o077 == 0
    assert len(audit.splitlines()) > len(NOTES) and not any(secret in audit for secret in SECRETS)


def test_own_rules(site):
    (site / "rules.json").write_text('[{"type": "MRN", "name": "ours", "pattern": "number (?P<v>K-[a-z]+)"}]')
    write_notes(site / "f", [("a", "", "Number K-alpha, K-beta, seen 3/14/2014.")])
    about, leaks = deidentify(
        DeidentifyOptions(input=f"{site}/f", output=f"{site}/out", rules=f"{site}/rules.json", verify=True)
    )
    assert read_notes(site / "out/notes") == {"a": "Number [MRN], K-beta, seen [DATE]."}
    assert about["removed_by"]["MRN: own: ours"] == 1 and leaks == []


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_cell_that_holds_more_than_names_is_refused(tmp_path, form):
    """Each word of a person's names is kept beside each other one: a note in such a cell took hours and gigabytes."""
    words = ["".join(letters) for letters in itertools.product("abcdef", repeat=3)][:101]
    rows = {"first_name": ["Ann", "Bo"], "last_name": ["Smith", " ".join(words)]}
    path = tmp_path / f"r.{form}"
    if form == "csv":
        path.write_text("first_name,last_name\nAnn,Smith\nBo," + " ".join(words) + "\n")
    else:
        pq.write_table(pa.table(rows), path)
    with pytest.raises(DataError, match=rf"r.{form}: row 2: expected .* at most 100 words, received 102$") as error:
        read_roster(path)
    assert words[7] not in str(error.value)
    rows["last_name"][1] = " ".join(words[:99])
    assert len(Roster(dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)).names) == 102


def test_a_name_said_ten_thousand_times_is_one_name():
    roster = Roster([{"first_name": "Ann " * 10_000, "last_name": "Lee", "patient_id": "1"}])
    assert roster.names == {"ann", "lee"} and [text[:2] for text in roster.find("ann lee came", "1")] == [
        (0, 3),
        (4, 7),
    ]
