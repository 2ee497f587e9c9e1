"""The weights that all contenders of entities_speed.py start from, so that all of them mark as much.

To find a span and to write it down takes time, and of two models with weights of their own draw one may mark every
other word and the other none. These are medtop's of seed 0, with a bias of "O" under which about as many spans are
marked as the labels have. Steps are tiny, so that it stays so.
"""

import numpy as np

from medtop.entities.records import TASK

LEARNING_RATE = 1e-9
"""A step takes as long with this as with any other."""


def write_start(case, path):
    """Writes an .npz of the weights under medtop's names."""
    import keras

    from medtop.entities.encoder_tagger import EncoderTagger, WindowOptions
    from medtop.model.multitask import build_model
    from medtop.model.tasks import choose_tasks
    from medtop.training.checkpoints import weights_of
    from speed.entities_data import MAX_SEQ_LENGTH, OVERLAP

    keras.utils.set_random_seed(0)
    labels = case.tagset.labels
    model = build_model(case.config, choose_tasks(list(labels), labels, levels=dict.fromkeys(labels, "token")))
    tagger = EncoderTagger(model, case.tagset, WindowOptions(MAX_SEQ_LENGTH, OVERLAP, True))
    logs = np.concatenate([scores[TASK] for _, _, scores in tagger.word_scores(case.documents) if scores])
    begins = [number for number, tag in enumerate(labels[TASK]) if tag.startswith("B-")]
    tags = np.concatenate([window.labels[TASK][window.weights > 0] for window in case.windows()])
    weights = weights_of(model)
    ahead = logs[:, begins].max(-1) - logs[:, 0]
    weights[f"{TASK}_logits/bias"][0] += np.quantile(ahead, 1 - np.isin(tags, begins).mean())
    np.savez(path, **weights)


def read_start(path):
    """dict of medtop's name -> array."""
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def hugging_face_start(path, config):
    """The same weights under the names of `BertForTokenClassification`: dict name -> array."""
    from medtop.convert.names import build_table, to_theirs

    weights = read_start(path)
    head = {name: weights.pop(f"{TASK}_logits/{name}") for name in ("kernel", "bias")}
    left_out = [name for name in weights if name.startswith("pooler/")]
    theirs = to_theirs(build_table("bert", config, {}, pooler=False), weights, left_out)
    return theirs | {"classifier.weight": head["kernel"].T, "classifier.bias": head["bias"]}
