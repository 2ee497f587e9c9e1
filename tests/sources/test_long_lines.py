"""Lines and quoted fields of many megabytes: a line loses itself, a field is refused before it is read."""

import gzip

import pytest
from hostile import most_memory

from medtop.files.errors import DataError
from medtop.sources.text_files import inspect_text

HEADER = b"patient_id,admit,discharge,code\n"
ROWS = b"".join(b"P%d,%d-01-01,%d-01-03,I10\n" % (number, year, year) for number in range(30) for year in (2010, 2011))


def write(path, middle, end=b"\n"):
    """A table with one long line in the middle."""
    content = HEADER + ROWS + middle + end + ROWS.replace(b"201", b"200")
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


@pytest.mark.quick("3-a.csv", "3-a.csv.gz")
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize("megabytes", [3, 32])
def test_a_long_line_without_quotes_loses_itself(run_script, tmp_path, name, megabytes):
    """Before, one of 32 MB lost the whole file."""
    path = write(tmp_path / name, b"P9,2012-01-01,2012-01-03," + b"x" * (megabytes << 20))
    assert inspect_text(path).long_lines == (62,)
    done = run_script("preprocessing/preprocess_pretrain_data.py", path, "NA", tmp_path / "out", "0")
    assert done.returncode == 0, done.stderr
    assert "rows: 121 in" in done.stdout and "line_too_long 1" in done.stdout
    rejects = (tmp_path / "out.rejects.csv").read_text().splitlines()
    assert rejects[1:] == [f"{path},62,,line_too_long"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b""])
def test_long_lines_are_counted_whatever_ends_them(tmp_path, end):
    long = b"x" * 2_100_000
    (tmp_path / "a.csv").write_bytes(HEADER.strip() + (end or b"\n") + (long + (end or b"\n")) * 2 + b"short" + end)
    assert inspect_text(tmp_path / "a.csv").long_lines == (2, 3)
    (tmp_path / "a.csv").write_bytes(HEADER + b"short\n" + long + end)
    assert inspect_text(tmp_path / "a.csv").long_lines == (3,)


@pytest.mark.slow
@pytest.mark.parametrize("filler", [b"x" * (1 << 20), b"x\n" * (1 << 19)], ids=["one line", "many lines"])
def test_a_quoted_field_of_a_gigabyte(tmp_path, filler):
    """Refused after 32 MiB of it, in little memory: from a small gzip file that holds a gigabyte of it."""
    path = tmp_path / "a.csv.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(HEADER + ROWS + b'P9,2012-01-01,2012-01-03,"')
        for _ in range(120):
            file.write(filler)
        file.write(b'"\n')
    with pytest.raises(DataError, match="quoted fields of at most 33,554,432 bytes, received a longer one"):
        inspect_text(path)
    code = f"from medtop.sources.text_files import inspect_text; inspect_text({str(path)!r})"
    result, megabytes = most_memory(code)
    assert "received a longer one" in result and megabytes < 250
