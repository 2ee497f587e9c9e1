"""A grid of runs: a file of fixed flags and lists becomes numbered cells, each of them one command.

    output_dir: checkpoints/grid
    flags:
      input_file: data/h{horizon}.train.tfrecord
      bert_config_file: medtop/configs/small.json
      do_train: true
    grid:
      horizon: [365, 730]                            # fills {horizon} above
      config.embeddings: {code: [code], full: [code, visit, age]}   # a key of the model configuration
      seed: [1, 2, 3]                                # a flag of the script

Cells are numbered from 0, the last list counting fastest. docs/scaling.md describes the file.
"""

import dataclasses
import functools
import itertools
import re
from pathlib import Path

from medtop.files.bounded import read_json, read_yaml
from medtop.files.errors import DataError
from medtop.model.config import BertConfig

DEFAULT_SCRIPT = "run_toppretraining.py"
KEYS = ("script", "output_dir", "flags", "grid", "exclude")
SET_BY_THE_GRID = ("output_dir", "overwrite", "resume")
CONFIG = "config."
LONGEST_NAME = 180  # file systems allow 255 bytes
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_NAME = re.compile(rf"({re.escape(CONFIG)})?\w+")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Attributes:
        index: number from 0, in the grid file's order.
        name: folder of the cell, made of its labels: it stays when lists grow, the number may not.
        labels: dict axis -> label, both str.
        flags: dict flag -> str, True (`--flag`) or False (`--noflag`), without --output_dir.
        config: the model configuration where the grid changes it, else None.
        folder: `Path` of what the grid writes for the cell; the run directory is `folder/run`.
    """

    index: int
    name: str
    labels: dict
    flags: dict
    config: dict | None
    folder: Path

    @property
    def run_folder(self):
        """The run directory, a `Path`."""
        return self.folder / "run"

    @property
    def config_file(self):
        """Where the changed model configuration is written, a `Path`."""
        return self.folder / "bert_config.json"

    def arguments(self):
        """The script's arguments, a list of str."""
        flags = self.flags | ({"bert_config_file": str(self.config_file)} if self.config is not None else {})
        words = [
            f"--{name}" if value is True else f"--no{name}" if value is False else f"--{name}={value}"
            for name, value in flags.items()
        ]
        return [*words, f"--output_dir={self.run_folder}"]

    def settings(self):
        """What tells whether a cell was run as the grid file asks now: plain JSON values."""
        return {"flags": self.flags, "config": self.config}


@dataclasses.dataclass(frozen=True)
class Grid:
    """What a grid file asks for.

    Attributes:
        path: `Path` of the grid file.
        script: `Path` of the script that runs a cell.
        output_dir: `Path` that holds a folder for each cell.
        axes: names of the lists, in order.
        cells: list of `Cell`.
    """

    path: Path
    script: Path
    output_dir: Path
    axes: tuple
    cells: list

    def cell(self, index):
        """The cell of a number.

        Raises:
            DataError: for a number beyond the grid.
        """
        if not 0 <= index < len(self.cells):
            raise DataError(
                f"--index: expected a number from 0 to {len(self.cells) - 1} ({self.path} makes "
                f"{len(self.cells)} cells), received {index}"
            )
        return self.cells[index]


def read_grid(path, scripts_folder):
    """Reads a grid file (.yaml, .yml or .json).

    Args:
        path: the file.
        scripts_folder: where `script` is looked for if it is no path from the working directory.

    Returns:
        `Grid`; nothing is written.

    Raises:
        DataError: naming the file and the place, for anything that would make a cell other than it looks.
    """
    path = Path(path)
    content = _load(path)
    _check_keys(content, path)
    axes = {str(name): _axis(str(name), values, path) for name, values in content["grid"].items()}
    fixed = {str(name): value for name, value in (content.get("flags") or {}).items()}
    for name in (*axes, *fixed):
        _check_name(name, path)
    used = _check_placeholders(axes, fixed, path)
    output_dir = Path(content["output_dir"])
    left_out = [_exclusion(entry, axes, path) for entry in content.get("exclude") or []]
    cells = []
    for choice in itertools.product(*axes.values()):
        labels = dict(zip(axes, choice, strict=True))
        if not any(_matches(entry, labels) for entry in left_out):
            cells.append(_cell(len(cells), labels, axes, fixed, used, output_dir, path))
    if not cells:
        raise DataError(f"{path}: expected at least one cell, exclude leaves none")
    _check_cells(cells, path)
    return Grid(path, _script(content.get("script"), scripts_folder, path), output_dir, tuple(axes), cells)


