"""Some tokens alone say what they say in their rows, and the end of the last block is computed for them only."""

import numpy as np
import pytest
from encoder_cases import CONFIG, PACKED, batch, outputs_of, perturbed
from small_data import small_config

pytest.importorskip("keras", reason="the encoder is a Keras model")
tf = pytest.importorskip("tensorflow", reason="a graph's operations are counted")

from medtop.model.heads import HEADS  # noqa: E402
from medtop.model.multitask import build_model, build_token_model  # noqa: E402
from medtop.model.tasks import CHAINS, Task, choose_tasks  # noqa: E402
from medtop.model.tokenwise import dense  # noqa: E402

PLACES = np.array([33, 1, 18, 1, 5], np.int32)
"""Of 2 rows with 17 tokens: the last one, one that is asked twice, of both rows, in no order."""
TAGS = {"entities": ("O", "B-drug", "I-drug"), "entities_2": ("O", "B-test", "I-test")}


def tasks_of(names):
    labels = dict(zip(names, TAGS.values(), strict=False))
    return choose_tasks(list(labels), labels, levels=dict.fromkeys(labels, "token"))


def asked(model, names, places=PLACES):
    x = {name: value for name, value in batch(PACKED, 17).items() if name in model.input}
    x |= {"word_starts": (x["patient_slots"] > 0).astype(np.int32)} if "word_starts" in model.input else {}
    return build_token_model(model, names), outputs_of(model, x), {**x, "token_places": places}


@pytest.mark.quick("post", "pre")
@pytest.mark.parametrize(
    "changed",
    [{"norm": "post"}, {"norm": "pre"}, {"body": "embeddings", "pooling": "mean"}, {"neighbour_layers": 1}],
    ids=["post", "pre", "no block", "neighbours"],
)
def test_tokens_alone_say_what_they_say_in_their_rows(changed):
    tasks = tasks_of(tuple(TAGS))
    model = perturbed(build_model(small_config(**CONFIG | changed), tasks))
    tokens, whole, x = asked(model, list(TAGS))
    assert not set(map(id, tokens.weights)) - set(map(id, model.weights)), "no weight of its own"
    given = outputs_of(tokens, x)
    assert list(given) == list(TAGS)
    for name, logits in given.items():
        expected = whole[name].reshape(34, 3)[PLACES]
        assert np.ptp(expected, axis=0).min() > 0.1, "tokens differ"
        np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=1e-5, err_msg=name)
    one = build_token_model(model, ["entities_2"])
    np.testing.assert_array_equal(outputs_of(one, x)["entities_2"], given["entities_2"])


def test_a_chain_reads_its_whole_row_all_the_same():
    tasks = tasks_of(CHAINS[:1])
    model = perturbed(build_model(small_config(**CONFIG), tasks))
    tokens, whole, x = asked(model, list(CHAINS[:1]))
    (name,) = CHAINS[:1]
    np.testing.assert_allclose(outputs_of(tokens, x)[name], whole[name].reshape(34, 3)[PLACES], atol=1e-6)


def test_a_head_from_outside_is_asked_as_it_is(monkeypatch):
    """Its last layer is a dense one of the usual name, but not all of the head."""

    class Deep(Task):
        head = "deep"

    def deep(task, config, encoder, inputs, outputs):
        x = dense(config, 7, "hidden", "tanh")(outputs["sequence_output"])
        return dense(config, task.num_outputs, f"{task.name}_logits", dtype="float32")(x)

    monkeypatch.setitem(HEADS, "deep", deep)
    model = perturbed(build_model(small_config(**CONFIG), [Deep("entities", "token", TAGS["entities"])]))
    tokens, whole, x = asked(model, ["entities"])
    expected = whole["entities"].reshape(34, 3)[PLACES]
    np.testing.assert_allclose(outputs_of(tokens, x)["entities"], expected, atol=1e-6)


def test_the_end_of_the_last_block_is_computed_for_them_only():
    """Rows of products: 34 tokens in the first block and in the last one's attention, then five, in the head too."""
    model = build_model(small_config(**CONFIG), tasks_of(["entities"]))
    tokens, _, x = asked(model, ["entities"])
    x = {name: tf.constant(value) for name, value in x.items()}
    run = tf.function(lambda some: tokens(some, training=False), autograph=False)
    products = [one for one in run.get_concrete_function(x).graph.get_operations() if one.type == "MatMul"]
    assert [one.outputs[0].shape[0] for one in products] == [34] * 4 + [34] * 2 + [5] * 3


def test_no_token_is_asked():
    model = build_model(small_config(**CONFIG), tasks_of(["entities"]))
    tokens, _, x = asked(model, ["entities"], PLACES[:0])
    signature = {name: tf.TensorSpec([None] * np.ndim(value), tf.int32) for name, value in x.items()}
    run = tf.function(lambda some: tokens(some, training=False), input_signature=[signature], autograph=False)
    assert run({name: tf.constant(value) for name, value in x.items()})["entities"].shape == (0, 3)
