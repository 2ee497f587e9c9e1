"""The vocabulary: its order against a sort written out, its two layouts, its files, and what it refuses."""

import collections
import hashlib
import pickle

import numpy as np
import pytest

from medtop.cohort.vocabulary import CLS_ID, MASK_ID, PAD_ID, SEP_ID, SPECIAL_TOKENS, UNK_ID, Vocabulary
from medtop.files.errors import DataError


def assert_one_line(caught, *parts):
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message, message


def test_special_ids_are_the_contract():
    assert SPECIAL_TOKENS == ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    assert (PAD_ID, UNK_ID, CLS_ID, SEP_ID, MASK_ID) == (0, 1, 2, 3, 4)
    assert len({PAD_ID, UNK_ID, CLS_ID, SEP_ID, MASK_ID}) == 5  # the lineage's [PAD] and [MASK] shared an id


def test_order_is_falling_count_then_code():
    vocabulary = Vocabulary.from_counts(["b", "a", "c", "rare"], [3, 3, 9, 1])
    assert vocabulary.tokens == (*SPECIAL_TOKENS, "c", "a", "b")
    assert [vocabulary.ids[code] for code in ("c", "a", "b")] == [5, 6, 7]


@pytest.mark.parametrize("min_count", [0, 1, 2, 5])
def test_order_against_counter_and_does_not_depend_on_input_order(min_count):
    rng = np.random.default_rng(min_count)
    occurrences = [f"ICD10_{number:03d}" for number in rng.zipf(1.5, 3000) % 200]
    counter = collections.Counter(occurrences)
    expected, left = [], {code: count for code, count in counter.items() if count >= min_count}
    while left:  # the rule, read aloud: highest count first, then the smallest code
        highest = max(left.values())
        expected.append(min(code for code, count in left.items() if count == highest))
        del left[expected[-1]]
    for _ in range(3):
        codes = list(rng.permutation(list(counter)))
        vocabulary = Vocabulary.from_counts(codes, [counter[code] for code in codes], min_count)
        assert list(vocabulary.tokens[5:]) == expected


def test_codes_that_never_occur_stay_out_even_at_min_count_zero():
    assert Vocabulary.from_counts(["a", "b"], [0, 1], min_count=0).tokens[5:] == ("b",)


def test_default_leaves_codes_seen_once_to_unk():
    assert Vocabulary.from_counts(["a", "b"], [1, 2]).tokens[5:] == ("b",)


def test_a_special_token_is_no_code():
    with pytest.raises(DataError) as caught:
        Vocabulary.from_counts(["a", "[MASK]"], [5, 5])
    assert_one_line(caught, "'[MASK]'")


def test_counts_must_match_codes():
    with pytest.raises(ValueError):
        Vocabulary.from_counts(["a", "b"], [5])


@pytest.mark.parametrize(
    "tokens, part",
    [
        (["a", "b", "a"], "token of id 7 twice"),
        (["a", ""], "id 1"),
        (["a\nb"], "id 5, received a line break"),
        (["a", "b\r"], "id 6, received a line break"),
    ],
)
def test_tokens_that_a_text_file_could_not_hold(tokens, part):
    with pytest.raises(DataError) as caught:
        Vocabulary([*SPECIAL_TOKENS, *tokens])
    assert_one_line(caught, part.replace("id 1", "id 6"))


def test_layouts():
    ours, theirs = Vocabulary([*SPECIAL_TOKENS, "a"]), Vocabulary(["empty_pad", "a"])
    assert (ours.is_medbert, ours.first_code_id, ours.mask_id) == (False, 5, 4)
    assert (theirs.is_medbert, theirs.first_code_id, theirs.mask_id) == (True, 1, 0)


