"""The map that codes go through before they meet a vocabulary (`--code_map`). It stays beside the vocabulary.

`<prefix>.code_map.json` lies beside `<prefix>.vocab.txt`, `code_map.json` beside the `vocab.txt` of a run or an export.
"""

import dataclasses
from pathlib import Path

from medtop.cohort.codes import CATEGORY, MANY, MISSING, category, coding_system
from medtop.files.atomic import write_json
from medtop.files.bounded import read_json
from medtop.files.errors import DataError

FORMAT, VERSION = "medtop code map", 1
FILE = "code_map.json"


def map_key(code):
    """What a code is found by: ICD and other marked codes without regard to dots and case, others as they are.

    >>> map_key("icd10_e11.9"), map_key("250.21")
    ('ICD10_E119', '250.21')
    """
    system, rest = coding_system(code)
    return f"{system.upper()}_{rest}" if system else rest


@dataclasses.dataclass(frozen=True)
class CodeMap:
    """A map of codes, as it was used when the vocabulary was made.

    Attributes:
        kind: "first3" (`codes.category`), or "file".
        many: of `codes.MANY`: what became of a code with several targets; the others are not in `entries` any more.
        missing: of `codes.MISSING`: a code without an entry stays as it is, or gives no token.
        entries: dict key (`map_key`) -> tuple of targets; {} for "first3".
    """

    kind: str
    many: str = MANY[0]
    missing: str = MISSING[0]
    entries: dict = dataclasses.field(default_factory=dict)

    def entry(self, code):
        """The targets that the map itself gives for a code: tuple, or None where it says nothing."""
        return (category(code),) if self.kind == CATEGORY else self.entries.get(map_key(code))

    def targets(self, code):
        """What a code becomes: tuple, empty where it gives no token.

        >>> CodeMap("first3").targets("ICD10_E11.9"), CodeMap("file", missing="drop").targets("A")
        (('ICD10_E11',), ())
        """
        own = self.entry(code)
        return own if own is not None else (code,) if self.missing == "keep" else ()

    @property
    def sentence(self):
        """What it does, for cards and documentation."""
        if self.kind == CATEGORY:
            return "codes are rolled up to their categories (--code_map=first3) before they are looked up"
        several = {"refuse": "each has one target", "all": "all targets of a code count", "first": "the first counts"}
        without = "stay as they are" if self.missing == "keep" else "give no token"
        return (
            f"codes go through a map of {len(self.entries):,} codes before they are looked up ({several[self.many]}; "
            f"codes that are not in it {without})"
        )

    def to_dict(self):
        """For JSON: dict of `kind`, `many`, `missing`, `targets`."""
        targets = {key: list(values) for key, values in self.entries.items()}
        return {"kind": self.kind, "many": self.many, "missing": self.missing, "targets": targets}

    @classmethod
    def from_dict(cls, content, where):
        """The `CodeMap` of `to_dict`'s dict.

        Raises:
            DataError: naming `where`, for another content.
        """
        wrong = DataError(f"{where}: expected a code map (kind, many, missing, targets), received another content")
        if not isinstance(content, dict) or content.get("kind") not in (CATEGORY, "file"):
            raise wrong
        if content.get("many") not in MANY or content.get("missing") not in MISSING:
            raise wrong
        entries = content.get("targets")
        if not isinstance(entries, dict) or not all(
            isinstance(values, list) and values and all(isinstance(value, str) and value for value in values)
            for values in entries.values()
        ):
            raise wrong
        entries = {key: tuple(values) for key, values in entries.items()}
        return cls(content["kind"], content["many"], content["missing"], entries)


def path_beside(vocabulary_file):
    """Where the map of a vocabulary file lies: a path; None for a name that no vocabulary of ours has.

    >>> path_beside("runs/first/vocab.txt").name, path_beside("data/cohort.types").name
    ('code_map.json', 'cohort.code_map.json')
    """
    path = Path(vocabulary_file)
    for ending in ("vocab.txt", "types"):
        if path.name == ending or path.name.endswith(f".{ending}"):
            return path.with_name(path.name[: -len(ending)] + FILE)
    return None


def read_beside(vocabulary_file):
    """The `CodeMap` that lies beside a vocabulary file, or None."""
    path = path_beside(vocabulary_file)
    if path is None or not path.is_file():
        return None
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("version") != VERSION:
        raise DataError(f"{path}: expected a code map of this version, received another content")
    return CodeMap.from_dict(content, path)


def write_beside(vocabulary_file, code_map, *, shared=False):
    """Writes a map, if there is one, beside a vocabulary file."""
    if code_map is not None:
        content = {"format": FORMAT, "version": VERSION, **code_map.to_dict()}
        write_json(path_beside(vocabulary_file), content, shared=shared)
