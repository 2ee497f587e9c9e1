"""Endpoint files: named outcomes as lists of code prefixes."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from medtop.cohort.codes import coding_system
from medtop.files.errors import DataError

SHIPPED = Path(__file__).parents[1] / "endpoint_files"
SYSTEMS = ("icd9", "icd10", "phecode", "verbatim")
FILE_KEYS = ("description", "hospital_acquired", "endpoints")
MOST = 64
"""Endpoints in one file: membership of a visit is one bit each in a 64-bit word."""


@dataclasses.dataclass(frozen=True)
class Endpoints:
    """Outcomes by name.

    Attributes:
        name: of the file.
        prefixes: dict endpoint -> dict system ("icd9", "icd10", "phecode", "verbatim") -> tuple of prefixes.
        hospital_acquired: only diagnoses marked as not present on admission count as events.
    """

    name: str
    prefixes: dict
    hospital_acquired: bool = False

    @property
    def names(self):
        """The endpoints in the file's order."""
        return list(self.prefixes)

    @property
    def needs_icd(self):
        """Endpoints that ICD codes alone define: a source without them never shows an event."""
        return [name for name, systems in self.prefixes.items() if not {"phecode", "verbatim"} & set(systems)]

    def bits(self, codes):
        """Which endpoints each code belongs to: uint64 [len(codes)], bit k for endpoint k of `names`."""
        endpoints = [_prepared(systems) for systems in self.prefixes.values()]
        return np.array([_bits(code, endpoints) for code in codes], np.uint64)


def _prepared(systems):
    """dict system -> tuple of prefixes as `coding_system` gives codes; all systems, "" for `phecode`."""
    icd = {
        name: tuple(prefix.replace(".", "").upper() for prefix in systems.get(name, ())) for name in ("icd9", "icd10")
    }
    return {**icd, "": tuple(systems.get("phecode", ())), "verbatim": tuple(systems.get("verbatim", ()))}


def _bits(code, endpoints):
    """Bit k is set where the code starts with a prefix of its own coding system in endpoint k.

    Dots do not count in ICD codes. `phecode` prefixes are for codes without an ICD mark, dots as written (250.2 holds
    250.21, not 250.12); `verbatim` prefixes are held against the code as the source gives it.

    >>> _bits("ICD10_E1131", [_prepared({"icd9": ["410"]}), _prepared({"icd10": ["E11.31"]})])
    2
    """
    system, rest = coding_system(code)
    return sum(
        1 << number
        for number, prefixes in enumerate(endpoints)
        if rest.startswith(prefixes[system]) or code.startswith(prefixes["verbatim"])
    )


def read_endpoints(name_or_path):
    """Reads a shipped endpoint file by name ("diabetes_complications") or a user's by path (.json, or .yaml).

    The file is a dict: `endpoints` -> name -> system -> list of prefixes, and optionally `description` and
    `hospital_acquired` (true or false).

    Raises:
        DataError: for a missing or damaged file, an unknown key, or an empty list; names the place.
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
    return Endpoints(path.stem, {name: _systems(systems, path, name) for name, systems in endpoints.items()}, acquired)


def _load(path):
    if not path.is_file():
        raise DataError(f"{path}: expected an endpoint file, found no such file")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix in (".yaml", ".yml"):
            return _load_yaml(text, path)
        return json.loads(text)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8 text; byte {error.start} is not") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}: line {error.lineno}: expected JSON, received another content ({error.msg})"
        ) from error


def _load_yaml(text, path):
    try:
        import yaml
    except ImportError as error:
        raise DataError(
            f"{path}: YAML needs the package pyyaml, which is not installed; expected it or JSON"
        ) from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"{path}: expected YAML, received another content ({str(error).splitlines()[0]})") from error


def _check_keys(value, known, path, place):
    if not isinstance(value, dict):
        raise DataError(f"{path}: {place or 'the file'}: expected named entries, received a {type(value).__name__}")
    unknown = [key for key in value if key not in known]
    if unknown:
        raise DataError(
            f"{path}: {place + ': ' if place else ''}unknown key {unknown[0]!r}; expected one of {', '.join(known)}"
        )


def _systems(systems, path, name):
    if not name or any(letter in name for letter in ",. \t\n"):
        raise DataError(f"{path}: expected endpoint names without blanks, dots and commas, received {name!r}")
    _check_keys(systems, (*SYSTEMS, "description"), path, f"endpoints.{name}")
    lists = {system: systems[system] for system in SYSTEMS if system in systems}
    for system, prefixes in lists.items():
        good = isinstance(prefixes, list) and prefixes
        if not (good and all(isinstance(prefix, str) and prefix.replace(".", "").strip() for prefix in prefixes)):
            raise DataError(
                f"{path}: endpoints.{name}.{system}: expected a list of code prefixes (strings), "
                f"received {str(prefixes)[:80]!r}"
            )
    if not lists:
        raise DataError(f"{path}: endpoints.{name}: expected prefixes for one of {', '.join(SYSTEMS)}, received none")
    return {system: tuple(prefixes) for system, prefixes in lists.items()}
