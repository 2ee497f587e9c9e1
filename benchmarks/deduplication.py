"""Near copies beside datasketch and rensa: texts a second, recall, false pairs, memory; and growth with their number.

    python benchmarks/deduplication.py [--num_texts=12000] [--rounds=3]
    python benchmarks/deduplication.py --growth=100000,300000

10% of the texts are near-copies of an earlier one (2 to 10% of the words changed, an addendum, a moved paragraph). Each
way reads the same lines of JSON, cuts the same shingles of five words, and says which texts are copies at 0.8; each
round is a process of its own, and the ways take turns. datasketch and rensa (`pip install datasketch rensa`) are used
as their pages show: MinHash of 128 functions, LSH at the threshold, and what the index returns counts as a copy; ours
verifies each pair. Recall and false pairs are against exact Jaccard. CPU-seconds are those of whole processes, less the
same process's imports and reading alone. --growth: ours on more and more generated notes, with the peak memory, whole
and above imports; --growth_ways=medtop,datasketch for others beside it.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

NEAR, SHINGLE = 0.8, 5
WAYS = ("medtop", "datasketch", "rensa")


def texts_of(path):
    """Yields the texts of a file."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)["text"]


def write_texts(path, number, copies=0.1, seed=0):
    """Writes `number` made-up notes of 60 to 400 words, a share of which are near-copies of one of the last 2,000."""
    import numpy as np
    from corpus_texts import changed, vocabulary

    rng, words = np.random.default_rng(seed), np.array(vocabulary(20_000))
    recent, kinds = [], ("words_2", "words_5", "words_10", "moved", "addendum")
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(number):
            if recent and rng.random() < copies:
                kind = kinds[int(rng.integers(len(kinds)))]
                text = changed(recent[int(rng.integers(len(recent)))], kind, rng, words)
            else:
                text = words[rng.integers(0, len(words), int(rng.integers(60, 400)))].tolist()
            recent = [*recent[-1999:], text]
            file.write(json.dumps({"text": " ".join(text)}) + "\n")


def medtop_way(path, folder):
    """Places of the texts that are copies."""
    import pyarrow.parquet as pq

    from medtop.corpus.deduplicate import DedupSettings, deduplicate

    settings = DedupSettings(input=(f"n={path}",), near=NEAR, shingle=SHINGLE)
    deduplicate(settings, Path(folder) / "out", overwrite=True)
    pairs = pq.ParquetFile(Path(folder) / "out.pairs.parquet").read(columns=["dropped_document_id"])  # without pandas
    return [int(name) - 1 for name in pairs["dropped_document_id"].to_pylist()]


def _shingles(text):
    from medtop.corpus.shingles import words_of

    words = words_of(text)
    return {" ".join(words[n : n + SHINGLE]) for n in range(max(len(words) - SHINGLE + 1, 1))}


def datasketch_way(path, folder):
    """Places of the texts that are copies, by `MinHashLSH`."""
    from datasketch import MinHash, MinHashLSH

    index, gone = MinHashLSH(threshold=NEAR, num_perm=128), []
    for number, text in enumerate(texts_of(path)):
        minhash = MinHash(num_perm=128)
        minhash.update_batch([shingle.encode() for shingle in _shingles(text)])
        if index.query(minhash):
            gone.append(number)
        else:
            index.insert(number, minhash)
    return gone


def rensa_way(path, folder):
    """Places of the texts that are copies, by `RMinHashLSH`."""
    from rensa import RMinHash, RMinHashLSH

    index, gone = RMinHashLSH(threshold=NEAR, num_perm=128, num_bands=16), []
    for number, text in enumerate(texts_of(path)):
        minhash = RMinHash(num_perm=128, seed=42)
        minhash.update(list(_shingles(text)))
        if index.query(minhash):
            gone.append(number)
        else:
            index.insert(number, minhash)
    return gone


def nothing(way):
    """What a way imports, and nothing else."""
    __import__({"medtop": "medtop.corpus.deduplicate"}.get(way, way))


def exact_way(path, folder):
    """(places of the texts that go by exact Jaccard with a text that stays, places that have any earlier partner)."""
    from corpus_texts import sets_of, similar_pairs

    sets = sets_of(list(texts_of(path)), SHINGLE)
    pairs, partners = similar_pairs(sets, NEAR), {}
    for one, other in pairs:
        partners.setdefault(other, []).append(one)
    stays = []
    for number in range(len(sets)):
        stays.append(not any(stays[earlier] for earlier in partners.get(number, ())))
    return [number for number, stay in enumerate(stays) if not stay], sorted(partners)


def measured(*arguments):
    """(CPU-seconds, peak MiB, output) of this script with other arguments.

    What this process holds when it starts another one counts as the other's peak, too: it does nothing large itself.
    """
    process = subprocess.Popen([sys.executable, __file__, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{arguments}: ended with status {status}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output


def compare(number, rounds):
    """One table: a row for each way."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.jsonl"
        measured("--write", number, "--path", path)
        wanted, partners = map(set, json.loads(measured("--way", "exact", "--path", path, "--folder", folder)[2]))
        runs = {way: [] for way in WAYS}
        idle = {way: measured("--way", way, "--path", path) for way in WAYS}
        for way in itertools.chain.from_iterable([WAYS] * rounds):
            runs[way].append(measured("--way", way, "--path", path, "--folder", folder))
        print(f"{number:,} texts, {len(wanted):,} copies at {NEAR} by exact Jaccard; least of {rounds} rounds, in turn")
        print("way         texts/CPU-s   recall   false   MiB above its imports")
        for way in WAYS:
            seconds = min(run[0] for run in runs[way]) - idle[way][0]
            found = set(json.loads(runs[way][0][2]))
            false = sum(number not in partners for number in found)
            memory = min(run[1] for run in runs[way]) - idle[way][1]
            recall = len(found & wanted) / len(wanted)
            print(f"{way:10} {number / seconds:12,.0f} {recall:8.4f} {false:7} {memory:8.0f}")


def grow(numbers, ways):
    """Some ways on more and more notes."""
    for number in numbers:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "texts.jsonl"
            measured("--write", number, "--copies=0.3", "--path", path)
            for way in ways:
                idle = measured("--way", way, "--path", path)[1]
                seconds, memory, output = measured("--way", way, "--path", path, "--folder", folder)
                print(
                    f"{number:,} notes, {way}: {1e6 * seconds / number:.0f} CPU-microseconds a note, {memory:,.0f} MiB "
                    f"at most, {memory - idle:,.0f} above its imports, {len(json.loads(output)):,} copies",
                    flush=True,
                )


def main():
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_texts", type=int, default=12_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--growth", default="")
    parser.add_argument("--growth_ways", default="medtop")
    parser.add_argument("--way", choices=(*WAYS, "exact"), help=argparse.SUPPRESS)
    parser.add_argument("--write", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--copies", type=float, default=0.1, help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.write:
        write_texts(flags.path, flags.write, flags.copies)
    elif flags.way:
        if flags.folder:
            print(json.dumps(globals()[f"{flags.way}_way"](flags.path, flags.folder)))
        else:
            nothing(flags.way)
            print(sum(map(len, texts_of(flags.path))))
    elif flags.growth:
        grow([int(number) for number in flags.growth.split(",")], flags.growth_ways.split(","))
    else:
        compare(flags.num_texts, flags.rounds)


if __name__ == "__main__":
    main()
