"""The house's rules, read from the source with `ast`: who may import whom, who may load which framework.

A new room stands in `HOUSE` with its layer and its framework, or these tests ask for it.
"""

import ast
import os
import re
import subprocess
import sys
import textwrap

import pytest
from conftest import ROOT

FRAMEWORKS = {"tensorflow", "tensorflow_text", "keras", "torch", "jax"}

PLAIN = "plain"  # loads no framework, not even in a function
LATE = "late"  # may load one inside a function, so that flags and files are checked first
KERAS = "keras"  # keras only, so that it runs on every backend
TENSORFLOW = "tensorflow"  # tensorflow and keras
ANY = "any"  # torch as well: only what converts between frameworks

HOUSE = [  # from the ground up; a room imports rooms of its own layer or of lower ones, never in a circle
    {"errors": PLAIN, "commands": PLAIN, "quiet": PLAIN, "files": PLAIN, "pickles": PLAIN},
    {"vocabulary": PLAIN, "config": PLAIN, "cluster": PLAIN},
    # tables -> stays -> what a cohort is made of
    {
        "sequences": PLAIN, "sources": PLAIN, "tables": PLAIN, "stream": PLAIN, "spill": PLAIN, "staging": PLAIN,
        "codes": PLAIN, "endpoints": PLAIN, "splits": PLAIN, "visits": PLAIN, "labels": PLAIN, "examples": PLAIN,
        "prediction_times": PLAIN, "tally": PLAIN, "manifest": PLAIN, "example_bytes": PLAIN, "packing": PLAIN,
    },
    # whole steps before training
    {
        "cohort": PLAIN, "medbert_layout": PLAIN, "features": PLAIN, "dataset_info": PLAIN,
        "synthetic": PLAIN, "synthetic_blocks": PLAIN, "synthetic_codes": PLAIN, "synthetic_patients": PLAIN,
        "synthetic_risk": PLAIN, "preprocess": PLAIN,
    },
    {
        "record_fields": PLAIN, "records": TENSORFLOW, "create_features": LATE, "tasks": LATE, "losses": KERAS,
        "dropout": KERAS, "tokenwise": KERAS, "encoder": KERAS,
    },
    {"masking": TENSORFLOW, "pipeline": TENSORFLOW, "model": KERAS, "options": LATE},
    {
        "balancing": KERAS, "optimizer": TENSORFLOW, "distribution": TENSORFLOW, "train_step": TENSORFLOW,
        "checkpoints": PLAIN, "batch_choice": TENSORFLOW, "validation": TENSORFLOW, "step_profile": TENSORFLOW,
        "tensorboard_events": TENSORFLOW, "training_log": PLAIN, "run_directory": LATE, "scoring": TENSORFLOW,
        "training": TENSORFLOW, "training_flags": LATE, "results": TENSORFLOW, "convert": ANY,
        "initialisation": LATE, "estimate": TENSORFLOW, "first_look": TENSORFLOW, "model_card": PLAIN,
        "runs": TENSORFLOW, "prediction": TENSORFLOW,
        "predictions": PLAIN, "bootstrap": PLAIN, "evaluation": PLAIN, "calibration": PLAIN, "baselines": PLAIN,
        "report": PLAIN, "charts": PLAIN, "curves": PLAIN, "training_curves": PLAIN,
        "tabular": TENSORFLOW,
        "grid": PLAIN, "grid_runner": PLAIN, "grid_results": PLAIN, "notes": TENSORFLOW, "plots": PLAIN,
    },
]  # fmt: skip
LAYER = {room: number for number, layer in enumerate(HOUSE) for room in layer}
FRAMEWORK = {room: framework for layer in HOUSE for room, framework in layer.items()}
ALLOWED = {
    PLAIN: set(),
    LATE: {"tensorflow", "keras"},
    KERAS: {"keras"},
    TENSORFLOW: {"tensorflow", "tensorflow_text", "keras"},
    ANY: FRAMEWORKS,
}
ALWAYS_KERAS_ONLY = {"tokenwise", "encoder", "model", "tasks", "balancing"}
NEVER_A_FRAMEWORK = {"sources", "cohort", "sequences", "vocabulary", "synthetic", "evaluation", "baselines", "report"}
KNOWS_FLAGS = {"commands", "training_flags"}  # they serve the scripts, and no other room imports them
SPEAKS = {"commands", "quiet"}  # what scripts print when they end, and standard error while TensorFlow loads
SCRIPT_FOLDERS = ("preprocessing", "run_scripts", "benchmarks")
WITHOUT_ANY_FRAMEWORK = (
    "preprocess_pretrain_data", "make_synthetic_cohort", "preprocess_notes", "make_synthetic_notes",
)  # fmt: skip


