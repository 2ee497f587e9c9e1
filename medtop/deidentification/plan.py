"""What a run is asked to do, and all that it needs, checked before anything is read or written."""

import dataclasses
import json
from pathlib import Path

import medtop
from medtop.cohort.splits import SPLITS
from medtop.deidentification import thresholds
from medtop.deidentification.detect import Detector
from medtop.deidentification.model import load_model
from medtop.deidentification.notes_files import Columns, NotesFile
from medtop.deidentification.own_rules import choose_rules
from medtop.deidentification.policy import POLICIES, REPLACEMENTS, read_policy
from medtop.deidentification.removal import Remover
from medtop.deidentification.roster import Roster, read_roster
from medtop.deidentification.scores import Truth
from medtop.deidentification.surrogates import Surrogates
from medtop.files.atomic import sha256, write_json
from medtop.files.errors import DataError
from medtop.files.folders import has_json_key
from medtop.files.keys import read_key
from medtop.files.options import REQUIRED, option

REPORT, AUDIT = "deidentification.json", "audit.jsonl"


@dataclasses.dataclass(frozen=True)
class DeidentifyOptions:
    """What a run is asked to do."""

    input: str = option(REQUIRED, "Notes: a .parquet or .csv file, or a folder of .txt files.")
    output: str = option(REQUIRED, "New folder: the notes, audit.jsonl, deidentification.json and .html.")
    rules: str = option("default", "default: all that ship; none: roster and model only; a JSON file: own ones, too.")
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
    date_columns: tuple = option(
        (), "With --replace=surrogate: columns of dates that are moved as the texts' dates are, such as CHARTDATE."
    )

    @property
    def columns(self):
        """`Columns`."""
        return Columns(
            self.text_column,
            self.document_column,
            self.patient_column,
            tuple(self.keep_columns),
            tuple(self.date_columns),
        )


@dataclasses.dataclass
class Parts:
    """The machine of a run.

    Attributes:
        notes: `NotesFile`.
        detector: `Detector`.
        remover: `Remover`.
        model: function of a list of documents -> list of lists of spans.
        key: `SecretKey` or None.
        truth: `Truth` or None.
        known: set of marks of texts that this key has made already, where the input is an earlier output.
    """

    notes: NotesFile
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
    if options.date_columns and options.replace != "surrogate":
        raise DataError("--date_columns needs --replace=surrogate: without a key dates are not moved")
    if options.rules == "none" and not options.model and not options.roster:
        raise DataError("--rules=none needs --roster or --model: else nothing is looked for")
    _check_apart(options)
    key = read_key(options.key_file, [options.output, options.input]) if options.key_file else None
    notes = NotesFile(options.input, options.columns)
    roster = read_roster(options.roster) if options.roster else Roster()
    policy = read_policy(options.policy)
    model, least, model_settings = load_model(options.model, options.model_thresholds)
    least = {kind: entry for kind, entry in least.items() if kind not in options.term_types}
    rules, with_dates, rule_settings = choose_rules(options.rules, policy)
    detector = Detector(rules, roster, with_dates, least)
    surrogates = Surrogates(key, roster) if options.replace == "surrogate" else None
    truth = Truth(options.gold, options.term_types, options.gold_split) if options.gold else None
    known = _own_texts(notes) if options.replace == "surrogate" else frozenset()
    settings = {
        "input": notes.fingerprint(),
        "columns": dataclasses.asdict(options.columns)
        | {"keep": list(options.keep_columns), "dates": list(options.date_columns)},
        "rules": rule_settings,
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
    rules, with_dates, _ = choose_rules(options.rules, read_policy(options.policy))
    documents = list(Truth(options.gold, options.term_types, options.gold_split).documents.values())
    detector = Detector(rules, roster, with_dates)
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
