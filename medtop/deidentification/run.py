"""A whole run: notes in, notes without identifiers, the audit and the report out; a killed run is continued.

Notes are done in parts of `PART`; each part and its audit appear whole in a hidden folder beside the output, with what
they were made of, and the output folder appears when all are done. Memory holds the roster and one part.
"""

import dataclasses
import hashlib
import json
import os
import shutil
from pathlib import Path

import medtop
from medtop.cohort.splits import SPLITS
from medtop.deidentification import report, thresholds, verify
from medtop.deidentification.detect import TYPES, Detector
from medtop.deidentification.model import load_model
from medtop.deidentification.notes_files import Columns, Notes
from medtop.deidentification.policy import POLICIES, REPLACEMENTS, read_policy
from medtop.deidentification.removal import Remover
from medtop.deidentification.roster import Roster, read_roster
from medtop.deidentification.rules import RULES
from medtop.deidentification.scores import Truth
from medtop.deidentification.surrogates import Surrogates
from medtop.files.atomic import atomic_path, sha256, write_json
from medtop.files.errors import DataError
from medtop.files.folders import check_target, has_json_key, whole_folder
from medtop.files.keys import read_key
from medtop.files.options import REQUIRED, Rule, option
from medtop.files.staging import lock

PART = 500
REPORT, AUDIT = "deidentification.json", "audit.jsonl"


@dataclasses.dataclass(frozen=True)
class DeidentifyOptions:
    """What a run is asked to do."""

    input: str = option(REQUIRED, "Notes: a .parquet or .csv file, or a folder of .txt files.")
    output: str = option(REQUIRED, "New folder: the notes, audit.jsonl, deidentification.json and .html.")
    rules: str = option("default", "default: all that ship; none: roster and model only.", choices=("default", "none"))
    model: str = option("", "Run of run_entities.py whose spans are added.")
    model_thresholds: str = option(
        "", "With --model: thresholds.json of deidentify_notes.py --choose_thresholds; default: from a score of 0.5."
    )
    roster: str = option("", "CSV or Parquet of the hospital's people: names, record numbers, phones.")
    policy: str = option("safe_harbor", f"{', '.join(POLICIES)}, or a JSON file of the types that stay.")
    replace: str = option("tag", "[NAME], ___, or another name, number, date.", choices=REPLACEMENTS)
    key_file: str = option("", "Secret key, mode 0600, outside of the output; --make_key writes one.")
    verify: bool = option(False, "Look at the output again; exit code 3 where an identifier is left.", compared=False)
    verify_files: tuple = option(
        (), "With --verify: more files to look at, such as a vocab.txt or a log.", compared=False
    )
    gold: str = option("", "Notes with true spans, in any format of docs/entities.md: recall and leaks are measured.")
    gold_split: str = option("test", "Of --gold tables, which split.", choices=SPLITS)
    term_types: tuple = option(("CLINICAL_TERM",), "Types of --gold that are no identifiers: how many are lost.")
    text_column: str = option("", "Header of the texts, where it is none of text, note_text.")
    document_column: str = option("", "Header of the notes' ids, where it is none of document_id, note_id, row_id, id.")
    patient_column: str = option("", "Header of the patients' ids: patient_id, subject_id, person_id.")
    keep_columns: tuple = option((), "Further columns that are copied as they are; all others are left out.")
    num_bootstrap: int = option(1000, "Resamples of patients for intervals.", rule=Rule("0 or more", lambda n: n >= 0))

    @property
    def columns(self):
        """`Columns`."""
        return Columns(self.text_column, self.document_column, self.patient_column, tuple(self.keep_columns))


@dataclasses.dataclass
class Parts:
    """The machine of a run.

    Attributes:
        notes: `Notes`.
        detector: `Detector`.
        remover: `Remover`.
        model: function of a list of documents -> list of lists of spans.
        key: `SecretKey` or None.
        truth: `Truth` or None.
        known: set of marks of texts that this key has made already, where the input is an earlier output.
    """

    notes: Notes
    detector: Detector
    remover: Remover
    model: object
    key: object
    truth: object
    known: frozenset = frozenset()


