"""A split file read alone (`read_split_file`): what it holds, and what is refused with its line."""

import pytest

from medtop.cohort.splits import read_split_file
from medtop.files.errors import DataError


def read(folder, text):
    (folder / "s.csv").write_text(text)
    return read_split_file(folder / "s.csv")


def test_columns_in_any_order_and_beside_others(tmp_path):
    assert read(tmp_path, "patient_id,split\na,train\nb,test\na,train\n") == {"a": "train", "b": "test"}
    assert read(tmp_path, "split,site,Patient_ID\nvalid,x,a\n\ntest,y,b\n") == {"a": "valid", "b": "test"}
    assert read(tmp_path, "patient_id,split,note\na,train\n") == {"a": "train"}  # only what is needed must be there


@pytest.mark.parametrize(
    "row, message",
    [
        ("a,other", "line 3: expected a patient and one of train, valid, test"),
        (",train", "line 3: expected a patient and one of"),
        ("a", "line 3: expected a patient and one of"),
        ("x,test", "line 3: expected each patient in one split"),
    ],
)
def test_rows_that_are_refused(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, f"patient_id,split\nx,train\n{row}\n")


@pytest.mark.parametrize("header", ["patient_id", "split", "id,split", ""])
def test_headers_that_are_refused(tmp_path, header):
    with pytest.raises(DataError, match="line 1: expected columns patient_id, split"):
        read(tmp_path, f"{header}\na,train\n")
