"""What is made outside the package counts as what is in it: a source, a task, a head, a balancer, a kind of records.

Each is one file of tests/house/outside, which enters itself into a dict; nothing in the package knows of them.
"""

import importlib
import json
import sys

import numpy as np
import pytest
from conftest import ROOT

from medtop.cohort.build import Options
from medtop.cohort.preprocess import CohortInput, preprocess
from medtop.cohort.vocabulary import SPECIAL_TOKENS, Vocabulary
from medtop.data import create
from medtop.data.layouts import LAYOUTS, find_layout
from medtop.data.sequences import FeatureSettings, SequenceMaker
from medtop.files.errors import DataError
from medtop.model.tasks import TASKS
from medtop.sources import SOURCES

pytest.importorskip("tensorflow", reason="training needs TensorFlow")

from small_data import small_config  # noqa: E402

from medtop.evaluation.scoring import patient_model  # noqa: E402
from medtop.model.balancing import BALANCERS  # noqa: E402
from medtop.model.heads import HEADS  # noqa: E402
from medtop.runs import execute  # noqa: E402
from medtop.training.options import TrainingOptions  # noqa: E402
from medtop.training.run_directory import RunDirectory  # noqa: E402

OUTSIDE = ROOT / "tests" / "house" / "outside"
FILES = sorted(path.stem for path in OUTSIDE.glob("*.py"))
REGISTRIES = (SOURCES, TASKS, HEADS, BALANCERS, LAYOUTS)


@pytest.fixture
def outside(monkeypatch):
    """Imports the outside files, as a user's own script does: dict name -> module. The dicts are as before then."""
    before = [dict(registry) for registry in REGISTRIES]
    monkeypatch.syspath_prepend(str(OUTSIDE))
    yield {name: importlib.import_module(name) for name in FILES}
    for registry, entries in zip(REGISTRIES, before, strict=True):
        registry.clear()
        registry.update(entries)
    for name in FILES:
        del sys.modules[name]


def options_of(folder, names, config, **changes):
    """`TrainingOptions` of a run of few steps."""
    (folder / "config.json").write_text(json.dumps(config.to_dict() | {"vocab_size": 0}))
    defaults = dict(
        output_dir=str(folder / "run"),
        bert_config_file=str(folder / "config.json"),
        do_train=True,
        do_eval=True,
        train_batch_size=16,
        learning_rate=1e-3,
        num_train_epochs=2,
        num_bootstrap=10,
        telemetry_steps=0,
        baselines=False,
    )
    files = {name: str(folder / f"{split}.tfrecord") for name, split in names.items()}
    return TrainingOptions(**defaults | files | changes)


def visit_log(folder, patients=60):
    """`log.jsonl`, prediction times with the made-up label, and a split file."""
    rng = np.random.default_rng(1)
    visits, times, splits = [], ["patient_id,prediction_time,relapse"], ["patient_id,split"]
    for number in range(patients):
        label = number % 2
        for month in (1, 2, 3):
            codes = [f"C{code}" for code in rng.integers(0, 8, 3)] + (["MARK"] if label else [])
            day = f"2020-{month:02d}-10"
            visits.append({"who": f"P{number:02d}", "from": day, "to": f"2020-{month:02d}-12", "codes": codes})
        times.append(f"P{number:02d},2020-03-12,{label}")
        splits.append(f"P{number:02d},{('train', 'train', 'valid', 'test')[number // 2 % 4]}")
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, visits)) + "\n")
    (folder / "times.csv").write_text("\n".join(times) + "\n")
    (folder / "splits.csv").write_text("\n".join(splits) + "\n")


