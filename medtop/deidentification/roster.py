"""The hospital's own list of people: their names, also mistyped, their record numbers and phones, wherever they stand.

Rules, in this order; a name is what stands in the roster's columns of names, cut at blanks:

1. A name of the document's own patient, in any case of letters.
2. A first name and a surname of one person beside each other, in either order, in any case of letters.
3. Any other name of three letters or more with a capital, in a text that is not all capitals.
4. A name mistyped (one letter changed, left out, added, or two neighbours swapped) of five letters or more: the own
   patient's anywhere, others' beside a title or another roster name.

Names in `ambiguous.EPONYMS` are left alone by 3 and 4, and by 1 unless they have a capital of their own; before a word
in `ambiguous.OF_DISEASE` by 1, 3 and 4 where they are eponyms. Names in `ambiguous.NO_NAME` count under 2 only.
Record numbers and phones (five signs or more) match whatever stands between their signs.
"""

import collections
import csv
import re
from pathlib import Path

from medtop.deidentification.ambiguous import EPONYMS, NO_NAME, OF_DISEASE
from medtop.deidentification.views import plain
from medtop.files.errors import DataError
from medtop.files.parquet import open_parquet, reading
from medtop.sources.ids import normal_id

NAME_COLUMNS = ("first_name", "last_name", "middle_name", "maiden_name", "name")
NUMBER_COLUMNS = {"mrn": "MRN", "phone": "PHONE", "ssn": "SSN", "account": "ACCOUNT", "health_plan": "HEALTH_PLAN"}
TEXT_COLUMNS = {"street": "LOCATION", "address": "LOCATION", "email": "EMAIL"}

MISTYPED = "roster: mistyped name"

