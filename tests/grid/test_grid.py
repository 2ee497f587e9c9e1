"""A grid file becomes cells: against combinations written out by hand; every mistake is one line."""

import itertools
import json

import pytest
import yaml
from absl import flags
from conftest import ROOT

from medtop.files.errors import DataError
from medtop.grid.cells import read_grid
from medtop.model.config import BertConfig

SCRIPTS = ROOT / "run_scripts"


def written(folder, content, name="grid.yaml"):
    """Writes a grid file; text as it is, a dict as YAML or JSON."""
    path = folder / name
    dump = json.dumps if name.endswith(".json") else yaml.safe_dump
    path.write_text(content if isinstance(content, str) else dump(content, sort_keys=False), encoding="utf-8")
    return path


def grid_of(folder, content, name="grid.yaml"):
    return read_grid(written(folder, content, name), SCRIPTS)


EXAMPLE = """
output_dir: out
flags:
  input_file: data/h{horizon}.tfrecord
  bert_config_file: CONFIG
  do_train: true
  baselines: false
  tasks: [masked_lm, long_stay]
  learning_rate: 1.0e-3
  init_checkpoint: null
  config.hidden_size: 8
grid:
  horizon: [365, 730]
  config.embeddings: {code: [code], two: [code, age]}
  seed: [1, 2]
exclude:
  - {horizon: 365, seed: 2}
"""


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"_origin": "a test", "activation": "gelu", "num_attention_heads": 2}))
    return path


def test_cells_are_the_combinations_in_order(tmp_path, config_file):
    grid = grid_of(tmp_path, EXAMPLE.replace("CONFIG", str(config_file)))
    expected = [
        ("365", "code", "1"),
        ("365", "two", "1"),
        ("730", "code", "1"),
        ("730", "code", "2"),
        ("730", "two", "1"),
        ("730", "two", "2"),
    ]
    assert grid.axes == ("horizon", "config.embeddings", "seed")
    assert [tuple(cell.labels.values()) for cell in grid.cells] == expected
    assert [cell.index for cell in grid.cells] == list(range(6))
    assert [cell.name for cell in grid.cells] == [f"horizon-{h}__embeddings-{e}__seed-{s}" for h, e, s in expected]
    assert grid.script == SCRIPTS / "run_toppretraining.py"
    cell = grid.cells[1]
    assert cell.flags == {
        "input_file": "data/h365.tfrecord",
        "do_train": True,
        "baselines": False,
        "tasks": "masked_lm,long_stay",
        "learning_rate": "0.001",
        "seed": "1",
    }
    assert cell.config == {
        "_origin": "a test",
        "activation": "gelu",
        "num_attention_heads": 2,
        "hidden_size": 8,
        "embeddings": ["code", "age"],
    }
    folder = "out/horizon-365__embeddings-two__seed-1"
    assert cell.arguments() == [
        "--input_file=data/h365.tfrecord",
        "--do_train",
        "--nobaselines",
        "--tasks=masked_lm,long_stay",
        "--learning_rate=0.001",
        "--seed=1",
        f"--bert_config_file={folder}/bert_config.json",
        f"--output_dir={folder}/run",
    ]
    assert not (tmp_path / "out").exists(), "reading writes nothing"


def test_yaml_and_json_say_the_same(tmp_path, config_file):
    text = EXAMPLE.replace("CONFIG", str(config_file))
    assert grid_of(tmp_path, text).cells == grid_of(tmp_path, yaml.safe_load(text), "grid.json").cells


def test_absl_reads_the_arguments_back(tmp_path):
    """absl's own parser is the oracle of how a value stands on a command line."""
    settings = {
        "text": "a=b c",
        "number": 2.5e-7,
        "whole": 3,
        "yes": True,
        "no": False,
        "items": ["x", 1, "y z"],
        "none": None,
    }
    (cell,) = grid_of(tmp_path, {"output_dir": "out", "flags": settings, "grid": {"seed": [7]}}).cells
    values = flags.FlagValues()
    flags.DEFINE_string("text", None, "", flag_values=values)
    flags.DEFINE_float("number", None, "", flag_values=values)
    flags.DEFINE_integer("whole", None, "", flag_values=values)
    flags.DEFINE_integer("seed", None, "", flag_values=values)
    flags.DEFINE_bool("yes", False, "", flag_values=values)
    flags.DEFINE_bool("no", True, "", flag_values=values)
    flags.DEFINE_list("items", None, "", flag_values=values)
    flags.DEFINE_string("none", "as it was", "", flag_values=values)
    flags.DEFINE_string("output_dir", None, "", flag_values=values)
    assert values(["script", *cell.arguments()]) == ["script"]
    read = {name: values[name].value for name in settings}
    assert read == settings | {"items": ["x", "1", "y z"], "none": "as it was"}
    assert values["seed"].value == 7 and values["output_dir"].value == "out/seed-7/run"