def module_name(path):
    """`medtop/sources/rows.py` -> `medtop.sources.rows`; a package's `__init__.py` -> the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source, module, modules, is_package=False):
    """Two sets of absolute module names: imported when the module is loaded, imported inside a function.

    `from medtop import files` gives `medtop.files` where that is one of `modules`, else `medtop`.
    """
    eager, late = set(), set()

    def visit(node, found):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".") if is_package else module.split(".")[:-1]
            base = base[: len(base) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            found.update(f"{name}.{a.name}" if f"{name}.{a.name}" in modules else name for a in node.names)
        inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            visit(child, late if inside else found)

    visit(ast.parse(source), eager)
    return eager, late


MODULES = {module_name(path): path for path in sorted((ROOT / "medtop").rglob("*.py"))}
SCRIPTS = {path.stem: path for folder in SCRIPT_FOLDERS for path in sorted((ROOT / folder).glob("*.py"))}
EAGER, LATE_IMPORTS = {}, {}
for _name, _path in MODULES.items():
    EAGER[_name], LATE_IMPORTS[_name] = imports_of(
        _path.read_text(encoding="utf-8"), _name, MODULES, _path.name == "__init__.py"
    )


def room_of(module):
    return (module.split(".") + [""])[1]


def reached(start, late):
    """Every module that loading `start` (a set of names) loads, frameworks included; with function bodies if `late`."""
    seen, waiting = set(), list(start)
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += EAGER.get(module, set()) | (LATE_IMPORTS.get(module, set()) if late else set())
            if module in MODULES and "." in module:
                waiting.append(module.rpartition(".")[0])  # Python loads the package first
    return seen


def frameworks(modules):
    return {name.partition(".")[0] for name in modules} & FRAMEWORKS


@pytest.mark.parametrize("module", [name for name in MODULES if room_of(name)])
def test_every_room_stands_in_the_table(module):
    room = room_of(module)
    assert room in LAYER, f"medtop/{room}: add it to the table HOUSE in tests/test_architecture.py, in its layer"
    assert "utils" not in module and "helpers" not in module, f"{module}: name a room after its concern"


def test_the_designs_own_rules_stand_in_the_table():
    assert {FRAMEWORK[room] for room in NEVER_A_FRAMEWORK} == {PLAIN}
    assert {room for room, framework in FRAMEWORK.items() if framework == ANY} == {"convert"}
    order = ["vocabulary", "sequences", "features", "records", "model", "training"]
    assert [LAYER[room] for room in order] == sorted({LAYER[room] for room in order})
    for upper, lower in [("training", "pipeline"), ("evaluation", "model"), ("convert", "model"), ("model", "tasks"),
                         ("pipeline", "records"), ("encoder", "features"), ("cohort", "vocabulary")]:  # fmt: skip
        assert LAYER[upper] > LAYER[lower]


@pytest.mark.parametrize("module", [name for name in MODULES if room_of(name) in LAYER])
def test_imports_point_downwards(module):
    room = room_of(module)
    for imported in EAGER[module] | LATE_IMPORTS[module]:
        if imported.startswith("medtop."):
            other = room_of(imported)
            assert LAYER.get(other, 0) <= LAYER[room], f"{module} imports {imported}, which stands in a higher layer"


def test_no_circles():
    graph = {name: {other for other in EAGER[name] | LATE_IMPORTS[name] if other in MODULES} for name in MODULES}
    for name in graph:  # a package may gather its own rooms, which load it first
        graph[name] = {other for other in graph[name] if not name.startswith(f"{other}.")}
    while graph:
        free = [name for name, others in graph.items() if not others & graph.keys()]
        assert free, f"these import each other in a circle, or something that does: {sorted(graph)}"
        for name in free:
            del graph[name]


@pytest.mark.parametrize("module", [name for name in MODULES if room_of(name) in LAYER])
def test_frameworks(module):
    room = room_of(module)
    kind = FRAMEWORK[room]
    direct = frameworks(EAGER[module] | LATE_IMPORTS[module])
    assert direct <= ALLOWED[kind], f"{module} is {kind!r} in HOUSE and imports {sorted(direct - ALLOWED[kind])}"
    if kind in (PLAIN, LATE):
        loaded = frameworks(reached({module}, late=False))
        assert not loaded, f"{module}: loading it loads {sorted(loaded)} by way of another room"
    if kind in (PLAIN, KERAS) or room in ALWAYS_KERAS_ONLY:
        loaded = frameworks(reached({module}, late=True)) - ALLOWED[kind if kind != LATE else KERAS]
        assert not loaded, f"{module}: calling it loads {sorted(loaded)} by way of another room"
    if kind != ANY:
        assert "torch" not in frameworks(reached({module}, late=True)), f"{module}: PyTorch is for convert only"


@pytest.mark.parametrize("module", MODULES)
def test_the_library_reads_no_flag_and_imports_no_script(module):
    imported = {name.partition(".")[0] for name in EAGER[module] | LATE_IMPORTS[module]}
    assert not imported & {*SCRIPT_FOLDERS, *SCRIPTS, "tests"}, f"{module} imports from the scripts or the tests"
    if room_of(module) not in KNOWS_FLAGS:
        assert "absl" not in imported, f"{module}: flags are read in scripts and handed on as values"
        rooms = {room_of(name) for name in EAGER[module] | LATE_IMPORTS[module] if name.startswith("medtop.")}
        assert not rooms & KNOWS_FLAGS, f"{module}: flags are read in scripts and handed on as values"


def speaks_or_hides(tree):
    """Lines of `print`, `sys.stdout`, `sys.stderr`, and of imports that `ast` cannot see."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "__import__"):
            yield node.lineno
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if (node.value.id, node.attr) in [("sys", "stdout"), ("sys", "stderr"), ("importlib", "import_module")]:
                yield node.lineno


