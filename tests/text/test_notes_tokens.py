"""Text to ids: BERT's published tokenizer as oracle, places in the text, windows, vocabularies, the feature script."""

import collections
import csv
import gzip
import json
import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bert_tokenizer import basic_tokens, tokens
from notes_data import NOTE_VOCABULARY, tokenizer

from medtop.cohort.vocabulary import SPECIAL_TOKENS, Vocabulary
from medtop.data import create
from medtop.data.description import read_dataset
from medtop.files.errors import DataError
from medtop.notes.create_features import NoteSettings, WindowMaker
from medtop.notes.learn_vocabulary import VocabularySettings, count_words, learn, learn_pieces
from medtop.notes.texts import read_texts, split_of
from medtop.text.windows import check_window, first_windows, make_windows, window_edges
from medtop.text.wordpiece import WordPiece, choose_case, read_vocabulary
from medtop.text.words import ALONE, DROP, KEEP, SPACE, WordSplitter, kind_of, normal_form

POOL = list("abcXYZ  .,-_[]\u4e2d\u6587\x00\x01\u200b\ufffd\u2260\u0301\u0130\u03a3\xdf\ufb01\t\n\r\u2028\uff21") + [
    "\ud55c",
    "\U0001f600",
    "\xf1",
    "\xc9",
    "\x0b",
    "\xa0",
    "\xad",
    "\u0378",
    "A\u0308",
    "\u212a",
    "\u1fef",
]
HARD = [
    "",
    " ",
    "\n",
    "a" * 100,
    "b" * 101,
    "\xe9" * 100,
    "\xe9" * 101,
    "\u4e2d" * 150,
    "e\u0301" * 101,
    "\xf1" * 100,
    "\xdf" * 60,
    "\u0301",
    "a \u0301 b",
    "\x00",
    "[CLS] [MASK] [SEP]",
    "dr.smith's o2-sat>95%",
    "x\x01y",
    "\ud800a",
]


def fuzzed(count, seed, longest=60):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(POOL, rng.integers(0, longest))) for _ in range(count)]


def letters_vocabulary(lower_case):
    letters = "abcxyz" if lower_case else "abcxyzABCXYZ"
    marks = ".,-_[]>%'\u4e2d\u6587=\uff21\uff41\ud55c\u0378\u03c3\u03a3\u0301\xf1\xc9ens\xdfikK"
    words = "ab ##bc ##b ##c ##a ##ab e ##e xyz dr smith ##3 ##i ##n ##\u0301 ##\xf1 ##\xdf".split(" ")
    pieces = dict.fromkeys([*letters, *marks, *"0123456789cl", *words])
    return Vocabulary((*SPECIAL_TOKENS, *pieces))


@pytest.mark.parametrize("lower_case", [True, False])
def test_words_and_pieces_equal_berts_published_code(lower_case):
    vocabulary = letters_vocabulary(lower_case)
    texts = [*HARD, *fuzzed(1500, 1)]
    ours = WordPiece(vocabulary, lower_case).tokenize(texts)
    split = WordSplitter(lower_case).split(texts)
    of_text = [[] for _ in texts]
    for word, number in zip(split.words, split.texts, strict=True):
        of_text[number].append(word)
    for number, (text, ids) in enumerate(zip(texts, np.split(ours.ids, np.cumsum(ours.counts)[:-1]), strict=True)):
        assert of_text[number] == [word for word in basic_tokens(text, lower_case) if word], ascii(text)
        assert [vocabulary.tokens[place] for place in ids] == tokens(text, vocabulary.ids, lower_case), ascii(text)
    assert (ours.ids == vocabulary.ids["[UNK]"]).mean() < 0.7, "not all is unknown"


@pytest.mark.parametrize("lower_case", [True, False])
def test_edges_are_those_of_the_words(lower_case):
    texts, splitter = [*HARD, "", *fuzzed(300, 3), ""], WordSplitter(lower_case)
    split, edges = splitter.split(texts), splitter.edges(texts)
    assert len(edges) == len(texts)
    for number, (starts, ends) in enumerate(edges):
        mine = split.texts == number
        assert (starts.tolist(), ends.tolist()) == (split.starts[mine].tolist(), split.ends[mine].tolist())
    assert splitter.edges([]) == []


