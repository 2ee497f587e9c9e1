"""Careful cleaning as docs/notes.md says it, with Python's own functions on one note: the oracle of the fast one."""

import re


def carefully_cleaned(text, lower_case=True):
    """Numbers of lists, `[** **]`, titles, headings and rules, in the page's order."""
    text = text.lower() if lower_case else text
    ascii_only, any_case = re.ASCII, re.ASCII | re.IGNORECASE
    text = re.sub(r"(\A|[\n\r])[ \t]*[0-9]{1,2}\.(?=[ \t\r\n]|\Z)", r"\1", text, flags=ascii_only)
    text = text.replace("\n", " ").replace("\r", " ")
    text = re.sub(r"\[\*\*(.*?)\*\*\]", "", text)
    for pattern, word in ((r"(?<!\w)dr\.", "doctor"), (r"(?<!\w)m\.d\.", "md")):
        text = re.sub(pattern, word if lower_case else word.capitalize(), text, flags=any_case)
    for heading in ("admission date:", "discharge date:"):
        text = re.sub(heading, "", text, flags=any_case)
    return re.sub("-{2,}|_{2,}|={2,}", " ", text).strip()
