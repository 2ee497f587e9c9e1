"""Text files as they are: every character and line end in its place, so that offsets hold."""

import dataclasses
from pathlib import Path, PurePosixPath

from medtop.files.bounded import read_bytes
from medtop.files.errors import DataError


@dataclasses.dataclass(frozen=True)
class InputFiles:
    """Files below one folder.

    Attributes:
        root: `Path`, the folder.
        names: list of str, paths below `root` with `/`, in order.
    """

    root: Path
    names: list

    def path(self, name):
        """The file's `Path`."""
        return self.root / name


def input_files(path, suffixes):
    """The files that a flag names: one file, or all below a folder that have one of the suffixes (also with `.gz`).

    Args:
        path: file or folder.
        suffixes: tuple of str with their dots.

    Raises:
        DataError: where there is none.
    """
    path = Path(path)
    if path.is_file():
        return InputFiles(path.parent, [path.name])
    if not path.is_dir():
        raise DataError(f"{path}: expected a file or a folder, found no such thing")
    endings = tuple(suffix + more for suffix in suffixes for more in ("", ".gz"))
    names = sorted(
        file.relative_to(path).as_posix()
        for file in path.rglob("*")
        if file.is_file() and file.name.endswith(endings) and not file.name.startswith(".")
    )
    if not names:
        raise DataError(f"{path}: expected files that end in {', '.join(suffixes)}, found none")
    return InputFiles(path, names)


def stem(name, suffixes):
    """A file's path without `.gz` and the first of the suffixes that it ends in.

    >>> stem("a/b.ann.gz", (".txt", ".ann"))
    'a/b'
    """
    name = name.removesuffix(".gz")
    for suffix in suffixes:
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return name


def read_text(path, *, keep_mark=False):
    """A file's text in UTF-8 with its own line ends; a byte order mark is left out unless `keep_mark`.

    Raises:
        DataError: for bytes that are not UTF-8; names the byte's place.
    """
    path = Path(path)
    try:
        text = read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start}: expected UTF-8, received another encoding") from error
    return text if keep_mark else text.removeprefix("\ufeff")


def lines_of(text):
    r"""(number from 1, line without its end) of each line; only `\n` and `\r\n` end a line.

    >>> list(lines_of("a\x0bb\r\n\nc"))
    [(1, 'a\x0bb'), (2, ''), (3, 'c')]
    """
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return ((number, line.removesuffix("\r")) for number, line in enumerate(lines, 1))


def output_file(folder, document_id, suffix):
    """The path of a document's file below a folder, its own folders made.

    Raises:
        DataError: for an id that is no file's name.
    """
    place = PurePosixPath(document_id)
    if (
        not document_id
        or place.is_absolute()
        or any(part in ("..", ".") or part.startswith(".") for part in document_id.split("/"))
        or "" in document_id.split("/")
        or any(ord(letter) < 32 or letter == "\\" for letter in document_id)
    ):
        raise DataError("document id: expected one that can name a file, received another")
    path = Path(folder) / f"{document_id}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_exactly(path, text):
    """Writes a text in UTF-8 with its own line ends; one that begins with a byte order mark gets a second one before
    it, which readers take off."""
    Path(path).write_bytes(("\ufeff" * text.startswith("\ufeff") + text).encode("utf-8"))
