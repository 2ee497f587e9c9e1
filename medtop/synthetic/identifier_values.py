"""Made-up identifiers of 17 classes in the forms that notes write them in; some forms occur in test texts only.

The classes are those of the safe harbor rule (45 CFR 164.514(b)(2)) but for photographs, which have no text. A class
may have two types here: dates and ages, places and ZIP codes.
"""

import datetime

from medtop.synthetic.identifier_names import FEMALE, MALE, STREETS, SURNAMES, TOWNS, pool

CLASSES = {
    "names": ("NAME",),
    "places": ("LOCATION", "ZIP"),
    "dates": ("DATE", "AGE"),
    "phone numbers": ("PHONE",),
    "fax numbers": ("FAX",),
    "mail addresses": ("EMAIL",),
    "social security numbers": ("SSN",),
    "record numbers": ("MRN",),
    "health plan numbers": ("HEALTH_PLAN",),
    "account numbers": ("ACCOUNT",),
    "licence numbers": ("LICENSE",),
    "vehicles": ("VEHICLE",),
    "devices": ("DEVICE",),
    "URLs": ("URL",),
    "IP addresses": ("IP",),
    "biometric identifiers": ("BIOMETRIC",),
    "other numbers": ("OTHER_ID",),
}
"""The 17 classes and their types."""

_LETTERS, _DIGITS, _VIN = "ABCDEFGHJKLMNPRSTUVWXYZ", "0123456789", "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"
_STATES = ("MA", "NY", "CA", "TX", "IL", "OH", "PA", "FL", "WA", "OR")
_MONTHS = ("January February March April May June July August September October November December").split()

DATE_FORMS = (
    "{m}/{d}/{y}", "{m:02}/{d:02}/{y}", "{m}/{d}/{s:02}", "{m}-{d}-{y}", "{y}-{m:02}-{d:02}", "{month} {d}, {y}",
    "{mon} {d}, {y}", "{d} {month} {y}", "{month} {d}", "{month} {y}", "{d}-{mon}-{y}", "{month} {d}{th}",
)  # fmt: skip
DATE_FORMS_HELD_OUT = (
    "{mon} {d} {y}", "{d}{MON}{y}", "{y}/{m:02}/{d:02}", "{d}{th} of {month} {y}", "{m:02}.{d:02}.{y}",
    "{mon}. {d}, {y}", "{month} {d}{th}, {y}", "{m:02}-{d:02}-{s:02}",
)  # fmt: skip
PHONE_FORMS = ("({a}) {b}-{c}", "{a}-{b}-{c}", "{a}.{b}.{c}", "{a} {b} {c}")
PHONE_FORMS_HELD_OUT = (
    "+1 {a} {b} {c}",
    "1-{a}-{b}-{c}",
    "({a}){b}-{c} x{e}",
    "+1 ({a}) {b}-{c}",
    "{a}-{b}-{c} ext. {e}",
)

_SHAPES = {
    "MRN": (("#######", "########"), ("###-##-##", "M#######")),
    "HEALTH_PLAN": (("@@@#########", "##########A"), ("@##-####-###",)),
    "ACCOUNT": (("#########", "############"), ("####-####-####",)),
    "LICENSE": (("@@#######", "##########"), ("@-######",)),
    "DEVICE": (("@@@######", "@@-#######"), ("####-@@-####",)),
    "BIOMETRIC": (("FP-########", "RS########"), ("@@/######",)),
    "OTHER_ID": (("S##-#####", "########"), ("@@##-######",)),
}
"""Of each type the forms of all splits and those of test texts only."""


