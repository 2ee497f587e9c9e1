"""The token level in the shared trainer: labels reach the loss once, packing changes nothing, a language is learned."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from scipy import special

from medtop.cohort.vocabulary import SPECIAL_TOKENS, Vocabulary

tf = pytest.importorskip("tensorflow", reason="training needs TensorFlow")

from medtop.data.batches import BatchMaker, BatchOptions, eval_batches  # noqa: E402
from medtop.data.description import read_dataset  # noqa: E402
from medtop.data.tfrecord import without_autotune  # noqa: E402
from medtop.entities import window_batches  # noqa: E402
from medtop.entities.dictionary import Dictionary  # noqa: E402
from medtop.entities.documents import Document, Span, Tally  # noqa: E402
from medtop.entities.encoder_tagger import EncoderTagger, WindowOptions, _least, make_records  # noqa: E402
from medtop.entities.evaluate import evaluate  # noqa: E402
from medtop.entities.records import TASK, learn_tagset, word_tokens  # noqa: E402
from medtop.entities.tagging import predict, training_sentences  # noqa: E402
from medtop.entities.viterbi import allowed_transitions, viterbi  # noqa: E402
from medtop.entities.windows import cut, gather  # noqa: E402
from medtop.entities.words import document_words  # noqa: E402
from medtop.evaluation.scoring import Scorer  # noqa: E402
from medtop.model.config import WORD_CHANNELS, BertConfig  # noqa: E402
from medtop.model.multitask import build_model  # noqa: E402
from medtop.model.tasks import Task, choose_tasks  # noqa: E402
from medtop.runs.execute import execute  # noqa: E402
from medtop.text.tags import decode  # noqa: E402
from medtop.text.wordpiece import WordPiece  # noqa: E402
from medtop.training.options import TrainingOptions  # noqa: E402

WINDOWS = WindowOptions(12, 3)


def documents(count, seed, drugs=("aspirin", "metformin", "heparin")):
    """Texts whose entities follow from their neighbours: what is given is a drug, what is denied a problem."""
    random, made = np.random.default_rng(seed), []
    for number in range(count):
        text, spans = "", []
        for _ in range(int(random.integers(1, 5))):
            word, kind, before = (
                (random.choice(drugs), "drug", "was given ") if random.random() < 0.5
                else (random.choice(("chest pain", "fever", "cough")), "problem", "he denied ")
            )  # fmt: skip
            text += before
            spans.append(Span(f"T{len(spans)}", kind, ((len(text), len(text) + len(word)),)))
            text += word + random.choice((" today . ", " twice , and then "))
        made.append(Document(f"s{seed}n{number}", text, spans))
    return made


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    train, valid = documents(150, 1), documents(30, 2)
    tagset = learn_tagset(train, "bio", rows=512)
    paths = {
        name: str(make_records(folder, docs, tagset, name, WINDOWS))
        for name, docs in (("train", train), ("valid", valid))
    }
    config = BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, max_position_embeddings=16,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.15, word_channel_size=512,
        embeddings=("code", "position", *WORD_CHANNELS), neighbour_layers=1,
    )  # fmt: skip
    return folder, tagset, paths, config


def batches(data, packing):
    _, tagset, paths, config = data
    info = read_dataset(paths["valid"])
    options = BatchOptions(batch_size=16, max_seq_length=32, packing=packing, row_lengths=(12, 32))
    tasks = choose_tasks(None, info.tasks, levels=info.levels)[1:]
    return info, tasks, list(eval_batches(info, config, tasks, options, 0, masking=False))


def test_level_is_one_entry():
    task = Task(TASK, "token", ("O", "B-x"))
    assert task.exclusive and task.num_outputs == 2 and Task.from_dict(task.to_dict()) == task


def test_packed_and_unpacked_rows_say_the_same(data):
    """Every word's label and logits, whichever row it stands in; no word is lost or doubled."""
    config = dataclasses.replace(data[3], vocab_size=len(data[1].vocabulary))
    found = []
    for packing in (False, True):
        info, tasks, made = batches(data, packing)
        if not found:
            model = build_model(config, tasks)
        rows = []
        for x, y, w, _ in made:
            logits = model({name: x[name] for name in model.input}, training=False)[TASK].numpy()
            chosen = w[TASK].numpy() > 0
            rows.append(np.column_stack([x["words"].numpy()[chosen], y[TASK].numpy()[chosen], logits[chosen]]))
        rows = np.concatenate(rows)
        found.append(rows[np.lexsort(np.round(rows, 4).T)])
    assert len(found[0]) == info.counts["words"] and found[0].shape == found[1].shape
    assert np.allclose(found[0][:, :2], found[1][:, :2]) and np.allclose(found[0], found[1], atol=1e-4)


