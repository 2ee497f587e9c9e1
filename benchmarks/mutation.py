"""Mutation testing: single-line changes of the core rooms, each run against its room's tests. `make mutation`.

    python benchmarks/mutation.py                 # goes on where an earlier call stopped
    python benchmarks/mutation.py --room=splits   # some of it
    python benchmarks/mutation.py --table         # what is known so far, for docs/mutation.md
    python benchmarks/mutation.py --draw          # draws the list anew (benchmarks/mutations.json)

The list is data: file, line (its text and which of equal ones), what stands there instead, tests that should notice.
A line is found by its text, so that the list survives code that moves; tests/house/test_mutations.py says when it does
not. The tree is copied first: nothing is changed in place. Results: one JSON line each in checkpoints/mutation.jsonl.
"""

import argparse
import ast
import collections
import hashlib
import importlib
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "benchmarks" / "mutations.json"
RESULTS = ROOT / "checkpoints" / "mutation.jsonl"
SEED, SECONDS = 19, 400
ROOMS = {
    # room: (files, lines drawn of each, tests)
    "splits": (
        ("cohort/splits.py",),
        9,
        "cohort/test_pinned.py cohort/test_split_file.py cohort/test_labels.py -k=pinned or split",
    ),
    "labels": (
        ("cohort/labels.py", "cohort/prediction_times.py", "cohort/followup.py"),
        9,
        "cohort/test_pinned.py cohort/test_followup.py cohort/test_labels.py",
    ),
    "visits": (
        ("cohort/visits.py", "cohort/tally.py"),
        8,
        "cohort/test_pinned.py cohort/test_sequences.py cohort/test_cohort.py cohort/test_recount.py",
    ),
    "packing": (
        ("data/packing.py",),
        8,
        "data/test_packing.py -k=not losses and not every_input and not order_of and not flags",
    ),
    "bootstrap": (
        ("evaluation/bootstrap.py",),
        10,
        "evaluation/test_pinned_metrics.py evaluation/test_intervals.py evaluation/test_evaluation.py",
    ),
    "calibration": (
        ("evaluation/calibration.py", "evaluation/platt.py"),
        8,
        "evaluation/test_pinned_thresholds.py evaluation/test_calibration.py -k=not recovers_the_truth",
    ),
    "notes": (("notes/admissions.py",), 10, "notes/test_stays_in_conflict.py notes/test_notes_preprocessing.py"),
    "sources": (
        ("sources/rows.py", "sources/mimic.py"),
        6,
        "sources/test_conflicts.py sources/test_sources.py",
    ),
    "convert": (("convert/names.py", "convert/rules.py"), 6, "convert/test_convert_names.py"),
    "masking": (
        ("data/masking.py",),
        7,
        "data/test_pipeline.py notes/test_notes_pipeline.py "
        "-k=mask or selected or by_hand or nothing_to_guess or 80_10_10",
    ),
    "losses": (("model/losses.py",), 7, "model/test_losses.py"),
    "step": (
        ("training/step.py", "model/dropout.py"),
        6,
        "training/test_noise.py model/test_dropout.py training/test_fit.py",
    ),
}
WITH_TENSORFLOW = ("notes", "packing", "convert", "masking", "losses", "step")
"""Rooms whose tests load TensorFlow: it is loaded before the first of them."""
CHANGES = (
    (r" <= ", " < "), (r" < ", " <= "), (r" >= ", " > "), (r" > ", " >= "), (r" == ", " != "), (r" != ", " == "),
    (r" \+ 1\b", ""), (r" - 1\b", ""), (r" \+ ", " - "), (r" - ", " + "), (r" \* ", " + "), (r" & ", " | "),
    (r" \| ", " & "), (r" and ", " or "), (r" or ", " and "), (r"\bnot ", ""), (r"~", ""), (r"\bmaximum\b", "minimum"),
    (r"\bminimum\b", "maximum"), (r"\bmin\(", "max("), (r"\bmax\(", "min("), (r"(?<!strict=)\bTrue\b", "False"),
    (r"\bFalse\b", "True"), (r"\b0\b", "1"), (r"\b1\b", "2"), (r"\bany\(", "all("), (r"\ball\(", "any("),
    (r'"left"', '"right"'), (r'"right"', '"left"'), (r"\bcumsum\b", "asarray"), (r"//", "*"), (r" \+= ", " = "),
)  # fmt: skip
"""What is put in a line's place: the slips of a hurried hand."""


def draw():
    """The drawn part of the list: dicts; the other part (`"by": "hand"`) stands in the file and is kept."""
    chosen = []
    for room, (files, count, _) in ROOMS.items():
        for name in files:
            generator = random.Random(f"{SEED}:{name}")
            options = list(_options(ROOT / "medtop" / name))
            generator.shuffle(options)
            taken = collections.Counter()
            for line, which, new in options:
                if sum(taken.values()) < count and not taken[line, which]:
                    taken[line, which] += 1
                    chosen.append({"room": room, "file": f"medtop/{name}", "line": line, "which": which, "new": new})
    return chosen