class Values:
    """Draws identifiers of one split.

    Args:
        rng: NumPy generator.
        split: "train", "valid" or "test": which names; held-out forms in test only.
    """

    def __init__(self, rng, split):
        self.rng, self.split = rng, split
        self.names = {key: pool(names, split) for key, names in (("F", FEMALE), ("M", MALE), ("last", SURNAMES))}
        self.towns, self.streets = pool(TOWNS, split), pool(STREETS, split)

    def pick(self, options):
        """One of a sequence."""
        return options[int(self.rng.integers(len(options)))]

    def digits(self, count):
        """So many digits, the first no 0."""
        return str(int(self.rng.integers(1, 10))) + "".join(self.pick(_DIGITS) for _ in range(count - 1))

    def letters(self, count):
        """So many letters."""
        return "".join(self.pick(_LETTERS) for _ in range(count))

    def forms(self, known, held_out):
        """A form: in the test split every second is one that no other split has."""
        return self.pick(held_out if self.split == "test" and self.rng.random() < 0.5 else known)

    def date(self, first=datetime.date(2004, 1, 1), days=5000):
        """A day as a text."""
        return self.date_text(first + datetime.timedelta(days=int(self.rng.integers(days))))

    def date_text(self, day):
        """A given day in one of the forms."""
        month = _MONTHS[day.month - 1]
        ending = "th" if day.day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
        return self.forms(DATE_FORMS, DATE_FORMS_HELD_OUT).format(
            y=day.year, s=day.year % 100, m=day.month, d=day.day, month=month, mon=month[:3], MON=month[:3].upper(),
            th=ending,
        )  # fmt: skip

    def age(self):
        """An age from 90 on, with or without the words that follow."""
        return str(int(self.rng.integers(90, 104)))

    def phone(self):
        """A number of North America's plan."""
        parts = {"a": self.digits(3), "b": self.digits(3), "c": self.digits(4), "e": self.digits(4)}
        return self.forms(PHONE_FORMS, PHONE_FORMS_HELD_OUT).format(**parts)

    def email(self, first, last):
        """A mail address that holds a name."""
        host = self.pick(("mail.example.com", "example.org", "post.example.net", "clinic.example.edu"))
        return (
            self.pick((f"{first}.{last}@{host}", f"{first[0]}{last}{self.digits(2)}@{host}")).lower().replace("'", "")
        )

    def ssn(self):
        """A social security number."""
        a, b, c = self.digits(3), self.digits(2), self.digits(4)
        return self.forms((f"{a}-{b}-{c}", f"{a} {b} {c}"), (f"{a}{b}{c}", f"{a}-{b}-{c}"))

    def zip(self):
        """A ZIP code."""
        return self.forms((self.digits(5),), (f"{self.digits(5)}-{self.digits(4)}",))

    def street(self):
        """A street with its number."""
        kind = self.forms(
            ("Street", "St", "Avenue", "Ave", "Road", "Rd", "Drive"), ("Blvd", "Lane", "Court", "Terrace", "Way")
        )
        flat = self.forms(("", "", ", Apt {}"), ("", ", Unit {}", " #{}")).format(
            self.digits(int(self.rng.integers(1, 3)))
        )
        return f"{self.digits(int(self.rng.integers(2, 5)))} {self.pick(self.streets)} {kind}{flat}"

    def state(self):
        """A state, which the rule permits."""
        return self.pick(_STATES)

    def hospital(self):
        """A hospital's name."""
        kind = self.forms(
            ("Hospital", "Medical Center", "General Hospital"), ("Rehabilitation Center", "Nursing Home", "Clinic")
        )
        return f"{self.pick(self.towns)} {kind}"

    def number(self, kind):
        """A number of a type that has no form of its own: `#` is a digit, `@` a letter."""
        shape = self.forms(*_SHAPES[kind])
        return "".join(self.digits(1) if sign == "#" else self.letters(1) if sign == "@" else sign for sign in shape)

    def vin(self):
        """A vehicle's number of 17 characters."""
        return "1" + "".join(self.pick(_VIN) for _ in range(10)) + self.digits(6)

    def url(self):
        """A web address."""
        return self.forms(
            (f"https://portal.example.org/patients/{self.digits(6)}", f"www.example.com/{self.letters(4).lower()}"),
            (f"http://records.example.net/view?id={self.digits(5)}", f"example.org/~{self.letters(6).lower()}"),
        )

    def ip(self):
        """An address of version 4, held out: version 6."""
        four = ".".join(str(int(part)) for part in self.rng.integers(1, 255, 4))
        six = ":".join(f"{int(part):x}" for part in self.rng.integers(4096, 65536, 8))
        return self.forms((four,), (four, six))