def test_flags_that_change_together(tmp_path, config_file):
    content = {
        "output_dir": "out",
        "flags": {"bert_config_file": str(config_file), "tasks": "long_stay", "learning_rate": 1},
        "grid": {
            "variant": {
                "alone": {"input_file": "{variant}-{seed}.tfrecord"},
                "joint": {"tasks": ["masked_lm", "long_stay"], "config.norm": "pre", "input_file": "x"},
            },
            "seed": [1, 2],
        },
    }
    cells = grid_of(tmp_path, content).cells
    assert [cell.name for cell in cells] == [
        "variant-alone__seed-1",
        "variant-alone__seed-2",
        "variant-joint__seed-1",
        "variant-joint__seed-2",
    ]
    # {seed} fills a name, so it is no flag of its own; the label fills {variant}
    assert cells[1].flags == {
        "bert_config_file": str(config_file),
        "tasks": "long_stay",
        "learning_rate": "1",
        "input_file": "alone-2.tfrecord",
    }
    assert cells[1].config is None and cells[2].config["norm"] == "pre"
    assert cells[2].flags["tasks"] == "masked_lm,long_stay"


def test_a_list_fills_names_and_is_a_flag_where_flags_say_so(tmp_path):
    content = {
        "output_dir": "out",
        "flags": {"init_checkpoint": "pre/seed-{seed}/run", "seed": "{seed}"},
        "grid": {"seed": [3]},
    }
    (cell,) = grid_of(tmp_path, content).cells
    assert cell.flags == {"init_checkpoint": "pre/seed-3/run", "seed": "3"}


def test_names_stay_when_a_list_grows(tmp_path):
    def cells(seeds):
        content = {"output_dir": "out", "grid": {"seed": seeds, "learning_rate": [0.1, 0.2]}}
        return {cell.name: cell.arguments() for cell in grid_of(tmp_path, content).cells}

    before, after = cells([1, 2]), cells([0, 1, 2])
    assert len(after) == 6 and {name: after[name] for name in before} == before


@pytest.mark.parametrize("seed", range(5))
def test_random_grids_have_each_combination_once(tmp_path, seed):
    import random

    rng = random.Random(seed)
    axes = {f"flag{number}": rng.sample(range(50), rng.randint(1, 4)) for number in range(rng.randint(1, 4))}
    out = [{name: rng.choice(values) for name, values in axes.items()}]
    combinations = [dict(zip(axes, choice, strict=True)) for choice in itertools.product(*axes.values())]
    expected = [choice for choice in combinations if choice not in out]
    content = {"output_dir": "out", "grid": axes, "exclude": out}
    if not expected:
        with pytest.raises(DataError, match="exclude leaves none"):
            grid_of(tmp_path, content)
        return
    cells = grid_of(tmp_path, content).cells
    assert [{name: int(value) for name, value in cell.flags.items()} for cell in cells] == expected
    assert len({cell.name for cell in cells}) == len(expected)