def _options(path):
    """Yields (line, which of equal ones, changed line) of every change that still parses, docstrings left out."""
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n")
    silent = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            silent |= set(range(node.lineno, node.end_lineno + 1))
        if isinstance(node, (ast.Raise, ast.Import, ast.ImportFrom)):
            silent |= set(range(node.lineno, node.end_lineno + 1))
    seen = collections.Counter()
    for number, line in enumerate(lines, 1):
        which, code = seen[line], re.sub(r"\s#.*", "", line)
        seen[line] += 1
        if number in silent or not code.strip() or re.match(r"\s*(def|class|@|raise|f\")", code):
            continue
        for pattern, new in CHANGES:
            for match in re.finditer(pattern, code):
                changed = line[: match.start()] + new + line[match.end() :]
                try:
                    ast.parse("\n".join([*lines[: number - 1], changed, *lines[number:]]))
                except SyntaxError:
                    continue
                yield line, which, changed


def mutated(text, entry):
    """The file's text with the entry's line changed; a ValueError where the line is no longer there."""
    lines = text.split("\n")
    places = [number for number, line in enumerate(lines) if line == entry["line"]]
    if len(places) <= entry["which"]:
        raise ValueError(f"{entry['file']}: no longer has the line {entry['line'].strip()!r}")
    lines[places[entry["which"]]] = entry["new"]
    return "\n".join(lines)


def key(entry):
    """A short name that depends on what the entry changes alone."""
    parts = [entry[name] for name in ("file", "line", "which", "new")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:10]


def read_list():
    """The list's entries."""
    return json.loads(LIST.read_text(encoding="utf-8"))


def read_results():
    """dict key -> the latest result of each mutation."""
    rows = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    return {row["key"]: row for row in map(json.loads, rows)}


class Order:
    """A pytest plugin: cheap tests first, before them those that killed an earlier change of the same file.

    Tests of one file stay together, since they share fixtures. `seconds` (dict test -> seconds) grows in the run of
    the tests without any change; `first` is a list of tests. No test is left out: a survivor has met all of them.
    """

    def __init__(self, seconds, first):
        self.seconds, self.first = dict(seconds), list(first)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        """Sorts in place."""
        cost = {item: (item.nodeid not in self.first, self.seconds.get(item.nodeid, 0.0)) for item in items}
        least = {}
        for item in items:
            least[item.path] = min(least.get(item.path, cost[item]), cost[item])
        items.sort(key=lambda item: (least[item.path], str(item.path), cost[item]))

    def pytest_runtest_logreport(self, report):
        """Adds up set-up, call and end of a test."""
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration


def run_tests(tree, tests, known=None, first=()):
    """dict of one run of a room's tests in a copy of the tree; it stops at the first failure.

    `killed`: whether a test failed; `by`: which; `cpu`: CPU-seconds; `seconds`: dict test -> seconds, of this run.
    `known` is such a dict of the run without any change: it bounds the CPU-seconds and orders the tests. In a fork of
    this process, which has loaded the large packages but nothing of medtop: an import each would cost more than most
    tests.
    """
    files, _, choice = tests.partition(" -k=")
    arguments = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    arguments += (["-k", choice] if choice else []) + [
        f"tests/{word}" for word in files.split() if (tree / "tests" / word).exists()
    ]
    log, told = tree.parent / "log", tree.parent / "seconds.json"
    told.unlink(missing_ok=True)
    limit = 30 + 4 * int(known["cpu"]) if known else SECONDS
    child = os.fork()
    if not child:
        _in_the_fork(tree, arguments, log, told, Order(known["seconds"] if known else {}, first), limit)
    start = time.monotonic()
    while not (ended := os.wait4(child, os.WNOHANG))[0]:
        if time.monotonic() - start > SECONDS * 4:  # it waits for something: CPU-seconds do not end it
            os.killpg(child, signal.SIGKILL)
            ended = os.wait4(child, 0)
            break
        time.sleep(0.05)
    text, code = log.read_text(encoding="utf-8", errors="replace"), os.waitstatus_to_exitcode(ended[1])
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", text, re.MULTILINE)
    if code not in (0, 1, 2) and code >= 0:
        raise SystemExit(f"pytest ended with {code}: {text[-2000:]}")
    return {
        "killed": code != 0,
        "by": failed[1] if failed else f"signal {-code}: time limit or crash" if code < 0 else "",
        "cpu": round(ended[2].ru_utime + ended[2].ru_stime, 1),
        "seconds": json.loads(told.read_text(encoding="utf-8")) if told.exists() else {},
    }


