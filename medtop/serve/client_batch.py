"""What a client has (code strings, visit numbers, days) -> the model's batch, in TensorFlow operations only.

The same rules as `medtop.cohort.visits`, `medtop.data.tokens` and `medtop.data.batches`, which prepare the training
data; here they travel inside the exported graph, so that they run where medtop is not installed. Tests hold the two
against each other.

Letters: B patients, T codes of the longest one, C codes of all patients laid end to end, Z tokens of all of them, U
distinct unknown codes of one patient.
"""

import tensorflow as tf

from medtop.cohort.pickled_lists import SEXES
from medtop.cohort.visits import OLDEST_AGE_DAYS
from medtop.cohort.vocabulary import CLS_ID, SEP_ID, UNK_ID
from medtop.serve.code_map import CodeMapLayer
from medtop.serve.served_model import known_share

_LARGEST = 2**31 - 1
_DTYPES = {"string": tf.string, "int64": tf.int64}


class ClientBatch:
    """Turns a request into the batch of docs/contract.md, "Batch, outputs, losses", one patient a row.

    Args:
        served: `ServedRun`.
        vocabulary_file: its vocab.txt, which becomes an asset of the export.
    """

    def __init__(self, served, vocabulary_file):
        self.served = served
        self.has_unknown_token = not served.vocabulary.is_medbert
        self.begins_with_cls = not served.vocabulary.is_medbert
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                str(vocabulary_file),
                key_dtype=tf.string,
                key_index=tf.lookup.TextFileIndex.WHOLE_LINE,
                value_dtype=tf.int64,
                value_index=tf.lookup.TextFileIndex.LINE_NUMBER,
                vocab_size=len(served.vocabulary),
            ),
            default_value=-1,
        )
        code_map = served.vocabulary.code_map
        self.code_map = CodeMapLayer(code_map) if code_map else None
        self.inputs = served.client_inputs()
        self.per_code = [entry["name"] for entry in self.inputs if len(entry["shape"]) == 2]

    def signature(self):
        """list of `tf.TensorSpec`, in the order of `ServedRun.client_inputs`."""
        return [
            tf.TensorSpec([None] * len(entry["shape"]), _DTYPES[entry["dtype"]], entry["name"]) for entry in self.inputs
        ]

    def __call__(self, values):
        """Encodes a request.

        Args:
            values: dict input name -> tensor, as `signature` says.

        Returns:
            x: dict of int32 [B, T'] (the config's inputs, `patient_slots`) and `cls_positions` [B, 1].
            report: dict of `known_codes` float32 [B], `unknown_code_count` int32 [B], `unknown_codes` string [B, U],
                `tokens_left_out` int32 [B].
        """
        values = self._checked(values)
        patients = tf.shape(values["codes"], out_type=tf.int64)[0]
        flat = self._codes_end_to_end(values)
        flat, report = self._numbered(flat, patients)
        tokens, counts = self._tokens(flat, values, patients)
        rows, report["tokens_left_out"] = self._rows(tokens, counts)
        return self._batch(rows, values), report

    def _checked(self, values):
        """The values, once their shapes agree: what follows would fail with an unreadable message, or not at all."""
        shape = tf.shape(values["codes"])
        checks = []
        for name, value in values.items():
            expected, meaning = (shape, "[B, T] of codes") if name in self.per_code else (shape[:1], "[B] of codes")
            checks.append(
                _require(tf.reduce_all(tf.equal(tf.shape(value), expected)), f"{name}: expected the shape {meaning}")
            )
        if "sex" in values:
            known = tf.reduce_any(tf.equal(values["sex"][:, None], tf.constant(SEXES)[None, :]), axis=1)
            checks.append(_require(tf.reduce_all(known), "sex: expected F, M or an empty string"))
        if "age_at_prediction" in values:
            checks.append(
                _require(tf.reduce_all(values["age_at_prediction"] >= 0), "age_at_prediction: expected 0 or more")
            )
        with tf.control_dependencies(checks):
            return {name: tf.identity(value) for name, value in values.items()}

    def _codes_end_to_end(self, values):
        """Codes without padding, each once within its visit, at its first place: dict of [C].

        `rows` is the patient, `visit` numbers the visits of all patients from 0, `starts` is true where one begins,
        and `strings` numbers the distinct code strings.
        """
        real = tf.not_equal(values["codes"], "")
        flat = {name: tf.boolean_mask(values[name], real) for name in self.per_code}
        flat["rows"] = tf.where(real)[:, 0]
        rises = (flat["visits"][1:] >= flat["visits"][:-1]) | (flat["rows"][1:] != flat["rows"][:-1])
        checks = [
            _require(tf.reduce_all(flat["visits"] >= 1), "visits: expected numbers from 1"),
            _require(tf.reduce_all(rises), "visits: expected numbers that never fall along the codes of a patient"),
        ]
        for name in self.per_code[2:]:
            about = " (a stay after the prediction time must not be sent)" if name == "recencies" else ""
            checks.append(_require(tf.reduce_all(flat[name] >= 0), f"{name}: expected days of 0 or more{about}"))
        with tf.control_dependencies(checks):
            flat["starts"] = _changes(flat["rows"]) | _changes(flat["visits"])
        if self.code_map is not None:  # as many codes as targets; a visit may keep none
            targets, places = self.code_map(flat["codes"])
            flat = {name: tf.gather(value, places) for name, value in flat.items()} | {"codes": targets}
            flat["starts"] = _changes(flat["rows"]) | _changes(flat["visits"])
        flat["visit"] = tf.cumsum(tf.cast(flat["starts"], tf.int64)) - 1
        _, flat["strings"] = tf.unique(flat["codes"], out_idx=tf.int64)
        first = _first_places(flat["visit"] * tf.size(flat["codes"], out_type=tf.int64) + flat["strings"])
        return {name: tf.boolean_mask(value, first) for name, value in flat.items()}

    def _numbered(self, flat, patients):
        """Adds `ids` and `place` (order within the visit, from 0); the report of unknown codes."""
        ids = self.table.lookup(flat["codes"])
        unknown = ids < self.served.vocabulary.first_code_id  # a special token's name is no code either
        rows = tf.boolean_mask(flat["rows"], unknown)
        strings = tf.boolean_mask(flat["codes"], unknown)
        keys = rows * tf.size(flat["codes"], out_type=tf.int64) + tf.boolean_mask(flat["strings"], unknown)
        first = _first_places(keys)
        ragged = tf.RaggedTensor.from_value_rowids(
            tf.boolean_mask(strings, first), tf.boolean_mask(rows, first), nrows=patients, validate=False
        )
        listed = ragged.to_tensor("")
        codes = tf.math.unsorted_segment_sum(tf.ones_like(flat["rows"]), flat["rows"], patients)
        strange = tf.math.unsorted_segment_sum(tf.ones_like(rows), rows, patients)
        report = {
            "known_codes": known_share(codes - strange, codes),
            "unknown_code_count": tf.cast(strange, tf.int32),
            # A row format of JSON cannot carry [B, 0].
            "unknown_codes": tf.cond(
                tf.shape(listed)[1] > 0, lambda: listed, lambda: tf.fill([tf.cast(patients, tf.int32), 1], "")
            ),
        }
        report["unknown_codes"].set_shape([None, None])
        if not self.has_unknown_token:  # Med-BERT's vocabulary: there is no id for them
            flat = {name: tf.boolean_mask(value, ~unknown) for name, value in flat.items()}
            ids, unknown = tf.boolean_mask(ids, ~unknown), tf.boolean_mask(unknown, ~unknown)
            met = tf.math.unsorted_segment_sum(tf.ones_like(flat["rows"]), flat["rows"], patients)
            check = _require(tf.reduce_all(met > 0), "codes: expected a known code of each patient (no [UNK] here)")
            with tf.control_dependencies([check]):
                ids = tf.identity(ids)
        flat["ids"] = tf.where(unknown, tf.cast(UNK_ID, tf.int64), ids)
        starts = _changes(flat["visit"])  # anew: codes were left out
        places = tf.range(tf.size(flat["visit"], out_type=tf.int64))
        segment = tf.cumsum(tf.cast(starts, tf.int64)) - 1
        flat["place"] = places - tf.gather(tf.boolean_mask(places, starts), segment)
        flat["ends"] = tf.concat([starts[1:], tf.ones_like(starts[:1])], axis=0)
        return flat, report

    def _tokens(self, flat, values, patients):
        """[CLS] before each patient's codes, [SEP] after each visit: dict of int64 [Z], and their counts int64 [B]."""
        ends = tf.cast(flat["ends"], tf.int64) * int(self.served.visit_separator)
        lead = int(self.begins_with_cls)
        own = tf.math.unsorted_segment_sum(1 + ends, flat["rows"], patients)
        counts = own + lead
        places = tf.range(tf.size(ends, out_type=tf.int64)) + lead * (flat["rows"] + 1) + tf.cumsum(ends) - ends
        separators = tf.boolean_mask(places, ends > 0) + 1
        size = tf.reduce_sum(counts)[None]
        cls = tf.cumsum(counts) - counts

        def column(of_codes, of_separators, of_cls=None):
            parts = [(places, of_codes), (separators, of_separators)]
            if self.begins_with_cls and of_cls is not None:
                parts.append((cls, of_cls))
            where, what = (tf.concat(part, axis=0) for part in zip(*parts, strict=True))
            return tf.scatter_nd(where[:, None], what, size)

        def of_visits(name, of_cls=None):
            return column(flat[name], tf.boolean_mask(flat[name], ends > 0), of_cls)

        ended = tf.boolean_mask(flat["place"], ends > 0)
        tokens = {
            "token_ids": column(
                flat["ids"],
                tf.fill(tf.shape(separators), tf.cast(SEP_ID, tf.int64)),
                tf.fill(tf.shape(cls), tf.cast(CLS_ID, tf.int64)),
            ),
            "visits": of_visits("visits"),
            "visit_positions": column(flat["place"], ended + 1),
        }
        tokens |= {name: of_visits(name) for name in ("gaps", "stays", "recencies") if name in flat}
        if "ages" in flat:
            ages = of_visits("ages", values["age_at_prediction"])
            tokens["ages"] = tf.minimum(ages, OLDEST_AGE_DAYS)
        return tokens, counts

    def _rows(self, tokens, counts):
        """Cut to the longest row (the first token, [CLS], and the latest stay) and padded: dict of int32 [B, T']."""
        limit = self.served.max_seq_length
        lead = int(self.begins_with_cls)
        place = tf.ragged.range(counts).flat_values
        lost = tf.maximum(counts - limit, 0)
        keep = (place < lead) | (place >= tf.repeat(lost, counts) + lead)
        kept = counts - lost
        rows = {}
        for name, flat in tokens.items():
            flat = tf.cast(tf.minimum(tf.boolean_mask(flat, keep), _LARGEST), tf.int32)
            rows[name] = tf.RaggedTensor.from_row_lengths(flat, kept, validate=False).to_tensor()
        rows["patient_slots"] = tf.cast(tf.sequence_mask(kept, tf.shape(rows["token_ids"])[1]), tf.int32)
        return rows, tf.cast(lost, tf.int32)

    def _batch(self, rows, values):
        slots, config = rows["patient_slots"], self.served.config
        x = dict(rows)
        x["positions"] = tf.range(tf.shape(slots)[1])[None, :] * slots
        x["cls_positions"] = tf.zeros([tf.shape(slots)[0], 1], tf.int32)
        x["segments"] = {
            "zero": tf.zeros_like(slots),
            "visit": rows["visits"],
            "alternating": rows["visits"] % 2,
        }[config.segment]
        if "sex" in values:
            sexes = tf.argmax(tf.equal(values["sex"][:, None], tf.constant(SEXES)[None, :]), axis=1)
            x["sexes"] = tf.cast(sexes, tf.int32)[:, None] * slots
        return {key: x[key] for key in (*config.inputs, "patient_slots", "cls_positions")}


def _require(condition, message):
    """An assertion with our own words only: TensorFlow's own ones print the patients' values."""
    return tf.debugging.Assert(condition, [message])


def _changes(values):
    """bool [C]: where a value differs from the one before; true at the first."""
    return tf.concat([tf.ones_like(values[:1], tf.bool), values[1:] != values[:-1]], axis=0)


def _first_places(keys):
    """bool [C]: the first place of each distinct key, int64 [C]."""
    count = tf.size(keys, out_type=tf.int64)
    _, group = tf.unique(keys, out_idx=tf.int64)
    first = tf.math.unsorted_segment_min(tf.range(count), group, count)
    return tf.equal(tf.gather(first, group), tf.range(count))
