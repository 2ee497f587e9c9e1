"""What the codes' vectors start from: PPMI by hand, relatives alike, a run that was killed, what is refused."""

import json

import numpy as np
import pytest
from small_data import planted, small_config, training_options, write_dataset, write_splits

from medtop.cohort.vocabulary import SPECIAL_TOKENS, Vocabulary
from medtop.data.ppmi import count_neighbours, ppmi_svd
from medtop.files.errors import DataError
from medtop.training.code_start import hierarchy_rows, ppmi_rows
from medtop.training.head_plan import with_head
from medtop.training.options import TrainingOptions, make_plan


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_relatives_in_the_tree_start_alike():
    codes = [f"ICD10_{code}" for code in ("E11.9", "E11.2", "E78.5", "J44.1", "J44.0")]
    vocabulary = Vocabulary((*SPECIAL_TOKENS, *codes, "RX_1"))
    start = np.random.default_rng(3).normal(size=(len(vocabulary), 4000)).astype(np.float32)
    rows, known = hierarchy_rows(vocabulary, start, 0.08, seed=1)
    e119, e112, e785, j441, j440, other = rows[5:]
    assert known == 5 and rows.shape == start.shape and rows.dtype == np.float32
    np.testing.assert_array_equal(rows[:5], start[:5])
    np.testing.assert_array_equal(other, start[10])
    assert np.std(rows[5:10]) == pytest.approx(0.08, rel=0.05)
    for pair, shared in (((e119, e112), 2 / 3), ((j441, j440), 2 / 3), ((e119, e785), 1 / 3), ((e119, j441), 0.0)):
        assert cosine(*pair) == pytest.approx(shared, abs=0.06)
    np.testing.assert_array_equal(hierarchy_rows(vocabulary, start, 0.08, seed=1)[0], rows)
    assert np.abs(hierarchy_rows(vocabulary, start, 0.08, seed=2)[0] - rows)[5:10].max() > 0.1


def test_neighbours_start_alike_by_the_counts_of_the_records(tmp_path):
    """The records' histories counted by loops over the patients give the same vectors, up to the scale."""
    people = planted(60, 3)
    info = write_dataset(tmp_path / "train", people)
    ids = list(info.vocabulary.ordinary_ids)
    start = np.random.default_rng(0).normal(size=(len(info.vocabulary), 12)).astype(np.float32)
    rows, known = ppmi_rows(info, info.vocabulary, start, 0.3, seed=4)
    counts = np.zeros((len(ids), len(ids)))
    for patient in people:
        codes = [code - 5 if code >= 5 else -1 for visit in patient["visits"] for code in visit[0]]
        codes = [-1, *codes]  # [CLS]
        for place, code in enumerate(codes):
            for other in codes[max(0, place - 5) : place]:
                if code >= 0 and other >= 0:
                    counts[code, other] += 1
                    counts[other, code] += 1
    sequences = [np.array([c - 5 if c >= 5 else -1 for v in p["visits"] for c in v[0]]) for p in people]
    np.testing.assert_array_equal(count_neighbours(sequences, len(ids), 5).toarray(), counts)
    expected = ppmi_svd(count_neighbours(sequences, len(ids), 5), 12, seed=4)
    some = np.any(expected != 0, axis=1)
    assert known == some.sum() > 40 and np.sqrt(np.mean(rows[ids][some] ** 2)) == pytest.approx(0.3, rel=1e-5)
    scale = 0.3 / np.sqrt(np.mean(expected[some] ** 2))
    np.testing.assert_allclose(rows[ids][some], scale * expected[some], atol=1e-5)
    np.testing.assert_array_equal(rows[:5], start[:5])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"code_start": "word2vec"}, "--code_start: expected random, ppmi, hierarchy, received 'word2vec'"),
        ({"code_start": "ppmi", "init_checkpoint": "x"}, "--code_start=ppmi has no effect with --init_checkpoint"),
        ({"code_start": "ppmi", "freeze_encoder": True}, "--freeze_encoder needs --init_checkpoint, or --body=emb"),
    ],
)
def test_what_is_refused(changes, words, tmp_path):
    with pytest.raises(DataError, match=words):
        make_plan(training_options(tmp_path, write_splits(tmp_path, (8, 4, 4)), tasks=("long_stay",), **changes))


def test_a_checkpoint_is_the_start_whatever_its_own_was():
    """The configuration of a pretrained run says how it began; who goes on from it begins with its weights."""
    config = small_config(code_start="ppmi")
    assert with_head(TrainingOptions(output_dir="x", init_checkpoint="run"), config).code_start == "random"
    assert with_head(TrainingOptions(output_dir="x"), config).code_start == "ppmi"


@pytest.mark.slow
def test_frozen_vectors_are_those_of_the_counts(tmp_path):
    """Word2vec's rows of Med-BERT's figure: a net over vectors that do not move."""
    from medtop.runs.execute import execute
    from medtop.training.checkpoints import read_arrays
    from medtop.training.run_directory import RunDirectory

    info = write_dataset(tmp_path / "input_file.tfrecord", planted(60, 3))
    config = small_config(embeddings=("code",), initializer_range=0.3, head_size=6)
    options = training_options(tmp_path, {"input_file": str(tmp_path / "input_file.tfrecord")}, config, head="gru",
                               body="embeddings", code_start="ppmi", freeze_encoder=True, tasks=("long_stay",),
                               num_train_steps=2, seed=4)  # fmt: skip
    execute(options)
    run = RunDirectory(options.output_dir)
    table = read_arrays(run.best_weights)[0]["embeddings/code_embeddings"]
    rows, _ = ppmi_rows(info, info.vocabulary, np.array(table), 0.3, seed=4)
    np.testing.assert_array_equal(table, rows)
    assert json.loads(run.config_file.read_text())["code_start"] == "ppmi"
