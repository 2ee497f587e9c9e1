"""Made-up clinical notes full of made-up identifiers, each known to the character; and clinical terms that look like
names, which a careful reader leaves alone.

A note is a list of pieces (text, type or None) until the very end, so that damage (typos, lower case, scanning errors,
wrapped lines) moves no offset. `TERM` is the type of clinical terms.
"""

import dataclasses
import datetime
import re

TERM = "CLINICAL_TERM"
NOISE = ("lower case", "upper case", "scanned", "wrapped", "typos")
_SHARES = (0.08, 0.05, 0.06, 0.15, 0.10)
"""How many notes have each kind of damage; the first two exclude each other."""

_SLOT = re.compile(r"\{(\w+)\}")

HEADERS = (
    "Patient: {patient_full}\nMRN: {MRN}\nDOB: {dob}\nDate of visit: {DATE}\nAttending: {staff_full}, MD\n\n",
    "DISCHARGE SUMMARY\nName: {patient_reversed}    Unit No: {MRN}\nAdmission Date: {DATE}    Discharge Date: {DATE}\n"
    "Service: Medicine\n\n",
    "{hospital}\n{street}\n{town}, {state} {ZIP}\nTel: {PHONE}  Fax: {FAX}\n\nRE: {patient_full}\nMedical"
    " Record Number: "
    "{MRN}\n\nDear Dr. {staff_last},\n",
)
HEADERS_HELD_OUT = (
    "PATIENT NAME: {patient_reversed}\nMED REC NO. {MRN}   ACCT NO. {ACCOUNT}\nDATE OF BIRTH {dob}\nPHYSICIAN: Dr. "
    "{staff_full}\nADDRESS: {street}\n         {town}, {state}  {ZIP}\n\n",
    "Seen on {DATE} by {staff_full}, NP.\nPt: {patient_full} (MR# {MRN})\n\n",
)
SENTENCES = (
    "{title} {patient_last} is a {AGE} year old {sexword} with {term}.",
    "{title} {patient_last} was admitted on {DATE} with {symptom}.",
    "The patient, {patient_full}, was seen by Dr. {staff_last} for {term}.",
    "Lives at {street}, {town}, {state} {ZIP} with {their} {relation} {relative_first}.",
    "{They} was transferred from {hospital} on {DATE}.",
    "{Their} {relation}, {relative_full}, can be reached at {PHONE}.",
    "Please fax records to {FAX_number}.",
    "E-mail: {EMAIL}.",
    "SSN: {SSN}.",
    "Insurance: member ID {HEALTH_PLAN}.",
    "Billing account number {ACCOUNT}.",
    "Driver's license number {LICENSE}.",
    "Drives a car with VIN {VEHICLE_vin}.",
    "License plate {VEHICLE_plate}.",
    "Pacemaker serial number {DEVICE}.",
    "Results are at {URL}.",
    "Last login from IP {IP}.",
    "Fingerprint ID {BIOMETRIC}.",
    "Accession number {OTHER_ID}.",
    "Follow up with Dr. {staff_full} on {DATE}.",
    "Call {PHONE} for results.",
    "{term} was ruled out on {DATE}; continue {drug}.",
    "History of {term} and {term}, on {drug}.",
    "Dr. {staff_last} discussed {term} with the patient's {relation}.",
)
SENTENCES_HELD_OUT = (
    "{title} {patient_last}, {AGE}-year-old {sexword}, returns for {term}.",
    "This {AGE} y/o {sexword} presented on {DATE} from {hospital}.",
    "Spoke with {relative_full} ({relation}), phone {PHONE}.",
    "Home address: {street}, {town} {state} {ZIP}.",
    "Records were sent by facsimile to {FAX_number}.",
    "Contact by email at {EMAIL}",
    "Social security number {SSN} was verified.",
    "Medicare number {HEALTH_PLAN}.",
    "Account #: {ACCOUNT}.",
    "DEA # {LICENSE}.",
    "Vehicle identification number: {VEHICLE_vin}.",
    "Device S/N {DEVICE} was interrogated.",
    "See {URL} for images.",
    "IP address: {IP}.",
    "Retina scan {BIOMETRIC} on file.",
    "Specimen # {OTHER_ID}.",
    "Referred by {staff_full}, M.D., for {term}.",
    "{They} was last seen on {DATE}, then on {DATE}.",
    "The plate number of {their} car is {VEHICLE_plate}.",
)
FILLERS = (
    "Blood pressure {bp}, heart rate {rate}, oxygen saturation {sat}% on room air.",
    "Exam: 2/6 systolic murmur at the apex, strength 5/5 in all extremities, pain 3/10.",
    "{drug} {dose} mg po twice daily was continued.",
    "Labs: sodium 138, potassium 4.2, creatinine 1.1, WBC 11.2, platelets 210000.",
    "Echocardiogram showed an ejection fraction of 55-60% and {term}.",
    "Impression: 1. {term}. 2. {term}.",
    "{They} denies chest pain, fever and chills; may take acetaminophen 1-2 tablets as needed.",
    "Plan: continue {drug}, repeat CBC in 3 months, {term} to be followed.",
)
SIGNATURES = (
    "\n\nElectronically signed by {staff_full}, MD on {DATE}\n",
    "\n\nDictated by: {staff_full}, M.D.\nD: {DATE}  T: {DATE}\ncc: Dr. {staff_full}\n",
    "\n\n{staff_full}, RN\nPager: {PHONE}\n",
)
SIGNATURES_HELD_OUT = (
    "\n\nSigned: {staff_full}, PA-C\n{hospital}\n{street}\n{town}, {state} {ZIP}\n",
    "\n\nAttending Physician: {staff_full}, DO\nTranscribed {DATE}\n",
)
TERMS = (
    "Parkinson disease", "MS", "LA enlargement", "Crohn's disease", "Hodgkin lymphoma", "Graves disease",
    "Bell's palsy", "Foley catheter", "Cushing syndrome", "Addison's disease", "Marfan syndrome", "Down syndrome",
    "Wilson's disease", "Babinski sign", "a Hickman line", "Swan-Ganz catheter", "Paget disease",
    "Barrett's esophagus", "Raynaud phenomenon", "Alzheimer's dementia", "MR of the brain", "RA",
    "PA pressure of 45", "Billroth II", "Whipple procedure", "atrial fibrillation", "type 2 diabetes", "COPD",
    "pneumonia", "hypertension", "Young's modulus", "brown sputum", "long QT syndrome", "Bright's disease",
    "Wegener granulomatosis", "Sjogren syndrome", "Kaposi sarcoma", "VA 20/40", "Murphy sign", "Kerley B lines",
    "Romberg sign", "Apgar 8 and 9", "Glasgow coma scale 15", "Child-Pugh B", "Braden scale 18", "Gleason 3+4",
    "Ewing sarcoma", "Lewy body dementia",
)  # fmt: skip
_DRUGS = ("Lasix", "metoprolol", "Coumadin", "lisinopril", "Zosyn", "insulin glargine", "Tylenol", "heparin")
_SYMPTOMS = ("chest pain", "shortness of breath", "syncope", "abdominal pain", "a fall", "fever")
_RELATIONS = {"F": ("wife", "daughter", "sister", "mother", "niece"), "M": ("husband", "son", "brother", "father")}


