"""Networks for tables: losses against scikit-learn, unknown values, refitting, telemetry, losses 1,000-fold apart."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_squared_error
from tabular_cases import loaded, rows_of

from medtop.balancing import BALANCERS
from medtop.errors import DataError
from medtop.tabular.cross_validation import CrossValidation
from medtop.tabular.measures import measure
from medtop.tabular.options import TabularOptions
from medtop.tabular.scale_case import LOSS_SCALE, write_case
from medtop.tabular.schema import read_schema
from medtop.tabular.table_data import load
from medtop.tabular.training import Trainer, relative_loss

SCALE_ROWS, SCALE_EPOCHS = 2000, 60
SMALL = TabularOptions(hidden=(8, 4), epochs=3, patience=0, batch_size=16, learning_rate=0.01)
TRAIN, VALID = np.arange(40), np.arange(40, 60)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return loaded(tmp_path_factory.mktemp("table"))


def trainer_of(data, options=SMALL, balancing="fixed", targets=None):
    x = data.encoder.encoded(TRAIN)
    return Trainer(x.shape[1], targets or data.targets, options, balancing), x


def test_an_epochs_losses_are_scikit_learns(data):
    """With a learning rate of nearly 0 all batches see the same network."""
    still = dataclasses.replace(SMALL, learning_rate=1e-12, weight_decay=0.0, epochs=1)
    trainer, x = trainer_of(data, still)
    trainer.fit(x, TRAIN, VALID)
    mode, flow = data.targets
    probabilities, values = trainer.predict(x)
    rows = TRAIN[mode.known[TRAIN]]
    losses = {"mode": log_loss(mode.values[rows], probabilities[rows], labels=[0, 1])}
    rows = TRAIN[flow.known[TRAIN]]
    scale = flow.constant(TRAIN)[1]
    losses["flow"] = mean_squared_error(flow.values[rows], values[rows]) / scale**2
    assert 0 < len(rows) < len(TRAIN)
    for name, expected in losses.items():
        assert trainer.history[0][f"{name}_loss"] == pytest.approx(expected, rel=1e-5)


def test_losses_in_the_datas_units(data):
    own = [dataclasses.replace(one, target=dataclasses.replace(one.target, loss_units="data")) for one in data.targets]
    still = dataclasses.replace(SMALL, learning_rate=1e-12, weight_decay=0.0, epochs=1)
    rows = []
    for targets in (data.targets, own):
        trainer, x = trainer_of(data, still, targets=targets)
        trainer.fit(x, TRAIN, VALID)
        rows.append(trainer.history[0])
    variance = data.targets[1].constant(TRAIN)[1] ** 2
    assert rows[1]["flow_loss"] == pytest.approx(variance * rows[0]["flow_loss"], rel=1e-5)
    assert rows[1]["mode_loss"] == pytest.approx(rows[0]["mode_loss"], rel=1e-6)


def test_relative_loss_by_hand(data):
    trainer, x = trainer_of(data)
    trainer.fit(x, TRAIN, VALID)
    mode, flow = data.targets
    probabilities, values = trainer.predict(x)
    rows = VALID[mode.known[VALID]]
    constant = np.tile(mode.constant(TRAIN), (len(rows), 1))
    shares = [log_loss(mode.values[rows], probabilities[rows]) / log_loss(mode.values[rows], constant)]
    rows = VALID[flow.known[VALID]]
    shares.append(np.mean((flow.values[rows] - values[rows]) ** 2)
                  / np.mean((flow.values[rows] - flow.constant(TRAIN)[0]) ** 2))  # fmt: skip
    best = trainer.history[trainer.best_epoch - 1]["valid_loss"]
    assert best == pytest.approx(np.mean(shares), rel=1e-5) == min(row["valid_loss"] for row in trainer.history)
    perfect = [np.where(np.arange(2) == mode.values[VALID][:, None], 50.0, -50.0),
               ((flow.values[VALID] - trainer.constants[1][0]) / trainer.constants[1][1])[:, None]]  # fmt: skip
    assert relative_loss(perfect, data.targets, trainer.constants, VALID) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("balancing", BALANCERS)
def test_unknown_values_move_nothing(data, balancing):
    """A flipped value whose weight is 0: the same losses, weights and predictions, bit for bit."""
    found = []
    for flip in (0.0, 1.0):
        targets = [dataclasses.replace(one, values=np.where(one.known, one.values, flip)) for one in data.targets]
        assert not all(one.known[TRAIN].all() for one in targets)
        trainer, x = trainer_of(data, balancing=balancing, targets=targets)
        trainer.fit(x, TRAIN, VALID)
        found.append((trainer.history, [part.tolist() for part in trainer.predict(x)]))
    assert found[0] == found[1]


@pytest.mark.parametrize("balancing", BALANCERS)
def test_fitting_again_is_fitting_anew(data, balancing):
    """One graph serves all folds: nothing of an earlier fit is left, neither in weights nor in moments nor balancer."""
    trainer, x = trainer_of(data, dataclasses.replace(SMALL, dropout=0.3), balancing)
    trainer.fit(x, TRAIN, VALID)
    first = trainer.history, [part.tolist() for part in trainer.predict(x)]
    trainer.fit(x, VALID, TRAIN)
    assert trainer.history != first[0]
    trainer.fit(x, TRAIN, VALID)
    assert (trainer.history, [part.tolist() for part in trainer.predict(x)]) == first


def test_telemetry(data):
    trainer, x = trainer_of(data, balancing="gradnorm")
    trainer.fit(x, TRAIN, VALID)
    for epoch, row in enumerate(trainer.history, 1):
        assert list(row) == ["epoch", "mode_loss", "mode_weight", "mode_gradient_norm", "mode_flow_gradient_cosine",
                             "flow_loss", "flow_weight", "flow_gradient_norm", "valid_loss"]  # fmt: skip
        assert row["epoch"] == epoch and row["mode_weight"] + row["flow_weight"] == pytest.approx(2, rel=1e-5)
        assert -1 <= row["mode_flow_gradient_cosine"] <= 1 and row["mode_gradient_norm"] > 0


def gradients_by_hand(network, x, targets, rows):
    """Losses' gradients at the last trunk layer's kernel, [n, W * V], by the chain rule in NumPy; a trunk of two."""
    layers = {layer.name: [np.asarray(part, np.float64) for part in layer.weights] for layer in network.layers}
    first = np.maximum(x[rows] @ layers["shared_0"][0] + layers["shared_0"][1], 0)
    last = np.maximum(first @ layers["shared_1"][0] + layers["shared_1"][1], 0)
    found = []
    for number, target in enumerate(targets):
        kernel, bias = layers[f"head_{number}"]
        known, output = target.known[rows], last @ kernel + bias
        if target.is_classification:
            shares = np.exp(output) / np.exp(output).sum(1, keepdims=True)
            slope = shares - np.eye(target.outputs)[target.values[rows].astype(int)]
        else:
            mean, scale = target.constant(rows)
            slope = 2 * (output - (target.values[rows] - mean)[:, None] / scale)
        behind = (slope * known[:, None] / known.sum()) @ kernel.T * (last > 0)
        found.append((first.T @ behind).ravel())
    return np.array(found)


def test_gradients_at_the_last_shared_layer_by_hand(data):
    """What GradNorm balances, and what the log tells: one batch of all rows, and a network that stands still."""
    still = dataclasses.replace(SMALL, learning_rate=1e-12, weight_decay=0.0, epochs=1, batch_size=len(TRAIN))
    trainer, x = trainer_of(data, still)
    trainer.fit(x, TRAIN, VALID)
    mode, flow = gradients_by_hand(trainer.network, x, data.targets, TRAIN)
    row = trainer.history[0]
    assert row["mode_gradient_norm"] == pytest.approx(np.linalg.norm(mode), rel=1e-4)
    assert row["flow_gradient_norm"] == pytest.approx(np.linalg.norm(flow), rel=1e-4)
    cosine = mode @ flow / (np.linalg.norm(mode) * np.linalg.norm(flow))
    assert row["mode_flow_gradient_cosine"] == pytest.approx(cosine, rel=1e-4)


@pytest.mark.parametrize("task", ["mode", "flow"])
@pytest.mark.parametrize("balancing", BALANCERS)
def test_a_tasks_weight_changes_what_the_network_learns(data, balancing, task):
    found = []
    for weight in (1.0, 20.0):
        targets = [dataclasses.replace(one, target=dataclasses.replace(one.target, weight=weight))
                   if one.name == task else one for one in data.targets]  # fmt: skip
        trainer, x = trainer_of(data, balancing=balancing, targets=targets)
        trainer.fit(x, TRAIN, VALID)
        found.append(trainer.history[-1])
    assert found[1][f"{task}_loss"] < found[0][f"{task}_loss"]


def test_early_stopping_keeps_the_best_epoch(data):
    fast = dataclasses.replace(SMALL, epochs=60, patience=2, learning_rate=0.1)
    trainer, x = trainer_of(data, fast)
    trainer.fit(x, TRAIN, VALID)
    assert len(trainer.history) == trainer.best_epoch + 2 < 60
    outputs = [np.asarray(part) for part in trainer.network(x[VALID]).values()]
    kept, best = relative_loss(outputs, data.targets, trainer.constants, VALID), trainer.history[-3]["valid_loss"]
    assert kept == pytest.approx(best, rel=1e-6) and best < trainer.history[-1]["valid_loss"]


def test_a_loss_that_is_no_number(data):
    trainer, x = trainer_of(data, dataclasses.replace(SMALL, learning_rate=1e30))
    with pytest.raises(DataError, match="training: expected finite losses, received .* in epoch . .fixed."):
        trainer.fit(x, TRAIN, VALID)


@pytest.mark.parametrize("change", [
    {"hidden": ()}, {"hidden": (8, 0)}, {"dropout": 1.0}, {"learning_rate": 0.0}, {"weight_decay": -1.0},
    {"batch_size": 0}, {"epochs": 0}, {"patience": -1}, {"valid_share": 1.0}, {"seed": -1}, {"gradnorm_alpha": -0.1},
    {"balancing_learning_rate": float("inf")},
])  # fmt: skip
def test_wrong_options(change):
    with pytest.raises(DataError, match=f"--{next(iter(change))}: expected "):
        TabularOptions(**change).check()


def test_single_task_and_shared_trunk_see_the_same_rows(tmp_path):
    """Single-task networks are the same network with one head: with one target, both give the same predictions."""
    one = loaded(tmp_path, rows_of(60), {"targets": [{"column": "mode", "kind": "classification"}]})
    predictions, histories = CrossValidation(one, SMALL, ["fixed", "single_task", "constant"], 3).run()
    np.testing.assert_array_equal(predictions["fixed"][0], predictions["single_task"][0])
    assert [row["best_epoch"] for row in histories["fixed"]] == [row["best_epoch"] for row in histories["single_task"]]
    assert histories["constant"] == []


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


def test_losses_a_thousandfold_apart(tmp_path):
    """Plain summing fails; uncertainty and GradNorm reach the weights that somebody who knows the scale would fix.

    Compared by skill: held-out, free of units and of weights.
    """
    options = TabularOptions(hidden=(32, 16), epochs=SCALE_EPOCHS, patience=0, learning_rate=3e-3)
    skills = {}
    for weight, methods in ((1.0, ["fixed", "uncertainty", "gradnorm"]), (1 / LOSS_SCALE, ["fixed"])):
        table, schema = write_case(tmp_path, SCALE_ROWS, seed=0, weight=weight)
        data = load(table, read_schema(schema))
        validation = CrossValidation(data, options, [*methods, "constant"], 2)
        predictions, histories = validation.run()
        found = measure(data.targets, predictions, data.groups, 0, 0)
        for method in methods:
            name = method if weight == 1.0 else "known scale"
            skills[name] = {target: entry["skill"]["value"] for target, entry in found[method].items() if target}
            skills[name]["mean"] = found[method][""]["mean_skill"]["value"]
            first = histories[method][0]["epochs"][0]
            assert first["flow_loss"] > 300 * max(first["ratio_loss"], first["answer_loss"])
    for name in ("ratio", "answer"):
        assert skills["fixed"][name] < 0.1 < 0.3 < skills["known scale"][name], skills
    assert skills["fixed"]["mean"] < skills["known scale"]["mean"] - 0.2, skills
    for method in ("uncertainty", "gradnorm"):
        assert skills[method]["mean"] > skills["known scale"]["mean"] - 0.02, (method, skills)
