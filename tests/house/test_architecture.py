"""The house's rules, read from the source with `ast`: who may import whom, who may load which framework.

`HOUSE` has one row a folder, ground floor first. A new folder gets a row, a new file obeys its folder's.
"""

import ast
import dataclasses
import os
import re
import subprocess
import sys
import textwrap

import pytest
from conftest import ROOT

FRAMEWORKS = {"tensorflow", "tensorflow_text", "keras", "torch", "jax"}
NONE, KERAS, TENSORFLOW, ANY = set(), {"keras"}, {"tensorflow", "tensorflow_text", "keras"}, FRAMEWORKS


@dataclasses.dataclass(frozen=True)
class Room:
    """A folder of `medtop/`.

    Attributes:
        loads: frameworks that its files may load, at import or inside functions.
        light: its files that load none at import, so that flags and files are checked first ("*": all).
        plain: its files that never load one, by way of no other file either.
    """

    loads: set
    light: str = ""
    plain: str = ""


HOUSE = {  # from the ground up: a room imports from its own folder and from those above it in this list
    "files": Room(NONE),
    "sources": Room(NONE),
    "cohort": Room(NONE),
    "model": Room(
        KERAS, light="config tasks choices", plain="config choices"
    ),  # and never TensorFlow, by way of nobody
    "text": Room(
        TENSORFLOW, light="words sentences windows word_windows cleaning wordpiece tags", plain="words sentences tags"
    ),
    "data": Room(
        TENSORFLOW,
        light="create description fields finetuning",
        plain="tokens packing protobuf fields layouts description record_maker sequences ppmi",
    ),
    "wide": Room(NONE),
    "evaluation": Room(
        TENSORFLOW, plain="predictions bootstrap metrics marks calibration platt baselines aggregation tagged_words"
    ),
    "reporting": Room(NONE),
    "training": Room(TENSORFLOW, light="options run_directory start_from", plain="cluster checkpoints log wide_files"),
    "explain": Room(TENSORFLOW, plain="importance faithfulness patients deletion"),
    "notes": Room(TENSORFLOW, light="*", plain="tables rows note_texts choice admissions outputs manifest preprocess"),
    "corpus": Room(
        TENSORFLOW,
        light="*",
        plain="documents shingles minhash resumable corpus_files parts buckets near_copies copies_report deduplicate "
        "filters mixture make card",
    ),
    "language": Room(TENSORFLOW, light="examples study", plain="examples"),
    "similarity": Room(TENSORFLOW, light="study pairs measures", plain="pairs measures"),
    "readmission": Room(TENSORFLOW, light="prepare files", plain="files tfidf"),
    "tabular": Room(TENSORFLOW, light="schema rows table_data options encoding yaib", plain="schema rows yaib"),
    "synthetic": Room(NONE),
    "serve": Room(TENSORFLOW),
    "convert": Room(ANY),
    "runs": Room(TENSORFLOW, light="model_card evaluate explain plan", plain="model_card"),
    "entities": Room(TENSORFLOW, light="*", plain="convert tables formats documents"),
    "deidentification": Room(
        TENSORFLOW,
        light="*",
        plain="rules dates views roster detect removal surrogates scores report generated thresholds",
    ),
    "grid": Room(NONE),
    "cli": Room(TENSORFLOW, light="*", plain="commands heavy_imports"),
}
FLOOR = {room: number for number, room in enumerate(HOUSE)}
KERAS_ONLY = {"model"}
KNOWS_FLAGS = {"cli"}  # it serves the scripts, and no other room imports it
SPEAKS = {"cli"}  # what scripts print when they end, and standard error while TensorFlow loads
SCRIPT_FOLDERS = ("preprocessing", "run_scripts", "benchmarks")
WITHOUT_ANY_FRAMEWORK = (
    "preprocess_pretrain_data",
    "make_synthetic_cohort",
    "preprocess_notes",
    "deduplicate_notes",
    "make_corpus",
    "make_synthetic_notes",
    "convert_entities",
)


def module_name(path):
    """`medtop/sources/rows.py` -> `medtop.sources.rows`; a package's `__init__.py` -> the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source, module, modules, is_package=False):
    """Two sets of absolute module names: imported when the module is loaded, imported inside a function.

    `from medtop import files` gives `medtop.files.atomic` where that is one of `modules`, else `medtop`.
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
        inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.stmt, ast.ExceptHandler, ast.match_case)):  # no expression holds an import
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


def names(words, room):
    """The modules that a row's words name."""
    inside = {module for module in MODULES if room_of(module) == room}
    return inside if words == "*" else {f"medtop.{room}.{word}" for word in words.split()}


def misplaced(modules, folders):
    """Files that stand in no folder of the house, and folders or names that it does not know."""
    for module in modules:
        if module.count(".") == 1 and module not in folders:
            yield f"{module}: a file outside the folders of medtop/"
        elif room_of(module) and room_of(module) not in HOUSE:
            yield f"{module}: no folder of the table HOUSE in tests/house/test_architecture.py"
        if re.search("utils|helpers", module):
            yield f"{module}: name a file after its concern"


