"""Exit codes and the one line on standard error, seen from outside: every test runs a small script as a process."""

import errno
import os
import platform
import signal
import subprocess
import sys
import textwrap

import pytest

SCRIPT = '''\
"""Counts something.

Example:

    python count.py --input_file=a.csv --rows=3
"""
import errno, os, sys, time
from absl import flags
from medtop.cli import commands
from medtop.files.errors import DataError, Stopped

FLAGS = flags.FLAGS
flags.DEFINE_string("input_file", None, "The table to count.")
flags.DEFINE_integer("rows", 10, "How many rows.")
flags.DEFINE_float("rate", 0.1, "How fast.")
flags.DEFINE_enum("colour", "red", ["red", "blue"], "Which colour.")
flags.DEFINE_bool("do_train", False, "Whether to train.")

def main(argv):
{body}

if __name__ == "__main__":
    flags.mark_flag_as_required("input_file")
    commands.run(main{arguments})
'''


@pytest.fixture
def script(tmp_path, repo_root):
    """Gives a function that runs a script with this body of `main` and these command line words."""

    def run(body, *words, arguments="", unbuffered="", **options):
        path = tmp_path / "count.py"
        path.write_text(SCRIPT.format(body=textwrap.indent(textwrap.dedent(body), "    "), arguments=arguments))
        options = {"capture_output": True, "text": True, "timeout": 60, "cwd": tmp_path, **options}
        environment = {**os.environ, "PYTHONPATH": str(repo_root), "PYTHONUNBUFFERED": unbuffered}
        return subprocess.run([sys.executable, str(path), *words], env=environment, **options)

    return run


def assert_one_line(process, *parts, code=1):
    assert process.returncode == code, process.stderr
    assert process.stderr.count("\n") == 1 and process.stderr.endswith("\n"), process.stderr
    assert process.stderr.startswith("error: ")
    for part in parts:
        assert part in process.stderr


def test_done_with_flags(script):
    process = script("print(FLAGS.input_file, FLAGS.rows, FLAGS.do_train)", "--input_file=a", "--rows=3", "--do_train")
    assert (process.returncode, process.stdout, process.stderr) == (0, "a 3 True\n", "")


def test_flags_may_follow_positional_arguments(script):
    process = script(
        "print(argv[1:], FLAGS.rows)",
        "d.tsv",
        "NA",
        "--rows=3",
        "out",
        "--input_file=a",
        "0",
        arguments=", ('data_File', 'vocab', 'output_Prefix', 'subset_size')",
    )
    assert (process.returncode, process.stdout) == (0, "['d.tsv', 'NA', 'out', '0'] 3\n"), process.stderr


@pytest.mark.parametrize("count, accepted", [(0, False), (1, True), (2, True), (3, False)])
def test_number_of_positional_arguments(script, count, accepted):
    process = script("print(len(argv))", *"abc"[:count], "--input_file=a", arguments=", ('file', 'subset?')")
    if accepted:
        assert process.returncode == 0
    else:
        assert_one_line(process, "expected <file> <subset?>", f"received {' '.join('abc'[:count]) or 'none'}")


def test_an_empty_argument_is_refused(script):
    process = script("raise SystemExit('main was reached')", "a", "", "--input_file=a", arguments=", ('file', 'vocab')")
    assert_one_line(process, "<vocab>: expected a value, received ''")


def test_value_without_equals_sign_does_not_pass_as_an_argument(script):
    """`--do_train True` gives absl a positional argument, and `--do_train False` would train."""
    process = script("raise SystemExit('main was reached')", "--input_file=a", "--do_train", "False")
    assert_one_line(process, "received False", "equals sign")


@pytest.mark.parametrize(
    "words, parts",
    [
        (["--input_file=a", "--row=3"], ["--row", "did you mean --rows"]),
        (["--input_file=a", "--unheard_of"], ["received --unheard_of"]),
        (["--input_file=a", "--rows=many"], ["--rows: expected a whole number, received 'many'"]),
        (["--input_file=a", "--rows=" + "9" * 5000], ["--rows: expected a whole number, received '9999"]),
        (["--input_file=a", "--rate=fast"], ["--rate: expected a number, received 'fast'"]),
        (["--input_file=a", "--do_train=perhaps"], ["--do_train: expected true or false, received 'perhaps'"]),
        (["--input_file=a", "--nodo_train=1"], ["--nodo_train: expected no value", "--do_train=false says the same"]),
        (["--input_file=a", "--colour=green"], ["--colour: expected one of red, blue, received 'green'"]),
        (["--rows=3"], ["expected --input_file=...", "received none"]),
        (["--input_file="], ["--input_file: expected a value, received ''"]),
        (["--input_file=a", "--flagfile=missing.flags"], ["missing.flags"]),
        (["--input_file=a", "--flagfile"], ["--flagfile"]),
    ],
)
def test_wrong_flags_end_in_one_line(script, words, parts):
    process = script("raise SystemExit('main was reached')", *words)
    assert_one_line(process, *parts)
    assert process.stdout == ""


@pytest.mark.parametrize(
    "content, parts",
    [
        ("--input_file=a\n# a comment\n--rows_per_batch=3\n", ["old.flags: line 3", "received --rows_per_batch"]),
        ("--input_file=a\n--norows_per_batch\n", ["old.flags: line 2", "--norows_per_batch"]),
        ("--input_file=a\n\n--rows=many\n", ["old.flags: line 3: --rows: expected a whole number, received 'many'"]),
        ("--input_file=a\n--colour=green", ["old.flags: line 2", "--colour: expected one of red, blue"]),
        ("--flagfile=inner.flags\n--input_file=a\n", ["inner.flags: line 1", "--gone"]),
        ("--input_file=a\n--\xff\xfe\n", ["old.flags", "UTF-8"]),
    ],
)
def test_flag_file_of_another_version_is_named(script, tmp_path, content, parts):
    (tmp_path / "old.flags").write_bytes(content.encode("latin-1"))
    (tmp_path / "inner.flags").write_text("--gone=1\n")
    assert_one_line(script("raise SystemExit('main was reached')", "--flagfile=old.flags"), *parts)


