"""A table's inputs and targets as arrays. Whatever is fitted is fitted on the training rows alone.

Letters: N rows, F inputs of the network, K classes.
"""

import dataclasses

import numpy as np
from sklearn.decomposition import PCA

from medtop.tabular.rows import class_names, flags, numbers
from medtop.tabular.schema import CATEGORICAL, CLASSIFICATION, MULTI_HOT, NUMERIC

LARGEST = 5.0
"""Standardised numbers are cut to -5..5: one mistyped value must not send a network far outside what it was trained
on."""


class NumericInput:
    """log(1 + x) where the schema says so; missing values become the median or mean of the training rows; then
    (x - mean) / standard deviation, cut to +-`LARGEST`."""

    def __init__(self, feature, table):
        self.feature, self.values = feature, numbers(table, feature.columns[0])
        if feature.log:
            self.values = np.log1p(self.values)

    def fit(self, train):
        known = self.values[train][~np.isnan(self.values[train])]
        middle = np.mean if self.feature.missing == "mean" else np.median
        self.fill = middle(known) if len(known) else 0.0
        self.mean, self.scale = _moments(self._filled()[train])

    def _filled(self):
        return np.where(np.isnan(self.values), self.fill, self.values)

    def encoded(self):
        parts = [np.clip((self._filled() - self.mean) / self.scale, -LARGEST, LARGEST)]
        if self.feature.indicator:
            parts.append(np.isnan(self.values).astype(float))
        return np.stack(parts, 1)

    def names(self):
        return [self.feature.name, *([f"{self.feature.name} missing"] if self.feature.indicator else [])]


class CategoricalInput:
    """One column per category; those that no training row has are zeros everywhere.

    A missing value is a category of its own ("own_category"), or the commonest one of the training rows.
    """

    def __init__(self, feature, table):
        self.feature, self.values = feature, table.columns[feature.columns[0]]

        categories = {*self.values} - {None}
        self.categories = sorted(categories) + ([None] if feature.missing == "own_category" else [])
        place = {category: number for number, category in enumerate(self.categories)}
        self.numbers = np.array([place.get(value, -1) for value in self.values])  # -1: to be filled

    def fit(self, train):
        known = self.numbers[train][self.numbers[train] >= 0]
        counts = np.bincount(known, minlength=len(self.categories))
        self.fill, self.seen = int(np.argmax(counts)), counts > 0

    def encoded(self):
        filled = np.where(self.numbers < 0, self.fill, self.numbers)
        return np.eye(len(self.categories))[filled] * self.seen

    def names(self):
        return [f"{self.feature.name}={'missing' if name is None else name}" for name in self.categories]


class MultiHotInput:
    """One column per label, zeros where no training row has it; with `components`, the labels' principal components
    instead, each divided by its standard deviation over the training rows."""

    def __init__(self, feature, table):
        self.feature = feature
        if feature.separator is None:
            self.labels = list(feature.columns)
            self.hot = np.stack([flags(table, column) for column in feature.columns], 1).astype(float)
            return
        texts = table.columns[feature.columns[0]]
        sets = [{part.strip() for part in (text or "").split(feature.separator)} - {""} for text in texts]
        self.labels = sorted(set().union(*sets))
        self.hot = np.array([[label in given for label in self.labels] for given in sets], float)
        self.hot = self.hot.reshape(len(texts), len(self.labels))

    def fit(self, train):
        hot = self.hot[train]
        self.seen, self.pca = hot.any(0), None
        most = min(self.feature.components, len(self.labels), len(hot))
        if most:
            self.pca = PCA(most, svd_solver="full").fit(hot)
            self.scale = _moments(self.pca.transform(hot))[1]

    def encoded(self):
        seen = self.hot * self.seen
        return seen if self.pca is None else self.pca.transform(seen) / self.scale

    def names(self):
        if self.pca is None:
            return [f"{self.feature.name}={label}" for label in self.labels]
        return [f"{self.feature.name} component {number + 1}" for number in range(self.pca.n_components_)]


KINDS = {NUMERIC: NumericInput, CATEGORICAL: CategoricalInput, MULTI_HOT: MultiHotInput}
"""Kind of an input -> its encoder: `fit(train)`, then `encoded()` float [N, f] and `names()` of the f columns."""


class InputEncoder:
    """All inputs of a table.

    Args:
        table: `medtop.tabular.rows.PatientRows`.
        schema: `Schema`.
    """

    def __init__(self, table, schema):
        self.parts = [KINDS[feature.kind](feature, table) for feature in schema.inputs]

    def encoded(self, train):
        """float32 [N, F] of all rows, fitted on the rows `train` (bool [N] or numbers)."""
        for part in self.parts:
            part.fit(train)
        return np.concatenate([part.encoded() for part in self.parts], 1).astype(np.float32)

    def names(self):
        """F names, after `encoded`."""
        return [name for part in self.parts for name in part.names()]


@dataclasses.dataclass
class TargetValues:
    """One target's values.

    Attributes:
        target: `medtop.tabular.schema.Target`.
        values: float64 [N]: number of the class, or the value; 0 where unknown.
        known: bool [N].
        classes: K names of the classes; empty for a regression.
    """

    target: object
    values: np.ndarray
    known: np.ndarray
    classes: list

    @property
    def name(self):
        return self.target.name

    @property
    def is_classification(self):
        return self.target.kind == CLASSIFICATION

    @property
    def outputs(self):
        """Width of the head: K, or 1."""
        return len(self.classes) if self.is_classification else 1

    def constant(self, train):
        """What a model without inputs says, from the rows `train`: shares float [K], or [mean, standard deviation].

        The shares are (count + 1) / (n + K), so that no class is impossible.
        """
        values = self.values[train][self.known[train]]
        if self.is_classification:
            counts = np.bincount(values.astype(int), minlength=len(self.classes))
            return (counts + 1) / (len(values) + len(self.classes))
        mean, scale = _moments(values)
        return np.array([mean, scale])


def target_values(table, schema):
    """list of `TargetValues`, in the schema's order."""
    values_of = []
    for target in schema.targets:
        if target.kind == CLASSIFICATION:
            classes = class_names(table, target)
            place = {name: number for number, name in enumerate(classes)}
            texts = table.columns[target.name]
            values = np.array([np.nan if text is None else place[text] for text in texts])
        else:
            classes, values = [], numbers(table, target.name)
        known = ~np.isnan(values)
        values_of.append(TargetValues(target, np.where(known, values, 0.0), known, classes))
    return values_of


def _moments(values):
    """(mean, standard deviation) over the first axis; 0 and 1 without values, 1 for a constant."""
    if not len(values):
        return 0.0, 1.0
    scale = values.std(0)
    return values.mean(0), np.where(scale > 1e-12, scale, 1.0)