def prepare(options):
    """(`Parts`, dict of settings that a continued run must share).

    Raises:
        DataError: for flags that do not fit, a bad key, roster, policy, model or input.
    """
    if options.replace == "surrogate" and not options.key_file:
        raise DataError("--replace=surrogate needs --key_file")
    if options.model_thresholds and not options.model:
        raise DataError("--model_thresholds has no effect without --model")
    if options.verify_files and not options.verify:
        raise DataError("--verify_files has no effect without --verify")
    if options.rules == "none" and not options.model and not options.roster:
        raise DataError("--rules=none needs --roster or --model: else nothing is looked for")
    _check_apart(options)
    key = read_key(options.key_file, [options.output, options.input]) if options.key_file else None
    notes = Notes(options.input, options.columns)
    roster = read_roster(options.roster) if options.roster else Roster()
    policy = read_policy(options.policy)
    model, least, model_settings = load_model(options.model, options.model_thresholds)
    least = {kind: entry for kind, entry in least.items() if kind not in options.term_types}
    rules = RULES if options.rules == "default" else ()
    detector = Detector(rules, roster, options.rules == "default", least)
    surrogates = Surrogates(key, roster) if options.replace == "surrogate" else None
    truth = Truth(options.gold, options.term_types, options.gold_split) if options.gold else None
    known = _own_texts(notes) if options.replace == "surrogate" else frozenset()
    settings = {
        "input": notes.fingerprint(),
        "columns": dataclasses.asdict(options.columns) | {"keep": list(options.keep_columns)},
        "rules": options.rules,
        "model": model_settings,
        "roster": sha256(options.roster) if options.roster else None,
        "policy": [policy.name, sorted(policy.keep)],
        "replace": options.replace,
        "key": key.digest("fingerprint").hex()[:16] if key else None,
        "gold": [options.gold, options.gold_split] if options.gold else None,
        "version": medtop.__version__,
    }
    return Parts(notes, detector, Remover(policy, options.replace, surrogates), model, key, truth, known), settings


def choose_thresholds(options, recall, path):
    """Chooses the model's thresholds on notes with true spans (`--gold`, whose texts are read) and writes them.

    Args:
        options: `DeidentifyOptions`; `input` and `output` are not looked at.
        recall: what the lower bound of recall must reach for each type.
        path: JSON file.

    Returns:
        dict of `medtop.deidentification.thresholds.choose`.

    Raises:
        DataError: without model or gold, or as `prepare`.
    """
    if not options.model or not options.gold:
        raise DataError("--choose_thresholds needs --model and --gold")
    model, _, settings = load_model(options.model)
    roster = read_roster(options.roster) if options.roster else Roster()
    rules = RULES if options.rules == "default" else ()
    documents = list(Truth(options.gold, options.term_types, options.gold_split).documents.values())
    detector = Detector(rules, roster, options.rules == "default")
    chosen = thresholds.choose(documents, detector, model, recall, frozenset(options.term_types), settings[1])
    write_json(path, chosen)
    return chosen


def _own_texts(notes):
    """Marks of the texts of an earlier run, where its audit stands beside the input."""
    audit = notes.path.parent / AUDIT
    if not audit.is_file() or not has_json_key(REPORT, "settings")(notes.path.parent):
        return frozenset()
    with open(audit, encoding="utf-8") as file:
        return frozenset(entry["text"] for entry in map(json.loads, file) if "removed" in entry)


def _check_apart(options):
    source, target = Path(options.input).resolve(), Path(options.output).resolve()
    if source == target or target in source.parents or source in target.parents:
        raise DataError("--output: expected a folder apart from --input, received one within the other")


def deidentify(options, overwrite=False, progress=None):
    """Makes the output folder, or continues making it; where the same run has been done, nothing is touched.

    Args:
        options: `DeidentifyOptions`.
        overwrite: replace an earlier output of another run.
        progress: None, or function (what, count).

    Returns:
        (dict of `deidentification.json`, list of `verify.Leak` or None without `--verify`).

    Raises:
        DataError: for bad input, flags or outputs of another run.
    """
    machine, settings = prepare(options)
    output, earlier = Path(options.output), has_json_key(REPORT, "settings")
    about = _done_before(output, settings)
    if about is None or overwrite:
        check_target(output, earlier, overwrite)
        work = output.resolve().parent / f".{output.resolve().name}.deidentify"
        work.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(work / "lock", "w") as lock_file:
            lock(lock_file, options.output)
            _start(work, settings)
            parts = _make_parts(machine, work, progress)
            about = _assemble(options, machine, settings, work, parts, overwrite)
        shutil.rmtree(work)
    leaks = None
    if options.verify:
        leaks = verify.look_again(output, machine, options.verify_files)
    return about, leaks


def _done_before(output, settings):
    """The report of the same run, or None."""
    if not has_json_key(REPORT, "settings")(output):
        return None
    about = json.loads((output / REPORT).read_text(encoding="utf-8"))
    return about if about["settings"] == json.loads(json.dumps(settings)) else None


