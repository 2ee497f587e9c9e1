"""What the table of codes starts from, where the configuration's `code_start` says more than random numbers.

"ppmi": positive pointwise mutual information of codes within five places of each other in the training histories, by an
SVD (`medtop.data.ppmi`; Levy and Goldberg 2014): codes that stand among the same codes start alike. "hierarchy": the
sum of a vector of the code's chapter, one of its category of three characters and one of its own, each with a third of
the variance: relatives in ICD's tree start alike, and what is learned of one is at first learned of all. Either is a
start only; nothing else of the model or of its exports changes.
"""

import logging

import numpy as np

from medtop.cohort.code_tree import hierarchy_of
from medtop.data import tfrecord
from medtop.data.ppmi import count_neighbours, ppmi_svd

logger = logging.getLogger(__name__)

NEIGHBOURS = 5
"""How far codes may stand apart to count as neighbours."""


def start_codes(model, plan):
    """Sets a model's table of codes; the same training data and seed give the same numbers.

    Args:
        model: `build_model`'s, before training.
        plan: `medtop.training.options.TrainingPlan`.
    """
    table = model.encoder.get_layer("embeddings").tables["code"]
    start, seed = table.numpy(), plan.options.seed
    if plan.config.code_start == "ppmi":
        rows, known = ppmi_rows(plan.train, plan.vocabulary, start, plan.config.initializer_range, seed)
    else:
        rows, known = hierarchy_rows(plan.vocabulary, start, plan.config.initializer_range, seed)
    table.assign(rows)
    logger.info("codes start from %s: %d of %d", plan.config.code_start, known, len(plan.vocabulary.ordinary_ids))


def ppmi_rows(info, vocabulary, start, stddev, seed):
    """(float32 [V, H], number of codes with neighbours); other rows, and columns beyond the SVD's, stay as they are.

    Args:
        info: `DatasetInfo` of the training data.
        vocabulary: `Vocabulary`.
        start: float32 [V, H], the random start.
        stddev: root mean square of the entries that are set.
        seed: of the SVD.
    """
    ids = np.asarray(vocabulary.ordinary_ids)
    places = np.full(len(vocabulary), -1)
    places[ids] = np.arange(len(ids))
    vectors = ppmi_svd(count_neighbours(_sequences(info, places), len(ids), NEIGHBOURS), start.shape[1], seed)
    rows, some = start.copy(), np.flatnonzero(np.any(vectors != 0, axis=1))
    if len(some):
        scale = stddev / np.sqrt(np.mean(vectors[some] ** 2))
        rows[ids[some], : vectors.shape[1]] = scale * vectors[some]
    return rows.astype(np.float32), len(some)


def _sequences(info, places):
    field = info.layout.inputs["token_ids"]
    for columns in tfrecord.read_examples(info):
        if info.layout.static_masks:  # padded, some codes masked already
            yield from places[columns[field]]
        else:
            yield from np.split(places[columns[field]], np.cumsum(columns["counts"])[:-1])


def hierarchy_rows(vocabulary, start, stddev, seed):
    """(float32 [V, H], number of codes in ICD's tree); the other rows stay as they are.

    Args:
        vocabulary, start, seed: as for `ppmi_rows`.
        stddev: standard deviation of the sums.
    """
    rng, shared, rows, known = np.random.default_rng(seed), {}, start.copy(), 0
    part = stddev / np.sqrt(3.0)
    for number in vocabulary.ordinary_ids:
        category, chapter = hierarchy_of(vocabulary.tokens[number])
        if not category:
            continue
        known += 1
        own = rng.normal(scale=part, size=start.shape[1])
        for name in (category, chapter or f"chapter of {category}"):
            if name not in shared:
                shared[name] = rng.normal(scale=part, size=start.shape[1])
            own = own + shared[name]
        rows[number] = own
    return rows.astype(np.float32), known
