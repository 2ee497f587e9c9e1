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

from medtop.deidentification import report, verify
from medtop.deidentification.detect import TYPES
from medtop.deidentification.notes_files import moved
from medtop.deidentification.plan import AUDIT, REPORT, prepare
from medtop.files.atomic import atomic_path, write_json
from medtop.files.errors import DataError
from medtop.files.folders import check_target, has_json_key, whole_folder
from medtop.files.locks import PRIVATE_FOLDER, check_own_folder, open_own
from medtop.files.staging import lock

PART = 500


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
        check_own_folder(work)
        work.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        with open_own(work / "lock") as lock_file:
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
    tally, written, lines = report.RemovalCounts(), [], []
    for (row, document, values), spans in zip(rows, marked, strict=True):
        patient = document.patient_id or document.document_id
        known = _mark(machine.key, document.text) in machine.known  # this key's own output: nothing more to do
        findings = [] if known else machine.detector.find(document.text, document.patient_id, spans)
        removed = machine.remover.remove(document.text, findings, patient)
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
        changed |= _moved_columns(machine, row, values, patient)
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


def _moved_columns(machine, row, values, patient):
    """dict column -> moved date."""
    changed = {}
    for name in machine.notes.columns.dates:
        try:
            changed[name] = moved(values[name], machine.key.shift_days(patient))
        except (ValueError, OverflowError):
            raise DataError(
                f"{machine.notes.path}: row {row}: {name}: expected a date such as 2014-03-26, received another value"
            ) from None
    return changed


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
    tally = report.RemovalCounts()
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