def test_the_same_in_any_company():
    """Each text has its own tokens whatever stands beside it, and whatever was tokenized before."""
    texts = [*HARD, *fuzzed(80, 2)]
    wordpiece = WordPiece(letters_vocabulary(True), True)
    together = wordpiece.tokenize(texts)
    for text, ids in zip(texts, np.split(together.ids, np.cumsum(together.counts)[:-1]), strict=True):
        assert wordpiece.tokenize([text]).ids.tolist() == ids.tolist()
    assert wordpiece.tokenize([]).counts.tolist() == [] == wordpiece.tokenize([]).ids.tolist()
    assert wordpiece.tokenize(["", ""]).counts.tolist() == [0, 0]


@pytest.mark.quick("False")
@pytest.mark.parametrize("lower_case", [True, False])
def test_a_letter_is_one_word_or_part_of_one(lower_case):
    """What the table of kinds relies on, for all of Unicode: a form with punctuation is that one character."""
    for code in [*range(0x3100), *range(0xA000, 0x12000), *range(0x1D000, 0x20000, 7)]:
        if 0xD800 <= code < 0xE000:
            continue
        form, kind = normal_form(chr(code), lower_case), kind_of(chr(code), lower_case)
        words = [word for word in basic_tokens(f"a{chr(code)}b", lower_case) if word]
        expected = {KEEP: [f"a{form}b"], DROP: ["ab"], SPACE: ["a", "b"], ALONE: ["a", form, "b"]}[kind]
        assert words == expected, hex(code)


def test_places_are_those_of_the_words_in_the_original_text():
    text = "  Na\u00efve\u00ad\u200bt\u00e9, pt\u00a0relapsed(x)  \U0001f600 \u4e2d\u6587"
    pieces = tokenizer().tokenize(["first text.", text])
    mine = slice(pieces.counts[0], None)
    found = [text[start:end] for start, end in zip(pieces.starts[mine], pieces.ends[mine], strict=True)]
    assert found == [
        "Na\u00efve\u00ad\u200bt\u00e9",
        ",",
        "pt",
        *["relapsed"] * 2,
        "(",
        "x",
        ")",
        "\U0001f600",
        "\u4e2d",
        "\u6587",
    ]
    assert pieces.word_starts[mine].tolist() == [1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1]
    assert [NOTE_VOCABULARY.tokens[i] for i in pieces.ids[mine]][2:6] == ["[UNK]", "relapse", "##d", "[UNK]"]


def test_special_tokens_in_a_text_are_only_text():
    vocabulary = Vocabulary((*SPECIAL_TOKENS, "[", "]", "sep", "mask"))
    pieces = WordPiece(vocabulary, True).tokenize(["[SEP] [MASK]"])
    assert [vocabulary.tokens[i] for i in pieces.ids] == ["[", "sep", "]", "[", "mask", "]"]


def test_the_table_of_words_is_forgotten_and_learned_again(monkeypatch):
    monkeypatch.setattr("medtop.text.wordpiece._MOST_WORDS", 5)
    wordpiece, texts = tokenizer(), ["fever cough lungs clear", "heart rate normal pain", "chest oral fever", "cough"]
    alone = [WordPiece(NOTE_VOCABULARY, True).tokenize([text]).ids.tolist() for text in texts]
    assert [wordpiece.tokenize([text]).ids.tolist() for text in texts] == alone


# windows


def test_windows_by_hand():
    pieces = tokenizer().tokenize(["fever cough pain. unable clear", "", "oral"])
    windows = make_windows(pieces, 5, cls_id=2, sep_id=3)
    name = NOTE_VOCABULARY.tokens
    rows = [[name[i] for i in row] for row in np.split(windows.token_ids, np.cumsum(windows.counts)[:-1])]
    assert rows == [
        ["[CLS]", "fever", "cough", "[SEP]"],
        ["[CLS]", "pain", ".", "[SEP]"],
        ["[CLS]", "un", "##able", "clear", "[SEP]"],
        ["[CLS]", "oral", "[SEP]"],
    ]
    assert windows.texts.tolist() == [0, 0, 0, 2] and windows.numbers.tolist() == [0, 1, 2, 0]
    assert windows.starts.tolist() == [0, 12, 18, 0] and windows.ends.tolist() == [11, 17, 30, 4]


