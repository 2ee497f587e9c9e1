"""The schema file: which columns of a table are inputs and targets, which rows take part, what missing values become.

{"version": 1, "separator": ",", "missing": ["", "NA"], "rows": ["kt_v > 1.2"], "group": "patient_id",
 "inputs": [{"column": "age", "kind": "numeric", "missing": "median", "indicator": true},
            {"column": "sex", "kind": "categorical", "missing": "own_category"},
            {"name": "comorbidities", "kind": "multi_hot", "columns": ["diabetes", "stroke"], "components": 1}],
 "targets": [{"column": "mode", "kind": "classification"},
             {"column": "blood_flow", "kind": "regression", "loss_units": "standard"}]}

No TensorFlow here: flags and schema are checked first.
"""

import dataclasses
import json
import operator
import re
from pathlib import Path

from medtop.files.bounded import read_json
from medtop.files.errors import DataError

VERSION = 1
NUMERIC, CATEGORICAL, MULTI_HOT = "numeric", "categorical", "multi_hot"
CLASSIFICATION, REGRESSION = "classification", "regression"
MISSING_POLICIES = {
    NUMERIC: ("median", "mean", "drop"),
    CATEGORICAL: ("own_category", "most_frequent", "drop"),
    MULTI_HOT: ("absent", "drop"),
}
"""Kind of an input -> what may be done where its value is missing; the first is the default. "drop" leaves the row
out."""
LOSS_UNITS = ("standard", "data")
COMPARISONS = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?")


@dataclasses.dataclass(frozen=True)
class InputColumn:
    """One input of the network.

    Attributes:
        name: of the input; the column's by default.
        kind: "numeric", "categorical" or "multi_hot".
        columns: the columns that it reads: one, except for a multi-hot input with a yes/no column per label.
        missing: one of `MISSING_POLICIES[kind]`.
        indicator: numeric: adds a 0/1 input that says where the value was missing.
        log: numeric: log(1 + x) of values of 0 or more, as suits laboratory values with a long tail.
        separator: multi-hot in one column: what stands between the labels; None = one yes/no column per label.
        components: multi-hot: number of principal components that replace the labels; 0 = the labels themselves.
    """

    name: str
    kind: str
    columns: tuple
    missing: str
    indicator: bool = False
    log: bool = False
    separator: str | None = None
    components: int = 0


@dataclasses.dataclass(frozen=True)
class Target:
    """One target.

    Attributes:
        name: the column; a missing value is an unknown target.
        kind: "classification" or "regression".
        classes: the classes' texts in the order of the outputs; None = those in the data, sorted.
        weight: the task's priority, a factor of its balanced weight (`medtop.model.balancing`).
        loss_units: regression: the squared error counts in units of the target's standard deviation ("standard"), or
            in the data's own ("data"), where it may be thousands of times another target's loss.
    """

    name: str
    kind: str
    classes: tuple | None = None
    weight: float = 1.0
    loss_units: str = "standard"


@dataclasses.dataclass(frozen=True)
class Condition:
    """A row takes part where `column` compares so with `value` (a number, or a text for == and !=)."""

    column: str
    comparison: str
    value: float | str

    def __str__(self):
        return f"{self.column} {self.comparison} {self.value}"


@dataclasses.dataclass(frozen=True)
class Schema:
    """A schema file's content.

    Attributes:
        path: the file.
        separator: between a CSV's fields.
        missing: texts that stand for a missing value, after stripping blanks.
        rows: `Condition`s, all of which must hold.
        group: column whose rows stay in one fold (a patient's); None = each row for itself.
        inputs: `InputColumn`s.
        targets: `Target`s.
    """

    path: Path
    separator: str
    missing: tuple
    rows: tuple
    group: str | None
    inputs: tuple
    targets: tuple

    @property
    def columns(self):
        """Every column that the schema names, each once, in its order."""
        names = [condition.column for condition in self.rows]
        names += [self.group] if self.group else []
        names += [column for feature in self.inputs for column in feature.columns]
        return list(dict.fromkeys([*names, *(target.name for target in self.targets)]))

    def with_weights(self, items):
        """The schema with other weights of its targets; `items`: list of text `target:number`.

        Raises:
            DataError: for another form, a target that is not there, or a weight below 0.
        """
        weights = {}
        for item in items:
            name, _, text = item.rpartition(":")
            try:
                weights[name] = float(text)
            except ValueError:
                weights[name] = -1.0
            if name not in [target.name for target in self.targets] or not 0 <= weights[name] < float("inf"):
                raise DataError(
                    f"--task_weights: expected target:number with a target of {self.path} and a number of "
                    f"0 or more, received {item!r}"
                )
        changed = [
            dataclasses.replace(target, weight=weights.get(target.name, target.weight)) for target in self.targets
        ]
        return dataclasses.replace(self, targets=tuple(changed))

    def to_dict(self):
        """JSON-able content without the path, to compare runs by."""
        content = dataclasses.asdict(self)
        del content["path"]
        return json.loads(json.dumps(content))


