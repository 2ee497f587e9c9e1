"""Sources are mixed by weight, deterministically; texts are cleaned and filtered by stated rules, and counted."""

import collections
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from medtop.corpus import documents, make, resumable
from medtop.corpus.filters import FilterSettings, clean_text, why_not
from medtop.corpus.make import CorpusSettings, make_corpus
from medtop.corpus.mixture import make_plan, times_taken, uniform
from medtop.files.errors import DataError


def write_sources(folder, notes=2000, papers=300):
    rng = np.random.default_rng(0)
    for name, number, words in (("notes", notes, 30), ("papers", papers, 100)):
        rows = [
            {
                "text": f"{name} {place} " + " ".join(rng.choice(["fever", "cough", "pain", "stable"], words - 2)),
                "id": place,
            }
            for place in range(number)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(folder, prefix="c", **settings):
    inputs = (str(folder / "notes.jsonl"), str(folder / "papers.jsonl"))
    manifest, _ = make_corpus(CorpusSettings(**{"input": inputs} | settings), folder / prefix)
    return {(row["source"], row["split"]): row for row in manifest["rows"]}, manifest


def texts(folder, prefix="c", split="train"):
    return pq.read_table(folder / f"{prefix}.notes.{split}.parquet")["text"].to_pylist()


def test_weights_are_shares_of_words_until_a_source_runs_dry(tmp_path):
    write_sources(tmp_path)  # 60,000 words of notes, 30,000 of papers
    rows, manifest = run(tmp_path, mixture="notes:0.9,papers:0.1")
    assert manifest["dry"] == {"train": "notes"}
    assert rows[("notes", "train")]["documents"] == 2000 and rows[("notes", "train")]["repeats"] == 0
    # each of the 300 papers is taken with probability 2/9: 66.7, standard deviation 7.2
    assert abs(rows[("papers", "train")]["documents"] - 66.7) < 4 * 7.2
    assert rows[("papers", "train")]["share_of_words"] == pytest.approx(0.1, abs=0.04)
    written = texts(tmp_path)
    assert len(written) == len(set(written)) == 2000 + rows[("papers", "train")]["documents"]
    first = np.array([text.startswith("notes") for text in written])
    assert 0 < (~first[:1000]).sum() < (~first).sum(), "shuffled"
    card = (tmp_path / "c.card.md").read_text()
    assert "| train | notes | 2,000 | - | 2,000 | 0 | 60,000 |" in card and "ran dry first" in card


def test_the_choice_is_the_same_again_and_in_any_order(tmp_path):
    write_sources(tmp_path)
    settings = {"mixture": "notes:1,papers:1", "words": 20_000}
    run(tmp_path, "a", **settings)
    run(tmp_path, "b", **settings, input=(str(tmp_path / "papers.jsonl"), str(tmp_path / "notes.jsonl")))
    run(tmp_path, "c", **settings, seed=1)
    assert sorted(texts(tmp_path, "a")) == sorted(texts(tmp_path, "b")) != sorted(texts(tmp_path, "c"))
    bytes_of = (tmp_path / "a.notes.train.parquet").read_bytes()
    run(tmp_path, "d", **settings)
    assert (tmp_path / "d.notes.train.parquet").read_bytes() == bytes_of
    rows, _ = run(tmp_path, "a", **settings)
    assert abs(rows[("notes", "train")]["words"] - 10_000) < 4 * 30 * np.sqrt(2000 / 6 * 5 / 6)


@pytest.mark.quick(first=1)
@pytest.mark.parametrize(
    ("step", "count", "parts"), [("documents read", 1000, 5), ("documents taken", 0, 10), ("documents written", 0, 10)]
)
def test_a_run_killed_at_any_step_goes_on(tmp_path, monkeypatch, step, count, parts):
    """The same bytes as a run that nobody killed; what was cleaned is not cleaned again."""
    write_sources(tmp_path)
    monkeypatch.setattr(resumable, "PART_DOCUMENTS", 230)
    monkeypatch.setattr(documents, "BATCH_DOCUMENTS", 230)
    monkeypatch.setattr(make, "SHUFFLED_CHARACTERS", 100_000)
    settings = {"mixture": "notes:0.9,papers:0.1"}
    run(tmp_path, "whole", **settings)

    def killed(what, number):
        if what == step and number >= count:
            raise KeyboardInterrupt

    inputs = (str(tmp_path / "notes.jsonl"), str(tmp_path / "papers.jsonl"))
    settings, shown = CorpusSettings(input=inputs, **settings), {}
    with pytest.raises(KeyboardInterrupt):
        make_corpus(settings, tmp_path / "cut", progress=killed)
    assert not list(tmp_path.glob("cut.*"))
    make_corpus(settings, tmp_path / "cut", progress=shown.__setitem__)
    assert shown["parts taken over from a killed run"] == parts
    for path in tmp_path.glob("whole.*"):
        assert path.read_bytes() == (tmp_path / path.name.replace("whole", "cut")).read_bytes(), path.name
    assert len(list(tmp_path.glob("whole.*"))) == 3 and not list(tmp_path.glob(".cut*"))


def test_a_source_may_be_repeated(tmp_path):
    write_sources(tmp_path, papers=30)
    rows, manifest = run(tmp_path, mixture="notes:0.9,papers:0.1", repeat=2.5)
    assert manifest["dry"] == {} and rows[("notes", "train")]["documents"] == 2000, (
        "all is used up: no more is repeated"
    )
    assert 60 < rows[("papers", "train")]["documents"] < 90  # 66,667 words of which a tenth is papers: 2.2 times 3,000
    assert rows[("papers", "train")]["repeats"] == rows[("papers", "train")]["documents"] - 30
    counts = np.unique([text for text in texts(tmp_path) if text.startswith("papers")], return_counts=True)[1]
    assert set(counts.tolist()) == {2, 3}
    rows, manifest = run(tmp_path, "twice", mixture="notes:0.9,papers:0.1", repeat=2)
    assert manifest["dry"] == {"train": "papers"} and rows[("papers", "train")]["documents"] == 60


def test_plan_and_chances():
    plan = make_plan({"a": 100, "b": 100}, {"a": 0.8, "b": 0.2})
    assert (plan.words, plan.dry, plan.rates) == (125, "a", {"a": 1.0, "b": 0.25})
    assert make_plan({"a": 100, "b": 300}, {}).rates == {"a": 1.0, "b": 1.0}
    chances = uniform(3, "a", range(100_000))
    assert abs(chances.mean() - 0.5) < 0.004 and len(set(chances.tolist())) == 100_000
    assert abs(np.corrcoef(chances[1:], chances[:-1])[0, 1]) < 0.015
    assert abs(np.corrcoef(chances, uniform(3, "b", range(100_000)))[0, 1]) < 0.015
    assert times_taken(2.25, chances).mean() == pytest.approx(2.25, abs=0.006)


@pytest.mark.parametrize(
    "mixture, message",
    [
        ("notes:0,papers:1", "a weight above 0, received 'notes:0'"),
        ("notes:-1,papers:1", "above 0"),
        ("notes:nan,papers:1", "above 0"),
        ("notes,papers:1", "expected source:weight"),
        ("notes:1,notes:2,papers:1", "notes twice"),
        ("notes:1", "received none for papers"),
        ("notes:1,papers:1,web:1", "received web"),
    ],
)
def test_bad_mixtures(tmp_path, mixture, message):
    write_sources(tmp_path, 20, 20)
    with pytest.raises(DataError, match=message):
        run(tmp_path, mixture=mixture)
    assert not list(tmp_path.glob("c.*")) and not list(tmp_path.glob(".c*"))


def test_a_source_that_runs_dry_before_the_wanted_words(tmp_path):
    write_sources(tmp_path, 20, 20)
    with pytest.raises(DataError, match="notes has 600 words and runs dry"):
        run(tmp_path, mixture="notes:0.9,papers:0.1", words=5000)


def test_cleaning_and_filters(tmp_path):
    counts = collections.Counter()
    raw = "Name: [**Known 1**]  was\r\nseen.\n\n \n\n______\nBP 120\x07"
    assert clean_text(raw, counts) == "Name: was\nseen.\n\nBP 120"
    assert sum(counts.values()) == 6 and set(counts.values()) == {1}
    settings = FilterSettings()
    for text, reason in (
        ("one two", "too_short"),
        ("1 2 3 4 5 6 a", "few_letters"),
        ("\n".join(["same line here"] * 5), "repeated_lines"),
        ("word " * 100_001, "too_long"),
        ("five words are just enough", None),
    ):
        assert why_not(text, len(text.split()), settings) == reason
    write_sources(tmp_path, 20, 20)
    with open(tmp_path / "notes.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps({"text": "1 2 3 4 5 6 7"}) + "\n" + json.dumps({"text": "short"}) + "\n")
    rows, manifest = run(tmp_path)
    assert rows[("notes", "train")]["filtered"] == {"too_short": 1, "few_letters": 1}
    assert (rows[("notes", "train")]["documents_in"], rows[("notes", "train")]["documents"]) == (22, 20)


def test_script_and_splits(tmp_path, run_script):
    write_sources(tmp_path, 40, 20)
    rows = [json.loads(line) | {"patient_id": f"p{n % 4}"} for n, line in enumerate(open(tmp_path / "notes.jsonl"))]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "s.csv").write_text("patient_id,split\np0,train\np1,train\np2,valid\np3,test\n")
    script, inputs = "preprocessing/make_corpus.py", f"{tmp_path / 'notes.jsonl'},{tmp_path / 'papers.jsonl'}"
    arguments = [f"--input={inputs}", f"--splits={tmp_path / 's.csv'}", "--mixture=notes:1,papers:1"]
    result = run_script(script, *arguments, f"--output_prefix={tmp_path / 'o'}")
    assert result.returncode == 0, result.stderr
    assert "train: notes runs dry first" in result.stdout and "test / notes: 10 documents read" in result.stdout
    assert len(texts(tmp_path, "o", "test")) == len(texts(tmp_path, "o", "valid")) == 10
    again = run_script(script, *arguments, f"--output_prefix={tmp_path / 'o'}")
    assert again.returncode == 0 and "nothing to do" in again.stdout
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "short.jsonl").write_text('{"text": "one two"}')
    for name, said in (("empty", "received none (no rows)"), ("short", "none that takes part (too_short 1)")):
        result = run_script(script, f"--input={tmp_path / name}.jsonl", f"--output_prefix={tmp_path / 'x'}")
        assert result.returncode == 1 and said in result.stderr
    assert not list(tmp_path.glob("x.*")) and not list(tmp_path.glob(".x*"))