def test_hash_and_equality_follow_tokens_and_order():
    first, same = Vocabulary([*SPECIAL_TOKENS, "a", "b"]), Vocabulary((*SPECIAL_TOKENS, "a", "b"))
    other = Vocabulary([*SPECIAL_TOKENS, "b", "a"])
    assert first == same and hash(first) == hash(same) and first.hash == same.hash
    assert first != other and first.hash != other.hash
    assert first.hash == hashlib.sha256(b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb").hexdigest()
    assert first != first.tokens


@pytest.mark.parametrize("first", [SPECIAL_TOKENS, ("empty_pad",)])
@pytest.mark.parametrize("suffix", [".types", ".vocab.txt"])
def test_both_files_round_trip(tmp_path, first, suffix):
    vocabulary = Vocabulary([*first, "ICD9_4280", "été", "a b", "\x0b", "\u2028", " lead", "#", "\x85"])
    vocabulary.write(tmp_path / "cohort")
    assert Vocabulary.read(f"{tmp_path / 'cohort'}{suffix}") == vocabulary


def test_types_file_is_what_the_lineage_reads(tmp_path):
    Vocabulary(["empty_pad", "a", "b"]).write(tmp_path / "cohort")
    with open(tmp_path / "cohort.types", "rb") as file:
        assert pickle.load(file) == {"empty_pad": 0, "a": 1, "b": 2}
    assert (tmp_path / "cohort.vocab.txt").read_text() == "empty_pad\na\nb\n"


def test_text_file_of_another_system_without_last_line_break(tmp_path):
    (tmp_path / "v.txt").write_bytes("\r\n".join([*SPECIAL_TOKENS, "a"]).encode())
    assert Vocabulary.read(tmp_path / "v.txt").tokens == (*SPECIAL_TOKENS, "a")


@pytest.mark.parametrize(
    "types",
    [
        ["a"],
        {"a": "0"},
        {0: 0},
        {"a": True},
        {"a": 0.0},
        None,
        3,
    ],
)
def test_types_of_another_content(tmp_path, types):
    (tmp_path / "a.types").write_bytes(pickle.dumps(types))
    with pytest.raises(DataError) as caught:
        Vocabulary.read(tmp_path / "a.types")
    assert_one_line(caught, tmp_path / "a.types", "dict of code -> id")


@pytest.mark.parametrize("ids", [[0, 1, 2, 3, 4, 6], [0, 1, 2, 3, 4, 4], [1, 2, 3, 4, 5, 6], [-1, 0, 1, 2, 3, 4]])
def test_types_with_gaps_or_shared_ids(tmp_path, ids):
    (tmp_path / "a.types").write_bytes(pickle.dumps(dict(zip([*SPECIAL_TOKENS, "a"], ids, strict=True))))
    with pytest.raises(DataError) as caught:
        Vocabulary.read(tmp_path / "a.types")
    assert_one_line(caught, tmp_path / "a.types", "expected ids 0 to 5")


@pytest.mark.parametrize(
    "content, part",
    [
        (b"", "begins with"),
        (b"I10\nE119\n", "begins with"),
        (b"[PAD]\n[CLS]\n[UNK]\n[SEP]\n[MASK]\na\n", "begins with"),
        ("\n".join([*SPECIAL_TOKENS, "a", "", "b"]).encode(), "id 6"),
        ("\n".join([*SPECIAL_TOKENS, "a", "a"]).encode(), "token of id 6 twice"),
        ("\n".join(SPECIAL_TOKENS).encode() + b"\n\xff\n", "byte 31"),
    ],
)
def test_text_of_another_content(tmp_path, content, part):
    (tmp_path / "v.txt").write_bytes(content)
    with pytest.raises(DataError) as caught:
        Vocabulary.read(tmp_path / "v.txt")
    assert_one_line(caught, tmp_path / "v.txt", part)


@pytest.mark.parametrize("name", ["absent.types", "absent.txt"])
def test_missing_file(tmp_path, name):
    with pytest.raises(DataError) as caught:
        Vocabulary.read(tmp_path / name)
    assert_one_line(caught, tmp_path / name, "no such file")
