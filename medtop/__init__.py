"""medtop: from a hospital's raw tables to calibrated, evaluated, exportable clinical risk models."""

__version__ = "0.1.0"
