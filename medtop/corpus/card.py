"""What a corpus is made of, for people to read: on the screen and as `<prefix>.card.md`."""

from medtop.reporting.markdown import table, text


def summary_lines(manifest):
    """The manifest as lines for a reader."""
    lines = []
    for row in manifest["rows"]:
        dropped = "".join(f", {reason} {number:,}" for reason, number in row["filtered"].items())
        lines.append(
            f"{row['split']} / {row['source']}: {row['documents_in']:,} documents read{dropped}; "
            f"taken {row['documents']:,} ({row['repeats']:,} of them again), {row['words']:,} words, "
            f"{row['share_of_words']:.1%} of the split"
        )
    for source, reasons in manifest["left_out"].items():
        lines += [f"{source}: left out while reading: {reason} {number:,}" for reason, number in reasons.items()]
    for split, source in manifest["dry"].items():
        lines.append(f"{split}: {source} runs dry first and limits the others; --repeat takes its documents more often")
    return lines


def card_lines(manifest):
    """Lines of Markdown."""
    settings = manifest["settings"]
    header = ["split", "source", "documents read", "left out", "taken", "again", "words", "share", "MB"]
    rows = [
        [
            row["split"],
            row["source"],
            f"{row['documents_in']:,}",
            ", ".join(f"{reason} {number:,}" for reason, number in row["filtered"].items()) or "-",
            f"{row['documents']:,}",
            f"{row['repeats']:,}",
            f"{row['words']:,}",
            f"{row['share_of_words']:.1%}",
            f"{row['bytes'] / 1e6:,.1f}",
        ]
        for row in manifest["rows"]
    ]
    lines = ["# Corpus", "", *table(header, rows), "", "## Rules", ""]
    lines += [
        f"- Mixture: {text(settings['mixture'] or 'everything once')}; at most {settings['repeat']} times a document; "
        f"seed {settings['seed']}.",
        f"- Left out: fewer than {settings['least_words']:,} or more than {settings['most_words']:,} words; letters "
        f"less than {settings['least_letters']:.0%} of the characters; more than {settings['most_repeated']:.0%} of "
        "the lines repeated.",
        "- Texts of restricted data stay restricted, and so do a vocabulary and weights made from them.",
    ]
    for source, rules in manifest["cleaned"].items():
        if rules:
            said = ", ".join(f"{rule} {number:,}" for rule, number in rules.items())
            lines.append(f"- Cleaning changed documents of {text(source)}: {said}.")
    for source, reasons in manifest["left_out"].items():
        if reasons:
            said = ", ".join(f"{reason} {number:,}" for reason, number in reasons.items())
            lines.append(f"- Not readable in {text(source)}: {said}.")
    for split, source in manifest["dry"].items():
        lines.append(f"- {split}: {text(source)} ran dry first and limited the others.")
    return lines