@pytest.mark.slow
def test_words_without_weight_have_no_loss(data):
    info, tasks, made = batches(data, False)
    _, y, w, _ = made[0]
    loss, logits = tasks[0].loss(), tf.random.stateless_normal((*y[TASK].shape, len(data[1].tags)), (1, 2))
    other = tf.where(w[TASK] > 0, y[TASK], (y[TASK] + 1) % 3)
    assert float(loss(y[TASK], logits, w[TASK])) == float(loss(other, logits, w[TASK]))
    assert int((w[TASK].numpy() > 0).sum()) < w[TASK].numpy().size


@pytest.mark.slow
def test_a_language_is_learned_and_marked_in_new_texts(data, monkeypatch):
    """From scratch in the shared trainer; new drugs are found by their neighbours, across windows of twelve tokens."""
    folder, tagset, paths, config = data
    (folder / "config.json").write_text(json.dumps(config.to_dict() | {"vocab_size": 0}))
    options = TrainingOptions(
        input_file=paths["train"], valid_file=paths["valid"], output_dir=str(folder / "run"), tasks=(TASK,),
        bert_config_file=str(folder / "config.json"), do_train=True, do_eval=True, num_train_epochs=8, packing=True,
        train_batch_size=32, learning_rate=5e-3, telemetry_steps=0, num_bootstrap=10,
    )  # fmt: skip
    results = execute(options)
    assert results.metrics["valid"][TASK][TASK]["accuracy"]["value"] > 0.98
    test = documents(40, 3, ("warfarin", "zyzzx"))
    tagger = EncoderTagger.of_run(folder / "run", tagset, WINDOWS)
    found = list(tagger.predict_all([*test, Document("empty", "")]))
    assert found.pop().spans == []
    monkeypatch.setattr(window_batches, "_BLOCK", 16)
    for document, whole in zip(tagger.predict_all(test), found, strict=True):  # products of other sizes, other digits
        assert [(s.type, s.fragments) for s in document.spans] == [(s.type, s.fragments) for s in whole.spans]
        np.testing.assert_allclose([s.score for s in document.spans], [s.score for s in whole.spans], rtol=1e-5)
    assert tagger.logits.experimental_get_tracing_count() == 1, "one graph for all blocks"
    score = evaluate(test, found, num_bootstrap=0).result["scores"]["strict"]["micro"]["f1"]["value"]
    sentences = list(training_sentences(documents(150, 1), Tally()))
    rival = [predict(document, Dictionary.learn(sentences).tag) for document in test]
    known = evaluate(test, rival, num_bootstrap=0).result["scores"]["strict"]["micro"]["f1"]["value"]
    assert known < 0.75 and score > known + 0.1, (score, known)
    assert all(0 < span.score <= 1 for document in found for span in document.spans)


def scores_of_records(folder, model, config, tasks, tagset, windows, texts):
    """What `EncoderTagger.word_scores` says, by the longer way: records, the pipeline's batches, windows gathered."""
    bare = [dataclasses.replace(document, spans=[]) for document in texts]
    info = read_dataset(make_records(folder, bare, tagset, "test", windows))
    scorer = Scorer(model, info, config, tasks, BatchOptions(batch_size=8, max_seq_length=windows.max_seq_length), 0)
    logits, place, given = {task.name: scorer.token_logits(task.name) for task in tasks}, 0, []
    for document in bare:
        words = document_words(document)
        starts = word_tokens(words, tagset, tagset.dictionary)[0] if words.words else []
        cuts = cut(starts, windows.max_seq_length, windows.overlap)
        mine = slice(place, place := place + len(cuts.starts))
        given.append({task: gather(cuts, values[mine]) for task, values in logits.items()} if words.words else {})
    return given


