"""Rules of names, by the words around them, and of ages from 90 on."""

import re

from medtop.deidentification.ambiguous import NO_NAME
from medtop.deidentification.rule import pattern_rule

CAP = r"[A-Z][a-z'’]++(?:-[A-Z][a-z]++)?"
CAPS = r"(?:[A-Z][A-Za-z'’-]++)"
_NAME_PART = r"(?:[A-Za-z][A-Za-z'’-]*+)"
"""No word can be read in two ways: repeated parts would take exponential time."""
_INITIAL = r"(?:[A-Za-z]\.?)"
_CRED = (
    r"(?:M\.?D\b\.?|D\.?O\b\.?|R\.?N\b\.?|N\.?P\b\.?|P\.?A(?:-C)?\b\.?|Ph\.?D\b\.?|"
    r"LICSW|LCSW|MSW|CRNA|APRN|DPM|DDS|PharmD|MBBS|FACC|FACS|LPN)"
)


def trimmed_name(text):
    """(start, end) of a name within a text, without the words at its ends that name nobody.

    >>> trimmed_name("Jenkins was")
    (0, 7)
    """
    words = [match for match in re.finditer(r"[A-Za-z][A-Za-z'’-]*\.?", text)]
    while words and words[-1][0].rstrip(".").lower() in NO_NAME:
        words.pop()
    while words and words[0][0].rstrip(".").lower() in NO_NAME:
        words.pop(0)
    return (words[0].start(), words[-1].end()) if words else (0, 0)


def is_name(text):
    """Whether none of the words is one that names nobody."""
    words = re.findall(r"[A-Za-z'-]+", text)
    return bool(words) and not any(word.lower() in NO_NAME for word in words)


def _begins_a_line(text, place):
    """Whether a label may stand here: at the beginning of a text, line, cell or sentence, or behind a gap."""
    last, second = text[place - 1 : place], text[max(0, place - 2) : max(0, place - 1)]
    if not last or last in "\n;|":
        return True
    if not last.isspace():
        return False
    return second.isspace() or (last in " \t" and second in "\n;|") or second + last == ". "