@pytest.mark.parametrize("seed", range(5))
def test_windows_lose_nothing(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 12))
    overlap = int(rng.integers(0, size))
    counts = rng.integers(0, 40, 30)
    texts, numbers, starts, ends = window_edges(counts, size, overlap)
    for text, count in enumerate(counts):
        mine = texts == text
        low, high = starts[mine], ends[mine]
        assert numbers[mine].tolist() == list(range(mine.sum())) and bool(mine.any()) == bool(count)
        if not count:
            continue
        assert low[0] == 0 and high[-1] == count and (high - low <= size).all() and (high > low).all()
        assert (high[:-1] - low[1:] == overlap).all(), "neighbours share the overlap, no more and no less"
        fewest = max(1, -(-(count - overlap) // (size - overlap)))
        assert len(low) == fewest and np.ptp(high - low) <= 1, "as few as possible, of equal length"


def test_the_originals_way_keeps_the_first_window():
    pieces = tokenizer().tokenize(["fever cough pain. unable clear", "oral", ""])
    windows = first_windows(pieces, 5, cls_id=2, sep_id=3)
    name = NOTE_VOCABULARY.tokens
    rows = [[name[i] for i in row] for row in np.split(windows.token_ids, np.cumsum(windows.counts)[:-1])]
    assert rows == [["[CLS]", "fever", "cough", "pain", "[SEP]"], ["[CLS]", "oral", "[SEP]"]]
    assert windows.ends.tolist() == [16, 4] and windows.texts.tolist() == [0, 1]


@pytest.mark.parametrize("length, overlap, flag", [(2, 0, "max_seq_length"), (5, 3, "overlap"), (5, -1, "overlap")])
def test_windows_without_room_are_refused(length, overlap, flag):
    with pytest.raises(DataError, match=flag):
        check_window(length, overlap)


# vocabularies


def naive_pieces(counts, size, min_count):
    """The same joins, all pairs counted anew each time."""
    letters = sorted({letter for word in counts for letter in word})
    pieces = [*letters, *("##" + letter for letter in letters)]
    words = {word: [word[0], *("##" + letter for letter in word[1:])] for word in counts}
    while len(pieces) < size:
        pairs = collections.Counter()
        for word, parts in words.items():
            for pair in zip(parts, parts[1:], strict=False):
                pairs[pair] += counts[word]
        pairs = {pair: count for pair, count in pairs.items() if count >= min_count}
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pieces.index(pair[0]), pieces.index(pair[1])))
        joined = best[0] + best[1].removeprefix("##")
        if joined not in pieces:
            pieces.append(joined)
        for parts in words.values():
            place = 0
            while place < len(parts) - 1:
                if (parts[place], parts[place + 1]) == best:
                    parts[place : place + 2] = [joined]
                place += 1
    return pieces


@pytest.mark.parametrize("seed", range(6))
def test_joins_against_counting_all_pairs_anew(seed):
    rng = np.random.default_rng(seed)
    counts = {"".join(rng.choice(list("abcd"), rng.integers(1, 9))): int(rng.integers(1, 30)) for _ in range(60)}
    assert learn_pieces(counts, 45, min_count=2) == naive_pieces(counts, 45, 2)
    assert learn_pieces(counts, 10_000, min_count=20) == naive_pieces(counts, 10_000, 20)


def test_rare_letters_and_endless_words_take_no_part():
    counts = {"ab": 9, "\u00e9ab": 1, "a" * 101: 50}
    assert learn_pieces(counts, 20, alphabet=2) == ["a", "b", "##a", "##b", "ab"]


def test_words_are_counted_as_they_are_tokenized_and_rare_ones_forgotten():
    found = count_words([(["Fever, fever", "x"], "ab"), (["FEVER \u00e9"], "c")], lower_case=True)
    assert found.texts == 3 and found.counts == {"fever": 3, ",": 1, "x": 1, "e": 1}
    found = count_words([(["a a b"], "a"), (["c"], "b")], lower_case=True, most_words=1)
    assert found.counts == {"a": 2}