@pytest.mark.slow
@pytest.mark.parametrize("pieces", [False, True], ids=["words", "pieces"])
def test_windows_out_of_memory_say_what_records_say(data, tmp_path, pieces):
    """Words and word pieces, two tasks; empty documents, one word, many windows; whatever the batches and blocks."""
    _, tagset, _, config = data
    texts = [Document("none", ""), *documents(20, 7), Document("one", "aspirin"), Document("blank", " \n")]
    texts.append(Document("long", " ".join(document.text for document in documents(12, 8))))
    groups = [["drug"], ["problem"]]
    tagset = dataclasses.replace(tagset, groups=groups)
    if pieces:
        pytest.importorskip("tensorflow_text", reason="word pieces need TensorFlow Text")
        tokens = (*SPECIAL_TOKENS, *"abcdefghilmnoprstuvwy", *(f"##{letter}" for letter in "adefghilmnoprstuvwy"))
        tokenizer = WordPiece(Vocabulary(tokens), True)
        tagset = dataclasses.replace(tagset, vocabulary=tokenizer.vocabulary, tokenizer=tokenizer)
        config = dataclasses.replace(config, embeddings=("code", "position", "segment"), segment="sentence")
    config = dataclasses.replace(config, vocab_size=len(tagset.vocabulary))
    names = {task: tuple(tags) for task, tags in tagset.labels.items()}
    tasks = choose_tasks(list(names), names, levels=dict.fromkeys(names, "token"))
    model = build_model(config, tasks)
    expected = scores_of_records(tmp_path, model, config, tasks, tagset, WINDOWS, texts)
    for batch_size in (3, 64):
        tagger = EncoderTagger(model, tagset, WINDOWS, batch_size=batch_size)
        given = list(tagger.word_scores(texts))
        assert [document.document_id for document, _, _ in given] == [document.document_id for document in texts]
        for (_, words, scores), logits in zip(given, expected, strict=True):
            assert list(scores) == list(logits) == (list(names) if words.words else [])
            for task in scores:
                assert scores[task].shape == (len(words.words), len(names[task]))
                assert np.allclose(scores[task], special.log_softmax(logits[task], -1), atol=1e-5)
        marked = list(tagger.predict_all(iter(texts)))
        tagger.constrained = False
        greedy = list(tagger.predict_all(texts))
        for (document, words, scores), found, free in zip(given, marked, greedy, strict=True):
            for spans, rule in ((found.spans, True), (free.spans, False)):
                assert {(s.type, s.start, s.end) for s in spans} == spans_of(words, scores, tagset, rule), document
                assert [s.start for s in spans] == sorted(s.start for s in spans), "in order, whatever their task"
                assert [s.span_id for s in spans] == [f"T{number}" for number in range(1, len(spans) + 1)]
    assert sum(len(document.spans) for document in marked) > 100, "the random model marks something"
    halved = EncoderTagger(model, tagset, WINDOWS)
    halved.stack = lambda words, task, tags, logs: special.log_softmax(0.5 * logs, axis=-1)
    of_types = list(halved.type_scores(texts))
    for (_, words, scores), (_, _, types) in zip(halved.word_scores(texts), of_types, strict=True):
        assert list(types) == (["drug", "problem"] if words.words else [])
        for logs, chances in zip(scores.values(), types.values(), strict=True):
            assert np.allclose(chances, 1 - np.exp(logs[:, 0])), "one type a task: what is not O"
    for (_, _, scores), (_, _, alone) in zip(halved.word_scores(texts), given, strict=True):
        assert all(np.allclose(scores[task], special.log_softmax(0.5 * alone[task], -1), atol=1e-5) for task in scores)
    for document, (_, words, scores) in zip(halved.predict_all(texts), halved.word_scores(texts), strict=True):
        assert {(s.type, s.start, s.end) for s in document.spans} == spans_of(words, scores, tagset, True)


def spans_of(words, scores, tagset, constrained):
    """{(type, start, end)} of one document, decoded by itself."""
    made = set()
    for task, own in scores.items():
        tags = tagset.labels[task]
        path = viterbi(own, *allowed_transitions(tags, "bio")) if constrained else own.argmax(-1)
        made |= {(kind, words.starts[a], words.ends[b - 1]) for a, b, kind in decode([tags[k] for k in path])[0]}
    return made


def test_blocks_end_by_number_and_by_characters(monkeypatch):
    monkeypatch.setattr(window_batches, "_BLOCK", 3)
    monkeypatch.setattr(window_batches, "_CHARACTERS", 10)
    sizes = [1, 1, 1, 1, 20, 4, 6, 1]
    made = list(window_batches.blocks(Document(str(n), "x" * size) for n, size in enumerate(sizes)))
    assert [[len(document.text) for document in block] for block in made] == [[1, 1, 1], [1, 20], [4, 6], [1]]


@pytest.mark.slow
def test_maker_of_batches_needs_no_labels(data):
    """Texts to be marked come without labels: weights 0."""
    info, tasks, _ = batches(data, False)
    bare = dataclasses.replace(info, tasks={}, levels={})
    options = BatchOptions(batch_size=4, max_seq_length=12)
    maker = BatchMaker(bare, data[3], tasks, options, masking=False)
    serialized = next(iter(without_autotune(tf.data.TFRecordDataset(data[2]["valid"]).batch(4))))
    window, plan = maker.window(serialized, 0, 0, 0, shuffle=False)
    _, _, w, _ = maker.batch(window, plan, 0)
    assert float(tf.reduce_sum(w[TASK])) == 0.0


def test_a_span_is_as_sure_as_the_least_sure_of_its_words():
    rng = np.random.default_rng(0)
    for _ in range(300):
        chances = rng.random(int(rng.integers(1, 12)))
        edges = np.sort(rng.choice(len(chances) + 1, int(rng.integers(0, len(chances) + 2)), replace=False)).tolist()
        ranges = [(a, b) for a, b in itertools.pairwise(edges) if rng.random() < 0.6]
        first, after = np.array(ranges, np.int64).reshape(-1, 2).T
        assert _least(chances, first, after) == [min(chances[a:b].tolist()) for a, b in ranges]