NAMES = (
    pattern_rule(
        "NAME",
        "behind a title",
        rf"\b(?:(?:Dr|Drs|Mr|Mrs|Ms|Miss|Mister|Prof|Professor|Doctor|Nurse|Rev|Reverend|"
        rf"Sister|Rabbi|Sir|Madam|DRS?|MRS|MISS|PROF)\b\.?|MR\.|MS\.(?=\s+[A-Z]{{2}}))\s*"
        rf"(?<=[.\s])(?P<v>{_NAME_PART}(?:\s+{_INITIAL}(?=\s))?(?:\s+{CAPS})?)",
        starts="dr mr ms mis pro doc nur rev sis rab sir mad",
        flags=0,
        accepts=lambda text: is_name(text.split()[0]),
    ),
    pattern_rule(
        "NAME",
        "behind a title, lower case",
        r"(?<![a-z])(?:drs?|mrs?|ms|miss|prof)(?:\.\s*|\s+)(?P<v>[a-z][a-z'’-]++(?:\s+[a-z][a-z'’-"
        r"]++(?=\s*(?:[.,;(\n]|$)))?)",
        starts="dr mr ms mis pro",
        flags=0,
        accepts=is_name,
    ),
    pattern_rule(
        "NAME",
        "before a credential",
        rf"(?P<v>[A-Z](?<![\w@][A-Z])[A-Za-z'’-]++(?:[ \n][A-Z]\.?)?(?:[ \n]{CAPS}){{1,2}}),?[ \n](?:{_CRED})(?![\w])",
        flags=0,
        accepts=lambda text: is_name(text.split()[-1]),
    ),
    pattern_rule(
        "NAME",
        "before a credential, any case",
        rf"\b(?:by|dr\.?|cc:|attending(?:\s+physician)?:|physician:|dictated "
        rf"by:|signed:)\s+(?P<v>{_NAME_PART}\s+(?:{_INITIAL}\s+)?{_NAME_PART}),?\s+(?:{_CRED})"
        rf"(?![\w])",
        starts="by$ dr cc$ att phy dic sig",
        accepts=is_name,
    ),
    pattern_rule(
        "NAME",
        "line of a name and credential, any case",
        rf"(?:^|\n)[ ]*(?P<v>{_NAME_PART}\s+(?:{_INITIAL}\s+)?{_NAME_PART}),\s+(?:{_CRED})" rf"(?![\w])",
        starts="^",
        accepts=is_name,
    ),
    pattern_rule(
        "NAME",
        "behind its label",
        rf"(?<![a-z])(?:(?:patient|pt|full|last|first|middle|"
        rf"maiden|family|given|father|mother)(?:'?s)?\.?\s*(?:name)?|name|attending(?:\s+physician)"
        rf"?|(?:primary\s+care\s+)?(?:physician|provider|surgeon|doctor|nurse|therapist|"
        rf"resident|fellow|consultant|assistant|anesthesiologist|cardiologist|radiologist|"
        rf"pathologist|pharmacist|pcp)(?:\s+name)?|dictated\s+by|transcribed\s+by|signed"
        rf"(?:\s+by)?|referr(?:ing|ed)\s+(?:physician|by|provider|md)|re|next\s+of\s+kin|"
        rf"emergency\s+contact|contact(?:\s+person)?|guardian|proxy|health\s+care\s+proxy|"
        rf"hcp|spouse|insured|guarantor|author|reviewed\s+by|ordered\s+by|ordering\s+"
        rf"(?:md|provider|physician)|interpreter)\s*:\s*(?:Dr\.?\s+|Mrs?\.?\s+|Ms\.?\s+)?"
        rf"(?P<v>{_NAME_PART},?\s+(?:{_INITIAL}\s+)?{_NAME_PART}|{_NAME_PART}\b(?=\s*"
        rf"(?:\n|$|,|\()))",
        starts="pat pt ful las fir mid mai fam giv fat mot nam att pri phy pro sur doc nur the res fel con ass ane car "
        "rad pha pcp dic tra sig ref re$ nex eme gua hea hcp spo ins aut rev ord int",
        accepts=is_name,
        before=_begins_a_line,
    ),
    pattern_rule(
        "NAME",
        "behind signature words",
        rf"\b(?:(?:electronically\s+)?signed\s+by|dictated\s+by|transcribed\s+by|seen\s+"
        rf"(?:on\s+\S+(?:\s+\S+){{0,3}}\s+)?by|referred\s+by|reviewed\s+by|accompanied\s+by|"
        rf"discussed\s+with|spoke\s+with|spoke\s+to|d/w|named?|dear|attn:?)\s+:?\s*"
        rf"(?:Dr\.?\s+|Mrs?\.?\s+|Ms\.?\s+)?(?P<v>{CAPS}(?:\s+[A-Z]\.?)?(?:\s+{CAPS}){{0,2}})"
        rf"(?![\w])",
        starts="ele sig dic tra see ref rev acc dis spo d$ nam dea att",
        flags=0,
        accepts=is_name,
    ),
    pattern_rule(
        "NAME",
        "behind signature words, any case",
        rf"\b(?:signed\s+by|dictated\s+by:?|transcribed\s+by:?|spoke\s+with|referred\s+by|"
        rf"seen\s+by|by)\s+(?P<v>{_NAME_PART}\s+{_NAME_PART}),?\s+(?:{_CRED}|\((?:wife|"
        rf"husband|son|daughter|mother|father|sister|brother|niece|nephew|friend|partner)\))"
        rf"(?![\w])",
        starts="sig dic tra spo ref see by$",
        accepts=is_name,
    ),
    pattern_rule(
        "NAME",
        "spoken with a relative",
        r"\bspoke\s+with\s+(?P<v>[a-z'’-]+\s+[a-z'’-]+)\s*\((?:wife|husband|son|daughter|"
        r"mother|father|sister|brother|niece|nephew|friend|partner|aunt|uncle|cousin)\)",
        starts="spo",
    ),
    pattern_rule(
        "NAME",
        "behind a relation",
        rf"\b(?:wife|husband|daughter|son|mother|father|mom|dad|sister|brother|niece|"
        rf"nephew|aunt|uncle|cousin|friend|partner|girlfriend|boyfriend|fianc[eé]e?|grand"
        rf"(?:son|daughter|mother|father)|spouse|neighbor|caregiver|guardian|roommate|"
        rf"child|children|twins?|baby|infant)(?:[-\s]in[-\s]law)?(?:,\s*|\s+(?:is\s+|"
        rf"named\s+|called\s+)?|\s*\(|:\s*)(?P<v>{CAPS}(?:\s+[A-Z]\.?)?(?:[ \n]{CAPS}){{0,2}})"
        rf"(?![\w])",
        starts="wif hus dau son mot fat mom dad sis bro nie nep aun unc cou fri par gir boy fia gra spo nei car gua "
        "roo chi twi bab inf",
        flags=0,
        accepts=is_name,
    ),
    pattern_rule(
        "NAME",
        "behind a relation, any case",
        r"\b(?:wife|husband|daughter|son|mother|father|sister|brother|niece|nephew),\s+"
        r"(?P<v>[a-z'’-]+\s+[a-z'’-]+),\s+(?:can|who|is|was|will|at|has)\b",
        starts="wif hus dau son mot fat sis bro nie nep",
        accepts=is_name,
    ),
    pattern_rule(
        "NAME",
        "behind with a relation, any case",
        r"\bwith\s+(?:his|her|their)\s+(?:wife|husband|daughter|son|mother|father|sister|"
        r"brother|niece|nephew)\s+(?P<v>(?!and\b|or\b|in\b|at\b|who\b|is\b|was\b|has\b|"
        r"on\b|for\b|to\b|about\b|present\b)[a-z'’-]+)(?=\s*[.,;])",
        starts="wit",
        accepts=is_name,
    ),
    pattern_rule(
        "NAME",
        "patient behind a comma",
        r"\b(?:the\s+)?(?:patient|pt),\s+(?P<v>[a-z'’-]+\s+[a-z'’-]+),",
        starts="the pat pt",
        accepts=is_name,
    ),
    pattern_rule(
        "AGE",
        "years old",
        r"(?<![\w.,/-])(?P<v>9\d|1[0-2]\d)(?=\s*[- ]?\s*(?:years?|yrs?|y)\b\.?[-\s]*"
        r"(?:(?:and|,)\s*\d+\s*(?:months?|mos?)[-\s]*)?(?:old|of\s+age|o\b|/\s?o\b))",
        starts="#2 #3",
    ),
    pattern_rule(
        "AGE",
        "y/o",
        r"(?<![\w.,/-])(?P<v>9\d|1[0-2]\d)(?=\s*[- ]?\s*(?:yo|y/o|y\.o\.?|yof|yom|yr\s?old|"
        r"year\s?old|yrs|F|M|female|male|woman|man|lady|gentleman)\b(?![/\d]))",
        starts="#2 #3",
    ),
    pattern_rule(
        "AGE",
        "behind its label",
        r"\b(?:aged?|turned|turning|(?:s?he|patient|pt)\s+is(?:\s+now)?(?=\s+\d+\s*(?:[.,;]|"
        r"and\b|years|\n|$))|age\s*(?:of|:|is)?|(?:at|until|since)\s+(?:the\s+)?age\s+"
        r"(?:of)?|birthday)\s*(?P<v>9\d|1[0-2]\d)(?![\w%/+]|[.-]\d|\s*(?:mg|kg|lb|bpm|"
        r"%|over))",
        starts="age tur she he$ pat pt at$ unt sin bir",
    ),
    pattern_rule(
        "AGE",
        "nineties",
        r"\b(?:in\s+)?(?:his|her|their|mid|early|late)[\s-]+(?P<v>(?:9|10)0'?s)\b",
        starts="in$ his her the mid ear lat",
    ),
    pattern_rule(
        "AGE",
        "in words",
        r"\b(?P<v>(?:ninety|one\s+hundred|hundred)(?:[-\s]+(?:and\s+)?(?:one|two|three|"
        r"four|five|six|seven|eight|nine|ten))?)(?=[-\s]+(?:years?|yrs?)\b[-\s]*(?:old|"
        r"of\s+age))",
        starts="nin one hun",
    ),
)
