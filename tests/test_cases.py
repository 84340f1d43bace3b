"""The cases of a folder that lies beside the checkout (cases/), and the suite's own tests of the same."""

import ast

import cases
import pytest
from conftest import ROOT

FOLDER = cases.default_folder()
ABSENT = f"there is no folder {FOLDER}; set MINIELECTRA_CASES to the folder of cases"
needs_the_folder = pytest.mark.skipif(not FOLDER.is_dir(), reason=ABSENT)


@pytest.mark.slow
@needs_the_folder
@pytest.mark.parametrize("name", sorted(cases.CASES))
def test_case(name):
    try:
        cases.run_case(FOLDER, name)
    except cases.Skipped as reason:
        pytest.skip(str(reason))


@needs_the_folder
def test_every_case_is_checked():
    assert cases.unknown(FOLDER) == []


def test_the_suite_tries_each_case_with_inputs_of_its_own():
    tests = {}
    for case in cases.CASES.values():
        assert case.own_tests
        for file, name in (test.split("::") for test in case.own_tests):
            if file not in tests:
                tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
                tests[file] = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert name in tests[file], f"{file}::{name}"
