"""Starting from another run's weights: what is taken, what is left, what is refused."""

import json
import shutil

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="weights come from a run directory")

import keras  # noqa: E402
from small_data import VOCABULARY, finished_run, patients, replaced, write_dataset  # noqa: E402

from medtop.cohort.vocabulary import SPECIAL_TOKENS, Vocabulary  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.model.multitask import build_model  # noqa: E402
from medtop.training.checkpoints import read_arrays, weights_of  # noqa: E402
from medtop.training.options import make_plan  # noqa: E402
from medtop.training.run_directory import RunDirectory  # noqa: E402
from medtop.training.start_from import check_patients, initialise  # noqa: E402

SHUFFLED = Vocabulary((*SPECIAL_TOKENS, "NEW1", *reversed(VOCABULARY.tokens[7:]), "NEW2"))
"""All codes of `VOCABULARY` but two, in another order, and two that it does not know."""


def plan(**changes):
    """A plan of a run that could follow the finished one."""
    return make_plan(replaced(finished_run().options, output_dir="unused", **changes))


def begun(a_plan, remap_vocab=False, folder=None):
    """(weights before, weights after, what was taken) of a new model."""
    keras.utils.set_random_seed(99)
    model = build_model(a_plan.config, a_plan.tasks)
    before = {path: array.copy() for path, array in weights_of(model).items()}
    taken = initialise(model, a_plan, folder or finished_run().folder / "run", remap_vocab)
    return before, weights_of(model), taken


@pytest.fixture(scope="module")
def there():
    return read_arrays(finished_run().folder / "run" / "best" / "weights.npz")[0]


def test_encoder_and_heads_that_fit_are_taken_the_rest_starts_at_random(there):
    """Pretrain, then fine-tune: masked_lm is new here, long_stay fits, complications is no task of this run."""
    before, after, taken = begun(plan(tasks=("masked_lm", "long_stay"), best_metric=""))
    new = {
        "masked_lm_transform/kernel",
        "masked_lm_transform/bias",
        "masked_lm_transform_norm/gamma",
        "masked_lm_transform_norm/beta",
        "masked_lm_logits/bias",
    }
    assert set(taken.left) == new and set(taken.weights) == after.keys() - new
    assert "long_stay_logits/kernel" in taken.weights and (taken.codes, taken.of) == (55, 55)
    for path, array in after.items():
        np.testing.assert_array_equal(array, before[path] if path in new else there[path], err_msg=path)


def test_a_head_with_other_labels_is_left(there, tmp_path):
    labels = {"complications": ["CKD_365", "MACE_365"], "long_stay": ["long_stay"]}  # the same two the other way round
    people = [
        person | {kind: person[kind] | {"complications": [0.0, 1.0]} for kind in ("labels", "weights")}
        for person in patients(5, 9)
    ]
    write_dataset(tmp_path / "train", people, tasks=labels)
    files = dict(input_file=str(tmp_path / "train"), valid_file="", test_file="", do_eval=False, best_metric="")
    before, after, taken = begun(plan(**files))
    assert set(taken.left) == {"complications_logits/kernel", "complications_logits/bias"}
    for path in taken.left:
        np.testing.assert_array_equal(after[path], before[path])
    np.testing.assert_array_equal(after["long_stay_logits/kernel"], there["long_stay_logits/kernel"])


def test_a_task_whose_name_begins_like_anothers_keeps_its_head(tmp_path):
    """readmission is gone, readmission_30 is there: its head fits."""
    folder = tmp_path / "run"
    shutil.copytree(finished_run().folder / "run", folder)
    content = json.loads((folder / "tasks.json").read_text())
    content["tasks"].append(
        {"name": "long", "level": "patient", "labels": ["x"], "weight": 1.0, "positive_weights": None}
    )
    (folder / "tasks.json").write_text(json.dumps(content))
    _, _, taken = begun(plan(), folder=folder)
    assert taken.left == []


def other_vocabulary(tmp_path):
    write_dataset(tmp_path / "train", patients(5, 9), vocabulary=SHUFFLED)
    return dict(input_file=str(tmp_path / "train"), valid_file="", test_file="", do_eval=False, best_metric="")


def test_another_vocabulary_is_refused_or_mapped_by_code(there, tmp_path):
    a_plan = plan(**other_vocabulary(tmp_path))
    message = r"the vocabulary of .*\(60 tokens\), received another one \(60 tokens\); --remap_vocab maps it by code"
    with pytest.raises(DataError, match=message):
        begun(a_plan)
    before, after, taken = begun(a_plan, remap_vocab=True)
    assert (taken.codes, taken.of) == (53, 55) and taken.left == []
    table = "embeddings/code_embeddings"
    for here, token in enumerate(SHUFFLED.tokens):
        known = token in VOCABULARY.ids
        expected = there[table][VOCABULARY.ids[token]] if known else before[table][here]
        np.testing.assert_array_equal(after[table][here], expected, err_msg=token)
    np.testing.assert_array_equal(after["layer_0_intermediate/kernel"], there["layer_0_intermediate/kernel"])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"intermediate_size": 32}, "intermediate_size=24 there, 32 here"),
        ({"activation": "gelu_tanh"}, "activation='gelu' there, 'gelu_tanh' here"),  # same shapes, another encoder
        ({"pooling": "sum", "norm": "pre"}, "norm='post' there, 'pre' here; pooling='mean' there, 'sum' here"),
    ],
)
def test_another_encoder_is_refused_with_the_differences(tmp_path, changes, message):
    config = json.loads((finished_run().folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(DataError) as caught:
        begun(plan(bert_config_file=str(tmp_path / "config.json")))
    assert message in str(caught.value) and "--init_checkpoint" in str(caught.value)


def test_dropout_may_differ(tmp_path):
    config = json.loads((finished_run().folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_dropout_prob": 0.3, "initializer_range": 0.01}))
    _, _, taken = begun(plan(bert_config_file=str(tmp_path / "config.json")))
    assert taken.left == []


def test_a_folder_without_a_run_or_without_weights_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected a run directory"):
        begun(plan(), folder=tmp_path)
    shutil.copytree(finished_run().folder / "run", tmp_path / "run")
    (tmp_path / "run" / "best" / "weights.npz").unlink()
    with pytest.raises(DataError, match="expected saved weights, found no such file"):
        begun(plan(), folder=tmp_path / "run")


def test_pretraining_on_patients_of_the_test_split_is_refused(tmp_path, caplog):
    """Fault 6: pretraining takes the same split file."""
    run = finished_run()
    folder = run.folder / "run"
    splits = RunDirectory(folder).read_splits()
    check_patients(plan(), folder, splits)  # the same splits
    check_patients(plan(), folder, {"train": splits["train"], "valid": ["someone new"], "test": []})
    with pytest.raises(DataError, match="trained on 2 of them; give both runs the same splits"):
        check_patients(plan(), folder, splits | {"test": [*splits["test"], *splits["train"][:2]]})
    assert not caplog.records
    elsewhere = plan(**other_vocabulary(tmp_path))  # another vocabulary, other data: equal ids may be other people
    check_patients(elsewhere, folder, {"test": splits["train"][:3]})
    assert "3 patients whose ids stand in the test split" in caplog.text
