"""The gradient checker that lessons, tests and users call (`checker`), and the suite of everything it checks (`suite`)."""

from minielectra.gradcheck.checker import (
    FLOOR,
    STEP,
    TOLERANCE,
    Comparison,
    Row,
    check_pair,
    compare,
    derivative,
    describe,
    format_table,
    gradient_check,
)  # fmt: skip

__all__ = [
    "FLOOR", "STEP", "TOLERANCE", "Comparison", "Row", "check_pair", "compare", "derivative", "describe", "format_table", "gradient_check",
]  # fmt: skip
