"""Cross-validation of networks for tables: nothing held out is looked at, resume, and losses 1,000-fold apart."""

import dataclasses

import numpy as np
import pytest
from tabular_cases import loaded, rows_of

from medtop.model.balancing import BALANCERS
from medtop.synthetic.loss_scales import LOSS_SCALE, write_case
from medtop.tabular.cross_validation import CrossValidation
from medtop.tabular.measures import measure
from medtop.tabular.options import TabularOptions
from medtop.tabular.schema import read_schema
from medtop.tabular.table_data import load
from medtop.tabular.training import TabularTrainer

SCALE_ROWS = 5400
SMALL = TabularOptions(hidden=(8, 4), epochs=3, patience=0, batch_size=16, learning_rate=0.01)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return loaded(tmp_path_factory.mktemp("table"))


@pytest.mark.slow
def test_single_task_and_shared_trunk_see_the_same_rows(tmp_path):
    """Single-task networks are the same network with one head: with one target, both give the same predictions."""
    one = loaded(tmp_path, rows_of(60), {"targets": [{"column": "mode", "kind": "classification"}]})
    predictions, histories = CrossValidation(one, SMALL, ["fixed", "single_task", "constant"], 3).run()
    np.testing.assert_array_equal(predictions["fixed"][0], predictions["single_task"][0])
    assert [row["best_epoch"] for row in histories["fixed"]] == [row["best_epoch"] for row in histories["single_task"]]
    assert histories["constant"] == []


@pytest.mark.slow
def test_held_out_rows_are_not_looked_at(tmp_path):
    """Other targets in a fold, and other inputs in one of its rows: its other predictions stay the same bits.

    Nothing is fitted on the fold: no weight, scale, constant, and no choice of the epoch.
    """
    methods, rows = ["gradnorm", "single_task", "linear", "gradient_boosting", "constant"], rows_of(60)
    validation = CrossValidation(loaded(tmp_path, rows), SMALL, methods, 2)
    first = np.flatnonzero(validation.folds == 0)
    before, histories = validation.run()
    for number in first:
        _, _, _, _, _, _, mode, flow = rows[number]
        rows[number][6:] = [mode and {"HD": "HDF", "HDF": "HD"}[mode], flow and str(900 - float(flow))]
    rows[first[0]][2:6] = ["900", "M", "1", "1"]
    after, changed = CrossValidation(loaded(tmp_path, rows), SMALL, methods, 2).run()
    for method in methods:
        for one, other in zip(before[method], after[method], strict=True):
            np.testing.assert_array_equal(one[first[1:]], other[first[1:]], err_msg=method)
    assert histories["gradnorm"][0] == changed["gradnorm"][0] and histories["gradnorm"][1] != changed["gradnorm"][1]


@pytest.mark.slow
@pytest.mark.parametrize("balancing", BALANCERS)
def test_a_stopped_cross_validation_goes_on_to_the_same_bits(data, tmp_path, balancing):
    """A run that was killed in its second fold; a fold is trained as a whole, and takes seconds."""
    whole = CrossValidation(data, SMALL, [balancing], 3, tmp_path).run()
    (tmp_path / f"{balancing}-fold2.npz").unlink()
    (tmp_path / f"{balancing}-fold3.npz").unlink()
    kept = (tmp_path / f"{balancing}-fold1.npz").stat().st_mtime_ns
    predictions, histories = CrossValidation(data, SMALL, [balancing], 3, tmp_path).run()
    assert histories == whole[1] and (tmp_path / f"{balancing}-fold1.npz").stat().st_mtime_ns == kept
    for one, other in zip(predictions[balancing], whole[0][balancing], strict=True):
        np.testing.assert_array_equal(one, other)


def scale_skills(folder, weight, balancing):
    """(held-out skill of each target and "mean", first epoch's losses) of one training on the case `scale`."""
    options = TabularOptions(hidden=(64, 32), epochs=20, patience=0, learning_rate=3e-3, gradnorm_alpha=0.12)
    table, schema = write_case(folder, SCALE_ROWS, seed=1, weight=weight)
    data = load(table, read_schema(schema))
    train, valid, test = np.split(np.arange(SCALE_ROWS), [SCALE_ROWS * 5 // 9, SCALE_ROWS * 6 // 9])
    x = data.encoder.encoded(train)
    trainer = TabularTrainer(x.shape[1], data.targets, options, balancing)
    trainer.fit(x, train, valid)
    held_out = [dataclasses.replace(one, values=one.values[test], known=one.known[test]) for one in data.targets]
    constant = [
        np.tile(part, (len(test), 1)) if one.is_classification else np.full(len(test), part[0])
        for one, part in zip(held_out, trainer.constants, strict=True)
    ]
    found = measure(held_out, {"it": trainer.predict(x[test]), "constant": constant}, test, 0, 0)["it"]
    first = trainer.history[0]
    losses = {one.name: first[f"{one.name}_loss"] for one in held_out}
    return {name or "mean": entry["skill" if name else "mean_skill"]["value"] for name, entry in found.items()}, losses


@pytest.mark.slow
def test_losses_a_thousandfold_apart(tmp_path):
    """Plain summing fails; uncertainty and GradNorm reach the weights that somebody who knows the scale would fix.

    Compared by skill: held-out, free of units and of weights. docs/tabular.md has it over seeds.
    """
    known, losses = scale_skills(tmp_path, 1 / LOSS_SCALE, "fixed")
    assert losses["flow"] > 300 * max(losses["ratio"], losses["answer"])
    plain, _ = scale_skills(tmp_path, 1.0, "fixed")
    for name in ("ratio", "answer"):
        assert plain[name] < 0.2 < 0.4 < known[name], (plain, known)
    assert plain["mean"] < known["mean"] - 0.2, (plain, known)
    for method in ("uncertainty", "gradnorm"):
        found, _ = scale_skills(tmp_path, 1.0, method)
        assert found["mean"] > known["mean"] - 0.02, (method, found, known)
        assert min(found[name] for name in ("flow", "ratio", "answer")) > 0.4, (method, found)
