"""An evaluation of notes: windows become admissions, and the model stands beside simpler ways on the same ones."""

from medtop.files.errors import DataError
from medtop.readmission.results import ScoredWindows, choose_aggregation, rivals, write_admission_files


class AdmissionEvaluation:
    """Admissions are the examples, each made of its windows; see `medtop.evaluation.patients.PatientEvaluation`.

    Attributes:
        windows: dict split -> `ScoredWindows`.
        aggregation: the `Aggregation` that makes admissions of them.
        predictions: dict split -> task -> `Predictions` of the admissions.
    """

    def __init__(self, plan, run, scores):
        self.plan, self.run = plan, run
        self.windows = {split: ScoredWindows(scored.predictions, scored.admissions) for split, scored in scores.items()}
        self.aggregation = choose_aggregation(plan.options, run, self.windows)
        self.predictions = {split: windows.aggregate(self.aggregation) for split, windows in self.windows.items()}

    @staticmethod
    def check(options):
        """Refuses options that ask for another evaluation than this one."""
        if options.aggregation == "none":
            raise ValueError("evaluation: expected that of patients with aggregation=none, received that of admissions")
        if options.xgboost:
            raise DataError("--xgboost: expected records of codes, received notes; their rival is TF-IDF")

    def rivals(self):
        """The other aggregations, TF-IDF, and codes alone where they are given."""
        return rivals(self.plan, self.windows, self.aggregation, self.predictions)

    def write_files(self, results):
        """Writes readmission_predictions.csv and the plots."""
        write_admission_files(self.run, results, self.windows, self.plan.options.min_cell)