@pytest.mark.parametrize("least", [1, 2, 3, 5])
def test_words_of_too_few_patients_take_no_part(least):
    """Against sets: patients whose notes lie apart count once, repetitions in one note or in many do not."""
    rng = np.random.default_rng(least)
    notes = [(f"p{rng.integers(6)}", " ".join(rng.choice(list("abcdefgh"), 4))) for _ in range(12)]
    notes += [("p1", "smith smith 778899")] * 9
    batches = [
        ([text for _, text in notes[start : start + 5]], [who for who, _ in notes[start : start + 5]])
        for start in range(0, len(notes), 5)
    ]
    found = count_words(batches, lower_case=True, min_patients=least)
    whose = {}
    for who, text in notes:
        for word in text.split():
            whose.setdefault(word, set()).add(who)
    assert set(found.counts) == {word for word, patients in whose.items() if len(patients) >= least}
    assert found.of_few_patients == len(whose) - len(found.counts)
    assert least == 1 or "smith" not in found.counts


def write_parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def admissions(texts, **changes):
    number = len(texts)
    columns = {
        "patient_id": [f"p{place // 2}" for place in range(number)],
        "admission_id": [str(100 + place) for place in range(number)],
        "prediction_time": pa.array([1_600_000_000 + place for place in range(number)], pa.timestamp("s")),
        "readmission": pa.array([(1, 0, None)[place % 3] for place in range(number)], pa.int8()),
        "text": texts,
    }
    return columns | changes


def test_a_learned_vocabulary_is_written_and_knows_its_words(tmp_path):
    texts = ["Pneumonia of the left lung.", "pneumonia, fever and cough"] * 40
    path = write_parquet(tmp_path / "n.notes.train.parquet", **admissions(texts))
    vocabulary, counted = learn(VocabularySettings(str(path), str(tmp_path / "vocab.txt"), vocab_size=200))
    assert counted.texts == 80 and len(vocabulary) <= 200 and read_vocabulary(tmp_path / "vocab.txt") == vocabulary
    assert not vocabulary.is_wordpiece and choose_case(tmp_path / "vocab.txt", vocabulary)
    pieces = WordPiece(vocabulary, True).tokenize(["PNEUMONIA"])
    assert [vocabulary.tokens[i] for i in pieces.ids] == ["pneumonia"]
    test = path.rename(tmp_path / "n.notes.test.parquet")
    with pytest.raises(DataError, match="training split.*test split"):
        learn(VocabularySettings(str(test), str(tmp_path / "v.txt")))
    empty = write_parquet(tmp_path / "e.parquet", **admissions(["", " \n"]))
    with pytest.raises(DataError, match="texts with words"):
        learn(VocabularySettings(str(empty), str(tmp_path / "v.txt")))


def test_case_follows_the_vocabulary(tmp_path):
    file = tmp_path / "vocab.txt"
    uncased, cased = Vocabulary((*SPECIAL_TOKENS, "a")), Vocabulary((*SPECIAL_TOKENS, "a", "A"))
    assert choose_case(file, uncased) and not choose_case(file, cased)
    assert choose_case(file, uncased, lower_case=False) is False
    with pytest.raises(DataError, match="capital letters"):
        choose_case(file, cased, lower_case=True)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    assert choose_case(file, uncased) is False
    with pytest.raises(DataError, match="tokenizer_config"):
        choose_case(file, uncased, lower_case=True)
    (tmp_path / "run.json").write_text(
        json.dumps({"settings": {"data": {"train": {"tokenizer": {"lower_case": True}}}}})
    )
    assert choose_case(file, uncased) is True
    (tmp_path / "tokenizer_config.json").write_text("{")
    (tmp_path / "run.json").write_text('{"settings": {"data": {"train": null}}}')
    with pytest.raises(DataError, match="JSON"):
        choose_case(file, uncased)
    (tmp_path / "tokenizer_config.json").write_text("[]")
    (tmp_path / "source_tokenizer").mkdir()
    (tmp_path / "source_tokenizer" / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    assert choose_case(file, uncased) is False


def test_berts_own_file_is_read_by_name_and_others_refused(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "fever"]) + "\n")
    vocabulary = read_vocabulary(path)
    assert vocabulary.is_wordpiece and WordPiece(vocabulary, True).cls_id == 3
    with pytest.raises(DataError, match="begins with"):
        Vocabulary.read(path)  # of codes
    for content, message in (("empty_pad\nC1\n", "word pieces"), ("[PAD]\n[UNK]\na\n", "holds"), ("a\xff\n", "UTF-8")):
        path.write_bytes(content.encode("latin-1"))
        with pytest.raises(DataError, match=message):
            read_vocabulary(path)


