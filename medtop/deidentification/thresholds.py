"""From which score on a model's spans count, type by type: as high as the lower bound of recall allows.

Letters: N true spans of a type, t a threshold.
"""

import math

from medtop.deidentification import scores

OFF = 2.0
"""A threshold that no score reaches: the model is not needed for the type."""


def needed_score(text, span, covered, marked):
    """The highest threshold at which a true span is still removed whole.

    Args:
        text: str.
        span: the true `Span`.
        covered: bytearray, 1 where rules and roster remove.
        marked: the model's spans of the type.

    Returns:
        float: infinity where rules alone remove it, minus infinity where the model does not either.
    """
    lowest = math.inf
    for start, end in span.fragments:
        for place in range(start, end):
            if text[place].isalnum() and not covered[place]:
                over = [item.score for item in marked if item.start <= place < item.end]
                lowest = min(lowest, max(over, default=-math.inf))
    return lowest


def best_threshold(needed, recall):
    """The highest threshold whose recall has a lower bound of at least `recall`.

    Args:
        needed: list of N floats, of `needed_score`.
        recall: float.

    Returns:
        (t, misses at t, whether the bound is reached); where it is not, the t with the fewest misses.

    >>> best_threshold([math.inf] * 299 + [0.4], 0.99)
    (0.4, 0, True)
    >>> best_threshold([math.inf] * 100 + [0.4], 0.99)
    (0.4, 0, False)
    """
    candidates = [OFF, *sorted({score for score in needed if math.isfinite(score)}, reverse=True)]
    for threshold in candidates:
        misses = sum(score < threshold for score in needed)
        if scores.proportion(len(needed) - misses, len(needed))["lower"] >= recall:
            return threshold, misses, True
    return candidates[-1], sum(score < candidates[-1] for score in needed), False


def choose(documents, detector, model, recall, term_types, model_hash):
    """Thresholds for a model's types.

    Args:
        documents: list of `Document` with true spans, none of which the model was trained on.
        detector: `Detector` without the model.
        model: function list of documents -> list of lists of `Span` with scores.
        recall: what the lower bound must reach.
        term_types: types that are no identifiers.
        model_hash: str, which model it is.

    Returns:
        dict with `model`, `recall`, `documents`, `types`: type -> threshold, examples, missed_by_rules, missed, lower
        (bound of recall), reached, examples_needed (with as many misses; None where reached); `price`:
        words_removed_too_much, words, terms_lost, terms.
    """
    needed, without, kept = {}, {}, []
    for document, spans in zip(documents, model(documents), strict=True):
        covered = bytearray(len(document.text))
        for item in detector.find(document.text, document.patient_id):
            covered[item.start : item.end] = b"\1" * (item.end - item.start)
        kept.append((document, spans, covered))
        for span in document.spans:
            if span.type not in term_types:
                marked = [item for item in spans if item.type == span.type]
                score = needed_score(document.text, span, covered, marked)
                needed.setdefault(span.type, []).append(score)
                without[span.type] = without.get(span.type, 0) + (score < math.inf)
    types = {}
    for kind, values in sorted(needed.items()):
        threshold, missed, reached = best_threshold(values, recall)
        types[kind] = {
            "threshold": threshold,
            "examples": len(values),
            "missed_by_rules": without[kind],
            "missed": missed,
            "lower": scores.proportion(len(values) - missed, len(values))["lower"],
            "reached": reached,
            "examples_needed": None if reached else scores.examples_needed(recall, missed),
        }
    price = _price(kept, {kind: entry["threshold"] for kind, entry in types.items()}, term_types)
    return {"model": model_hash, "recall": recall, "documents": len(documents), "types": types, "price": price}


def _price(kept, thresholds, term_types):
    """What the model takes too much at these thresholds, beyond rules."""
    price = dict.fromkeys(("words_removed_too_much", "words", "terms_lost", "terms"), 0)
    for document, spans, covered in kept:
        counted = [item for item in spans if item.score >= thresholds.get(item.type, OFF)]
        true = [span for span in document.spans if span.type not in term_types]
        taken = bytearray(covered)
        for item in counted:
            touches = any(item.start < span.end and span.start < item.end for span in true)
            alone = not any(covered[item.start : item.end])
            price["words_removed_too_much"] += (not touches) and alone and not any(taken[item.start : item.end])
            taken[item.start : item.end] = b"\1" * (item.end - item.start)
        price["words"] += len(document.text.split())
        for span in document.spans:
            if span.type in term_types:
                price["terms"] += 1
                lost = any(taken[span.start : span.end]) and not any(covered[span.start : span.end])
                price["terms_lost"] += lost
    return price


def lines(chosen):
    """What the screen shows."""
    shown = [f"lower bound of recall {chosen['recall']}, {chosen['documents']:,} notes"]
    shown.append(f"  {'type':<12} examples  missed by rules  missed  lower bound  threshold")
    for kind, entry in chosen["types"].items():
        threshold = f"{entry['threshold']:.3f}"
        if entry["threshold"] >= OFF:
            threshold = "not needed" if entry["reached"] or not entry["missed_by_rules"] else "finds none of them"
        more = "" if entry["reached"] else f"  not reached: {entry['examples_needed']:,} examples with as many misses"
        shown.append(
            f"  {kind:<12} {entry['examples']:>8} {entry['missed_by_rules']:>16} {entry['missed']:>7} "
            f"{entry['lower']:>12.4f}  {threshold}{more}"
        )
    price = chosen["price"]
    shown.append(
        f"price of the model beyond rules: {price['words_removed_too_much']:,} of {price['words']:,} words, "
        f"{price['terms_lost']:,} of {price['terms']:,} clinical terms"
    )
    return shown
