"""The gradient checker that lessons, tests and users call, and the suite of everything it checks.

`checker.py` compares a backward pass with finite differences. `suite.py` runs it over all operations, layers,
towers, objectives and heads, which `operation_checks.py`, `model_checks.py` and `head_checks.py` set up.
"""

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
)

__all__ = [
    "FLOOR",
    "STEP",
    "TOLERANCE",
    "Comparison",
    "Row",
    "check_pair",
    "compare",
    "derivative",
    "describe",
    "format_table",
    "gradient_check",
]