@dataclasses.dataclass(frozen=True)
class Patient:
    """A made-up patient: id, names, sex ("F", "M"), birth (date), record number, phone."""

    patient_id: str
    first: str
    last: str
    sex: str
    birth: datetime.date
    mrn: str
    phone: str


class Writer:
    """Writes notes of one split.

    Args:
        values: `medtop.synthetic.identifier_values.Values`.
        staff: list of (first, last) of the hospital's people.
    """

    def __init__(self, values, staff):
        self.values, self.staff = values, staff
        self._person = self._colleague = None

    def note(self, patient, sentences):
        """Pieces of one note, and the damage that it has.

        Args:
            patient: `Patient`.
            sentences: how many sentences its body has.

        Returns:
            (list of (text, type or None), tuple of names out of `NOISE`).
        """
        rng, values, pieces = self.values.rng, self.values, []
        self._person, self._colleague = patient, values.pick(self.staff)
        if rng.random() < 0.7:
            pieces += self._fill(values.forms(HEADERS, HEADERS_HELD_OUT))
        for number in range(sentences):
            known = FILLERS if rng.random() < 0.3 else SENTENCES
            text = values.pick(known) if known is FILLERS else values.forms(SENTENCES, SENTENCES_HELD_OUT)
            pieces += [*([(" ", None)] if number else []), *self._fill(text)]
        if rng.random() < 0.6:
            pieces += self._fill(values.forms(SIGNATURES, SIGNATURES_HELD_OUT))
        damage = [name for name, share in zip(NOISE, _SHARES, strict=True) if rng.random() < share]
        if "lower case" in damage and "upper case" in damage:
            damage.remove("upper case")
        for name in damage:
            pieces = _DAMAGES[name](pieces, rng)
        return pieces, tuple(damage)

    def _fill(self, template):
        pieces, end = [], 0
        for match in _SLOT.finditer(template):
            pieces.append((template[end : match.start()], None))
            pieces += self._slot(match[1])
            end = match.end()
        return [piece for piece in [*pieces, (template[end:], None)] if piece[0]]

    def _slot(self, name):
        values, person = self.values, self._person
        if name in self._people():
            return [(self._people()[name], "NAME")]
        if name.startswith("relative_"):
            first = values.pick(values.names["F"] + values.names["M"])
            last = person.last if values.rng.random() < 0.4 else values.pick(values.names["last"])
            return [(first if name == "relative_first" else f"{first} {last}", "NAME")]
        made = {
            "DATE": values.date,
            "dob": lambda: values.date_text(person.birth),
            "AGE": values.age,
            "PHONE": values.phone,
            "FAX": values.phone,
            "FAX_number": values.phone,
            "EMAIL": lambda: values.email(person.first, person.last),
            "SSN": values.ssn,
            "ZIP": values.zip,
            "URL": values.url,
            "IP": values.ip,
            "MRN": lambda: person.mrn,
            "VEHICLE_vin": values.vin,
            "VEHICLE_plate": lambda: f"{values.letters(3)}-{values.digits(4)}",
            "street": values.street,
            "town": lambda: values.pick(values.towns),
            "hospital": values.hospital,
        }
        if name in made or name.isupper():
            kind = {"dob": "DATE", "street": "LOCATION", "town": "LOCATION", "hospital": "LOCATION"}.get(name)
            text = made[name]() if name in made else values.number(name)
            return [(text, kind or re.match(r"[A-Z]+(?:_(?:PLAN|ID))?", name)[0])]
        if name == "term":
            return [(values.pick(TERMS), TERM)]
        return [(self._plain(name), None)]

    def _people(self):
        person, (first, last) = self._person, self._colleague
        return {
            "patient_full": f"{person.first} {person.last}",
            "patient_reversed": f"{person.last}, {person.first}",
            "patient_last": person.last,
            "staff_full": f"{first} {last}",
            "staff_last": last,
        }

    def _plain(self, name):
        values, female = self.values, self._person.sex == "F"
        return {
            "title": values.pick(("Ms.", "Mrs.") if female else ("Mr.",)),
            "sexword": values.pick(("woman", "female") if female else ("man", "male")),
            "their": "her" if female else "his",
            "Their": "Her" if female else "His",
            "They": "She" if female else "He",
            "relation": values.pick(_RELATIONS["F"] + _RELATIONS["M"]),
            "state": values.state(),
            "drug": values.pick(_DRUGS),
            "symptom": values.pick(_SYMPTOMS),
            "bp": f"{int(values.rng.integers(95, 180))}/{int(values.rng.integers(50, 100))}",
            "rate": str(int(values.rng.integers(55, 120))),
            "sat": str(int(values.rng.integers(88, 100))),
            "dose": str(int(values.rng.integers(1, 20)) * 5),
        }[name]


