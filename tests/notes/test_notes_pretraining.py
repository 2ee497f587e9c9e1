"""Pretraining input from notes: sentences, short ones joined, pairs that lose nothing, and no test patient's note."""

import csv
import json
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from notes_data import NOTE_VOCABULARY, note_config, planted_notes, tokenizer

from medtop.cohort.splits import read_split_file
from medtop.data import create
from medtop.data.layouts import NOTES
from medtop.files.errors import DataError
from medtop.notes.pairs import SentencePieces, make_ordered_pairs, make_pairs, sentence_pieces
from medtop.notes.pretraining import PretrainingMaker, PretrainingSettings
from medtop.text.sentences import join_short, sentence_spans

IDS = NOTE_VOCABULARY.ids


def sentences(text):
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("", []),
        ("  \n\n ", []),
        (".", ["."]),
        ("...  x", ["...", "x"]),
        ("He took 2.5 mg q.d. and b.i.d. of it.", ["He took 2.5 mg q.d. and b.i.d. of it."]),
        ("seen by dr. smith. no change.", ["seen by dr. smith.", "no change."]),
        ('(see fig. 3) "done." next', ['(see fig. 3) "done."', "next"]),
        ("meds:\n1. aspirin\n2. statin\n\nplan: none", ["meds:\n1. aspirin\n2. statin", "plan: none"]),
        ("1. aspirin 2. statin", ["1. aspirin 2.", "statin"]),
        ("J. Doe. x\n \t\n y", ["J. Doe.", "x", "y"]),
        ("wbc was 12. then 9.", ["wbc was 12.", "then 9."]),
        ("a.b.c", ["a.b.c"]),
        ("end.\n", ["end."]),
    ],
)
def test_sentences(text, expected):
    assert sentences(text) == expected


def test_sentences_hold_every_letter_of_a_text():
    rng = np.random.default_rng(0)
    text = "".join(rng.choice(list("ab .!?\n)1"), 50_000))
    spans = sentence_spans(text)
    assert len(spans) > 1000 and all(a < b for a, b in spans)
    assert all(b <= c for (_, b), (c, _) in zip(spans, spans[1:], strict=False))
    assert "".join("".join(text[a:b] for a, b in spans).split()) == "".join(text.split())


@pytest.mark.slow
@pytest.mark.parametrize("letter", ["=", " ", "\n", ".", "a", "1. ", "a. ", "\n \n", "(", ". "])
def test_no_text_takes_ages(letter):
    """A pattern that looks back from every place would need hours for these."""
    text = letter * 200_000
    begin = time.process_time()
    spans = sentence_spans(text)
    assert time.process_time() - begin < 20
    assert "".join("".join(text[a:b] for a, b in spans).split()) == "".join(text.split())


@pytest.mark.parametrize(
    "unit, short, expected",
    [
        ("characters", 20, ["Short. Also short.", "This one has twenty-four. No."]),
        ("characters", 0, ["Short.", "Also short.", "This one has twenty-four.", "No."]),
        ("words", 3, ["Short. Also short.", "This one has twenty-four. No."]),
        ("words", 2, ["Short.", "Also short.", "This one has twenty-four. No."]),
        ("words", 20, ["Short. Also short. This one has twenty-four. No."]),
    ],
)
def test_short_sentences_join_the_one_before(unit, short, expected):
    text = "Short. Also short. This one has twenty-four. No."
    joined = join_short(text, sentence_spans(text), unit, short)
    assert [text[start:end] for start, end in joined] == expected


def test_an_unknown_unit_is_refused():
    with pytest.raises(DataError, match="--short_segment_unit"):
        join_short("x", [(0, 1)], "letters")


def test_sentences_of_pieces_have_their_places_and_long_ones_are_cut():
    text = "  Fever, cough.  " + "pain " * 11 + "chest. Unable."
    texts = sentence_pieces([text, "", "oral"], tokenizer(), "characters", 0, longest=5)
    assert [one.edges.tolist() for one in texts] == [[0, 4, 8, 12, 17, 20], [0], [0, 1]]
    first = texts[0]
    assert [text[a:b] for a, b in zip(first.starts[:4], first.ends[:4], strict=True)] == ["Fever", ",", "cough", "."]
    assert [text[a:b] for a, b in zip(first.starts[-3:], first.ends[-3:], strict=True)] == ["Unable", "Unable", "."]
    assert first.word_starts.tolist() == [1] * 18 + [0, 1]


