"""Account numbers that tell by themselves what they are: IBANs and payment cards, each with its check digits."""

import re

from medtop.deidentification.rule import pattern_rule

_IBAN_LENGTHS = {
    int(part[0]): frozenset(part[1:])
    for part in (
        line.split()
        for line in (
            "15 NO", "16 BE", "18 DK FO FI GL NL SD", "19 MK SI", "20 AT BA EE KZ LT LU XK MN",
            "21 HR LV LI CH", "22 BH BG CR DE GE IE ME RS GB VA", "23 TL GI IL IQ OM SO AE", "24 AD CZ MD PK RO SA SK "
            "ES SE TN VG", "25 LY PT ST", "26 IS TR", "27 BI FR DJ GR IT MR MC SM", "28 AL AZ BY CY DO SV GT HU LB NI "
            "PL", "29 BR EG PS QA UA", "30 JO KW MU YE", "31 MT SC", "32 LC", "33 RU",
        )
    )
}  # fmt: skip
"""ISO 13616, IBAN registry: length -> countries."""


def is_iban(text):
    """Whether a text has a country's length of IBAN and remainder 1 (ISO 7064, MOD 97-10); one of both is enough where
    a digit may be mistyped: a number of a country's length is one whatever its check digits.

    >>> [is_iban(text) for text in ("GB82 WEST 1234 5698 7654 32", "GB82WEST123456987654", "XX12ABCD34567890")]
    [True, False, False]
    """
    signs = re.sub(r"[ -]", "", text).upper()
    if signs[:2] in _IBAN_LENGTHS.get(len(signs), ()):
        return True
    return len(signs) >= 15 and int("".join(str(int(sign, 36)) for sign in signs[4:] + signs[:4])) % 97 == 1


def luhn(text):
    """Whether the digits of a text have a right check digit (ISO/IEC 7812-1).

    >>> luhn("4539 1488 0343 6467"), luhn("4539 1488 0343 6468")
    (True, False)
    """
    total = 0
    for place, digit in enumerate(reversed([int(sign) for sign in text if sign.isdecimal()])):
        total += digit if place % 2 == 0 else sum(divmod(2 * digit, 10))
    return total % 10 == 0


ACCOUNTS = (
    pattern_rule(
        "ACCOUNT",
        "IBAN",
        r"(?<![\w-])[A-Z]{2}\d{2}(?:[A-Z0-9]{11,30}|[ -]?[A-Z0-9]{4}(?:[ -]?(?=[A-Z]{0,3}\d)[A-Z0-9]{4}){1,6}"
        r"(?:[ -]?(?=[A-Z]{0,2}\d)[A-Z0-9]{1,3})?)(?!\w)",
        accepts=is_iban,
        starts="$",
    ),
    pattern_rule(
        "ACCOUNT",
        "payment card in groups",
        r"(?<![\w.,/+-])(?:[3-6]\d{3}([ -])\d{4}\1\d{4}\1\d{4}(?:\1?\d{1,3})?|"
        r"3[47]\d\d([ -])\d{6}\2\d{5})(?![\w]|[.,/]\d)",
        accepts=luhn,
        starts="#4",
    ),
)
