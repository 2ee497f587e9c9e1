"""Codes as strings: their coding system and category. Only distinct codes pass, so plain Python will do."""

from medtop.cohort.prefixes import MARKED

NONE, CATEGORY = "none", "first3"
MANY = ("refuse", "all", "first")
MISSING = ("keep", "drop")


def coding_system(code):
    """Splits a code into (system, code): one of `prefixes.MARKED` and the code in upper case without dots, or "" and
    the code as it is.

    >>> coding_system("ICD10_E11.31"), coding_system("icd9_250.4"), coding_system("250.21")
    (('icd10', 'E1131'), ('icd9', '2504'), ('', '250.21'))
    """
    mark, _, rest = code.partition("_")
    system = mark.lower()
    if rest and system in MARKED:
        return system, rest.replace(".", "").upper()
    return "", code


def category(code):
    """The category of a code: its first three characters after its mark (`ICD9_`, `ICD10_`, ...); four for ICD-9 E
    codes, two for ICD-9 procedures, all of a HCPCS code.

    ICD-9's external causes are an E before a category of three digits (E849 is one category, E84 none).

    >>> category("ICD10_E11.31"), category("ICD9_2504"), category("ICD9_E8490"), category("25021")
    ('ICD10_E11', 'ICD9_250', 'ICD9_E849', '250')
    """
    system, rest = coding_system(code)
    length = 4 if system == "icd9" and rest.startswith("E") else {"icd9proc": 2, "hcpcs": 5}.get(system, 3)
    return f"{system.upper()}_{rest[:length]}" if system else rest[:length]
