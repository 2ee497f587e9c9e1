"""docs/contract.md says what the code does: its names are the code's constants, its sections those that are cited."""

import re

import pytest
from conftest import ROOT
from test_architecture import HOUSE

from medtop.cli import commands, training_flags
from medtop.cohort import labels, prediction_times, vocabulary
from medtop.cohort.preprocess import OUTPUTS
from medtop.data.layouts import LAYOUTS, record_field
from medtop.data.tokens import TIME_GAPS
from medtop.evaluation.metrics import METRICS, masked_metrics
from medtop.evaluation.predictions import COLUMNS, POOLED
from medtop.files.options import option_fields
from medtop.model.config import EMBEDDINGS, SEGMENTS
from medtop.sources.stays import STANDARD_COLUMNS
from medtop.training.options import TrainingOptions
from medtop.training.run_directory import RunDirectory

CONTRACT = ROOT / "docs/contract.md"
CITED = re.compile(r"""contract\.md, "([^"]+)\"""")


def sections():
    """dict heading -> text of a section."""
    parts = re.split(r"^#{2,3} (.+)$", CONTRACT.read_text(encoding="utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def names_in(section):
    """The words in backticks of a section: flags without dashes and values, file names of braces written out."""
    words = set()
    for quoted in re.findall(r"`([^`]+)`", sections()[section]):
        stem, brace, rest = quoted.partition("{")
        inside, _, tail = rest.partition("}")
        written = [stem + part + tail for part in inside.split(",")] if brace and "}" in quoted else [quoted]
        words |= {word.removeprefix("--").partition("=")[0].removeprefix("<prefix>.") for word in written}
    return words


NAMES = {
    "Files": [name for name in OUTPUTS if not name.endswith(".json")],
    "Stays table": STANDARD_COLUMNS,
    "Time and labels": [*labels.REASONS, *prediction_times.REASONS[1:], *prediction_times.CARRIED],
    "Vocabulary and tokens": vocabulary.SPECIAL_TOKENS,
    "TFRecord": [
        *LAYOUTS,
        *(record_field(f.name, gap) for layout in LAYOUTS.values() for f in layout.fields for gap in TIME_GAPS),
    ],
    "Configuration": [*EMBEDDINGS, *SEGMENTS],
    "Batch, outputs, losses": [batch_key for batch_key, *_ in EMBEDDINGS.values()],
    "Results": [*METRICS, *POOLED, "threshold", *(set(masked_metrics(1)) - {"n", "positives", "unknown", "reason"})],
}


@pytest.mark.parametrize("section", NAMES)
def test_names_are_the_codes(section):
    missing = [name for name in NAMES[section] if name not in names_in(section)]
    assert not missing, f'docs/contract.md, "{section}" lacks {missing}'


def test_flags_are_the_trainers_and_no_others():
    dataclasses = (TrainingOptions, training_flags.DriverOptions)
    flags = {field.name for settings in dataclasses for field in option_fields(settings)}
    words = {word for word in re.findall(r"`--(\w+)", sections()["Flags shared by the trainers"])}
    assert flags <= words, f"not in the contract: {sorted(flags - words)}"
    assert words - flags <= {"dry_run"}, f"flags that no trainer has: {sorted(words - flags)}"


def test_files_of_the_run_directory():
    run = RunDirectory(".")
    paths = [str(path) for name, path in vars(run).items() if name != "path"]
    paths.append(f"{run.evaluations}/<name>")
    shown = {word.rstrip("/") for word in names_in("Run directory")} - {"plot", "profile"}  # flags
    assert set(paths) == shown


def test_numbers():
    text = sections()["Vocabulary and tokens"]
    ids = dict(re.findall(r"`\[(\w+)\]` (\d)", text))
    assert {f"[{name}]": int(number) for name, number in ids.items()} == {
        token: number for number, token in enumerate(vocabulary.SPECIAL_TOKENS)
    }
    assert f"codes from {len(vocabulary.SPECIAL_TOKENS)} by falling" in text
    assert f"more than {labels.LONG_STAY_DAYS} days" in sections()["Time and labels"]
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", sections()["Exit codes"], re.M)}
    assert codes == {
        commands.DONE,
        commands.BAD_INPUT,
        commands.FAULT,
        commands.STOPPED,
        commands.INTERRUPTED,
        commands.BROKEN_PIPE,
    }
    assert ",".join(COLUMNS) in sections()["Results"]


def test_citations_name_sections():
    files = [
        path
        for folder in ("medtop", "preprocessing", "run_scripts", "tests", "docs", "benchmarks")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".md") and path.name != "test_contract.py"
    ]
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    cited = {(path.name, name) for path, text in texts.items() for name in CITED.findall(text)}
    assert len(cited) > 10
    assert [(where, name) for where, name in cited if name not in sections()] == []
    old = re.compile(r"CONTRACT \d|shared/CONTRACT|DESIGN\.md")
    assert [path.name for path, text in texts.items() if old.search(text)] == []


def test_the_tree_on_paper_is_the_house():
    text = (ROOT / "docs/house.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:`\w+/`(?:, )?)+) \|", text, re.M)
    assert [name for row in rows for name in re.findall(r"`(\w+)/`", row)] == list(HOUSE)
    missing = [
        path for path in re.findall(r"`((?:medtop|tests|docs)/[\w/.]+\.\w+)`", text) if not (ROOT / path).is_file()
    ]
    assert missing in ([], ["medtop/sources/mine.py"])  # the reader's own