def _load(path):
    if path.suffix not in (".yaml", ".yml", ".json"):
        raise DataError(f"{path}: expected a grid file that ends in .yaml, .yml or .json")
    try:
        if path.suffix == ".json":
            return read_json(path, hook=lambda pairs: _without_repeats(pairs, path))
        return read_yaml(path, functools.partial(_mapping, path))
    except FileNotFoundError:
        raise DataError(f"{path}: expected a grid file, found no such file") from None


def _without_repeats(pairs, path):
    """A dict of `pairs`; a name given twice would otherwise lose its first value without a word."""
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{path}: expected each name once, received {name!r} twice")
    return dict(pairs)


def _mapping(path, loader, node):
    """A mapping of YAML; names once."""
    pairs = [(loader.construct_object(key), loader.construct_object(value, deep=True)) for key, value in node.value]
    if wrong := [key for key, _ in pairs if not isinstance(key, (str, int, float))]:
        raise DataError(f"{path}: line {node.start_mark.line + 1}: expected names, received {wrong[0]!r:.80}")
    return _without_repeats(pairs, path)


def _check_keys(content, path):
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected the keys {', '.join(KEYS)}, received a {type(content).__name__}")
    if unknown := [key for key in content if key not in KEYS]:
        raise DataError(f"{path}: expected the keys {', '.join(KEYS)}, received {unknown[0]!r}")
    for key, kind, what in (("output_dir", str, "a folder"), ("grid", dict, "lists by name")):
        if not (isinstance(content.get(key), kind) and content[key]):
            raise DataError(f"{path}: {key}: expected {what}, received {content.get(key)!r}")
    for key, kind, what in (("flags", dict, "flags by name"), ("exclude", list, "a list"), ("script", str, "a file")):
        if not isinstance(content.get(key), kind | None):
            raise DataError(f"{path}: {key}: expected {what}, received {content[key]!r:.80}")


def _check_name(name, path):
    if not _NAME.fullmatch(name):
        raise DataError(f"{path}: expected a flag's name without dashes, or {CONFIG}<key>, received {name!r}")
    if name in SET_BY_THE_GRID:
        raise DataError(f"{path}: {name}: expected no such flag here; the grid sets it for each cell")


def _axis(name, values, path):
    """dict label -> value of one list; a mapping gives the labels itself."""
    where = f"{path}: grid: {name}"
    if isinstance(values, dict) and values:
        bundles = [isinstance(value, dict) for value in values.values()]
        if any(bundles) and not all(bundles):
            raise DataError(f"{where}: expected values of one kind, received some with flags by name and some without")
        labelled = [(_label(label, where), value) for label, value in values.items()]
    elif isinstance(values, list) and values:
        labelled = [(_label(value, where), value) for value in values]
    else:
        raise DataError(f"{where}: expected a list, or values by label, received {values!r:.80}")
    for _, value in labelled:
        for key, part in value.items() if isinstance(value, dict) else [(name, value)]:
            _check_name(str(key), path)
            if part is not None or not isinstance(value, dict):
                _text(part, f"{where}: {key}")
    return _without_repeats(labelled, where)


def _label(value, where):
    if isinstance(value, dict):
        raise DataError(f"{where}: expected a label for several flags together: write label: {{flag: value, ...}}")
    return _text(value, where)


def _text(value, where):
    """A value as a command line writes it; items of a list are joined by commas."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, int, float)):
        return str(value)
    if isinstance(value, list) and value and all(isinstance(item, (str, int, float)) for item in value):
        items = [_text(item, where) for item in value]
        if not any("," in item for item in items):
            return ",".join(items)
        raise DataError(f"{where}: expected items without commas, received {value!r:.80}")
    raise DataError(f"{where}: expected text, a number, true, false or a list of them, received {value!r:.80}")


def _strings(value):
    """All texts within a flag's value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for part in value if isinstance(value, list) else value.values():
            yield from _strings(part)


