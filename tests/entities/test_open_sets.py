"""The open sets, read and written in every format: no offset error but those that are in the files."""

import zipfile

import pytest
from entity_cases import meaning

from medtop.entities.convert import ConvertOptions, convert
from medtop.entities.documents import Tally
from medtop.entities.formats import FORMATS
from medtop.entities.reading import input_files, read_text
from medtop.text.tags import word_ranges
from medtop.text.words import WordSplitter


def read(name, path, tally=None):
    tally = tally or Tally()
    return list(FORMATS[name].read(input_files(path, FORMATS[name].suffixes), tally)), tally


def same(name, given, folder):
    """Writes and reads once more: the same meanings."""
    tally = Tally()
    FORMATS[name].write(folder, given, tally)
    again, read_tally = read(name, folder)
    assert tally.rejects == [] and read_tally.rejects == []
    assert {d.document_id: meaning(d) for d in again} == {d.document_id: meaning(d) for d in given}


def test_bc5cdr_has_no_offset_error(test_data, tmp_path):
    path = test_data / "bc5cdr/pubtator/CDR_TestSet.PubTator.txt.gz"
    documents, tally = read("pubtator", path)
    assert len(documents) == 500 and sum(len(d.spans) for d in documents) == 9809
    assert tally.rejects == [] and not tally.counts["overlapping_spans"]
    FORMATS["pubtator"].write(tmp_path / "same", documents, tally)
    written = (tmp_path / "same" / "CDR_TestSet.pubtator.txt").read_text(encoding="utf-8")
    assert written == read_text(path).lstrip("\n"), "the same bytes, relations included"
    few = documents[:60]
    for name in ("bioc", "jsonl", "brat"):
        same(name, few, tmp_path / name)
    bare = [type(d)(d.document_id, d.text, [type(s)(s.span_id, s.type, s.fragments) for s in d.spans]) for d in few]
    for name in ("i2b2_2012", "i2b2_2014"):
        same(name, bare, tmp_path / name)
    whole = [d for d in bare if not cuts_a_word(d)]
    same("conll", whole, tmp_path / "conll")
    assert len(whole) >= 58


def cuts_a_word(document):
    words, tally = WordSplitter(False).split([document.text]), Tally()
    word_ranges(words.starts, words.ends, document.spans, tally)
    return tally.counts["spans_that_cut_a_word"] > 0


def test_ncbi_training_file(test_data, tmp_path):
    """One text mismatch, and one document that stands twice, with its eleven mentions."""
    path = str(test_data / "ncbi_disease/pubtator/NCBItrainset_corpus.txt.gz")
    manifest, _ = convert(ConvertOptions(((None, path),), "pubtator", splits="train"), tmp_path / "ncbi")
    assert (manifest["documents_in"], manifest["documents_merged"], manifest["documents_out"]) == (593, 1, 592)
    assert manifest["counts"]["spans_of_repeated_documents"] == 11
    assert (manifest["spans_out"], manifest["spans_left_out"]) == (5133, 1)
    assert (tmp_path / "ncbi.rejects.csv").read_text().splitlines()[1:] == [
        f"{path},3249,span,the span's text is not the document's text at its place"
    ]


def test_ncbi_brat_and_conll(test_data, tmp_path):
    with zipfile.ZipFile(test_data / "ncbi_disease/brat_test.zip") as archive:
        archive.extractall(tmp_path / "in")
    documents, tally = read("brat", tmp_path / "in")
    assert len(documents) == 100 and sum(len(d.spans) for d in documents) == 960 and tally.rejects == []
    FORMATS["brat"].write(tmp_path / "out", documents, tally)
    for document in documents:
        for end in (".txt", ".ann"):
            before, after = ((tmp_path / f / f"{document.document_id}{end}").read_text() for f in ("in", "out"))
            assert sorted(before.splitlines()) == sorted(after.splitlines())
    path = test_data / "ncbi_disease/conll/test.tsv.gz"
    documents, tally = read("conll", path)
    assert len(documents) == 940 and sum(len(d.spans) for d in documents) == 960 and tally.rejects == []
    FORMATS["conll"].write(tmp_path / "same", documents, tally)
    assert (tmp_path / "same/test.conll").read_text() == read_text(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["CDR_TrainingSet", "CDR_DevelopmentSet"])
def test_the_rest_of_bc5cdr(name, test_data, tmp_path):
    documents, tally = read("pubtator", test_data / f"bc5cdr/pubtator/{name}.PubTator.txt.gz")
    assert len(documents) == 500 and tally.rejects == []
    for other in ("pubtator", "bioc", "jsonl", "brat"):
        same(other, documents, tmp_path / other)


def test_presidio(test_data, tmp_path):
    documents, tally = read("jsonl", test_data / "presidio_synth/synth_dataset_v2.json.gz")
    assert len(documents) == 1500 and sum(len(d.spans) for d in documents) == 2863 and tally.rejects == []
    for name in ("jsonl", "brat", "bioc", "i2b2_2014"):
        same(name, documents[:200], tmp_path / name)