def _each(change):
    """A damage that changes each piece's text, kept where it would become empty."""
    return lambda pieces, rng: [(change(text, kind, rng) or text, kind) for text, kind in pieces]


def typo(text, rng):
    """A text with one letter left out, doubled, changed, or swapped with the next, within a word of five or more."""
    words = [match for match in re.finditer(r"[A-Za-z]{5,}", text)]
    if not words:
        return text
    word = words[int(rng.integers(len(words)))]
    place, way = int(rng.integers(word.start() + 1, word.end() - 1)), int(rng.integers(4))
    before, letter, after = text[:place], text[place], text[place + 1 :]
    if way == 0:
        return before + after
    if way == 1:
        return before + letter * 2 + after
    if way == 2:
        return before + "abcdefghiklmnoprstuvwy"[int(rng.integers(22))] + after
    return before + after[:1] + letter + after[1:]


def _scan(text, kind, rng):
    """Scanning errors in identifiers: a digit read as a letter, a line that breaks at a blank."""
    if kind in ("DATE", "PHONE", "FAX", "SSN", "MRN", "ACCOUNT") and rng.random() < 0.4:
        places = [place for place, letter in enumerate(text) if letter in "01"]
        if places and sum(letter.isdigit() for letter in text) > 3:
            place = places[int(rng.integers(len(places)))]
            return text[:place] + {"0": "O", "1": "l"}[text[place]] + text[place + 1 :]
    if kind and kind != TERM and " " in text and rng.random() < 0.3:
        return text.replace(" ", "\n", 1)
    return text


def _wrap(pieces, rng, width=70):
    """Lines of at most so many characters, broken at blanks, within identifiers too."""
    column, wrapped = 0, []
    for text, kind in pieces:
        letters = list(text)
        for place, letter in enumerate(letters):
            if letter == " " and column >= width:
                letters[place], column = "\n", 0
            else:
                column = 0 if letter == "\n" else column + 1
        wrapped.append(("".join(letters), kind))
    return wrapped


_DAMAGES = {
    "lower case": _each(lambda text, kind, rng: text.lower()),
    "upper case": _each(lambda text, kind, rng: text.upper()),
    "scanned": _each(_scan),
    "wrapped": _wrap,
    "typos": _each(lambda text, kind, rng: typo(text, rng) if kind == "NAME" and rng.random() < 0.3 else text),
}


def joined(pieces):
    """The text of pieces, and their spans: (str, list of (start, end, type))."""
    spans, place = [], 0
    for text, kind in pieces:
        if kind:
            spans.append((place, place + len(text), kind))
        place += len(text)
    return "".join(text for text, _ in pieces), spans