def read_schema(path):
    """Reads and checks a schema file.

    Raises:
        DataError: naming the file, the entry, what was expected and what was received.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: expected a schema file (JSON), found no such file")
    content = read_json(path)
    fields = _Fields(content, path, "the schema")
    version = fields.take("version", int)
    if version != VERSION:
        raise DataError(f"{path}: expected version {VERSION}, received version {version}")
    schema = Schema(
        path=path,
        separator=fields.take("separator", str, ","),
        missing=tuple(fields.texts("missing", MISSING)),
        rows=tuple(parse_condition(text, path) for text in fields.texts("rows", ())),
        group=fields.take("group", str, None),
        inputs=tuple(_input(entry, path) for entry in fields.entries("inputs")),
        targets=tuple(_target(entry, path) for entry in fields.entries("targets")),
    )
    fields.finish()
    if len(schema.separator) != 1:
        raise DataError(f"{path}: separator: expected one character, received {schema.separator!r}")
    _check_names(schema)
    return schema


def parse_condition(text, where):
    """`"kt_v > 1.2"` -> `Condition`.

    >>> parse_condition("kt_v > 1.2", "schema.json")
    Condition(column='kt_v', comparison='>', value=1.2)
    >>> parse_condition("mode != 'HD'", "schema.json").value
    'HD'
    """
    match = re.fullmatch(r"\s*(.+?)\s*(>=|<=|==|!=|>|<)\s*(.+?)\s*", text)
    if not match:
        raise DataError(f"{where}: rows: expected conditions such as 'kt_v > 1.2', received {text!r}")
    column, comparison, value = match.groups()
    try:
        return Condition(column, comparison, float(value))
    except ValueError:
        if comparison not in ("==", "!="):
            raise DataError(f"{where}: rows: expected a number after {comparison}, received {text!r}") from None
    return Condition(column, comparison, value.strip("'\""))


def _input(entry, path):
    fields = _Fields(entry, path, "inputs")
    kind = fields.choice("kind", tuple(MISSING_POLICIES))
    column = fields.take("column", str, None)
    columns = tuple(fields.texts("columns", ())) if kind == MULTI_HOT else ()
    if (column is None) == (not columns):
        expected = "a column, or columns and no column" if kind == MULTI_HOT else "a column"
        raise DataError(f"{path}: inputs: expected {expected}, received {sorted(entry)}")
    name = fields.take("name", str, column)
    if name is None:
        raise DataError(f"{path}: inputs: expected a name beside columns, received {sorted(entry)}")
    policies = MISSING_POLICIES[kind]
    values = {"missing": fields.choice("missing", policies, policies[0])}
    if kind == NUMERIC:
        values |= {flag: fields.take(flag, bool, False) for flag in ("indicator", "log")}
    if kind == MULTI_HOT:
        values["components"] = fields.take("components", int, 0)
        if column is not None:
            values["separator"] = fields.take("separator", str)
        if values["components"] < 0 or values.get("separator") == "":
            raise DataError(f"{path}: {name}: expected components of 0 or more and a separator, received others")
    fields.finish()
    return InputColumn(name=name, kind=kind, columns=columns or (column,), **values)


def _target(entry, path):
    fields = _Fields(entry, path, "targets")
    kind = fields.choice("kind", (CLASSIFICATION, REGRESSION))
    values = {"name": fields.take("column", str), "weight": float(fields.take("weight", (int, float), 1.0))}
    if not 0 <= values["weight"] < float("inf"):
        raise DataError(f"{path}: {values['name']}: expected a weight of 0 or more, received {values['weight']}")
    if kind == CLASSIFICATION:
        values["classes"] = tuple(fields.texts("classes", ())) or None
        if values["classes"] is not None and len(set(values["classes"])) < 2:
            raise DataError(f"{path}: {values['name']}: expected two classes or more, received {values['classes']}")
    else:
        values["loss_units"] = fields.choice("loss_units", LOSS_UNITS, LOSS_UNITS[0])
    fields.finish()
    return Target(kind=kind, **values)


def _check_names(schema):
    """Refuses doubled names, and a target that is also an input."""
    for what, names in (
        ("inputs", [feature.name for feature in schema.inputs]),
        ("targets", [t.name for t in schema.targets]),
    ):
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise DataError(f"{schema.path}: {what}: expected each name once, received {doubled[0]} twice")
    read = {column for feature in schema.inputs for column in feature.columns}
    leaked = [target.name for target in schema.targets if target.name in read]
    if leaked:
        raise DataError(f"{schema.path}: {leaked[0]}: expected an input or a target, received both")


class _Fields:
    """The fields of one JSON object, taken one by one; what nobody took is refused."""

    def __init__(self, content, path, place):
        if not isinstance(content, dict):
            raise DataError(f"{path}: {place}: expected an object with named fields, received {type(content).__name__}")
        self.left, self.path = dict(content), path
        named = content.get("name") or content.get("column")
        self.place = str(named) if isinstance(named, str) else place

    def take(self, name, kinds, *default):
        """The field's value, of one of the types `kinds`; the default where it is not there."""
        if name not in self.left:
            if default:
                return default[0]
            raise DataError(f"{self.path}: {self.place}: expected the field {name}, received none")
        value = self.left.pop(name)
        kinds = kinds if isinstance(kinds, tuple) else (kinds,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            names = " or ".join(
                {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "list": "list"}[
                    kind.__name__
                ]
                for kind in kinds
            )
            raise DataError(f"{self.path}: {self.place}: {name}: expected a {names}, received {value!r:.80}")
        return value

    def choice(self, name, choices, *default):
        value = self.take(name, str, *default)
        if value not in choices:
            raise DataError(
                f"{self.path}: {self.place}: {name}: expected one of {', '.join(choices)}, received {value!r}"
            )
        return value

    def texts(self, name, default):
        values = self.take(name, list, list(default))
        if not all(isinstance(value, str) for value in values):
            raise DataError(f"{self.path}: {self.place}: {name}: expected a list of texts, received {values!r:.80}")
        return values

    def entries(self, name):
        values = self.take(name, list)
        if not values:
            raise DataError(f"{self.path}: {name}: expected one entry or more, received none")
        return values

    def finish(self):
        if self.left:
            raise DataError(f"{self.path}: {self.place}: expected known fields, received {sorted(self.left)[0]!r}")