def fake_text(number, lengths):
    """A text whose pieces are numbered: 1000 x its number and up."""
    size = sum(lengths)
    ids = 1000 * number + np.arange(size)
    return SentencePieces(ids, np.ones(size, np.int64), ids, ids + 1, np.concatenate([[0], np.cumsum(lengths)]))


@pytest.mark.parametrize("seed", range(8))
def test_each_piece_is_in_one_pair_and_nothing_is_too_long(seed):
    rng = np.random.default_rng(seed)
    most = int(rng.integers(5, 40))
    texts = [fake_text(number, list(rng.integers(1, most // 2 + 1, rng.integers(0, 30)))) for number in range(12)]
    others = [text for text in texts if len(text.ids)]
    pairs = make_pairs(texts, others, most, 0.3, rng)
    seen = {number: [] for number in range(12)}
    for pair in pairs:
        text = texts[pair.text]
        (a, b), (c, d) = pair.first, pair.second
        assert a < b and c < d and (b - a) + (d - c) <= most
        edges = set(text.edges.tolist())
        assert {a, b} <= edges, "runs are whole sentences"
        seen[pair.text] += range(a, b)
        if pair.is_next:
            assert pair.other == pair.text and c == b and d in edges
            seen[pair.text] += range(c, d)
        else:
            assert others[pair.other] is not text and c in others[pair.other].edges and d <= len(others[pair.other].ids)
    assert seen == {number: list(range(len(text.ids))) for number, text in enumerate(texts)}


def test_half_of_the_pairs_follow_and_lengths_use_the_room():
    rng = np.random.default_rng(1)
    texts = [fake_text(number, [10] * 200) for number in range(10)]
    pairs = make_pairs(texts, texts, 100, 0.0, rng)
    share = np.mean([pair.is_next for pair in pairs])
    assert 0.42 < share < 0.58, share
    sizes = [sum(end - begin for begin, end in (pair.first, pair.second)) for pair in pairs]
    assert np.median(sizes) == 100
    others = {pair.other for pair in pairs if not pair.is_next}
    assert others == set(range(10))


@pytest.mark.parametrize("seed", range(4))
def test_ordered_pairs_hold_each_piece_once_and_half_are_swapped(seed):
    rng = np.random.default_rng(seed)
    texts = [fake_text(number, list(rng.integers(1, 9, rng.integers(0, 60)))) for number in range(60)]
    pairs = make_ordered_pairs(texts, 20, 0.2, rng)
    seen = {number: [] for number in range(60)}
    for pair in pairs:
        edges = set(texts[pair.text].edges.tolist())
        runs = [pair.first] + ([pair.second] if pair.second else [])
        assert all(begin in edges and end in edges and begin < end for begin, end in runs) and pair.other == pair.text
        assert sum(end - begin for begin, end in runs) <= 20
        if pair.second:
            early, late = sorted(runs)
            assert early[1] == late[0] and pair.swapped == (runs[0] == late) != pair.is_next
        for begin, end in sorted(runs):
            seen[pair.text] += range(begin, end)
    assert seen == {number: list(range(len(text.ids))) for number, text in enumerate(texts)}
    swapped = [pair.swapped for pair in pairs if pair.second]
    assert abs(np.mean(swapped) - 0.5) < 4 * 0.5 / np.sqrt(len(swapped))


# files


def write_inputs(folder, texts=None, patients=None, splits=None, name="n.notes.train.parquet"):
    texts = texts or [f"fever number. cough and pain in the chest of {place}. oral!" for place in range(8)]
    patients = patients or [f"p{place // 2}" for place in range(len(texts))]
    table = {
        "patient_id": patients,
        "admission_id": [str(place) for place in range(len(texts))],
        "prediction_time": pa.array([10 + place for place in range(len(texts))], pa.int64()),
        "readmission": [1] * len(texts),
        "text": texts,
    }
    pq.write_table(pa.table(table), folder / name)
    splits = splits or {patient: "train" for patient in patients} | {"other": "test"}
    with open(folder / "splits.csv", "w", newline="") as file:
        csv.writer(file).writerows([("patient_id", "split"), *splits.items()])
    NOTE_VOCABULARY.write_text(folder / "vocab.txt")


def write_manifest(folder):
    """The manifest beside n.notes.train.parquet, with a sentence on labels and one on texts."""
    statements = ["A readmission is an admission.", "Some notes were written late."]
    manifest = {
        "source": {"name": "mimic3"},
        "prediction_times": {"index": "discharge"},
        "label_statements": statements[:1],
        "statements": statements,
    }
    (folder / "n.manifest.json").write_text(json.dumps(manifest))


def plan(folder, **changes):
    values = dict(
        input_file=str(folder / "n.notes.train.parquet"),
        output_file=str(folder / "out"),
        vocab_file=str(folder / "vocab.txt"),
        splits=str(folder / "splits.csv"),
        max_seq_length=16,
        short_segment=0,
    )
    return create.plan(PretrainingMaker(PretrainingSettings(**values | changes)))


def read(info):
    from medtop.data import tfrecord

    (columns,) = tfrecord.read_examples(info)
    cuts = np.cumsum(columns["counts"])[:-1]
    rows = [np.split(columns[name], cuts) for name in ("token_ids", "segment_ids", "word_starts")]
    return columns, list(zip(*rows, strict=True))


def test_records_of_pairs(tmp_path):
    write_inputs(tmp_path)
    info = create.write(plan(tmp_path))
    assert info.tasks == {"next_sentence": ["is_next"]} and info.layout is NOTES and info.split == "train"
    columns, rows = read(info)
    pieces_of = {str(n): tokenizer().tokenize([text]).ids.tolist() for n, text in enumerate(texts_of(tmp_path))}
    own = {admission: [] for admission in pieces_of}
    cls, sep = IDS["[CLS]"], IDS["[SEP]"]
    for number, (ids, segments, starts) in enumerate(rows):
        assert ids[0] == cls and ids[-1] == sep and (ids == sep).sum() == 2 and len(ids) <= 16
        middle = int(np.flatnonzero(ids == sep)[0])
        assert segments.tolist() == [0] * (middle + 1) + [1] * (len(ids) - middle - 1)
        assert starts[0] == starts[1] == starts[middle] == starts[middle + 1] == starts[-1] == 1
        admission = columns["admission_id"][number]
        own[admission] += ids[1:middle].tolist()
        if columns["next_sentence_labels"][number, 0]:
            own[admission] += ids[middle + 1 : -1].tolist()
        assert columns["patient_id"][number] == f"p{int(admission) // 2}"
        assert columns["prediction_time"][number] == 10 + int(admission)
        text = texts_of(tmp_path)[int(admission)]
        piece = text[columns["window_start"][number] : columns["window_end"][number]]
        expected = tokenizer().tokenize([piece]).ids.tolist()
        is_next = columns["next_sentence_labels"][number, 0]
        assert expected == ids[1:middle].tolist() + (ids[middle + 1 : -1].tolist() if is_next else [])
    assert own == pieces_of, "every piece of every note, once"
    assert (columns["next_sentence_weights"] == 1).all()
    for admission in own:
        mine = [columns["window"][n] for n, name in enumerate(columns["admission_id"]) if name == admission]
        assert mine == list(range(len(mine)))


def test_records_in_order_or_swapped(tmp_path):
    """Nothing is dropped: a long sentence is cut, one sentence alone is a record of one run with an unknown label."""
    texts = ["fever. cough. pain. chest. oral! lungs clear. heart. rate.", "fever cough " * 20, "pain.", ""]
    write_inputs(tmp_path, texts=texts)
    info = create.write(plan(tmp_path, pairs="order", dupe_factor=4))
    assert info.tasks == {"sentence_order": ["swapped"]} and info.counts["dropped"] == {"no_words": 1}
    columns, rows = read(info)
    own, sep = {str(number): [] for number in range(4)}, IDS["[SEP]"]
    for number, (ids, segments, starts) in enumerate(rows):
        ends = np.flatnonzero(ids == sep)
        assert ids[-1] == sep and len(ids) <= 16 and starts[0] == starts[1] == starts[-1] == 1
        assert segments.tolist() == np.repeat([0, 1][: len(ends)], np.diff(ends, prepend=-1)).tolist()
        known, swapped = (columns[f"sentence_order_{name}"][number, 0] for name in ("weights", "labels"))
        assert known == len(ends) - 1 and swapped <= known
        runs = [part[:-1].tolist() for part in np.split(ids[1:], ends)[:-1]]
        runs = runs[::-1] if swapped else runs
        text = texts[int(columns["admission_id"][number])]
        piece = text[columns["window_start"][number] : columns["window_end"][number]]
        assert tokenizer().tokenize([piece]).ids.tolist() == sum(runs, [])
        own[columns["admission_id"][number]] += sum(runs, [])
    assert own == {str(n): 4 * tokenizer().tokenize([text]).ids.tolist() for n, text in enumerate(texts)}
    known = columns["sentence_order_weights"][:, 0]
    assert 0 < columns["sentence_order_labels"][known == 1].mean() < 1
    assert (columns["sentence_order_weights"][np.array(columns["admission_id"]) == "2"] == 0).all()


def texts_of(folder):
    return pq.read_table(folder / "n.notes.train.parquet")["text"].to_pylist()


def test_the_same_seed_gives_the_same_records_and_another_one_others(tmp_path):
    write_inputs(tmp_path)
    made = [
        create.write(plan(tmp_path, output_file=str(tmp_path / name), random_seed=seed))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    bytes_of = [info.files[0].read_bytes() for info in made]
    assert bytes_of[0] == bytes_of[1] != bytes_of[2]
    assert plan(tmp_path, output_file=str(tmp_path / "a"), random_seed=1).done
    with pytest.raises(DataError, match="short_segment_unit"):
        plan(tmp_path, output_file=str(tmp_path / "a"), random_seed=1, short_segment_unit="words")
    twice = create.write(plan(tmp_path, output_file=str(tmp_path / "d"), dupe_factor=2))
    columns, rows = read(twice)
    own = sum(int((segments == 0).sum()) - 2 for _, segments, _ in rows)
    own += sum(int((s == 1).sum()) - 1 for (_, s, _), n in zip(rows, columns["next_sentence_labels"], strict=True) if n)
    assert own == 2 * twice.counts["pieces"]


def test_windows_without_pairs(tmp_path):
    write_inputs(tmp_path, texts=["fever " * 20, "cough", ""])
    info = create.write(plan(tmp_path, pairs="none"))
    assert info.tasks == {} and info.num_examples == 3 and info.counts["dropped"] == {"no_words": 1}
    _, rows = read(info)
    assert all(not segments.any() for _, segments, _ in rows) and sum(len(ids) - 2 for ids, _, _ in rows) == 21


@pytest.mark.parametrize("split, found", [("test", "test split"), ("valid", "valid split"), (None, "not in that file")])
def test_a_planted_note_of_another_splits_patient_is_refused(tmp_path, split, found):
    """Fault 6: pretraining saw test notes."""
    patients = [f"p{place // 2}" for place in range(8)]
    patients[5] = "planted"
    splits = {patient: "train" for patient in patients}
    splits = splits | {"planted": split} if split else {name: "train" for name in patients if name != "planted"}
    write_inputs(tmp_path, patients=patients, splits=splits)
    with pytest.raises(DataError) as caught:
        plan(tmp_path)
    message = str(caught.value)
    assert "row 5" in message and found in message and "planted" in message and "fever" not in message
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.dataset.json").exists()
    if split is None:
        info = create.write(plan(tmp_path, unlisted_patients="use"))
        assert info.counts["patients"] == 5
    else:
        with pytest.raises(DataError, match="planted"):
            plan(tmp_path, unlisted_patients="use")


def test_a_file_that_changed_after_the_check_is_refused_too(tmp_path):
    write_inputs(tmp_path)
    checked = plan(tmp_path)
    table = pq.read_table(tmp_path / "n.notes.train.parquet").to_pydict()
    table["patient_id"][3] = "other"
    pq.write_table(pa.table(table), tmp_path / "n.notes.train.parquet")
    with pytest.raises(DataError, match="row 3: .* received one of a patient of the test split"):
        create.write(checked)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.dataset.json").exists()


def test_notes_of_the_valid_split_may_be_used_for_validation(tmp_path):
    write_inputs(tmp_path, splits={f"p{number}": "valid" for number in range(4)}, name="n.notes.valid.parquet")
    info = create.write(plan(tmp_path, input_file=str(tmp_path / "n.notes.valid.parquet"), split="valid"))
    assert info.split == "valid"
    with pytest.raises(DataError, match="expected notes of the train split, received valid"):
        plan(tmp_path, input_file=str(tmp_path / "n.notes.valid.parquet"))
    with pytest.raises(DataError, match="--split"):
        plan(tmp_path, split="test")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"max_seq_length": 7}, "--max_seq_length"),
        ({"dupe_factor": 0}, "--dupe_factor"),
        ({"dupe_factor": 2, "pairs": "none"}, "--dupe_factor"),
        ({"short_seq_prob": 1.5}, "--short_seq_prob"),
        ({"short_segment_unit": "lines"}, "--short_segment_unit"),
        ({"splits": "nowhere.csv"}, "nowhere.csv"),
        ({"unlisted_patients": "maybe"}, "--unlisted_patients"),
        ({"short_segment": -1}, "--short_segment"),
    ],
)
def test_wrong_settings_are_refused(tmp_path, changes, message):
    write_inputs(tmp_path)
    with pytest.raises(DataError, match=message):
        plan(tmp_path, **changes)


def test_one_text_alone_has_no_wrong_continuation(tmp_path):
    write_inputs(tmp_path, texts=["fever. cough."])
    with pytest.raises(DataError, match="at least two texts"):
        create.write(plan(tmp_path))


@pytest.mark.parametrize(
    "content, message",
    [
        ("patient,split\nx,train\n", "line 1"),
        ("patient_id,split\nx,training\n", "line 2"),
        ("patient_id,split\nx,train\n\nx,test\n", "line 4: expected each patient in one split"),
        ("patient_id,split\nx\n", "line 2"),
        ("patient_id,split\n\xff,train\n", "UTF-8"),
    ],
)
def test_bad_split_files(tmp_path, content, message):
    (tmp_path / "s.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=message):
        read_split_file(tmp_path / "s.csv")


def test_a_split_file_is_read(tmp_path):
    (tmp_path / "s.csv").write_text('\ufeffnote,Patient_id,SPLIT\n1,"a,b",train\n2,c,test\n2,c,test\n')
    assert read_split_file(tmp_path / "s.csv") == {"a,b": "train", "c": "test"}


@pytest.mark.slow
def test_a_model_is_pretrained_by_script_and_readmission_starts_from_it(tmp_path, run_process):
    """The path of issue 7's points 4 and 5, as a user types it; masked pieces choose the weights."""
    from notes_data import write_note_splits

    from medtop.runs import execute
    from medtop.training.options import TrainingOptions
    from medtop.training.run_directory import RunDirectory

    texts = [". ".join(text.split(" fever ")) for text in planted_notes(24, words=40)["texts"]]
    write_inputs(tmp_path, texts=texts)
    write_manifest(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(note_config()))
    process = run_process(
        "preprocessing/create_notes_pretraining_data.py",
        "--input_file=n.notes.train.parquet",
        "--output_file=pre",
        "--vocab_file=vocab.txt",
        "--splits=splits.csv",
        "--max_seq_length=32",
        cwd=tmp_path,
    )
    assert process.returncode == 0 and "masked_lm,next_sentence" in process.stdout, process.stderr
    splits = {f"p{place}": "train" for place in range(12)} | {f"v{place}": "valid" for place in range(4)}
    valid = tmp_path / "n.notes.valid.parquet"
    write_inputs(tmp_path, texts[:8], [f"v{place // 2}" for place in range(8)], splits, valid.name)
    create.write(plan(tmp_path, input_file=str(valid), output_file=f"{tmp_path}/v", split="valid", max_seq_length=32))
    process = run_process(
        "run_scripts/run_EHRpretraining.py",
        "--do_train",
        "--do_eval",
        "--valid_file=v",
        "--num_bootstrap=20",
        "--tasks=masked_lm,next_sentence",
        "--bert_config_file=config.json",
        "--output_dir=run",
        "--input_file=pre",
        "--num_train_epochs=2",
        "--whole_word_masking",
        "--train_batch_size=8",
        cwd=tmp_path,
    )
    assert process.returncode == 0, process.stderr
    run = RunDirectory(tmp_path / "run")
    measured = [json.loads(line) for line in (run.path / "eval_log.jsonl").read_text().splitlines()]
    best = min(measured, key=lambda row: row["valid_masked_lm.loss"])
    card = (run.path / "README.md").read_text()
    assert "validation masked_lm.loss" in process.stderr and f"weights of step {best['step']}" in card
    assert "masked positions" in card and "perplexity" in card
    assert "readmission" not in card and "prediction times" not in card and "written late" in card
    config, vocabulary, tasks = run.read()
    assert vocabulary == NOTE_VOCABULARY and [task.name for task in tasks] == ["masked_lm", "next_sentence"]
    assert run.settings()["data"]["train"]["tokenizer"] == {"kind": "wordpiece", "lower_case": True}
    assert run.settings()["whole_word_masking"] is True and config.segment == "sentence"
    assert set(run.read_splits()["train"]) == {f"p{place // 2}" for place in range(24)}
    (tmp_path / "fine").mkdir()
    files = write_note_splits(tmp_path / "fine", (16, 8, 8), words=20)
    options = TrainingOptions(
        output_dir=str(tmp_path / "fine" / "run"),
        do_train=True,
        tasks=("readmission",),
        init_checkpoint=str(tmp_path / "run"),
        num_train_epochs=1,
        **files,
    )
    execute.execute(options)
    assert (tmp_path / "fine" / "run" / "best" / "weights.npz").is_file()
