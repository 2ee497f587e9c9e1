"""deidentify_notes.py from end to end: three forms of notes, what stays, what is told, twice, killed, damaged."""

import dataclasses
import json
import re

import pytest
from fixed_key import write_key
from notes_with_identifiers import NOTES, SECRETS, read_notes, write_notes, write_roster

from medtop.deidentification import run, verify
from medtop.deidentification.plan import DeidentifyOptions
from medtop.deidentification.run import deidentify

SCRIPT = "run_scripts/deidentify_notes.py"
FORMS = {"notes.parquet": "notes.parquet", "notes.csv": "notes.csv", "folder": "notes"}


@pytest.fixture
def site(tmp_path):
    """A folder with a roster, a key, and notes as Parquet."""
    write_roster(tmp_path / "roster.csv")
    write_key(tmp_path / "key")
    write_notes(tmp_path / "notes.parquet")
    return tmp_path


def options(site, **given):
    usual = {"input": str(site / "notes.parquet"), "output": str(site / "out"), "roster": str(site / "roster.csv")}
    return DeidentifyOptions(**usual | given)


def audit_of(folder):
    return [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]


def outside(text, edges):
    """The pieces of a text that no edges cover."""
    cuts = [0, *(edge for pair in edges for edge in pair), len(text)]
    return [text[a:b] for a, b in zip(cuts[::2], cuts[1::2], strict=True)]


@pytest.mark.parametrize("replace", ["tag", "blank", "surrogate"])
@pytest.mark.parametrize("form", FORMS)
def test_nothing_else_changes(site, run_script, form, replace):
    """No identifier is left in any file or on the screen; outside of what the audit names, texts are the same."""
    source = write_notes(site / "in" / form) if (site / "in").mkdir() is None else None
    flags = [f"--input={source}", f"--output={site}/out", f"--roster={site}/roster.csv", f"--replace={replace}"]
    done = run_script(SCRIPT, *flags, f"--key_file={site}/key", "--verify")
    assert done.returncode == 0, done.stderr
    new, by_note = read_notes(site / "out" / FORMS[form]), {}
    for line in audit_of(site / "out"):
        if "start" in line:
            by_note.setdefault(line["document"], []).append(line)
    assert list(new) == [name for name, *_ in NOTES] or set(new) == {name for name, *_ in NOTES}
    for name, _, text in NOTES:
        lines = by_note.get(name, [])
        old_edges = [(line["start"], line["end"]) for line in lines]
        new_edges = [(line["new_start"], line["new_end"]) for line in lines]
        assert outside(text, old_edges) == outside(new[name], new_edges)
    assert new["n4"] == NOTES[3][2] and "Parkinson disease and MS" in new["n3"]
    everything = "".join(
        path.read_bytes().decode("utf-8", "replace") + path.name for path in (site / "out").rglob("*") if path.is_file()
    )
    everything = re.sub(r"\b[0-9a-f]{16,64}\b", "", everything)  # digests may hold any four digits by chance
    for secret in SECRETS:
        assert secret not in everything and secret not in done.stdout + done.stderr, secret
    assert not [path for path in site.iterdir() if path.name.startswith(".")]


def test_tags_and_surrogates(site):
    deidentify(options(site))
    text = read_notes(site / "out/notes.parquet")["n1"]
    assert text.startswith("[NAME] [NAME] (MRN [MRN]) was seen on [DATE] by Dr. [NAME].\r\nBP 120/80.\tStable.\n")
    deidentify(options(site, output=str(site / "other"), replace="surrogate", key_file=str(site / "key")))
    new = read_notes(site / "other/notes.parquet")
    first = re.match(r"(Z\w+) (F\w+) \(MRN (\d{4}-\d{4})\) was seen on (\d+/\d+/\d{4}) by Dr. (Q\w+)\.", new["n1"])
    assert first, "initials, signs and the form of dates are kept"
    again = re.match(r"Ms. (\w+) returned on (\d{4}-\d\d-\d\d); SSN \d{3}-\d\d-\d{4}", new["n2"])
    assert again[1] == first[2], "a mistyped name of the patient gets the patient's surrogate"
    assert "She is 90+ years old" in new["n1"]


