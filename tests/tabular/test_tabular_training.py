"""Networks for tables: losses against scikit-learn, unknown values, refitting, telemetry, gradients by hand."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_squared_error
from tabular_cases import loaded

from medtop.files.errors import DataError
from medtop.model.balancing import BALANCERS
from medtop.tabular.options import TabularOptions
from medtop.tabular.training import TabularTrainer, relative_loss

SMALL = TabularOptions(hidden=(8, 4), epochs=3, patience=0, batch_size=16, learning_rate=0.01)
TRAIN, VALID = np.arange(40), np.arange(40, 60)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return loaded(tmp_path_factory.mktemp("table"))


def trainer_of(data, options=SMALL, balancing="fixed", targets=None):
    x = data.encoder.encoded(TRAIN)
    return TabularTrainer(x.shape[1], targets or data.targets, options, balancing), x


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


@pytest.mark.quick("gradnorm")
@pytest.mark.parametrize("balancing", ["fixed", "uncertainty", "gradnorm"])
def test_the_total_is_what_each_method_minimises(data, balancing):
    """One step an epoch, so that weights and losses of the row are those of the total; halves: its priorities' mean."""
    trainer, x = trainer_of(data, dataclasses.replace(SMALL, batch_size=64), balancing)
    trainer.fit(x, TRAIN, VALID)
    for row in trainer.history[1:]:  # in the first step uncertainty and GradNorm have no weights yet
        weighted = [row[f"{name}_weight"] * row[f"{name}_loss"] for name in ("mode", "flow")]
        added = 0.0
        if balancing == "uncertainty":  # weight = c exp(-s), c = 1 of a cross-entropy, 1/2 of a squared error
            added = sum(np.log(c / row[f"{name}_weight"]) / 2 for name, c in (("mode", 1), ("flow", 0.5)))
        assert row["total_loss"] == pytest.approx((sum(weighted) + added) / 2, rel=1e-5)
    if balancing == "fixed":
        assert row["total_loss"] == pytest.approx((row["mode_loss"] + row["flow_loss"]) / 2, rel=1e-6)


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
    shares.append(
        np.mean((flow.values[rows] - values[rows]) ** 2) / np.mean((flow.values[rows] - flow.constant(TRAIN)[0]) ** 2)
    )
    best = trainer.history[trainer.best_epoch - 1]["valid_loss"]
    assert best == pytest.approx(np.mean(shares), rel=1e-5) == min(row["valid_loss"] for row in trainer.history)
    perfect = [
        np.where(np.arange(2) == mode.values[VALID][:, None], 50.0, -50.0),
        ((flow.values[VALID] - trainer.constants[1][0]) / trainer.constants[1][1])[:, None],
    ]
    assert relative_loss(perfect, data.targets, trainer.constants, VALID) == pytest.approx(0, abs=1e-6)


@pytest.mark.quick("gradnorm")
@pytest.mark.parametrize("balancing", BALANCERS)
def test_unknown_values_move_nothing(data, balancing):
    """A flipped value whose weight is 0: the same losses, weights and predictions, bit for bit."""
    found = []
    trainer, x = trainer_of(data, balancing=balancing)
    for flip in (0.0, 1.0):
        trainer.targets = [
            dataclasses.replace(one, values=np.where(one.known, one.values, flip)) for one in data.targets
        ]
        assert not all(one.known[TRAIN].all() for one in trainer.targets)
        trainer.fit(x, TRAIN, VALID)
        found.append((trainer.history, [part.tolist() for part in trainer.predict(x)]))
    assert found[0] == found[1]


@pytest.mark.quick("gradnorm")
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


@pytest.mark.slow
def test_telemetry(data):
    trainer, x = trainer_of(data, balancing="gradnorm")
    trainer.fit(x, TRAIN, VALID)
    for epoch, row in enumerate(trainer.history, 1):
        assert list(row) == [
            "epoch",
            "total_loss",
            "mode_loss",
            "mode_weight",
            "mode_gradient_norm",
            "mode_flow_gradient_cosine",
            "flow_loss",
            "flow_weight",
            "flow_gradient_norm",
            "valid_loss",
        ]
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


@pytest.mark.slow
@pytest.mark.parametrize("balancing", BALANCERS)
def test_a_tasks_weight_changes_what_the_network_learns(data, balancing):
    last = []
    for weights in ((1.0, 1.0), (20.0, 1.0), (1.0, 20.0)):
        targets = [
            dataclasses.replace(one, target=dataclasses.replace(one.target, weight=weight))
            for one, weight in zip(data.targets, weights, strict=True)
        ]
        trainer, x = trainer_of(data, balancing=balancing, targets=targets)
        trainer.fit(x, TRAIN, VALID)
        last.append(trainer.history[-1])
    assert last[1]["mode_loss"] < last[0]["mode_loss"] and last[2]["flow_loss"] < last[0]["flow_loss"]


@pytest.mark.slow
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


@pytest.mark.parametrize(
    "change",
    [
        {"hidden": ()},
        {"hidden": (8, 0)},
        {"dropout": 1.0},
        {"learning_rate": 0.0},
        {"weight_decay": -1.0},
        {"batch_size": 0},
        {"epochs": 0},
        {"patience": -1},
        {"valid_share": 1.0},
        {"seed": -1},
        {"gradnorm_alpha": -0.1},
        {"balancing_learning_rate": float("inf")},
    ],
)
def test_wrong_options(change):
    with pytest.raises(DataError, match=f"--{next(iter(change))}: expected "):
        TabularOptions(**change).check()