@pytest.mark.parametrize("module", [name for name in MODULES if room_of(name) not in SPEAKS])
def test_the_library_does_not_print_or_import_by_name(module):
    lines = list(speaks_or_hides(ast.parse(MODULES[module].read_text(encoding="utf-8"))))
    assert not lines, f"{module}: line {lines[:1]}: scripts print, and imports stand as `import` statements"


def script_imports(script):
    return imports_of(SCRIPTS[script].read_text(encoding="utf-8"), script, MODULES)


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_do_not_import_each_other(script):
    eager, late = script_imports(script)
    imported = {name.partition(".")[0] for name in eager | late}
    assert not imported & {*SCRIPT_FOLDERS, *SCRIPTS, "tests"}, f"{script} imports another script"


@pytest.mark.parametrize("script", [name for name, path in SCRIPTS.items() if path.parent.name != "benchmarks"])
def test_scripts_check_flags_before_a_framework_is_loaded(script):
    eager, late = script_imports(script)
    loaded = frameworks(reached(eager, late=False))
    assert not loaded, f"{script}: import what loads {sorted(loaded)} inside main, after the flags are checked"
    if script in WITHOUT_ANY_FRAMEWORK:
        assert not frameworks(reached(eager | late, late=True)), f"{script} must never load a framework"


@pytest.mark.parametrize("script", [name for name, path in SCRIPTS.items() if path.parent.name != "benchmarks"])
def test_scripts_help_from_their_own_folder_and_refuse_unknown_flags(script, run_script):
    path = SCRIPTS[script]
    process = run_script(path, "--help", cwd=path.parent, timeout=60)
    assert process.returncode == 0 and process.stderr == "", process.stderr
    assert path.name in process.stdout, "the docstring holds an example, and --help shows it"
    process = run_script(path, "--no_such_flag=1", timeout=60)
    assert process.returncode == 1 and process.stdout == ""
    assert process.stderr.startswith("error: ") and process.stderr.count("\n") == 1, process.stderr
    assert "no_such_flag" in process.stderr


