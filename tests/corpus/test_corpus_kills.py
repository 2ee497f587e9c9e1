"""Kills (kill -9) over the chain from texts to records: it ends as the chain that nobody killed, byte for byte."""

import json
import os
import re

import pytest
from chain_kills import disturbed
from conftest import ROOT
from corpus_texts import planted_texts

KILLS = {"deduplicate": 4, "mix": 4, "vocabulary": 1, "records": 1}


def steps(folder):
    """dict step -> script and arguments, in order."""
    commands = {
        "deduplicate": ["deduplicate_notes.py", f"--input=notes={folder}/notes.jsonl,papers={folder}/papers.jsonl",
                        f"--output_prefix={folder}/dedup", f"--splits={folder}/splits.csv"],
        "mix": ["make_corpus.py", f"--input={folder}/dedup.notes.train.parquet", "--mixture=notes:0.9,papers:0.1",
                f"--output_prefix={folder}/corpus"],
        "vocabulary": ["learn_wordpiece_vocab.py", f"--input_file={folder}/corpus.notes.train.parquet",
                       f"--output_file={folder}/vocab.txt", "--vocab_size=600"],
        "records": ["create_notes_pretraining_data.py", f"--input_file={folder}/corpus.notes.train.parquet",
                    f"--output_file={folder}/train.tfrecord", f"--vocab_file={folder}/vocab.txt", "--pairs=order",
                    f"--splits={folder}/splits.csv", "--unlisted_patients=use", "--max_seq_length=64"],
    }  # fmt: skip
    return {name: [str(ROOT / "preprocessing" / script), *words] for name, (script, *words) in commands.items()}


def begin(folder):
    folder.mkdir()
    texts = planted_texts(4000, seed=3, least=40, most=160)[0]
    for name, some, patients in (("notes", texts[:3600], True), ("papers", texts[3600:], False)):
        with open(folder / f"{name}.jsonl", "w", encoding="utf-8") as file:
            for number, text in enumerate(some):
                row = {"text": text, "id": number} | ({"patient_id": f"p{number % 90}"} if patients else {})
                file.write(json.dumps(row) + "\n")
    rows = [f"p{number},{'valid' if number % 10 == 0 else 'train'}" for number in range(90)]
    (folder / "splits.csv").write_text("patient_id,split\n" + "\n".join(rows) + "\n")
    for path in folder.iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))


def content(folder):
    """dict path -> bytes of everything there, hidden files too, but for when an input was last written."""
    return {
        path.relative_to(folder).as_posix(): re.sub(rb'"changed": \d+', b"", path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_kills_over_the_chain_of_a_corpus(tmp_path):
    pytest.importorskip("tensorflow_text", reason="records of word pieces need TensorFlow Text")
    folder = tmp_path / "chain"
    whole, moments = disturbed(folder, begin, steps, KILLS, at_least=4, earliest=0.2)
    mine, theirs = content(folder), content(whole)
    assert mine.keys() == theirs.keys(), moments
    assert not [name for name in mine if mine[name] != theirs[name]], moments
