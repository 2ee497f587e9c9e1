"""The key file: who may read it, where it may stand, what it is worth."""

import json
import os

import pytest

from medtop.files.errors import DataError
from medtop.files.keys import SecretKey, make_key, read_key


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "secret" / "key"
    path.parent.mkdir()
    make_key(path)
    return path


def test_only_its_owner_may_read_it(key_file):
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert read_key(key_file) == read_key(key_file)
    assert read_key(key_file).secret.hex() not in repr(read_key(key_file))
    for mode in (0o640, 0o604, 0o660, 0o601):
        os.chmod(key_file, mode)
        with pytest.raises(DataError, match="0600"):
            read_key(key_file)


def test_never_within_an_output_and_never_over_another(key_file, tmp_path):
    for output in (tmp_path, key_file.parent, f"{tmp_path}/secret/../secret"):
        with pytest.raises(DataError, match="outside of the output"):
            read_key(key_file, [output])
    read_key(key_file, [tmp_path / "secret2", tmp_path / "secr"])
    before = key_file.read_bytes()
    with pytest.raises(DataError, match="found a file"):
        make_key(key_file)
    assert key_file.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    ["", "abc", "[]", "{}", '{"key": "ab", "longest_shift_days": 3650, "keep_weekdays": true}',
     '{"key": "zz", "longest_shift_days": 1, "keep_weekdays": true}'],
)  # fmt: skip
def test_another_content(key_file, content):
    key_file.write_text(content)
    with pytest.raises(DataError, match=r"key: expected a key"):
        read_key(key_file)


def test_shifts(key_file):
    """28 days to ten years into the past, whole weeks unless told otherwise, spread, and another key's are others."""
    key = read_key(key_file)
    shifts = [key.shift_days(f"p{number}") for number in range(3000)]
    assert all(-3650 <= days <= -28 and days % 7 == 0 for days in shifts)
    assert len(set(shifts)) > 480 and -2000 < sum(shifts) / len(shifts) < -1700
    assert shifts == [key.shift_days(f"p{number}") for number in range(3000)]
    content = json.loads(key_file.read_text()) | {"keep_weekdays": False, "longest_shift_days": 100}
    key_file.write_text(json.dumps(content))
    days = {read_key(key_file).shift_days(f"p{number}") for number in range(2000)}
    assert days == set(range(-100, -27))
    assert SecretKey(bytes(32)).shift_days("p") == SecretKey(bytes(32)).shift_days("p")


def test_no_two_lists_of_texts_have_one_digest():
    key = SecretKey(b"k" * 32)
    lists = [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("", "abc")]
    assert len({key.digest(*texts) for texts in lists}) == len(lists)
