"""k-fold cross-validation of every method on the same folds; each finished cell is on disk, so a second run goes on.

Letters: N rows, n targets.
"""

import dataclasses
import json
import logging
from pathlib import Path

import numpy as np

import medtop
from medtop.files.atomic import sha256, write_json
from medtop.files.bounded import read_json
from medtop.files.errors import DataError
from medtop.files.options import plain_defaults
from medtop.tabular import baselines
from medtop.tabular.training import TabularTrainer
from medtop.training.checkpoints import read_arrays, write_arrays

logger = logging.getLogger(__name__)

SINGLE_TASK = "single_task"


def fold_numbers(groups, folds, seed):
    """Fold of each row, int [N], from 0: groups in random order, dealt to the folds so that their sizes are level.

    Raises:
        DataError: with fewer groups than folds.
    """
    names, numbered, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if not 2 <= folds <= len(names):
        raise DataError(f"--folds: expected 2 to {len(names)} (the groups of rows), received {folds}")
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled, of_group = np.zeros(folds), np.empty(len(names), int)
    for name in order:
        of_group[name] = np.argmin(filled)
        filled[of_group[name]] += sizes[name]
    return of_group[numbered]


def inner_split(groups, rows, share, seed):
    """(rows that train, rows that choose the epoch): the second hold about `share` of the groups, at least one."""
    names = np.unique(groups[rows])
    if len(names) < 2:
        raise DataError("cross-validation: expected two groups of rows or more to train on, received one")
    count = int(np.clip(round(share * len(names)), 1, len(names) - 1))
    held = np.random.default_rng([seed, 1]).permutation(names)[:count]
    chosen = np.isin(groups[rows], held)
    return rows[~chosen], rows[chosen]


class CrossValidation:
    """All methods on all folds.

    Args:
        data: `Data`.
        options: `TabularOptions`.
        methods: names: keys of `medtop.model.balancing.BALANCERS` (multi-task networks), "single_task", and
            `baselines.BASELINES`.
        folds: their number.
        folder: where finished cells lie; None = nothing is kept.
    """

    def __init__(self, data, options, methods, folds, folder=None):
        self.data, self.options, self.methods = data, options, list(methods)
        self.folds = fold_numbers(data.groups, folds, options.seed)
        self.folder = None if folder is None else Path(folder)
        self._trainers = {}

    def run(self):
        """Computes what is not on disk yet.

        Returns:
            (dict method -> n arrays of held-out predictions of all rows, in `TargetValues`' order; dict method ->
            list of histories, one for each trained network, with `fold` (from 1) and `best_epoch` besides).
        """
        predictions, histories = {}, {}
        for method in self.methods:
            predictions[method] = [
                np.zeros((len(self.folds), target.outputs) if target.is_classification else len(self.folds))
                for target in self.data.targets
            ]
            histories[method] = []
            for fold in range(self.folds.max() + 1):
                arrays, history = self._cell(method, fold)
                histories[method] += history
                for number, array in enumerate(arrays):
                    predictions[method][number][self.folds == fold] = array
        return predictions, histories

    def _cell(self, method, fold):
        """(n arrays of the fold's predictions, list of histories)."""
        path = self.folder and self.folder / f"{method}-fold{fold + 1}.npz"
        if path is None or not path.is_file():
            arrays, history = self._computed(method, fold)
            if path is None:
                return arrays, history
            write_arrays(path, {f"{number:03d}": array for number, array in enumerate(arrays)}, history)
            logger.info("%s: fold %d of %d done", method, fold + 1, self.folds.max() + 1)
        arrays, history = read_arrays(path)
        return [arrays[name] for name in sorted(arrays)], history

    def _computed(self, method, fold):
        targets, options = self.data.targets, self.options
        train, test = np.flatnonzero(self.folds != fold), np.flatnonzero(self.folds == fold)
        x = self.data.encoder.encoded(train)
        if method in baselines.BASELINES:
            return [baselines.predict(method, x, target, train, test, options.seed) for target in targets], []
        rows, valid = inner_split(self.data.groups, train, options.valid_share, options.seed + fold)
        together = [[target] for target in targets] if method == SINGLE_TASK else [targets]
        arrays, histories = [], []
        for some in together:
            for target in some:
                if not (target.known[rows].any() and target.known[valid].any()):
                    raise DataError(
                        f"{target.name}: expected known values among the training rows of each fold, "
                        f"received none in fold {fold + 1}; fewer --folds may help"
                    )
            trainer = self._trainer(x.shape[1], some, "fixed" if method == SINGLE_TASK else method)
            trainer.fit(x, rows, valid)
            arrays += trainer.predict(x[test])
            histories.append(
                {
                    "fold": fold + 1,
                    "targets": trainer.names,
                    "best_epoch": trainer.best_epoch,
                    "epochs": trainer.history,
                }
            )
        return arrays, histories

    def _trainer(self, num_inputs, targets, balancing):
        """One for all folds with as many inputs: a graph takes seconds to build."""
        key = num_inputs, balancing, tuple(target.name for target in targets)
        if key not in self._trainers:
            self._trainers[key] = TabularTrainer(num_inputs, targets, self.options, balancing)
        return self._trainers[key]


def open_folder(path, schema, data_file, options, folds, overwrite=False):
    """Begins a run's folder, or checks that the run that is there was started with the same settings.

    The methods may differ: those that are there already are not computed again.

    Returns:
        the folder of the cells.

    Raises:
        DataError: with the list of differences.
    """
    path = Path(path)
    settings = {
        "schema": schema.to_dict(),
        "data": sha256(data_file),
        "folds": folds,
        **json.loads(json.dumps(dataclasses.asdict(options))),
    }
    run_file, cells = path / "run.json", path / "cells"
    if run_file.is_file() and not overwrite:
        try:
            earlier = plain_defaults(options) | read_json(run_file)["settings"]
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{run_file}: expected the settings of a run, received another content") from None
        differ = [name for name in settings if settings[name] != earlier.get(name)]
        if differ:
            raise DataError(
                f"{path}: expected the settings that the run was started with, received another "
                f"{', '.join(differ)}; --overwrite starts anew"
            )
        return cells
    for cell in cells.glob("*.npz"):
        cell.unlink()
    write_json(run_file, {"medtop": medtop.__version__, "settings": settings}, shared=True)
    return cells
