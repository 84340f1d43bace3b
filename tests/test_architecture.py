"""The rules of docs/architecture.md that a machine can check: who imports whom, names, and first lines."""

import ast
import re
from collections import Counter, defaultdict
from pathlib import Path

import minielectra

PACKAGE = Path(minielectra.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
ROOF = {"__init__", "__main__", "cli", "detect", "lessons"}  # calls everything below


def room(path):
    """The room of a file: the name of its folder in the package, or of the file itself."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """The modules that a file imports, those within functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_rooms():
    """{room: rooms that it imports}, without the roof's."""
    rooms = defaultdict(set)
    for path in FILES:
        for module in imports(path):
            parts = module.split(".")
            if parts[0] == "minielectra" and len(parts) > 1 and (PACKAGE / parts[1]).is_dir():
                rooms[room(path)].add(parts[1])
    return {name: found - {name} for name, found in rooms.items() if name not in ROOF}


def test_data_walks_one_way():
    """No room imports, however indirectly, a room that imports it, and none imports the roof."""
    rooms = imported_rooms()
    assert not any(ROOF & found for found in rooms.values())

    def below(name, path=()):
        assert name not in path, " -> ".join([*path, name])
        for other in rooms.get(name, ()):
            below(other, (*path, name))

    for name in rooms:
        below(name)


def test_no_framework_and_one_room_for_cupy():
    for path in FILES:
        names = {module.split(".")[0] for module in imports(path)}
        assert not names & {"torch", "transformers", "tensorflow", "jax", "autograd"}, path
        assert not names & {"cupy", "cupyx"} or room(path) == "backend", path
        assert "mpi4py" not in names or path.name == "mpi.py", path


def test_which_version_of_an_operation_runs_is_chosen_once():
    """Outside ops/ only the gradient checks, which compare the versions, know that there are two."""
    for path in FILES:
        if room(path) not in ("ops", "gradcheck"):
            versions = ("minielectra.ops.reference", "minielectra.ops.fast")
            inside = [module for module in imports(path) if module.startswith(versions)]
            assert not inside, f"{path}: {inside}"


def test_every_file_says_first_what_it_is():
    for path in FILES:
        first = path.read_text(encoding="utf-8").split("\n", 1)[0]
        assert re.match(r'"""\S.{15,}', first), f"{path}: {first}"


def test_no_two_files_share_a_name():
    """Except the plain and the fast version of one operation."""
    counts = Counter(
        path.name
        for path in FILES
        if path.name not in ("__init__.py", "__main__.py") and path.parent.name != "fast"
    )
    assert not [name for name, count in counts.items() if count > 1]


def test_no_method_is_called_by_a_string():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "getattr":
                assert not isinstance(node.args[1], ast.JoinedStr), f"{path}:{node.lineno}"


def test_the_readme_shows_the_real_code():
    """The operation on the front page is the one in the package, docstrings aside."""
    readme = (PACKAGE.parent / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    shown = next(block for block in blocks if "def linear_forward" in block)
    source = (PACKAGE / "ops" / "reference" / "linear.py").read_text(encoding="utf-8")
    assert shown.strip() in source