def test_wrong_flag_beside_a_flag_file_is_not_blamed_on_it(script, tmp_path):
    (tmp_path / "good.flags").write_text("--input_file=a\n--rows=3\n")
    process = script("raise SystemExit('main was reached')", "--flagfile=good.flags", "--rows=many")
    assert_one_line(process, "--rows: expected a whole number")
    assert "good.flags" not in process.stderr


def test_flag_file_gives_flags_and_later_words_win(script, tmp_path):
    (tmp_path / "good.flags").write_text("--input_file=a\n--rows=3\n--do_train\n")
    process = script("print(FLAGS.input_file, FLAGS.rows, FLAGS.do_train)", "--flagfile=good.flags", "--rows=4")
    assert (process.returncode, process.stdout) == (0, "a 4 True\n")


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_shows_docstring_and_only_the_scripts_flags(script, word):
    process = script("raise SystemExit('main was reached')", word, arguments=", ('data_File',)")
    assert process.returncode == 0 and process.stderr == ""
    assert "python count.py --input_file=a.csv --rows=3" in process.stdout  # the example
    assert "<data_File>" in process.stdout and "--[no]do_train" in process.stdout
    assert "The table to count." in process.stdout and "(default: 10)" in process.stdout
    assert "logtostderr" not in process.stdout and "undefok" not in process.stdout


def test_data_error_is_one_line_even_when_its_message_is_not(script):
    process = script('raise DataError("a.csv: line 3: expected a date,\\nreceived x")', "--input_file=a")
    assert_one_line(process, "a.csv: line 3: expected a date, received x")


def test_stopped_after_saving(script):
    process = script('raise Stopped("saved at step 40; run the same command again")', "--input_file=a")
    assert process.returncode == 75
    assert process.stderr == "stopped: saved at step 40; run the same command again\n"


def test_a_fault_of_medtop_shows_its_traceback_and_has_its_own_code(script):
    process = script('raise ValueError("not what a user can repair")', "--input_file=a")
    assert process.returncode == 70
    assert "Traceback" in process.stderr and "not what a user can repair" in process.stderr


def test_exit_code_of_main_is_kept(script):
    assert script("return 3", "--input_file=a").returncode == 3


@pytest.mark.parametrize(
    "body, parts",
    [
        ("open('nowhere/a.csv')", ["nowhere/a.csv", "No such file"]),
        ("open('.')", [".:", "directory"]),
        ("raise PermissionError(errno.EACCES, 'Permission denied', 'locked.csv')", ["locked.csv", "Permission denied"]),
        ("raise OSError(errno.EROFS, 'Read-only file system', 'out.csv')", ["out.csv", "Read-only"]),
        ("raise OSError(errno.ENOSPC, 'No space left on device')", ["No space left"]),
        ("os.rename('absent', 'target')", ["target", "No such file"]),
    ],
)
def test_refusals_of_the_operating_system_name_the_file(script, body, parts):
    assert_one_line(script(body, "--input_file=a"), *parts)


def test_other_os_errors_are_faults(script):
    process = script("raise ConnectionResetError(errno.ECONNRESET, 'reset by peer')", "--input_file=a")
    assert process.returncode == 70 and "Traceback" in process.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is Linux's")
@pytest.mark.parametrize("size", [1, 100_000])
def test_full_disk_behind_standard_output(script, size):
    with open("/dev/full", "w") as full:
        process = script(
            f"print('x' * {size})", "--input_file=a", stdout=full, capture_output=False, stderr=subprocess.PIPE
        )
    assert_one_line(process, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("size", [1, 1_000_000])
def test_reader_that_goes_away_is_no_traceback(script, size, unbuffered):
    read, write = os.pipe()
    os.close(read)
    process = script(
        f"print('x' * {size})",
        "--input_file=a",
        stdout=write,
        capture_output=False,
        stderr=subprocess.PIPE,
        unbuffered=unbuffered,
    )
    os.close(write)
    assert (process.returncode, process.stderr) == (141, "")


def test_broken_pipe_elsewhere_is_a_fault(script):
    process = script("r, w = os.pipe(); os.close(r); os.write(w, b'x')", "--input_file=a")
    assert process.returncode == 70 and "BrokenPipeError" in process.stderr


def test_interrupt_from_the_keyboard(script):
    process = script("import signal; os.kill(os.getpid(), signal.SIGINT); time.sleep(30)", "--input_file=a")
    assert process.returncode == 128 + signal.SIGINT
    assert process.stderr.startswith("interrupted: ") and process.stderr.count("\n") == 1


def test_flags_are_checked_without_tensorflow_which_is_prepared(script, monkeypatch):
    for name in ("TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS"):
        monkeypatch.delenv(name, raising=False)
    process = script(
        "print(sorted({'tensorflow', 'keras', 'torch'} & {*sys.modules}))\n"
        "print(os.environ['TF_CPP_MIN_LOG_LEVEL'] in '23', os.environ.get('TF_ENABLE_ONEDNN_OPTS'))",
        "--input_file=a",
    )
    with_onednn = "1" if platform.machine() in ("x86_64", "AMD64") else None
    assert process.stdout == f"[]\nTrue {with_onednn}\n", process.stderr