def upward(imports):
    """Imports that point upwards: `imports` is module -> imported modules."""
    for module, imported in sorted(imports.items()):
        for other in sorted(imported):
            if room_of(module) in FLOOR and FLOOR.get(room_of(other), -1) > FLOOR[room_of(module)]:
                yield f"{module} imports {other}, which stands higher"


def circles(graph):
    """The nodes that import each other in a circle, or hang on one: `graph` is node -> set of nodes."""
    graph = {name: {other for other in others if other in graph and other != name} for name, others in graph.items()}
    while graph:
        free = [name for name, others in graph.items() if not others & graph.keys()]
        if not free:
            return sorted(graph)
        for name in free:
            del graph[name]
    return []


def framework_offences():
    for module in MODULES:
        room, row = room_of(module), HOUSE.get(room_of(module))
        if row is None:
            continue
        direct = frameworks(EAGER[module] | LATE_IMPORTS[module])
        if not direct <= row.loads:
            yield f"{module}: its folder may load {sorted(row.loads)}, it loads {sorted(direct - row.loads)}"
        if row.loads == NONE or module in names(row.light, room) | names(row.plain, room):
            if loaded := frameworks(reached({module}, late=False)):
                yield f"{module}: importing it loads {sorted(loaded)}"
        if row.loads == NONE or module in names(row.plain, room):
            if loaded := frameworks(reached({module}, late=True)):
                yield f"{module}: calling it loads {sorted(loaded)}"
        if room in KERAS_ONLY and (loaded := frameworks(reached({module}, late=True)) - KERAS):
            yield f"{module}: it loads {sorted(loaded)} by way of another file"
        if row.loads != ANY and "torch" in frameworks(reached({module}, late=True)):
            yield f"{module}: PyTorch is for convert only"


def flag_offences():
    for module in MODULES:
        imports = EAGER[module] | LATE_IMPORTS[module]
        if {name.partition(".")[0] for name in imports} & {*SCRIPT_FOLDERS, *SCRIPTS, "tests"}:
            yield f"{module} imports from the scripts or the tests"
        if room_of(module) not in KNOWS_FLAGS:
            if "absl" in {name.partition(".")[0] for name in imports}:
                yield f"{module}: flags are read in scripts and handed on as values"
            if {room_of(name) for name in imports if name.startswith("medtop.")} & KNOWS_FLAGS:
                yield f"{module} imports cli, which serves scripts only"
    for script in SCRIPTS:
        eager, late = script_imports(script)
        if "absl" in {name.partition(".")[0] for name in eager | late}:
            yield f"{script}: a flag is a dataclass field (docs/house.md, Add a flag), read by medtop.cli.flags"


IMPORTS = {
    name: {other for other in EAGER[name] | LATE_IMPORTS[name] if other in MODULES and not name.startswith(f"{other}.")}
    for name in MODULES
}


def test_every_file_stands_in_a_room():
    folders = {f"medtop.{path.name}" for path in (ROOT / "medtop").iterdir() if path.is_dir()}
    assert list(misplaced(MODULES, folders)) == []
    assert {room_of(module) for module in MODULES} - {""} == set(HOUSE), "a row without a folder"
    for room, row in HOUSE.items():
        assert (names(row.light, room) | names(row.plain, room)) <= MODULES.keys(), f"{room}: a row names no file"
    planted = ("medtop.lonely", "medtop.attic.x", "medtop.files.utils")
    assert list(misplaced(planted, {"medtop.attic"})) == [
        "medtop.lonely: a file outside the folders of medtop/",
        "medtop.attic.x: no folder of the table HOUSE in tests/house/test_architecture.py",
        "medtop.files.utils: name a file after its concern",
    ]


def test_each_folder_says_what_it_is():
    for room in HOUSE:
        first = (ast.get_docstring(ast.parse(MODULES[f"medtop.{room}"].read_text(encoding="utf-8"))) or "").strip()
        assert first.endswith((".", ")")) and len(first) > 20, f"medtop/{room}/__init__.py: one sentence on the room"


def test_imports_point_downwards():
    assert list(upward(IMPORTS)) == []
    planted = IMPORTS | {"medtop.files.atomic": IMPORTS["medtop.files.atomic"] | {"medtop.training.trainer"}}
    assert list(upward(planted)) == ["medtop.files.atomic imports medtop.training.trainer, which stands higher"]


def test_no_circles():
    assert circles(IMPORTS) == [], "these files import each other in a circle"
    rooms = {room: set() for room in HOUSE}
    for module, others in IMPORTS.items():
        if room_of(module):
            rooms[room_of(module)] |= {room_of(other) for other in others}
    assert circles(rooms) == [], "these folders import each other in a circle"
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]