def _in_the_fork(tree, arguments, log, told, order, limit):
    """Runs pytest and ends the process."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.chdir(tree)
    sys.path[:0] = [str(tree)]
    sys.dont_write_bytecode = True
    os.environ["PYTHONPATH"] = str(tree)
    code = int(pytest.main(arguments, plugins=[order]))
    told.write_text(json.dumps(order.seconds), encoding="utf-8")
    os._exit(code)


def run(room, again):
    """Runs what has no result yet: rooms without TensorFlow first, then it is loaded, once for all."""
    for name in ("numpy", "pandas", "scipy.sparse", "pyarrow.parquet", "duckdb"):
        importlib.import_module(name)
    known = {} if again else read_results()
    waiting = [entry for entry in read_list() if (not room or entry["room"] in room) and key(entry) not in known]
    waiting.sort(key=lambda entry: entry["room"] in WITH_TENSORFLOW)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="medtop-mutation-") as folder:
        tree = Path(folder) / "tree"
        ignored = shutil.ignore_patterns(".git", ".venv", "__pycache__", "checkpoints", ".pytest_cache", ".ruff_cache")
        shutil.copytree(ROOT, tree, ignore=ignored)
        unchanged, killers = {}, collections.defaultdict(list)
        for number, entry in enumerate(waiting, 1):
            if entry["room"] in WITH_TENSORFLOW and "tensorflow" not in sys.modules:
                importlib.import_module("tensorflow")  # loaded, not used: threads would not live through a fork
                importlib.import_module("keras")
            tests = entry.get("tests") or ROOMS[entry["room"]][2]
            if tests not in unchanged:  # the check of the check
                unchanged[tests] = run_tests(tree, tests)
                print(f"{tests}: unchanged, {unchanged[tests]['cpu']} CPU-seconds", flush=True)
            if unchanged[tests]["killed"]:
                print(f"{entry['room']}: its tests fail without any change: {unchanged[tests]['by']}", flush=True)
                continue
            path = tree / entry["file"]
            whole = path.read_text(encoding="utf-8")
            try:
                path.write_text(mutated(whole, entry), encoding="utf-8")
            except ValueError as error:
                print(error, flush=True)
                continue
            try:
                result = run_tests(tree, tests, unchanged[tests], killers[entry["file"]])
            finally:
                path.write_text(whole, encoding="utf-8")
            if result["killed"] and result["by"] not in killers[entry["file"]]:
                killers[entry["file"]].append(result["by"])
            row = {"key": key(entry), "killed": result["killed"], "cpu": result["cpu"], "by": result["by"]}
            with open(RESULTS, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            state = f"killed by {result['by']}" if result["killed"] else "SURVIVED"
            print(f"{number}/{len(waiting)} {entry['file']}: {entry['new'].strip()[:80]}: {state}", flush=True)


def table():
    """Markdown: the score of each room, and the survivors."""
    results, entries = read_results(), read_list()
    rows = ["| room | changes | run | killed | equivalent | score |", "|---|---|---|---|---|---|"]
    for room in [*dict.fromkeys(entry["room"] for entry in entries), "all"]:
        mine = [entry for entry in entries if room in (entry["room"], "all")]
        ran = [entry for entry in mine if key(entry) in results]
        killed = [entry for entry in ran if results[key(entry)]["killed"]]
        same = [entry for entry in ran if entry.get("equivalent") and entry not in killed]
        score = f"{len(killed) / (len(ran) - len(same)):.0%}" if len(ran) > len(same) else "-"
        rows.append(f"| {room} | {len(mine)} | {len(ran)} | {len(killed)} | {len(same)} | {score} |")
    rows += ["", "| survivor | instead of | why it lives |", "|---|---|---|"]
    for entry in entries:
        result = results.get(key(entry))
        if result and not result["killed"]:
            old, new = (entry[name].strip().replace("|", "\\|") for name in ("line", "new"))
            rows.append(f"| {entry['file'][7:]}: `{new}` | `{old}` | {entry.get('equivalent', 'no test notices')} |")
    return "\n".join(rows)


def main():
    """Reads the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--room", default="", help="comma list of rooms; default all")
    parser.add_argument("--again", action="store_true", help="also what has a result")
    parser.add_argument("--table", action="store_true", help="print the table")
    parser.add_argument("--draw", action="store_true", help="draw the list anew; what was written by hand stays")
    options = parser.parse_args()
    if options.draw:
        kept = [entry for entry in read_list() if entry.get("by") == "hand"] if LIST.exists() else []
        lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in [*kept, *draw()])
        LIST.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
        print(f"{LIST}: {len(read_list())} changes")
    elif options.table:
        print(table())
    else:
        run(set(filter(None, options.room.split(","))), options.again)


if __name__ == "__main__":
    main()