def _check_placeholders(axes, fixed, path):
    """The axes that fill a {placeholder}; such a one is not a flag of its own."""
    bundles = [value for axis in axes.values() for value in axis.values() if isinstance(value, dict)]
    used = {name for text in _strings([fixed, *bundles]) for name in _PLACEHOLDER.findall(text)}
    for name in sorted(used):
        if name not in axes:
            raise DataError(f"{path}: {{{name}}}: expected the name of a list under grid: {', '.join(axes)}")
        if any(isinstance(value, list) for value in axes[name].values()):
            raise DataError(f"{path}: {{{name}}}: expected single values under grid: {name}, received a list of them")
    for name, axis in axes.items():
        if name in fixed and name not in used:
            raise DataError(f"{path}: {name}: expected it under flags or under grid, received both")
        for value in axis.values():
            both = [key for key in value if key in axes and key not in used] if isinstance(value, dict) else []
            if both:
                raise DataError(f"{path}: grid: {name}: expected flags that are no lists of their own, received {both}")
    return used


def _exclusion(entry, axes, path):
    """dict axis -> set of labels of one entry of `exclude`."""
    if not isinstance(entry, dict) or not entry:
        raise DataError(f"{path}: exclude: expected entries such as {{seed: 1}}, received {entry!r:.80}")
    excluded = {}
    for name, values in entry.items():
        labels = {_label(value, f"{path}: exclude") for value in (values if isinstance(values, list) else [values])}
        if name not in axes or not labels <= axes[name].keys():
            raise DataError(
                f"{path}: exclude: expected lists under grid and their labels, received {name}: {values!r:.80}"
            )
        excluded[name] = labels
    return excluded


def _matches(entry, labels):
    return all(labels[name] in wanted for name, wanted in entry.items())


def _cell(index, labels, axes, fixed, used, output_dir, path):
    settings, texts, origin = dict(fixed), {}, {}
    for axis, label in labels.items():
        value = axes[axis][label]
        if isinstance(value, dict):
            for key in value:
                if origin.setdefault(key, axis) != axis:
                    both = f"{origin[key]} and {axis}"
                    raise DataError(f"{path}: grid: {key}: expected it in one list, received it in {both}")
            settings |= value
            texts[axis] = label
        else:
            texts[axis] = label if isinstance(value, list) else _text(value, axis)
            if axis not in used:
                settings[axis] = value
    flags, changes = {}, {}
    for name, value in settings.items():
        value = _filled(value, texts)
        if name.startswith(CONFIG):
            changes[name.removeprefix(CONFIG)] = value
        elif value is not None:
            flags[name] = value if isinstance(value, bool) else _text(value, f"{path}: flags: {name}")
    name = "__".join(
        f"{axis.removeprefix(CONFIG)}-{re.sub(r'[^A-Za-z0-9._+-]+', '-', label)}" for axis, label in labels.items()
    )
    config = _config(flags.pop("bert_config_file", None), changes, path) if changes else None
    return Cell(index, name, labels, flags, config, output_dir / name)


def _filled(value, texts):
    """A value with its {placeholders} filled."""
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda match: texts[match[1]], value)
    if isinstance(value, list):
        return [_filled(item, texts) for item in value]
    return value


def _config(file, changes, path):
    """The model configuration of `file` with other values, checked."""
    if file is None:
        key = CONFIG + next(iter(changes))
        raise DataError(f"{path}: expected bert_config_file under flags, which {key} changes, received none")
    BertConfig.from_file(file)  # says what is wrong with it before it is changed
    config = read_json(Path(file)) | changes
    BertConfig.from_dict(config, f"{path}: {file} with {', '.join(f'{key}={changes[key]}' for key in changes)}")
    return config


def _check_cells(cells, path):
    names = {}
    for cell in cells:
        other = names.setdefault(cell.name, cell)
        if other is not cell:
            raise DataError(
                f"{path}: cells {other.index} and {cell.index}: expected names that differ, received {cell.name!r} "
                "twice; give labels: name: {label: value, ...}"
            )
        if len(cell.name) > LONGEST_NAME:
            raise DataError(
                f"{path}: cell {cell.index}: expected a name of at most {LONGEST_NAME} letters, received "
                f"{len(cell.name)}; give short labels: name: {{label: value, ...}}"
            )


def _script(name, scripts_folder, path):
    name = name or DEFAULT_SCRIPT
    for candidate in (Path(name), Path(scripts_folder) / Path(name).name):
        if candidate.is_file():
            return candidate.resolve()
    raise DataError(f"{path}: script: expected a file, or the name of one in run_scripts, received {name!r}")