# files


def test_texts_are_read_from_parquet_batch_by_batch(tmp_path, monkeypatch):
    monkeypatch.setattr("medtop.notes.texts.ROWS", 4)
    texts = [f"text {number}" for number in range(10)]
    path = write_parquet(tmp_path / "x.notes.valid.parquet", **admissions(texts))
    batches = list(read_texts(path))
    assert [len(batch.texts) for batch in batches] == [4, 4, 2] and [batch.first for batch in batches] == [0, 4, 8]
    assert sum((batch.texts for batch in batches), []) == texts and split_of(path) == "valid"
    assert batches[0].prediction_times.tolist() == [1_600_000_000 + place for place in range(4)]
    assert np.array_equal(batches[0].labels, [1, 0, np.nan, 1], equal_nan=True)


def test_texts_are_read_from_a_clinicalbert_folder(tmp_path):
    path = tmp_path / "val.csv"
    path.write_text(',TEXT,ID,Label\n0,"a ""quoted"", text\nof two lines",7,1\n1,more,7.0,1.0\n2,other,8,\n')
    (batch,) = read_texts(path)
    assert batch.texts == ['a "quoted", text\nof two lines', "more", "other"] and split_of(path) == "valid"
    assert batch.admission_ids == ["7", "7", "8"] == batch.patient_ids
    assert np.array_equal(batch.labels, [1, 1, np.nan], equal_nan=True)
    path.write_text("subject_id,id,text,label\np1,7,{},0\n".format("long " * 50_000))
    (batch,) = read_texts(path)
    assert batch.patient_ids == ["p1"] and batch.admission_ids == ["7"] and len(batch.texts[0]) == 250_000


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("x.csv", b"TEXT,ID\na,1\n", "TEXT, ID, Label"),
        ("x.csv", b"TEXT,ID,Label\nsecret,1,maybe\n", "line 2: column Label"),
        ("x.csv", b"TEXT,ID,Label\nsecret,,1\n", "line 2: expected an admission"),
        ("x.csv", b"TEXT,ID,Label\nsecret,1,1\nsecret\n", "line 3: expected 3 columns, received fewer"),
        ("x.csv", b"TEXT,ID,Label\nsecret,1,1,1\n", "line 2: expected 3 columns, received more"),
        ("x.csv", b"TEXT,ID,Label\nsecret \xff,1,1\n", "line 2: expected UTF-8 text"),
        ("x.csv", b"TEXT,ID,Label\nsecret \0,1,1\n", "NUL byte at byte 21"),
        ("x.csv", b'TEXT,ID,Label\n"secret,1,1\nb,2,0\n', "line 2: .* never closed"),  # it would swallow admission 2
        ("x.csv", b"", "received an empty file"),
        ("x.csv", b"\n", "received a blank line"),
        ("x.txt", b"secret", "parquet"),
        ("x.parquet", b"secret", "Parquet"),
    ],
)
def test_bad_files_end_in_one_line_without_text(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        list(read_texts(path))
    assert "secret" not in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"text": ["x", None]}, "row 1: expected a value in column text"),
        ({"readmission": [1, 2]}, "column readmission"),
    ],
)
def test_bad_parquet_values(tmp_path, changes, message):
    path = write_parquet(tmp_path / "x.parquet", **admissions(["x", "y"], **changes))
    with pytest.raises(DataError, match=message):
        list(read_texts(path))
    path = write_parquet(tmp_path / "y.parquet", text=["x"])
    with pytest.raises(DataError, match="expected columns"):
        list(read_texts(path))


# the feature script


def maker(folder, **changes):
    vocabulary = folder / "vocab.txt"
    NOTE_VOCABULARY.write_text(vocabulary)
    values = dict(
        input_file=str(folder / "n.notes.train.parquet"),
        output_file=str(folder / "out"),
        vocab_file=str(vocabulary),
        max_seq_length=8,
    )
    return WindowMaker(NoteSettings(**values | changes))