GOOD = {"output_dir": "out", "grid": {"seed": [1, 2]}}
MISTAKES = {
    "no key": ({**GOOD, "grids": {}}, "expected the keys script, output_dir, flags, grid, exclude, received 'grids'"),
    "no output": ({"grid": {"seed": [1]}}, "output_dir: expected a folder, received None"),
    "no lists": ({"output_dir": "out"}, "grid: expected lists by name, received None"),
    "list of files": ([1], "received a list"),
    "empty list": ({**GOOD, "grid": {"seed": []}}, "grid: seed: expected a list, or values by label, received []"),
    "no list": ({**GOOD, "grid": {"seed": 3}}, "grid: seed: expected a list, or values by label, received 3"),
    "dashes": ({**GOOD, "flags": {"--lr": 1}}, "expected a flag's name without dashes, or config.<key>"),
    "the grid's": ({**GOOD, "flags": {"output_dir": "x"}}, "output_dir: expected no such flag here"),
    "the grid's, together": ({**GOOD, "grid": {"v": {"a": {"overwrite": True}}}}, "overwrite: expected no such flag"),
    "both": ({**GOOD, "flags": {"seed": 1}}, "seed: expected it under flags or under grid, received both"),
    "both lists": ({**GOOD, "grid": {"seed": [1], "v": {"a": {"seed": 2}}}}, "expected flags that are no lists"),
    "two bundles": ({**GOOD, "grid": {"v": {"a": {"lr": 2}}, "w": {"b": {"lr": 1}}}}, "received it in v and w"),
    "placeholder": ({**GOOD, "flags": {"data": "h{horizn}"}}, "{horizn}: expected the name of a list under grid: seed"),
    "placeholder of a list": (
        {"output_dir": "out", "flags": {"data": "{t}"}, "grid": {"t": [["a", "b"]]}},
        "{t}: expected single values under grid: t",
    ),
    "commas": ({**GOOD, "flags": {"w": ["a:1,2", "b"]}}, "w: expected items without commas"),
    "comma in a list": ({**GOOD, "grid": {"w": [["a,b"]]}}, "grid: w: expected items without commas"),
    "a dict": ({**GOOD, "flags": {"w": {"a": 1}}}, "flags: w: expected text, a number, true, false or a list"),
    "no label": ({**GOOD, "grid": {"v": [{"lr": 2}]}}, "grid: v: expected a label for several flags together"),
    "mixed": ({**GOOD, "grid": {"v": {"a": {"lr": 2}, "b": 3}}}, "expected values of one kind"),
    "nothing": ({**GOOD, "grid": {"seed": [None]}}, "grid: seed: expected text, a number"),
    "twice": ({**GOOD, "grid": {"seed": [1, "1"]}}, "expected each name once, received '1' twice"),
    "same name": ({**GOOD, "grid": {"w": ["a b", "a/b"]}}, "expected names that differ, received 'w-a-b' twice"),
    "long name": ({**GOOD, "grid": {"w": ["a" * 200]}}, "expected a name of at most 180 letters, received 202"),
    "exclude": ({**GOOD, "exclude": [{"seed": 3}]}, "exclude: expected lists under grid and their labels, received se"),
    "exclude what": ({**GOOD, "exclude": [{"sed": 1}]}, "exclude: expected lists under grid"),
    "exclude nothing": ({**GOOD, "exclude": [{"seed": 1}, {"seed": [1, 2]}, 5]}, "expected entries such as"),
    "exclude no cell": ({"output_dir": "out", "grid": {"a": [1, 2]}, "exclude": [{"a": [1, 2]}]}, "leaves none"),
    "script": ({**GOOD, "script": "run_nothing.py"}, "script: expected a file, or the name of one in run_scripts"),
    "flags": ({**GOOD, "flags": ["seed"]}, "flags: expected flags by name"),
    "no config file": ({**GOOD, "grid": {"config.norm": ["pre"]}}, "expected bert_config_file under flags, which conf"),
    "missing config file": (
        {**GOOD, "flags": {"bert_config_file": "none.json", "config.norm": "pre"}},
        "none.json: expected a model configuration",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line(tmp_path, mistake, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, message = MISTAKES[mistake]
    with pytest.raises(DataError) as caught:
        grid_of(tmp_path, content)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_wrong_configuration_is_refused_before_anything_runs(tmp_path, config_file):
    content = {
        "output_dir": "out",
        "flags": {"bert_config_file": str(config_file)},
        "grid": {"config.embeddings": {"a": ["code"], "b": ["code", "weight"]}},
    }
    with pytest.raises(DataError, match=r"config.json with embeddings=\['code', 'weight'\]: config: expected embedd"):
        grid_of(tmp_path, content)


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("grid.yaml", "output_dir: out\ngrid:\n  seed: [1]\n  seed: [2]\n", "each name once, received 'seed' twice"),
        ("grid.json", '{"output_dir": "out", "output_dir": "b", "grid": {"seed": [1]}}', "received 'output_dir' twice"),
        ("grid.yaml", "grid: [1\n", "expected YAML"),
        ("grid.yaml", "a: &a [*a]\n", "expected YAML"),
        ("grid.yaml", "? [1]\n: 2\n", "line 1: expected names"),
        ("grid.yaml", "a: !!python/object/apply:os.getcwd []\n", "line 1: expected YAML, could not determine"),
        ("grid.json", '{"grid": \n}', "line 2: expected JSON"),
        ("grid.yaml", "", "received a NoneType"),
        ("grid.txt", "", "expected a grid file that ends in .yaml, .yml or .json"),
    ],
)
def test_damaged_files(tmp_path, name, text, message):
    with pytest.raises(DataError) as caught:
        grid_of(tmp_path, text, name)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_missing_or_binary_file(tmp_path):
    with pytest.raises(DataError, match="found no such file"):
        read_grid(tmp_path / "grid.yaml", SCRIPTS)
    (tmp_path / "grid.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="expected UTF-8 text"):
        read_grid(tmp_path / "grid.yaml", SCRIPTS)


@pytest.mark.parametrize("index", [-1, 2])
def test_numbers_beyond_the_grid(tmp_path, index):
    with pytest.raises(DataError, match=f"expected a number from 0 to 1 .* received {index}"):
        grid_of(tmp_path, GOOD).cell(index)


def test_the_shipped_grid(monkeypatch):
    """deploy/grid.yaml: top-BERT's comparison; each configuration is valid and differs in its embeddings only."""
    monkeypatch.chdir(ROOT)
    grid = read_grid("deploy/grid.yaml", SCRIPTS)
    assert len(grid.cells) == 18 and grid.axes == ("horizon", "config.embeddings", "seed")
    base = BertConfig.from_file("medtop/configs/small.json").to_dict()
    for cell in grid.cells:
        assert f"h{cell.labels['horizon']}.train" in cell.flags["input_file"]
        assert BertConfig.from_dict(cell.config).to_dict() == base | {"embeddings": cell.config["embeddings"]}
    assert len({(cell.flags["seed"], cell.flags["input_file"], str(cell.config)) for cell in grid.cells}) == 18
