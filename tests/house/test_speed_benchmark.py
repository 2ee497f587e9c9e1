"""benchmarks/speed: how contenders take turns, what the tables say, and that the entities' peers get the same input."""

import sys

import numpy as np
import pytest
from conftest import ROOT

from medtop.entities.convert import ConvertOptions, convert
from medtop.entities.documents import Document, Span, Tally
from medtop.entities.formats import FORMATS

sys.path.append(str(ROOT / "benchmarks"))
import entities_speed  # noqa: E402
from speed import turns  # noqa: E402

SERVER = """
import sys
sys.path.insert(0, sys.argv[1])
from speed import turns

class Contender:
    def __init__(self):
        self.called = []
    def steps(self, number):
        self.called.append(number)
        if sys.argv[2] == "dies" and len(self.called) == 2:
            sys.exit(3)
        return {"done": 10 * number + len(self.called)}

if sys.argv[2] == "never":
    sys.exit(4)
turns.serve(Contender(), lambda what, answer: answer | {"what": what})
"""


def test_turns_of_processes(tmp_path, capsys):
    """All work in each round, the first does not count; who ends is named and left out."""
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    commands = {name: [sys.executable, str(script), str(ROOT / "benchmarks"), name] for name in ("a", "dies", "never")}
    processes, rounds = turns.start_all(commands), []
    answers = turns.take_turns(
        processes, dict.fromkeys(processes, {"steps": 5}), 2, "x", lambda: rounds.append(len(rounds))
    )
    assert list(answers) == [("a", "steps")] and len(rounds) == 3
    assert [answer["done"] for answer in answers["a", "steps"]] == [52, 53], "the first answer, 51, warmed up"
    assert all(answer["what"] == "steps" and answer["seconds"] > 0 for answer in answers["a", "steps"])
    said = capsys.readouterr().out
    assert (
        "never: not measured, contender ended with code 4" in said and "dies: not measured, it ended in round 1" in said
    )


def test_ratios_are_to_the_fastest_peer_of_a_kind():
    rates = {"(a) x": [1.0, 3.0, 2.0], "(b) x": [4.0], "(b) y": [5.0], "(c) ours": [10.0, 12.0]}
    table = turns.beside_peers(rates, ("(a)", "(b)", "(z)"))
    assert table["(c) ours"] == (11.0, {"(a)": 5.5, "(b)": 2.2}) and table["(b) x"][1] == {"(a)": 2.0, "(b)": 0.8}
    assert turns.rates([{"done": 6, "seconds": 2.0, "cpu_seconds": 3.0}], per="cpu_seconds") == [2.0]


@pytest.mark.parametrize(
    "flags, said",
    [
        ([], "--input_prefix: expected the prefix of convert_entities.py's tables"),
        (["--input_prefix=x", "--shapes=huge"], "--shapes: expected small, base, received 'huge'"),
        (["--input_prefix=x", "--contenders=nobody"], "--contenders: expected a part of a contender's name"),
        (["--input_prefix=x", "--without=nobody"], "--without: expected a part of a contender's name"),
        (["--input_prefix=x", "--contenders=random", "--without=(a)"], "--without: expected to leave a contender"),
        (["--input_prefix=x", "--tagged=-1"], "--tagged: expected at least 0, received -1"),
        (["--input_prefix=x", "--rounds=0"], "--rounds: expected at least 1, received 0"),
    ],
)
def test_refusals_of_the_benchmark(flags, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["entities_speed.py", *flags])
    with pytest.raises(SystemExit):
        entities_speed.main()
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_both_sides_read_the_same_pieces_and_windows(tmp_path):
    """Documents with spans, as tables: the fast tokenizer cuts words into medtop's pieces; a pass is every document."""
    for module in ("torch", "transformers", "tensorflow"):
        pytest.importorskip(module, reason="HuggingFace in PyTorch is compared with medtop: the extra [torch]")
    from speed import entities_hugging_face, entities_ours
    from speed.entities_data import make_case, read_documents, write_vocabulary
    from speed.entities_start import write_start

    random, documents = np.random.default_rng(1), []
    for number in range(6):
        words = [str(random.choice(["aspirin", "for", "chest", "pain,", "na\u00efve", "T-cell"])) for _ in range(200)]
        spans = [Span("T1", "Drug", ((0, len(words[0])),))]
        documents.append(Document(f"d{number}", " ".join(words), spans, split="train"))
    FORMATS["jsonl"].write(tmp_path / "in", documents, Tally())
    convert(ConvertOptions((("train", str(tmp_path / "in")),), "jsonl"), tmp_path / "notes")
    prefix, vocab_file = str(tmp_path / "notes"), str(tmp_path / "vocab.txt")
    write_vocabulary(read_documents(prefix, "train", 0), 60, vocab_file)
    case = make_case(prefix, "train", 0, vocab_file, "small", 4, 4, str(tmp_path / "start.npz"))
    write_start(case, case.start)
    peer = entities_hugging_face.Contender(case, "grouped")
    windows = [window for window in case.windows()]
    rows = []
    for document in case.documents:
        _, ids, edges = peer._cut(document)
        rows += [ids[a:b].tolist() for a, b in zip(edges.starts, edges.ends, strict=True)]
    assert rows == [window.columns["token_ids"][1:-1] for window in windows] and len(windows) > 6
    ours = entities_ours.Contender(case, "bucketed")
    marked = [contender.predict(0)["spans"] for contender in (peer, ours)]
    assert marked[0] == marked[1] > 0, "the same weights mark the same"
    for contender in (peer, ours):
        assert contender.steps(0)["done"] == pytest.approx(6)
        assert contender.predict(0) == {"done": 6, "spans": marked[0]}
    labelled = sum(int((labels >= 0).sum()) for _, _, labels in peer.batches)
    assert labelled == sum(int((w["entities"].numpy() > 0).sum()) for _, _, w in ours.batches) > 0