BLOCKER = """
import importlib.machinery, sys
from unittest import mock

class Blocked:
    '''Hides these packages as if they were not installed; gives a hollow `jax`.

    Keras's NumPy backend needs no framework but takes its FFT, which nothing here uses, from `jax`.
    '''
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"blocked: {name}", name=name)
        if name.partition(".")[0] in ("jax", "jaxlib"):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
    def create_module(self, spec):
        module = mock.MagicMock(name=spec.name)
        module.__path__, module.__name__ = [], spec.name
        return module
    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Blocked())
import importlib
for name in sys.argv[2:]:
    importlib.import_module(name)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def import_without(blocked, modules):
    """Imports the modules in a new process where `blocked` cannot be loaded; gives what was loaded."""
    command = [sys.executable, "-c", BLOCKER, ",".join(blocked), *modules]
    environment = {**os.environ, "KERAS_BACKEND": "numpy"}
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    return set(process.stdout.split())


def test_plain_rooms_load_where_no_framework_is_installed():
    rooms = [name for name in MODULES if FRAMEWORK.get(room_of(name)) in (PLAIN, LATE)]
    assert len(rooms) > 10
    assert not import_without(FRAMEWORKS, rooms) & FRAMEWORKS


def test_keras_rooms_load_where_tensorflow_is_not_installed():
    rooms = [name for name in MODULES if FRAMEWORK.get(room_of(name)) == KERAS or room_of(name) in ALWAYS_KERAS_ONLY]
    assert rooms
    loaded = import_without({"tensorflow", "tensorflow_text", "torch"}, ["keras", *rooms])
    assert loaded & FRAMEWORKS <= {"keras", "jax"}  # jax: the hollow one


def test_the_blocker_blocks():
    with pytest.raises(AssertionError, match="blocked: tensorflow"):
        import_without({"tensorflow"}, ["tensorflow"])


EXAMPLE = """
import a.b, c as d
from . import near
from .near import x
from ..far import y
from medtop import files, absent
if True:
    import e
class K:
    import f
    def method(self):
        import g
        return lambda: __import__("h")
async def later():
    from medtop.files import sha256
"""


def test_imports_of_finds_them_all():
    modules = {"medtop.files", "medtop.sources.near", "medtop.far"}
    eager, late = imports_of(EXAMPLE, "medtop.sources.rows", modules)
    assert eager == {"a.b", "c", "medtop.sources.near", "medtop.far", "medtop.files", "medtop", "e", "f"}
    assert late == {"g", "medtop.files"}
    assert imports_of("from . import near", "medtop.sources", modules, is_package=True)[0] == {"medtop.sources.near"}


@pytest.mark.parametrize("source, lines", [
    ("print(1)", [1]),
    ("import sys\nsys.stderr.write('x')", [2]),
    ("x = __import__('tensorflow')", [1]),
    ("import importlib\nimportlib.import_module('keras')", [2]),
    ("def blueprint():\n    return 'print(1)'", []),
])  # fmt: skip
def test_speaks_or_hides(source, lines):
    assert list(speaks_or_hides(ast.parse(textwrap.dedent(source)))) == lines


WATCHER = """
import importlib, os, runpy, sys
import duckdb
from absl import flags

modules, scripts = (words.split(",") if words else [] for words in sys.argv[1:3])

def load():
    for name in modules:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:  # an extra that is not installed
            assert error.name.partition(".")[0] != "medtop", error
    for script in scripts:
        for flag in list(flags.FLAGS):
            delattr(flags.FLAGS, flag)
        runpy.run_path(script, run_name="imported")

load()  # once unwatched: the packages that they need are loaded then
for name in [name for name in sys.modules if name.partition(".")[0] == "medtop"]:
    del sys.modules[name]