_WORD = re.compile(r"[^\W\d_]+(?:['-](?!s\b)[^\W\d_]+)*")
_NUMBER = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{0,4}-?[(+]?\d(?:[-.\s()/]{0,3}[A-Za-z]?\d){4,}[A-Za-z]?(?![A-Za-z0-9])")
_TITLE = re.compile(
    r"\b(?:dr|drs|mr|mrs|ms|miss|prof|nurse|sir|dear|patient|pt|name|attending|by|md|rn)\b[.:,]?\s*$", re.I
)
_SHORTEST_TYPO, _SHORTEST_NUMBER = 5, 5
_MOST_NAMES = 100
"""Words of one person's names: each is kept beside each other one."""


def _signs(text):
    """A number's letters and digits."""
    return re.sub(r"[^A-Za-z0-9]", "", text).lower()


def _names(text):
    return [word.lower() for word in _WORD.findall(plain(text or ""))]


def one_edit(first, second):
    """Whether two words differ by one letter changed, left out, added, or by two neighbours swapped.

    >>> [one_edit("smith", other) for other in ("smith", "smiht", "smth", "smyth", "smitth", "smithee")]
    [False, True, True, True, True, False]
    """
    if first == second or abs(len(first) - len(second)) > 1:
        return False
    place = 0
    while place < min(len(first), len(second)) and first[place] == second[place]:
        place += 1
    a, b = first[place:], second[place:]
    if len(a) == len(b):
        return a[1:] == b[1:] or (a[1:2] == b[:1] and a[:1] == b[1:2] and a[2:] == b[2:])
    return a[1:] == b if len(a) > len(b) else a == b[1:]


class Roster:
    """People of a hospital.

    Args:
        rows: iterable of dicts with any of `NAME_COLUMNS`, `NUMBER_COLUMNS`, `TEXT_COLUMNS`, `patient_id`; values str.
        where: names the rows in an error.

    Attributes:
        people: how many rows.
        names: set of names, lower case.
        numbers: dict of a number's letters and digits -> type.
        texts: dict of lower-cased addresses -> type.
    """

    def __init__(self, rows=(), where="roster"):
        self.people, self.names, self.numbers, self.texts = 0, set(), {}, {}
        self._pairs, self._own = collections.defaultdict(set), collections.defaultdict(set)
        self._near = None
        for row in rows:
            self._add(row, where)

    def _add(self, row, where):
        self.people += 1
        words = {word for column in NAME_COLUMNS for word in _names(row.get(column))}
        if len(words) > _MOST_NAMES:
            raise DataError(
                f"{where}: row {self.people:,}: expected the names of a person, at most {_MOST_NAMES} words, received "
                f"{len(words):,}"
            )
        self.names |= words
        for word in words:
            self._pairs[word] |= words
        if row.get("patient_id"):
            self._own[normal_id(str(row["patient_id"]))] |= words
        for column, kind in NUMBER_COLUMNS.items():
            signs = _signs(row.get(column) or "")
            if len(signs) >= _SHORTEST_NUMBER and any(sign.isdigit() for sign in signs):
                self.numbers[signs] = kind
                if kind == "PHONE" and len(signs) == 10:
                    self.numbers["1" + signs] = kind
        for column, kind in TEXT_COLUMNS.items():
            text = " ".join(plain(row.get(column) or "").lower().split())
            if len(text) >= _SHORTEST_NUMBER:
                self.texts[text] = kind

    def __bool__(self):
        return bool(self.people)

    def spelled(self, word, patient_id):
        """The name of a patient that a lower-case word mistypes, else the word."""
        own = self._own.get(normal_id(patient_id), ())
        if word in own or len(word) < _SHORTEST_TYPO - 1:
            return word
        return min((name for name in own if len(name) >= _SHORTEST_TYPO and one_edit(word, name)), default=word)

    def find(self, text, patient_id=""):
        """Yields (start, end, type, rule) of a view's text."""
        yield from self._find_numbers(text)
        yield from self._find_names(text, self._own.get(normal_id(patient_id), ()) if patient_id else ())
        if self.texts:
            flat = re.sub(r"\s", " ", text.lower())
            for value, kind in self.texts.items():
                place = flat.find(value)
                while place >= 0:
                    yield place, place + len(value), kind, "roster: address"
                    place = flat.find(value, place + 1)

    def _find_numbers(self, text):
        if self.numbers:
            for match in _NUMBER.finditer(text):
                signs = _signs(match[0])
                kind = self.numbers.get(signs)
                if kind:
                    yield match.start(), match.end(), kind, "roster: number"
                    continue
                for piece in re.finditer(r"[A-Za-z]{0,4}\d+(?:[-.]\d+)*", match[0]):  # two numbers beside each other
                    if kind := self.numbers.get(_signs(piece[0])):
                        yield match.start() + piece.start(), match.start() + piece.end(), kind, "roster: number"

    def _find_names(self, text, own):
        if not self.names:
            return
        words = [(match.start(), match.end(), match[0]) for match in _WORD.finditer(text)]
        lower = [word.lower() for _, _, word in words]
        mixed = any(word[1:].islower() and word[0].isupper() for _, _, word in words) and not text.isupper()
        hits = {}
        for place, word in enumerate(lower):
            if word in self.names or ("-" in word and any(part in self.names for part in word.split("-"))):
                if rule := self._rule_of(words, lower, place, own, mixed, text):
                    hits[place] = rule
        for place, word in enumerate(lower):
            if place not in hits and len(word) >= _SHORTEST_TYPO - 1 and word not in NO_NAME and word not in EPONYMS:
                if self._typo(words, lower, place, own, mixed, hits, text):
                    hits[place] = MISTYPED
        for place, rule in sorted(hits.items()):
            yield words[place][0], words[place][1], "NAME", rule

    def _rule_of(self, words, lower, place, own, mixed, text):
        word, shown = lower[place], words[place][2]
        for other in (place - 1, place + 1, place - 2, place + 2):
            if 0 <= other < len(lower) and lower[other] in self._pairs.get(word, ()) and lower[other] != word:
                first, second = sorted((place, other))
                between = text[words[first][1] : words[second][0]]
                if len(between) <= 5 and not re.search(r"[;:!?\d]|\.\s*\n", between):
                    if not (word in NO_NAME and lower[other] in NO_NAME):
                        return "roster: full name"
        if word in NO_NAME:
            return None
        eponym = word in EPONYMS
        if eponym and (
            place + 1 < len(lower) and lower[place + 1] in OF_DISEASE or text.startswith("'s ", words[place][1])
        ):
            return None
        capital = shown[0].isupper() and mixed
        if word in own and (not eponym or (capital and len(word) > 2)):
            return "roster: own patient"
        if capital and len(word) > 2 and not eponym:
            return "roster: name"
        if _TITLE.search(text[max(0, words[place][0] - 10) : words[place][0]]) and len(word) > 2 and not eponym:
            return "roster: name"
        return None

    def _typo(self, words, lower, place, own, mixed, hits, text):
        word, shown = lower[place], words[place][2]
        if mixed and not shown[0].isupper():
            return False
        if any(len(name) >= _SHORTEST_TYPO and name not in EPONYMS and one_edit(word, name) for name in own):
            return True
        beside = (place - 1 in hits and words[place][0] - words[place - 1][1] <= 4) or (
            place + 1 in hits and words[place + 1][0] - words[place][1] <= 4
        )
        if not (beside or _TITLE.search(text[max(0, words[place][0] - 10) : words[place][0]])):
            return False
        return any(one_edit(word, name) for name in self._neighbours(word))

    def _neighbours(self, word):
        """Names that share a form with one letter left out."""
        if self._near is None:
            self._near = collections.defaultdict(list)
            for name in self.names:
                if len(name) >= _SHORTEST_TYPO and name not in NO_NAME:
                    for form in _forms(name):
                        self._near[form].append(name)
        return {name for form in _forms(word) for name in self._near.get(form, ())}


def _forms(word):
    return {word, *(word[:place] + word[place + 1 :] for place in range(len(word)))}


def read_roster(path):
    """The `Roster` of a CSV or Parquet file.

    Raises:
        DataError: for a file without a column of names or numbers, one that cannot be read, or more than
            `_MOST_NAMES` words of names for one person; names no row's content.
    """
    path, known = Path(path), (*NAME_COLUMNS, *NUMBER_COLUMNS, *TEXT_COLUMNS, "patient_id")
    if not path.is_file():
        raise DataError(f"{path}: expected a roster, found no such file")
    if path.suffix == ".parquet":
        with reading(path):
            file = open_parquet(path)
            columns = [name for name in known if name in file.schema_arrow.names]
            _check_columns(path, columns, file.schema_arrow.names)
            rows = (
                {name: "" if value is None else str(value) for name, value in row.items()}
                for batch in file.iter_batches(4096, columns=columns)
                for row in batch.to_pylist()
            )
            return Roster(rows, path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened, strict=True)
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
            _check_columns(path, [name for name in known if name in reader.fieldnames], reader.fieldnames)
            return Roster(_whole_rows(reader, path), path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start}: expected UTF-8, received another encoding") from None
    except csv.Error as error:
        raise DataError(f"{path}: expected a CSV file, received another content ({error})") from None


def _whole_rows(reader, path):
    for row in reader:
        if None in row or None in row.values():
            raise DataError(
                f"{path}: line {reader.line_num}: expected a value for each column, received another number"
            )
        yield row


def _check_columns(path, columns, present):
    if not set(columns) - {"patient_id"}:
        raise DataError(
            f"{path}: line 1: expected columns out of {', '.join((*NAME_COLUMNS, *NUMBER_COLUMNS))}, received "
            f"{', '.join(present):.80}"
        )