GENERAL = {"evaluation", "training", "runs", "serve", "grid"}
INPUTS = {"notes", "readmission", "entities", "tabular"}  # a kind of input hands itself in, through the scripts


def of_one_input(imports):
    """Imports by which a room for every kind of input knows of one."""
    for module, imported in sorted(imports.items()):
        if room_of(module) in GENERAL:
            yield from (f"{module} imports {other}" for other in sorted(imported) if room_of(other) in INPUTS)


def test_general_rooms_know_no_kind_of_input():
    assert list(of_one_input(IMPORTS)) == []
    planted = {"medtop.runs.results": {"medtop.readmission.results", "medtop.evaluation.metrics"}}
    assert list(of_one_input(planted)) == ["medtop.runs.results imports medtop.readmission.results"]


def test_frameworks():
    assert list(framework_offences()) == []


def test_the_library_reads_no_flag_and_imports_no_script():
    assert list(flag_offences()) == []


def speaks_or_hides(tree):
    """Lines of `print`, `sys.stdout`, `sys.stderr`, and of imports that `ast` cannot see."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "__import__"):
            yield node.lineno
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if (node.value.id, node.attr) in [("sys", "stdout"), ("sys", "stderr"), ("importlib", "import_module")]:
                yield node.lineno


def test_the_library_does_not_print_or_import_by_name():
    """Scripts print, and imports stand as `import` statements."""
    assert [
        f"{module}: line {line}"
        for module, path in MODULES.items()
        if room_of(module) not in SPEAKS
        for line in speaks_or_hides(ast.parse(path.read_text(encoding="utf-8")))
    ] == []


def script_imports(script):
    return imports_of(SCRIPTS[script].read_text(encoding="utf-8"), script, MODULES)


def test_scripts_do_not_import_each_other():
    for script in SCRIPTS:
        eager, late = script_imports(script)
        imported = {name.partition(".")[0] for name in eager | late}
        assert not imported & {*SCRIPT_FOLDERS, *SCRIPTS, "tests"}, f"{script} imports another script"


def test_scripts_check_flags_before_a_framework_is_loaded():
    for script, path in SCRIPTS.items():
        if path.parent.name == "benchmarks":
            continue
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


@pytest.mark.slow
def test_plain_rooms_load_where_no_framework_is_installed():
    rooms = [
        module
        for room, row in HOUSE.items()
        for module in sorted(names("*" if row.loads == NONE else row.light, room) | names(row.plain, room))
    ]
    assert len(rooms) > 60
    assert not import_without(FRAMEWORKS, rooms) & FRAMEWORKS


@pytest.mark.slow
def test_keras_rooms_load_where_tensorflow_is_not_installed():
    rooms = [name for name in MODULES if room_of(name) in KERAS_ONLY]
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


@pytest.mark.parametrize(
    "source, lines",
    [
        ("print(1)", [1]),
        ("import sys\nsys.stderr.write('x')", [2]),
        ("x = __import__('tensorflow')", [1]),
        ("import importlib\nimportlib.import_module('keras')", [2]),
        ("def blueprint():\n    return 'print(1)'", []),
    ],
)
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


@pytest.mark.slow
def test_nothing_is_done_at_import(tmp_path):
    """Fault 11: work at import."""
    pytest.importorskip("tensorflow", reason="some rooms load it")
    assert work_at_import(MODULES, [path for path in SCRIPTS.values() if path.parent.name != "benchmarks"]) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "line, seen",
    [
        ("open(os.devnull, 'a').close()", "open /dev/null"),
        ("import duckdb; duckdb.connect(':memory:')", "duckdb.connect :memory:"),
        ("os.environ['MEDTOP'] = '1'", "os.putenv b'MEDTOP'"),
        ("open(__file__).close()", None),
        ("def later():\n    open(os.devnull).close()", None),
    ],
)
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
            pairs = [
                (str(key.value), value)
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant)
            ]
        for name, value in pairs:
            if SECRET.search(name) and isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value:
                yield value.lineno


def test_no_keys_and_no_paths_in_code():
    """Fault 11: keys and paths in code. Files are named by flags, and keys stay with the user."""
    assert [
        f"{path.name}: line {line}"
        for path in (*MODULES.values(), *SCRIPTS.values())
        for line in keys_and_paths(ast.parse(path.read_text(encoding="utf-8")))
    ] == []


@pytest.mark.parametrize(
    "source, lines",
    [
        ("x = '/mnt/data/cohort.csv'", [1]),
        ("open('~/notes.txt')", [1]),
        ("x = 'C:/data'", [1]),
        ("connect(user=name,\n password='hunter2')", [2]),
        ("API_KEY = 'x'", [1]),
        ("x = {'secret': 'y'}", [1]),
        ("x = 'postgres://me:pw@host'", [1]),
        ("x = f'{folder}/report.html', 'a/b', '/', password", []),
        ("mask_key, password = 'a', ''", []),
    ],
)
def test_keys_and_paths(source, lines):
    assert list(keys_and_paths(ast.parse(source))) == lines