@pytest.mark.slow
def test_source_task_head_and_balancer_from_raw_table_to_results(tmp_path, outside):
    visit_log(tmp_path)
    options = Options(
        prediction_times=str(tmp_path / "times.csv"),
        splits=str(tmp_path / "splits.csv"),
        tasks=(),
        min_code_count=1,
        min_code_patients=1,
    )
    source = CohortInput(str(tmp_path / "log.jsonl"))  # no --source: it recognises its file
    outcome = preprocess(source, options, tmp_path / "c")
    assert outcome.manifest["source"]["name"] == "visit_log"
    for split in ("train", "valid", "test"):
        settings = FeatureSettings(
            input_file=str(tmp_path / f"c.bencs.{split}"),
            output_file=str(tmp_path / f"{split}.tfrecord"),
            vocab_file=str(tmp_path / "c.types"),
        )
        create.write(create.plan(SequenceMaker(settings)))
    names = {"input_file": "train", "valid_file": "valid", "test_file": "test"}
    config = small_config(embeddings=("code", "visit"), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    options = options_of(tmp_path, names, config, tasks=("relapse",), loss_balancing="inverse_loss")
    results = execute.execute(options)

    run = RunDirectory(tmp_path / "run")
    _, _, (task,) = run.read()
    assert isinstance(task, outside["relapse"].Relapse) and task.head == "two_layers"
    log = [json.loads(line) for line in run.log_file.read_text().splitlines()]
    weights = [row["relapse_weight"] for row in log]
    assert weights[0] == 1 and weights[1:] == pytest.approx([1 / row["relapse_loss"] for row in log[:-1]], rel=1e-5)

    entry = json.loads(run.metrics_file.read_text())["test"]["relapse"]["relapse"]
    assert (entry["n"], entry["positives"]) == (14, 7)
    logits = results.predictions["test"]["relapse"].logits
    assert np.isfinite(logits).all() and len(logits) == 14


def test_the_heads_hidden_layer_scores_too(outside):
    """Scoring builds a smaller model of the head's layers: all of them, not the last one alone."""
    from medtop.model.multitask import build_model
    from medtop.model.tasks import choose_tasks

    config = small_config(vocab_size=20, embeddings=("code",), hidden_dropout_prob=0.0)
    tasks = choose_tasks(("relapse",), {"relapse": ["relapse"]})
    model = build_model(config, tasks)
    rng = np.random.default_rng(2)
    ids = rng.integers(5, 20, (3, 7)).astype(np.int32)
    x = {
        "token_ids": ids,
        "patient_slots": np.ones_like(ids),
        "cls_positions": np.zeros((3, 1), np.int32),
        "positions": np.tile(np.arange(7, dtype=np.int32), (3, 1)),
    }
    x = {name: x[name] for name in model.input}
    whole = np.asarray(model(x, training=False)["relapse"])
    assert np.allclose(np.asarray(patient_model(model, tasks)(x, training=False)["relapse"]), whole, atol=1e-5)
    assert model.get_layer("relapse_hidden").kernel.shape == (config.hidden_size, config.hidden_size // 2)
    loss = tasks[0].loss()(np.ones((1, 1, 1)), np.zeros((1, 1, 1)))
    assert float(loss) == pytest.approx(np.log(2))  # softened or not, at 0
    assert float(tasks[0].loss()(np.ones((1, 1, 1)), np.full((1, 1, 1), 20.0))) == pytest.approx(0.05 * 20, rel=1e-3)


@pytest.mark.slow
def test_a_kind_of_records_from_lines_to_results(tmp_path, outside):
    words = [f"w{number}" for number in range(20)]
    Vocabulary((*SPECIAL_TOKENS, *words)).write(tmp_path / "v")
    rng, maker = np.random.default_rng(3), outside["word_lines"]
    for split, count in (("train", 40), ("valid", 16)):
        lines = [
            f"{split}{number}\t{number % 2}\t{' '.join(rng.choice(words, rng.integers(2, 8)))}"
            for number in range(count)
        ]
        (tmp_path / f"{split}.txt").write_text("\n".join([*lines, f"{split}-short\t0\tw1"]) + "\n")
        settings = maker.LineSettings(
            input_file=str(tmp_path / f"{split}.txt"),
            output_file=str(tmp_path / f"{split}.tfrecord"),
            vocab_file=str(tmp_path / "v.types"),
            split=split,
            fewest=2,
        )
        info = create.write(create.plan(maker.LineMaker(settings)))
        assert (info.layout, info.counts["examples_in"], info.num_examples) == (maker.LINES, count + 1, count)
        assert info.counts["dropped"] == {"too_few_words": 1}
        assert create.plan(maker.LineMaker(settings)).done
    with pytest.raises(DataError, match="fewest was 2, is 3"):
        create.plan(maker.LineMaker(maker.LineSettings(**vars(settings) | {"fewest": 3})))
    with pytest.raises(DataError, match="--fewest"):
        create.plan(maker.LineMaker(maker.LineSettings(**vars(settings) | {"fewest": 0})))

    names = {"input_file": "train", "valid_file": "valid"}
    config = small_config(embeddings=("code", "position"), segment="zero")
    results = execute.execute(options_of(tmp_path, names, config, num_train_epochs=1, tasks=("urgent",)))
    assert results.metrics["valid"]["urgent"]["urgent"]["n"] == 16


def test_without_the_files_nothing_of_them_is_known():
    assert not {*FILES} & {*sys.modules}
    for name, registry in (("visit_log", SOURCES), ("relapse", TASKS), ("two_layers", HEADS), ("lines", LAYOUTS)):
        assert name not in registry
    with pytest.raises(
        DataError,
        match="layout out of default, medbert, medbert_finetuning, notes, entities, entity_pieces, received 'lines'",
    ):
        find_layout("lines", "d.dataset.json")