def test_features_of_admissions(tmp_path):
    from medtop.data import tfrecord

    texts = ["fever cough pain chest oral clear heart", "", "stable patient", "un-known"]
    write_parquet(tmp_path / "n.notes.train.parquet", **admissions(texts))
    (tmp_path / "n.manifest.json").write_text('{"source": "made up"}')
    plan = create.plan(maker(tmp_path, num_shards=2))
    info = create.write(plan)
    assert (info.split, info.num_examples, info.counts["examples_in"]) == ("train", 4, 4)
    assert info.counts["dropped"] == {"no_words": 1} and info.source_manifests == [{"source": "made up"}]
    assert info.counts["pieces"] == 7 + 2 + 3 and info.counts["unknown_pieces"] == 2 and info.counts["tokens"] == 20
    columns = list(tfrecord.read_examples(info))
    admission = sum((part["admission_id"] for part in columns), [])
    assert sorted(admission) == ["100", "100", "102", "103"]
    labels = {"readmission": {"readmission": {"known": 3, "positives": 3}}}
    assert info.labels == labels  # admission 102's label is unknown
    assert create.plan(maker(tmp_path, num_shards=2)).done
    with pytest.raises(DataError, match="max_seq_length was 8, is 9"):
        create.plan(maker(tmp_path, num_shards=2, max_seq_length=9))
    assert not create.plan(maker(tmp_path, max_seq_length=9, overwrite=True)).done


def test_windows_of_an_admission_are_counted_over_its_csv_rows(tmp_path):
    from medtop.data import tfrecord

    (tmp_path / "train.csv").write_text(
        "TEXT,ID,Label\n" + "fever cough pain chest oral clear heart,1,1\n" + "oral,2,0\n" + "oral pain,1,1\n"
    )
    for legacy, windows, cut in ((False, [0, 1, 0, 2], 0), (True, [0, 0, 1], 1)):
        name = str(tmp_path / f"out{legacy}")
        made = maker(tmp_path, input_file=str(tmp_path / "train.csv"), output_file=name, legacy=legacy)
        info = create.write(create.plan(made))
        (columns,) = tfrecord.read_examples(info)
        assert columns["window"].tolist() == windows and info.counts["pieces_cut"] == cut


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"max_seq_length": 2}, "--max_seq_length"),
        ({"window_overlap": 6}, "--window_overlap"),
        ({"legacy": True, "window_overlap": 1}, "--window_overlap"),
        ({"input_file": "nowhere.parquet"}, "nowhere.parquet"),
        ({"output_file": "a,b"}, "--output_file"),
        ({"vocab_file": "nowhere.txt"}, "nowhere.txt"),
    ],
)
def test_wrong_settings_are_refused(tmp_path, changes, message):
    write_parquet(tmp_path / "n.notes.train.parquet", **admissions(["x"]))
    with pytest.raises(DataError, match=message):
        create.plan(maker(tmp_path, **changes))


def test_files_of_two_splits_are_refused(tmp_path):
    for split in ("train", "test"):
        write_parquet(tmp_path / f"n.notes.{split}.parquet", **admissions(["x"]))
    with pytest.raises(DataError, match="one split"):
        create.plan(maker(tmp_path, input_file=str(tmp_path / "n.notes.*.parquet")))


def test_the_scripts_work_from_a_users_folder(tmp_path, run_script):
    texts = ["Fever and cough, pain in the chest.", "Stable; no fever."] * 20
    write_parquet(tmp_path / "n.notes.train.parquet", **admissions(texts))
    process = run_script(
        "preprocessing/learn_wordpiece_vocab.py",
        "--input_file=n.notes.train.parquet",
        "--output_file=vocab.txt",
        "--vocab_size=100",
        cwd=tmp_path,
    )
    assert process.returncode == 0 and "40 texts" in process.stdout, process.stderr
    command = (
        "preprocessing/create_notes_features.py",
        "--input_file=n.notes.train.parquet",
        "--output_file=train.tfrecord",
        "--vocab_file=vocab.txt",
        "--max_seq_length=16",
    )
    process = run_script(*command, cwd=tmp_path)
    assert process.returncode == 0 and "40 windows of 40 texts of 20 patients" in process.stdout, process.stderr
    assert "(0.00% unknown)" in process.stdout and "run_readmission.py" in process.stdout
    assert read_dataset(str(tmp_path / "train.tfrecord")).tokenizer["lower_case"] is True
    process = run_script(*command, cwd=tmp_path)
    assert process.returncode == 0 and "nothing to do" in process.stdout
    process = run_script(*command, "--window_overlap=99", cwd=tmp_path)
    assert process.returncode == 1 and process.stderr.count("\n") == 1 and "--window_overlap" in process.stderr
    assert "Traceback" not in process.stderr