def test_intervals_stay_and_the_stays_table_moves_alike(site):
    """Days between all dates of a patient, over notes, are those of the originals; the shift is the key's."""
    import datetime as dt

    from medtop.files.keys import read_key

    deidentify(options(site, replace="surrogate", key_file=str(site / "key")))
    new, shift = read_notes(site / "out/notes.parquet"), read_key(site / "key").shift_days("p1")
    seen = dt.datetime.strptime(re.search(r"seen on (\S+) by", new["n1"])[1], "%m/%d/%Y").date()
    follow = dt.datetime.strptime(re.search(r"Follow-up (\w+ \d+, \d+)\.", new["n1"])[1], "%B %d, %Y").date()
    returned = dt.date.fromisoformat(re.search(r"returned on (\S+);", new["n2"])[1])
    assert (follow - seen).days == 14 and returned == follow
    assert (seen - dt.date(2014, 3, 14)).days == shift and shift % 7 == 0


def test_twice_is_once(site, run_script):
    """The same run touches nothing; its output as input changes no character, with tags and with surrogates."""
    for replace in ("tag", "blank", "surrogate"):
        first = options(site, output=str(site / replace), replace=replace, key_file=str(site / "key"))
        deidentify(first)
        times = {path: path.stat().st_mtime_ns for path in (site / replace).iterdir()}
        deidentify(first)
        assert times == {path: path.stat().st_mtime_ns for path in (site / replace).iterdir()}
        second = options(
            site,
            input=str(site / replace / "notes.parquet"),
            output=str(site / f"{replace}2"),
            replace=replace,
            key_file=str(site / "key"),
        )
        deidentify(second)
        assert read_notes(site / f"{replace}2/notes.parquet") == read_notes(site / replace / "notes.parquet")


def test_planted_misses_end_with_exit_code_3(site, run_script):
    """In a text, a vocabulary, an id; told by place, without a character of it."""
    flags = [f"--input={site}/folder", f"--output={site}/out", f"--roster={site}/roster.csv", "--verify"]
    write_notes(site / "folder")
    assert run_script(SCRIPT, *flags).returncode == 0
    note = site / "out/notes/n4.txt"
    note.write_text(note.read_text() + " Quillfeather")
    done = run_script(SCRIPT, *flags)
    assert done.returncode == 3 and "note 4: characters 46-58: NAME" in done.stderr
    assert "Quill" not in done.stdout + done.stderr
    note.write_text(note.read_text().removesuffix(" Quillfeather"))
    (site / "vocab.txt").write_text("[PAD]\npain\nquillfeather\n4711\n617-555-0101\n")
    done = run_script(SCRIPT, *flags, f"--verify_files={site}/vocab.txt")
    assert done.returncode == 3 and "vocab.txt: line 5" in done.stderr and "617-555" not in done.stderr
    note.rename(site / "out/notes/zelda fairbanks.txt")
    done = run_script(SCRIPT, *flags)
    assert done.returncode == 3 and "zelda" not in done.stdout + done.stderr


def test_names_of_files_that_hold_an_identifier_are_replaced(site):
    write_notes(site / "folder", [("Zelda_Fairbanks", "", "Nothing."), ("a/plain", "", "Nothing.")][:1])
    about, leaks = deidentify(options(site, input=str(site / "folder"), verify=True))
    assert about["document_ids_replaced"] == 1 and leaks == []
    assert [path.name for path in (site / "out/notes").iterdir()] == ["document-1.txt"]


def test_a_killed_run_is_continued(site, monkeypatch):
    """Stopped after each part: nothing stands under the output's name, and the end is that of a run in one piece."""
    monkeypatch.setattr(run, "PART", 1)
    deidentify(options(site, output=str(site / "whole"), replace="surrogate", key_file=str(site / "key")))
    made, real = [], run._make_part

    def dies(*arguments):
        if len(made) % 2:
            made.append("kill")
            raise KeyboardInterrupt
        made.append("part")
        return real(*arguments)

    monkeypatch.setattr(run, "_make_part", dies)
    settings = options(site, replace="surrogate", key_file=str(site / "key"))
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            deidentify(settings)
        assert not (site / "out").exists()
        made.append("again")
        made.append("again") if len(made) % 2 else None
    deidentify(settings)
    assert made.count("part") == 4
    for name in ("audit.jsonl", "deidentification.json"):
        assert (site / "out" / name).read_bytes() == (site / "whole" / name).read_bytes()
    assert read_notes(site / "out/notes.parquet") == read_notes(site / "whole/notes.parquet")


def test_policies(site):
    deidentify(options(site, policy="limited"))
    text = read_notes(site / "out/notes.parquet")["n1"]
    assert "3/14/2014" in text and "93 years" in text and "[NAME]" in text and "[LOCATION]" in text
    (site / "own.json").write_text('{"keep": ["DATE", "PHONE"]}')
    deidentify(options(site, output=str(site / "own"), policy=str(site / "own.json")))
    text = read_notes(site / "own/notes.parquet")["n1"]
    assert "617-555-0101" in text and "March 28, 2014" in text and "[EMAIL]" in text