sys.dont_write_bytecode = True
WORK = {"socket.connect", "subprocess.Popen", "os.system", "os.mkdir", "os.rename", "os.remove", "os.putenv",
        "tempfile.mkstemp", "tempfile.mkdtemp", "_thread.start_new_thread", "duckdb.connect"}

def watch(event, arguments):
    opens_data = event == "open" and not str(arguments[0]).endswith((".py", ".pyc"))
    if watching and (opens_data or event in WORK):
        found.append(f"{event} {arguments[0] if arguments else ''}")

found, watching = [], True
duckdb.connect = lambda *arguments, **more: watch("duckdb.connect", arguments)
sys.addaudithook(watch)
load()
watching = False
print("\\n".join(found))
"""


def work_at_import(modules, scripts=()):
    """What loading them does beside defining names: files, folders, processes, databases, connections, environment."""
    command = [sys.executable, "-c", WATCHER, ",".join(modules), ",".join(map(str, scripts))]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    return process.stdout.split("\n")[:-1] if process.stdout.strip() else []


def test_nothing_is_done_at_import(tmp_path):
    """Fault 11: work at import."""
    pytest.importorskip("tensorflow", reason="some rooms load it")
    assert work_at_import(MODULES, [path for path in SCRIPTS.values() if path.parent.name != "benchmarks"]) == []


@pytest.mark.parametrize("line, seen", [
    ("open(os.devnull, 'a').close()", "open /dev/null"),
    ("import duckdb; duckdb.connect(':memory:')", "duckdb.connect :memory:"),
    ("os.environ['MEDTOP'] = '1'", "os.putenv b'MEDTOP'"),
    ("open(__file__).close()", None),
    ("def later():\n    open(os.devnull).close()", None),
])  # fmt: skip
def test_work_at_import_is_seen(tmp_path, line, seen):
    (tmp_path / "busy.py").write_text(f"import os\n{line}\n")
    assert work_at_import([], [tmp_path / "busy.py"]) == ([seen] if seen else [])


SECRET = re.compile(r"(?i)(^|_)(password|passwd|secret|api_?key|access_?key|private_?key|credentials?)$")
PLACE = re.compile(r"(/|~/|[A-Za-z]:[\\/]|\w+://[^/\s]*:[^/\s]*@)\w")
DEVICES = {"/dev/nvidiactl"}  # there where a GPU's driver is; nobody's own


def keys_and_paths(tree):
    """Lines with a text that names a place of one machine, or that is given to a name like `password`."""
    tails = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values[1:]}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in tails:
            if PLACE.match(node.value) and node.value not in DEVICES:
                yield node.lineno
        pairs = []
        if isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            pairs = [(name, node.value) for name in names]
        elif isinstance(node, ast.keyword):
            pairs = [(node.arg or "", node.value)]
        elif isinstance(node, ast.Dict):
            pairs = [(str(key.value), value) for key, value in zip(node.keys, node.values, strict=True)
                     if isinstance(key, ast.Constant)]  # fmt: skip
        for name, value in pairs:
            if SECRET.search(name) and isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value:
                yield value.lineno


@pytest.mark.parametrize("path", [*MODULES.values(), *SCRIPTS.values()], ids=lambda path: path.stem)
def test_no_keys_and_no_paths_in_code(path):
    """Fault 11: keys and paths in code."""
    lines = list(keys_and_paths(ast.parse(path.read_text(encoding="utf-8"))))
    assert not lines, f"{path.name}: line {lines[:1]}: files are named by flags, and keys stay with the user"


@pytest.mark.parametrize("source, lines", [
    ("x = '/mnt/data/cohort.csv'", [1]),
    ("open('~/notes.txt')", [1]),
    ("x = 'C:/data'", [1]),
    ("connect(user=name,\n password='hunter2')", [2]),
    ("API_KEY = 'x'", [1]),
    ("x = {'secret': 'y'}", [1]),
    ("x = 'postgres://me:pw@host'", [1]),
    ("x = f'{folder}/report.html', 'a/b', '/', password", []),
    ("mask_key, password = 'a', ''", []),
])  # fmt: skip
def test_keys_and_paths(source, lines):
    assert list(keys_and_paths(ast.parse(source))) == lines