# open data and HuggingFace


def open_texts(folder):
    """Every text of MTSamples and MTS-Dialog."""
    csv.field_size_limit(1 << 30)
    texts = []
    for path in [folder / "mtsamples_notes" / "note.csv.gz", *sorted((folder / "mts_dialog").glob("*.csv.gz"))]:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                texts += [value for value in row.values() if value]
    return list(dict.fromkeys(texts))


@pytest.mark.parametrize("lower_case", [True, False])
def test_open_notes_against_huggingface(test_data, tmp_path, lower_case):
    """The acceptance line: ids equal `BertTokenizer`'s for every text, with a vocabulary learned from these texts."""
    transformers = pytest.importorskip("transformers", reason="part of make test-extras")
    texts = open_texts(test_data)
    assert len(texts) > 3000
    counts = count_words([(texts, texts)], lower_case).counts
    vocabulary = Vocabulary((*SPECIAL_TOKENS, *learn_pieces(counts, 6000)))
    file = tmp_path / "vocab.txt"
    vocabulary.write_text(file)
    theirs = transformers.BertTokenizer(str(file), do_lower_case=lower_case)
    fuzz = [text for text in [*HARD, *fuzzed(1500, 3)] if "[" not in text and "\ud800" not in text]
    ours = WordPiece(vocabulary, choose_case(file, vocabulary))
    assert ours.lower_case == lower_case
    for texts_now in (texts, fuzz):
        pieces = ours.tokenize(texts_now)
        expected = theirs(texts_now, add_special_tokens=False)["input_ids"]
        assert pieces.counts.tolist() == [len(row) for row in expected]
        assert pieces.ids.tolist() == [number for row in expected for number in row]


@pytest.mark.parametrize("lower_case", [True, False])
def test_all_of_unicode_against_huggingface(lower_case):
    """One word boundary per character. They differ in what Unicode has changed since HuggingFace's tables (2016)."""
    tokenizers = pytest.importorskip("tokenizers", reason="part of make test-extras")
    normalizer = tokenizers.normalizers.BertNormalizer(lowercase=lower_case)
    cutter = tokenizers.pre_tokenizers.BertPreTokenizer()
    letters = [chr(code) for code in range(0x20000) if not 0xD800 <= code < 0xE000]
    split = WordSplitter(lower_case).split([f"a{letter}b" for letter in letters])
    ours = [[] for _ in letters]
    for word, number in zip(split.words, split.texts, strict=True):
        ours[number].append(word)
    differing = [
        letter
        for letter, words in zip(letters, ours, strict=True)
        if words != [word for word, _ in cutter.pre_tokenize_str(normalizer.normalize_str(f"a{letter}b"))]
    ]
    assert len(differing) < 800 and not [letter for letter in differing if ord(letter) < 0x600]
    assert {unicodedata.category(letter)[0] for letter in differing} <= set("CPMS"), "no letter and no digit"


def test_rare_words_beyond_a_number_take_no_part(tmp_path):
    path = tmp_path / "n.notes.train.parquet"
    texts = ["fever fever fever cough cough zzzz"] * 3
    table = {"patient_id": ["a"] * 3, "admission_id": list("123"), "prediction_time": [0] * 3, "text": texts}
    pq.write_table(pa.table(table), path)
    settings = VocabularySettings(str(path), str(tmp_path / "v.txt"), vocab_size=200, min_word_patients=1, most_words=2)
    vocabulary, counted = learn(settings)
    assert (
        len(counted.counts) == 3
        and "fever" in vocabulary.ids
        and "cough" in vocabulary.ids
        and "z" not in vocabulary.ids
    )
