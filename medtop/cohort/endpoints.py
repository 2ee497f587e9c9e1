"""Endpoint files: named outcomes as lists of code prefixes."""

import dataclasses
from pathlib import Path

from medtop.cohort.prefixes import SYSTEMS, plain_prefix
from medtop.files.bounded import read_json, read_yaml
from medtop.files.errors import DataError

SHIPPED = Path(__file__).parents[1] / "endpoint_files"
FILE_KEYS = ("description", "hospital_acquired", "endpoints")
MOST = 64
"""Endpoints in one file: membership of a visit is one bit each in a 64-bit word."""


@dataclasses.dataclass(frozen=True)
class Endpoints:
    """Outcomes by name.

    Attributes:
        name: of the file.
        prefixes: dict endpoint -> dict system (of `prefixes.SYSTEMS`) -> tuple of plain prefixes: codes of the event.
        history: the same for codes that say that the event lies in the past (old infarction): they make the endpoint
            prevalent and are no event. Every endpoint has an entry, which may be empty.
        hospital_acquired: only diagnoses marked as not present on admission count as events.
        shipped: whether the file comes with medtop.
    """

    name: str
    prefixes: dict
    history: dict
    hospital_acquired: bool = False
    shipped: bool = False

    @property
    def names(self):
        """The endpoints in the file's order."""
        return list(self.prefixes)

    @property
    def needs_icd(self):
        """Endpoints that marked codes alone define: a source without ICD codes never shows an event."""
        return [name for name, systems in self.prefixes.items() if not {"phecode", "verbatim"} & set(systems)]

    @property
    def lists(self):
        """list of (endpoint, "event" | "history", system, tuple of prefixes), in the file's order."""
        return [
            (name, kind, system, prefixes)
            for name in self.prefixes
            for kind, lists in (("event", self.prefixes[name]), ("history", self.history[name]))
            for system, prefixes in lists.items()
        ]


def read_endpoints(name_or_path):
    """Reads a shipped endpoint file by name ("diabetes_complications") or a user's by path (.json, or .yaml).

    The file is a dict: `endpoints` -> name -> system -> list of prefixes, and optionally `description` and
    `hospital_acquired` (true or false); an endpoint may have a `history`, again system -> list of prefixes.

    Raises:
        DataError: for a missing or damaged file, an unknown key, an empty list, or what is no plain prefix of its
            system (see `prefixes.plain_prefix`); names the place.
    """
    path = Path(name_or_path)
    if not path.suffix:
        path = SHIPPED / f"{name_or_path}.json"
        if not path.is_file():
            raise DataError(
                f"--endpoints: expected {', '.join(sorted(file.stem for file in SHIPPED.glob('*.json')))} "
                f"or a file name ending in .json or .yaml, received {name_or_path!r}"
            )
    content = _load(path)
    _check_keys(content, FILE_KEYS, path, "")
    acquired = content.get("hospital_acquired", False)
    if not isinstance(acquired, bool):
        raise DataError(f"{path}: hospital_acquired: expected true or false, received {acquired!r}")
    endpoints = content.get("endpoints")
    if not (isinstance(endpoints, dict) and 1 <= len(endpoints) <= MOST):
        raise DataError(
            f"{path}: endpoints: expected 1 to {MOST} named endpoints, received "
            f"{len(endpoints) if isinstance(endpoints, dict) else type(endpoints).__name__}"
        )
    for name in endpoints:
        if not name or any(letter in name for letter in ",. \t\n"):
            raise DataError(f"{path}: expected endpoint names without blanks, dots and commas, received {name!r}")
    prefixes = {name: _systems(systems, path, f"endpoints.{name}") for name, systems in endpoints.items()}
    history = {
        name: _systems(systems["history"], path, f"endpoints.{name}.history") if "history" in systems else {}
        for name, systems in endpoints.items()
    }
    return Endpoints(path.stem, prefixes, history, acquired, path.parent == SHIPPED)


def _load(path):
    if not path.is_file():
        raise DataError(f"{path}: expected an endpoint file, found no such file")
    return read_yaml(path) if path.suffix in (".yaml", ".yml") else read_json(path)


def _check_keys(value, known, path, place):
    if not isinstance(value, dict):
        raise DataError(f"{path}: {place or 'the file'}: expected named entries, received a {type(value).__name__}")
    unknown = [key for key in value if key not in known]
    if unknown:
        raise DataError(
            f"{path}: {place + ': ' if place else ''}unknown key {unknown[0]!r}; expected one of {', '.join(known)}"
        )


def _systems(systems, path, place):
    _check_keys(systems, (*SYSTEMS, "description", *(() if place.endswith(".history") else ("history",))), path, place)
    lists = {system: systems[system] for system in SYSTEMS if system in systems}
    plain = {}
    for system, prefixes in lists.items():
        good = isinstance(prefixes, list) and prefixes
        if not (good and all(isinstance(prefix, str) and prefix.replace(".", "").strip() for prefix in prefixes)):
            raise DataError(
                f"{path}: {place}.{system}: expected a list of code prefixes (strings), received {str(prefixes)[:80]!r}"
            )
        each = [plain_prefix(system, prefix, f"{path}: {place}.{system}") for prefix in prefixes]
        plain[system] = tuple(dict.fromkeys(each))
    if not plain:
        raise DataError(f"{path}: {place}: expected prefixes for one of {', '.join(SYSTEMS)}, received none")
    return plain