def _start(work, settings):
    """Empties the hidden folder unless the very same run was killed there."""
    path, text = work / "settings.json", json.dumps(settings, sort_keys=True)
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    for entry in work.iterdir():
        if entry.name != "lock":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _make_parts(machine, work, progress):
    """Does what is not done; list of the parts' numbers."""
    number, first, rows, seen = 0, 0, [], _Ids()
    while (done := work / f"part-{number:06}.json").is_file():
        first = json.loads(done.read_text(encoding="utf-8"))["last_row"]
        number += 1
    for row, document, values in machine.notes.rows():
        seen.check(document.document_id, machine.notes.path, row)
        if row <= first:
            continue
        rows.append((row, document, values))
        if len(rows) == PART:
            _make_part(machine, work, number, rows)
            number, rows = number + 1, []
            if progress:
                progress("documents", row)
    if rows:
        _make_part(machine, work, number, rows)
        number += 1
    return range(number)


def _short_hash(text):
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


class _Ids:
    """Ids that occurred, as short hashes; one twice is refused, because offsets of the audit name documents by id."""

    def __init__(self):
        self._hashes = set()

    def check(self, document_id, path, row):
        """Raises a `DataError` for an id that was there before."""
        mark = _short_hash(document_id)
        if mark in self._hashes:
            raise DataError(f"{path}: row {row}: expected ids that occur once, received one twice")
        self._hashes.add(mark)


def _make_part(machine, work, number, rows):
    marked = machine.model([document for _, document, _ in rows])
    tally, written, lines = report.Counts(), [], []
    for (row, document, values), spans in zip(rows, marked, strict=True):
        patient = document.patient_id or document.document_id
        known = _mark(machine.key, document.text) in machine.known  # this key's own output: nothing more to do
        found = [] if known else machine.detector.find(document.text, document.patient_id, spans)
        removed = machine.remover.remove(document.text, found, patient)
        name = _safe_name(machine, document, row)
        tally.add(
            removed.findings,
            document,
            name != document.document_id,
            machine.truth,
            machine.remover.policy,
            machine.remover.replace,
            _short_hash(patient),
        )
        lines += _audit_lines(machine, row, name, document, patient, removed)
        new = dataclasses.replace(document, document_id=name, text=removed.text)
        columns = machine.notes.names if machine.notes.kind != "folder" else {}
        changed = {columns["text"]: removed.text} if columns else {}
        if columns.get("document") and name != document.document_id:
            changed[columns["document"]] = name
        written.append((new, values | changed))
    data, audit = work / f"part-{number:06}.data", work / f"part-{number:06}.audit"
    if data.is_dir():
        shutil.rmtree(data)
    if machine.notes.kind == "folder":
        data.mkdir()
        machine.notes.write_part(data, written)
    else:
        with atomic_path(data) as temporary:
            machine.notes.write_part(temporary, written)
    with atomic_path(audit) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    write_json(work / f"part-{number:06}.json", {"last_row": rows[-1][0], "counts": tally.to_json()})


def _safe_name(machine, document, row):
    """The document's id, or `document-<row>` where it holds an identifier."""
    name = document.document_id
    looked = machine.detector.find(name.replace("_", " ").replace("/", " / "), document.patient_id)
    return (
        f"document-{row}"
        if any(item.source.startswith("roster") or item.type in _IN_NAMES for item in looked)
        else name
    )


_IN_NAMES = ("EMAIL", "SSN", "PHONE", "NAME")


def _audit_lines(machine, row, name, document, patient, removed):
    """What was removed: where, what kind, by whom found; a keyed hash tells equal ones, never the text."""
    yield {"row": row, "document": name, "removed": len(removed.findings), "text": _mark(machine.key, removed.text)}
    for item, place in zip(removed.findings, removed.places, strict=True):
        normal = " ".join(document.text[item.start : item.end].lower().split())
        line = {
            "row": row,
            "document": name,
            "start": item.start,
            "end": item.end,
            "new_start": place[0],
            "new_end": place[1],
        }
        line |= {"type": item.type, "by": item.source}
        if item.score is not None:
            line["score"] = round(item.score, 4)
        if machine.key:
            line["hash"] = machine.key.digest("audit", patient, item.type, normal).hex()[:16]
        yield line


def _mark(key, text):
    return (
        key.digest("text", text).hex()[:16]
        if key
        else hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    )


def _assemble(options, machine, settings, work, parts, overwrite):
    tally = report.Counts()
    for number in parts:
        tally.merge(json.loads((work / f"part-{number:06}.json").read_text(encoding="utf-8"))["counts"])
    with whole_folder(options.output, has_json_key(REPORT, "settings"), overwrite) as folder:
        target = machine.notes.join_parts([work / f"part-{number:06}.data" for number in parts], folder)
        with open(folder / AUDIT, "wb") as file:
            for number in parts:
                with open(work / f"part-{number:06}.audit", "rb") as piece:
                    shutil.copyfileobj(piece, file)
        about = report.facts(tally, machine, settings, options, target.name, TYPES)
        write_json(folder / REPORT, about)
        report.write_html(folder / "deidentification.html", about)
        os.chmod(folder / AUDIT, 0o600)
    return about