def test_columns_of_dates_move_and_kept_columns_are_looked_at(site, run_script):
    """CHARTDATE moves by the patient's days; a true date or a name in a kept column ends with exit code 3."""
    import csv
    import datetime as dt

    from medtop.files.keys import read_key

    with open(site / "n.csv", "w", newline="") as file:
        rows = [(name, patient, "2014-03-14", "2014-03-14 10:00:00", "ward 7", text) for name, patient, text in NOTES]
        csv.writer(file).writerows([("ROW_ID", "SUBJECT_ID", "CHARTDATE", "CHARTTIME", "WARD", "TEXT"), *rows])
    flags = [f"--input={site}/n.csv", f"--roster={site}/roster.csv", f"--key_file={site}/key", "--verify"]
    columns = ["--date_columns=CHARTDATE,CHARTTIME", "--keep_columns=WARD"]
    done = run_script(SCRIPT, *flags, f"--output={site}/a", "--replace=surrogate", *columns)
    assert done.returncode == 0, done.stderr
    key = read_key(site / "key")
    with open(site / "a/notes.csv", newline="") as file:
        for row in csv.DictReader(file):
            day = dt.date(2014, 3, 14) + dt.timedelta(days=key.shift_days(row["SUBJECT_ID"]))
            assert (row["CHARTDATE"], row["CHARTTIME"], row["WARD"]) == (str(day), f"{day} 10:00:00", "ward 7")
    done = run_script(SCRIPT, *flags, f"--output={site}/b", "--replace=surrogate", "--keep_columns=CHARTDATE")
    assert done.returncode == 3 and "note 1: column CHARTDATE: characters 0-10: DATE" in done.stderr
    assert "2014-03" not in done.stdout + done.stderr
    done = run_script(SCRIPT, *flags, f"--output={site}/c", "--date_columns=CHARTDATE")
    assert done.returncode == 1 and "needs --replace=surrogate" in done.stderr
    done = run_script(SCRIPT, *flags, f"--output={site}/d", "--replace=surrogate", "--date_columns=WARD")
    assert done.returncode == 1 and "row 1: WARD: expected a date" in done.stderr and not (site / "d").exists()


def test_generated_notes_are_the_same_for_a_seed_and_their_names_are_apart(tmp_path, run_script):
    """Spans lie on their texts; names of the test split are in no other; another seed gives other notes."""
    from medtop.entities.documents import Tally
    from medtop.entities.tables import read_tables

    script = "preprocessing/make_synthetic_notes.py"
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        flags = ["--identifiers", "--num_patients=40", f"--seed={seed}", f"--output_dir={tmp_path / name}"]
        done = run_script(script, *flags)
        assert done.returncode == 0, done.stderr
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)
    assert (tmp_path / "a/roster.csv").read_bytes() != (tmp_path / "c/roster.csv").read_bytes()
    names, kinds = {}, set()
    for split in ("train", "test"):
        for document in read_tables(tmp_path / "a/identifiers", split, Tally(strict=True)):
            if document.columns["damage"] == "[]":
                words = (document.text[s.start : s.end] for s in document.spans if s.type == "NAME")
                names.setdefault(split, set()).update(word for name in words for word in name.replace(",", "").split())
            kinds |= {span.type for span in document.spans}
    assert not names["train"] & names["test"] and len(kinds) == 20
    done = run_script(script, "--identifiers", "--min_words=5", f"--output_dir={tmp_path}/d")
    assert done.returncode == 1 and "--min_words has no effect" in done.stderr


def test_a_model_looks_at_many_notes_at_a_time(site, monkeypatch):
    """A trained encoder takes seconds to begin: while removing and while looking again it is called once a part."""
    calls = []

    def model(documents):
        calls.append([document.document_id for document in documents])
        return [()] * len(documents)

    real = run.prepare

    def with_model(settings):
        machine, about = real(settings)
        return dataclasses.replace(machine, model=model), about

    monkeypatch.setattr(run, "prepare", with_model)
    write_notes(site / "folder")
    _, leaks = deidentify(options(site, input=str(site / "folder"), verify=True))
    assert leaks == [] and len(calls) == 2 and calls[0] == calls[1] and len(calls[0]) > 3
    monkeypatch.setattr(verify, "TOGETHER", 2)
    deidentify(options(site, input=str(site / "folder"), verify=True))
    assert sum(calls[2:], []) == calls[0] and max(map(len, calls[2:])) == 2
