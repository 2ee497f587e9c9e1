"""Preprocessing: ours beside Med-BERT's own way (a pandas group per patient), on the same generated table.

Example (the yardstick alone takes some two minutes at 20,000 patients):

  python benchmarks/preprocessing_speed.py --num_patients=20000
  python benchmarks/preprocessing_speed.py --num_patients=100000,1000000 --ours_only

CPU-seconds of the whole process with its children (`getrusage`), less those of an interpreter that starts and ends;
imports of NumPy, DuckDB and pandas count, compiling our Python files does not (a first run does that). Runs alternate,
so that a machine that changes its pace changes both; the median of the ratios within a round is printed. Peak memory is
that of the process.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEAST_YARDSTICK, LEAST_RATIO, MOST_GIB, MOST_GROWTH = 200, 40, 4, 1.2


def run(*command):
    """(CPU-seconds with children, peak memory in GiB) of a command that must end well."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(map(str, command))}: ended with status {status}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def ours(data, folder, layout):
    """Our run: (CPU-seconds, peak GiB); outputs are removed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    script = ROOT / "preprocessing/preprocess_pretrain_data.py"
    return run(script, data, "NA", folder / "ours", 0, f"--layout={layout}")


def theirs(data, folder):
    """Med-BERT's own way: (CPU-seconds, peak GiB)."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return run(ROOT / "benchmarks/medbert_preprocessing.py", data, folder / "theirs")


def generate(folder, patients):
    """The path of a generated Med-BERT table and its rows."""
    prefix = folder / f"cohort_{patients}"
    run(
        ROOT / "preprocessing/make_synthetic_cohort.py",
        f"--output_prefix={prefix}",
        f"--num_patients={patients}",
        "--layout=medbert",
    )
    with open(f"{prefix}.tsv", "rb") as file:
        rows = sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b"")) - 1
    return Path(f"{prefix}.tsv"), rows


def compare(data, folder, patients, rounds, start):
    """Prints one line per round and what holds."""
    ratios, yardsticks = [], []
    ours(data, folder / "out", "default")
    for number in range(1, rounds + 1):
        our, peak = ours(data, folder / "out", "default")
        full, _ = ours(data, folder / "out", "medbert")
        their, their_peak = theirs(data, folder / "out")
        our, full, their = our - start, full - start, their - start
        ratios.append(their / our)
        yardsticks.append(patients / their)
        print(
            f"round {number}: ours {our:.2f} CPU-s, {patients / our:,.0f} patients/s, {peak:.2f} GiB; "
            f"ours --layout=medbert {full:.2f} CPU-s; "
            f"Med-BERT's own way {their:.1f} CPU-s, {patients / their:,.0f} patients/s, {their_peak:.2f} GiB; "
            f"ratio {their / our:.1f} (medbert layout {their / full:.1f})",
            flush=True,
        )
    yardstick, ratio = statistics.median(yardsticks), statistics.median(ratios)
    print(
        f"median: yardstick {yardstick:,.0f} patients/s (at least {LEAST_YARDSTICK}: {yardstick >= LEAST_YARDSTICK}), "
        f"ratio {ratio:.1f} (at least {LEAST_RATIO}: {ratio >= LEAST_RATIO})"
    )


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_patients", default="20000,100000", help="one number, or several")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--ours_only", action="store_true", help="growth and peak memory instead of the ratio")
    parser.add_argument("--data", help="a table made before by make_synthetic_cohort.py --layout=medbert, comma list")
    parser.add_argument("--folder", help="where to work; default: the system's temporary folder")
    options = parser.parse_args()
    sizes = [int(size) for size in options.num_patients.split(",")]
    tables = [Path(name) for name in options.data.split(",")] if options.data else [None] * len(sizes)
    start = min(run("-c", "pass")[0] for _ in range(5))
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder, per_patient = Path(name), []
        for size, table in zip(sizes, tables, strict=True):
            data = table or generate(folder, size)[0]
            print(
                f"{size:,} patients, {data.stat().st_size / 1e6:,.0f} MB; "
                f"interpreter start {start:.3f} CPU-s not counted"
            )
            if not options.ours_only:
                compare(data, folder, size, options.rounds, start)
                continue
            cpu, peak = ours(data, folder / "out", "default")
            per_patient.append((cpu - start) / size)
            print(
                f"ours {cpu - start:.1f} CPU-s, {1e6 * per_patient[-1]:.1f} microseconds a patient, "
                f"peak {peak:.2f} GiB "
                f"(under {MOST_GIB}: {peak < MOST_GIB})",
                flush=True,
            )
        if len(per_patient) > 1:
            growth = per_patient[-1] / per_patient[0]
            print(f"cost per patient, last to first: {growth:.2f} (under {MOST_GROWTH}: {growth < MOST_GROWTH})")


if __name__ == "__main__":
    main()
