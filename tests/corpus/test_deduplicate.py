"""Near copies are found as all-pairs exact Jaccard finds them; what stays, what goes, and what a killed run leaves."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus_texts import planted_texts, sets_of, similar_pairs, written

from medtop.corpus import buckets, deduplicate, documents, resumable
from medtop.corpus.deduplicate import DedupSettings
from medtop.corpus.minhash import MinHash, choose_bands
from medtop.corpus.near_copies import jaccard
from medtop.corpus.shingles import Shingler
from medtop.files.errors import DataError


def write_jsonl(path, texts, **columns):
    rows = [
        {"text": text, "id": f"d{number}", **{name: values[number] for name, values in columns.items()}}
        for number, text in enumerate(texts)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(folder, path, prefix="out", **settings):
    manifest, _ = deduplicate.deduplicate(DedupSettings(input=(f"notes={path}",), **settings), folder / prefix)
    pairs = pq.read_table(folder / f"{prefix}.pairs.parquet").to_pylist()
    return manifest, pairs


def kept_ids(folder, split="train", prefix="out"):
    return pq.read_table(folder / f"{prefix}.notes.{split}.parquet")["document_id"].to_pylist()


@pytest.mark.slow
def test_equals_all_pairs_exact_jaccard(tmp_path):
    """3,000 texts with planted copies: recall, no false pair, no chain, for each document that stays or goes."""
    near, texts = 0.8, planted_texts(3000)[0]
    path = write_jsonl(tmp_path / "notes.jsonl", texts)
    manifest, pairs = run(tmp_path, path, near=near)
    sets = sets_of(texts, 5)
    holders = {}
    for values in sets:
        for value in values:
            holders[value] = holders.get(value, 0) + 1
    boilerplate = {value for value, number in holders.items() if number > 150}  # the template's head
    assert manifest["boilerplate_shingles"] == len(boilerplate) > 40
    true = similar_pairs([values - boilerplate for values in sets], near)
    kept = {int(name[1:]) for name in kept_ids(tmp_path)}
    for pair in pairs:  # none is false: the similarity of each is the exact one, with a text that stays
        one, other = sorted((int(pair["dropped_document_id"][1:]), int(pair["kept_document_id"][1:])))
        assert int(pair["kept_document_id"][1:]) in kept and int(pair["dropped_document_id"][1:]) not in kept
        assert pair["match"] == "exact" or pair["similarity"] == pytest.approx(true[(one, other)])
    assert len(kept) + len(pairs) == len(texts)
    # recall: of what the greedy rule drops with all pairs known, in the same order
    partners = {}
    for one, other in true:
        partners.setdefault(other, []).append(one)
    stays = []
    for number in range(len(texts)):
        stays.append(not any(stays[earlier] for earlier in partners.get(number, ())))
    wanted = {number for number, stay in enumerate(stays) if not stay}
    found = set(range(len(texts))) - kept
    assert len(wanted) > 400
    assert len(wanted & found) / len(wanted) >= 0.99
    assert sum(pair in true and min(pair) in kept and max(pair) in kept for pair in true) <= 0.01 * len(true)


def chain(steps, rng, words=200, changes=6):
    """Texts that differ from the one before in `changes` places, the last one from the first in all of them."""
    now = [f"w{number}" for number in rng.integers(0, 10**6, words)]
    texts = [written(now, rng)]
    places = rng.permutation(words).tolist()
    for step in range(steps):
        for place in places[step * changes : (step + 1) * changes]:
            now[place] = f"v{step}x{place}"
        texts.append(written(now, rng))
    return texts


def test_a_chain_is_not_wiped_out(tmp_path):
    texts = chain(20, np.random.default_rng(5))
    sets = sets_of(texts, 5)
    assert all(len(a & b) / len(a | b) > 0.7 for a, b in zip(sets, sets[1:], strict=False))
    run(tmp_path, write_jsonl(tmp_path / "c.jsonl", texts), near=0.7)
    kept = [int(name[1:]) for name in kept_ids(tmp_path)]
    assert len(kept) > 5
    for place, one in enumerate(kept):
        assert all(len(sets[one] & sets[b]) / len(sets[one] | sets[b]) < 0.7 for b in kept[place + 1 :])


def test_a_filled_template_stays(tmp_path):
    """300 forms of one template: without boilerplate they are copies of each other, with it none is."""
    rng = np.random.default_rng(2)
    head = [f"t{number}" for number in range(150)]
    texts = [written([*head, *(f"v{n}" for n in rng.integers(0, 10**6, 12))], rng) for _ in range(300)]
    path = write_jsonl(tmp_path / "t.jsonl", texts)
    assert run(tmp_path, path)[0]["kept"] == 300
    copied = write_jsonl(tmp_path / "c.jsonl", [written(head, rng) + f" x{number}" for number in range(60)] + ["other"])
    assert run(tmp_path, copied, "copied")[0]["hashes"]["all_boilerplate"] == 0
    cuts = [head[n:] for n in range(60)]  # 60 texts that share a tail, each many times: the tail alone is boilerplate
    same = write_jsonl(tmp_path / "s.jsonl", [" ".join(words) for words in cuts * 3])
    manifest, _ = run(tmp_path, same, "same")
    assert manifest["boilerplate_shingles"] == len(head[49:]) - 4
    assert manifest["hashes"]["all_boilerplate"] == 11
    assert run(tmp_path, path, "all", boilerplate=1.0)[0]["kept"] == 1
    capped, _ = run(tmp_path, path, "capped", boilerplate=1.0, largest_cluster=100)
    assert (capped["hashes"]["cluster_full"], capped["kept"], capped["largest_cluster"]) == (199, 200, 100)


def test_the_held_out_note_stays_and_its_training_copy_goes(tmp_path):
    rng = np.random.default_rng(3)
    words = [[f"w{n}" for n in rng.integers(0, 5000, 120)] for _ in range(6)]
    texts = [written(w, rng) for w in words] + [written([*w[:-2], "other", "end"], rng) for w in words[:4]]
    patients = ["a"] * 6 + ["v", "t", "t", "a"]
    (tmp_path / "s.csv").write_text("patient_id,split\na,train\nv,valid\nt,test\n")
    path = write_jsonl(tmp_path / "n.jsonl", texts, patient_id=patients)
    manifest, pairs = run(tmp_path, path, splits=str(tmp_path / "s.csv"))
    assert manifest["training_copies_of_held_out"] == 3
    assert {(p["dropped_document_id"], p["kept_document_id"]) for p in pairs} == {
        ("d0", "d6"),
        ("d1", "d7"),
        ("d2", "d8"),
        ("d9", "d3"),
    }
    assert kept_ids(tmp_path) == ["d3", "d4", "d5"]
    assert kept_ids(tmp_path, "valid") == ["d6"] and kept_ids(tmp_path, "test") == ["d7", "d8"]
    (tmp_path / "s.csv").write_text("patient_id,split\nv,valid\nt,test\n")
    with pytest.raises(DataError, match="not in that file"):
        run(tmp_path, path, "other", splits=str(tmp_path / "s.csv"))


@pytest.mark.parametrize(("keep", "stays"), [("first", "d0"), ("longest", "d2"), ("newest", "d1")])
def test_which_one_stays(tmp_path, keep, stays):
    rng = np.random.default_rng(4)
    words = [f"w{n}" for n in rng.integers(0, 5000, 200)]
    texts = [" ".join(words), " ".join(words), " ".join([*words, "more", "words"])]
    path = write_jsonl(tmp_path / "n.jsonl", texts, time=["2020-01-02", "2020-01-03", ""])
    run(tmp_path, path, keep=keep)
    assert kept_ids(tmp_path) == [stays]


def test_lines_of_boilerplate_go(tmp_path):
    rng = np.random.default_rng(6)
    texts = [
        f"GENERAL HOSPITAL, confidential\n{written(rng.integers(0, 10**6, 50).astype(str).tolist(), rng)}"
        for _ in range(60)
    ]
    manifest, _ = run(tmp_path, write_jsonl(tmp_path / "n.jsonl", texts), boilerplate_lines=0.5)
    assert manifest["boilerplate_lines"] == 1 and manifest["lines_removed"] == 60
    written_texts = pq.read_table(tmp_path / "out.notes.train.parquet")["text"].to_pylist()
    assert written_texts == [text.partition("\n")[2] for text in texts]


def test_the_disk_changes_nothing(tmp_path, monkeypatch):
    """Small files of buckets and pairs give the pairs that one file gives; of a crowded bucket the first 32 count."""
    rng = np.random.default_rng(6)
    numbers = rng.integers(0, 40, (3, 500)).astype(np.uint64)
    numbers[2] = 7
    ranks = rng.permutation(500)
    wanted, capped = set(), 0
    for band in numbers.tolist():
        for bucket in set(band):
            inside = sorted(ranks[place] for place in range(500) if band[place] == bucket)
            capped += max(len(inside) - buckets.COMPARED - 1, 0)
            wanted |= {
                (int(later), int(earlier))
                for place, later in enumerate(inside)
                for earlier in inside[: min(place, buckets.COMPARED)]
            }
    for limit, together, waiting in ((10**9, 1 << 17, 1 << 20), (500, 7, 1)):
        monkeypatch.setattr(buckets, "PAIR_DOCUMENTS", 1 << 14 if limit > 500 else 9)
        monkeypatch.setattr(buckets, "_PAIRS_TOGETHER", together)
        monkeypatch.setattr(buckets, "_WAITING", waiting)
        known = buckets.Buckets(tmp_path, 500, 3, limit)
        for start in range(0, 500, 120):
            known.add(numbers[:, start : start + 120], ranks[start : start + 120])
        assert known.meet() == capped
        groups = [(later, earlier.tolist()) for later, earlier in known.candidates()]
        assert [later for later, _ in groups] == sorted({later for later, _ in wanted})
        assert all(earlier == sorted(earlier) for _, earlier in groups)
        assert {(later, rank) for later, earlier in groups for rank in earlier} == wanted
        assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("step", ["documents read", "frequent shingles", "copies", "documents written"])
def test_a_run_killed_at_any_step_goes_on(tmp_path, monkeypatch, step):
    """The same bytes as a run that nobody killed; what was cut into shingles is not cut again."""
    monkeypatch.setattr(resumable, "PART_DOCUMENTS", 100)
    monkeypatch.setattr(documents, "BATCH_DOCUMENTS", 60)
    path = write_jsonl(tmp_path / "n.jsonl", planted_texts(450, seed=7)[0])
    run(tmp_path, path, "whole")

    def killed(what, count):
        if what == step and (count > 250 or "read" not in what):
            raise KeyboardInterrupt

    settings, shown = DedupSettings(input=(f"notes={path}",)), {}
    with pytest.raises(KeyboardInterrupt):
        deduplicate.deduplicate(settings, tmp_path / "cut", progress=killed)
    assert not list(tmp_path.glob("cut.*"))
    deduplicate.deduplicate(settings, tmp_path / "cut", progress=shown.__setitem__)
    assert shown["parts taken over from a killed run"] == (3 if "read" in step else 5)
    for name in deduplicate.OUTPUTS:
        assert same_files(tmp_path / f"whole.{name}", tmp_path / f"cut.{name}"), name
    assert not list(tmp_path.glob(".cut*"))
    assert deduplicate.deduplicate(settings, tmp_path / "cut").done_before


def same_files(one, other):
    return one.exists() == other.exists() and (not one.exists() or one.read_bytes() == other.read_bytes())


@pytest.mark.slow
def test_parts_of_other_settings_are_not_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(resumable, "PART_DOCUMENTS", 100)
    path, shown = write_jsonl(tmp_path / "n.jsonl", planted_texts(250, seed=7)[0]), {}

    def killed(what, count):
        if what == "copies":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deduplicate.deduplicate(DedupSettings(input=(f"notes={path}",)), tmp_path / "cut", progress=killed)
    other = DedupSettings(input=(f"notes={path}",), shingle=4)
    deduplicate.deduplicate(other, tmp_path / "cut", progress=shown.__setitem__)
    assert shown["parts taken over from a killed run"] == 0


def test_shingles_are_sets_of_runs_of_words():
    texts = ["One two  THREE four five six.", "one-two", "", "a b c d e a b c d e a b c d e", "one\ntwo"]
    found = Shingler(5)(texts)
    assert found.sizes.tolist() == [len(values) for values in sets_of(texts, 5)] == [2, 1, 0, 5, 1]
    assert found.words.tolist() == [6, 2, 0, 15, 2]
    assert found.digests[1] == found.digests[4] and len(set(found.digests)) == 4
    assert found.values[2] == found.values[-1] and len(set(found.values.tolist())) == 8
    again = Shingler(5)(texts[:1])
    assert again.values.tolist() == found.values[:2].tolist() == sorted(found.values[:2].tolist())


def test_a_word_has_one_number_wherever_it_stands():
    """In ASCII and other texts, at any place, in blocks of any size; different words have different ones."""
    rng = np.random.default_rng(9)
    words = sorted({"".join(rng.choice(list("ab1é中"), int(rng.integers(1, 6)))) for _ in range(3000)})
    single = [Shingler(1)([word]).values for word in words]
    assert all(len(values) == 1 for values in single)
    flat = np.concatenate(single)
    assert len(set(flat.tolist())) == len(words)
    drawn = [rng.integers(0, len(words), int(rng.integers(0, 900))) for _ in range(200)]
    found = Shingler(1)([" -- ".join(words[place] for place in places) for places in drawn])
    expected = [np.unique(flat[places]) for places in drawn]
    assert found.values.tolist() == np.concatenate(expected).tolist()
    assert found.words.tolist() == [len(places) for places in drawn]


def test_minhash_estimates_jaccard():
    """The share of equal values is the Jaccard similarity, within four standard errors; buckets meet as often."""
    rng = np.random.default_rng(8)
    bands, rows = choose_bands(0.8)
    assert 1 - (1 - 0.8**rows) ** bands >= 0.998 and bands * rows <= 128
    base = rng.integers(0, 2**63, (200, 150), np.uint64)
    other = base.copy()
    other[:, :30] = rng.integers(0, 2**63, (200, 30), np.uint64)
    true = jaccard(np.sort(base[0]), np.sort(other[0]))
    assert true == 120 / 180
    flat, counts = np.concatenate([base.ravel(), other.ravel()]), np.full(400, 150)
    minhash = MinHash(bands, rows, seed=1)
    signatures = minhash.signatures(flat, counts)
    share = (signatures[:, :200] == signatures[:, 200:]).mean()
    assert abs(share - true) < 4 * np.sqrt(true * (1 - true) / (200 * bands * rows))
    buckets = minhash.buckets(flat, counts)
    met = (buckets[:, :200] == buckets[:, 200:]).any(0).mean()
    expected = 1 - (1 - true**rows) ** bands
    assert abs(met - expected) < 4 * np.sqrt(expected * (1 - expected) / 200)


def test_bad_input(tmp_path, run_script, monkeypatch):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    script = "preprocessing/deduplicate_notes.py"
    result = run_script(script, f"--input=notes={empty}", f"--output_prefix={tmp_path / 'x'}")
    assert result.returncode == 1 and "expected documents (notes), received none" in result.stderr
    result = run_script(script, f"--input={tmp_path / 'none.csv'}", f"--output_prefix={tmp_path / 'x'}")
    assert result.returncode == 1 and "found none" in result.stderr
    (tmp_path / "one.jsonl").write_text('{"text": "a"}')
    read = [f"--input={tmp_path / 'one.jsonl'}", f"--output_prefix={tmp_path / 'x'}"]
    result = run_script(script, *read, "--memory_limit=much")
    assert result.returncode == 1 and "--memory_limit: expected a size" in result.stderr
    (tmp_path / "c.csv").write_text("ROW_ID,NOTE\n1,a\n")
    result = run_script(script, f"--input={tmp_path / 'c.csv'}", f"--output_prefix={tmp_path / 'x'}")
    assert result.returncode == 1 and "expected a column of texts" in result.stderr
    assert not list(tmp_path.glob("x*")) and not list(tmp_path.glob(".x*"))


def test_what_is_no_document_is_counted(tmp_path, run_script, monkeypatch):
    monkeypatch.setattr(documents, "LONGEST_DOCUMENT", 1000)
    folder = tmp_path / "papers"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("one paper of several words")
    (folder / "deep" / "b.txt").write_bytes(b"caf\xe9 in latin")
    (folder / "c.txt").write_text("long " * 1000)
    (folder / "d.txt").write_text(" \n")
    (tmp_path / "n.csv").write_bytes(
        b"ROW_ID,SUBJECT_ID,HADM_ID,CHARTDATE,CHARTTIME,CATEGORY,ISERROR,TEXT\n"
        b'1,17.0,5,2101-01-02,,Nursing,,"first ""note""\nof two lines"\n'
        b"2,17,5,2101-01-02,2101-01-02 10:00:00,Nursing,1,an error\n"
        b"3,17,5,2101-01-02,,Radiology,,caf\xe9\n"
        b"4,,5,2101-01-02,,Radiology,,nobody\n"
        b"5,18,6,someday,,Radiology,,second note\n"
    )
    (tmp_path / "j.jsonl").write_text(
        '{"text": "from json"}\nnot json\n{"text": "' + "x" * 2000 + '"}\n{"text": null}\n{"text": "\\ud800"}\n'
    )
    inputs = f"--input=notes={tmp_path / 'n.csv'},papers={folder},web={tmp_path / 'j.jsonl'}"
    result = run_script("preprocessing/deduplicate_notes.py", inputs, f"--output_prefix={tmp_path / 'o'}")
    assert result.returncode == 0, result.stderr
    manifest = json.loads((tmp_path / "o.manifest.json").read_text())
    assert manifest["left_out"] == {
        "notes": {"marked_as_error": 1, "no_patient": 1, "not_utf8": 1, "time_unreadable": 1},
        "papers": {"no_text": 1, "not_utf8": 1, "too_long": 1},
        "web": {"no_text": 1, "not_json": 1, "not_utf8": 1, "too_long": 1},
    }
    rows = pq.read_table(tmp_path / "o.notes.train.parquet")
    assert rows["text"].to_pylist() == [
        'first "note"\nof two lines',
        "second note",
        "one paper of several words",
        "from json",
    ]
    assert rows["patient_id"].to_pylist() == ["17", "18", "papers:a.txt", "web:1"]
    assert rows["kind"].to_pylist() == ["Nursing", "Radiology", "", ""]
    assert rows["prediction_time"].cast(pa.timestamp("s")).cast(pa.int64()).to_pylist() == [4134067200, 0, 0, 0]
    assert "papers: left out while reading: not_utf8 1" in result.stdout


def neighbours_accuracy(train, held_out):
    """Masked accuracy of the simplest model there is: the commonest word between the same two words in training."""
    seen, right, total = {}, 0, 0
    for text in train:
        words = text.split()
        for left, word, following in zip(words, words[1:], words[2:], strict=False):
            counts = seen.setdefault((left, following), {})
            counts[word] = counts.get(word, 0) + 1
    for text in held_out:
        words = text.split()
        for left, word, following in zip(words, words[1:], words[2:], strict=False):
            counts = seen.get((left, following))
            right += bool(counts) and max(counts, key=counts.get) == word
            total += 1
    return right / total


def test_a_copied_held_out_note_would_inflate_what_is_measured(tmp_path):
    """Fault: words that nothing predicts are predicted, for a copy was trained on; without copies by chance only."""
    rng = np.random.default_rng(11)
    notes = [[f"w{n}" for n in rng.integers(0, 400, 100)] for _ in range(60)]
    copies = [[*words[:50], "changed", *words[51:]] for words in notes[:20]]
    texts = [" ".join(words) for words in notes + copies]
    patients = ["v"] * 20 + ["t"] * 60
    (tmp_path / "s.csv").write_text("patient_id,split\nt,train\nv,valid\n")
    path, accuracy = write_jsonl(tmp_path / "n.jsonl", texts, patient_id=patients), {}
    for near in (1.0, 0.8):
        manifest, _ = run(tmp_path, path, f"o{near}", near=near, splits=str(tmp_path / "s.csv"))
        read = [
            pq.read_table(tmp_path / f"o{near}.notes.{split}.parquet")["text"].to_pylist()
            for split in ("train", "valid")
        ]
        assert len(read[1]) == 20 and manifest["training_copies_of_held_out"] == (20 if near < 1 else 0)
        accuracy[near] = neighbours_accuracy(*read)
    assert accuracy[1.0] > 0.9 and accuracy[0.8] < 0.05, accuracy  # 4,000 places of 160,000 pairs of neighbours
