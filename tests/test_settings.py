"""Settings: what a field may hold, what errors say, and the options that are made from the fields."""

import argparse
import dataclasses
import json
from dataclasses import dataclass

import pytest

from minielectra.cli.command import Given, Options, Parser
from minielectra.cli.options import add_options, given
from minielectra.errors import InputError
from minielectra.pretraining.run_settings import RunSettings, with_absolute_paths
from minielectra.settings import Settings, find_field, parse_value, setting


@dataclass(frozen=True)
class Oven(Settings):
    """Something with a setting of every kind."""

    dish: str = setting(help="what is in it", metavar="DISH", positional=True)
    degrees: int = setting(180, "temperature in °C", at_least=20, at_most=300)
    program: str = setting("bake", "what to do", choices=lambda: ("bake", "grill", "steam"))
    hours: float | None = setting(None, "how long", above=0, shown_default="until it smells")
    until: str | None = setting(None, "when to stop", metavar="TIME")
    humidity: float = setting(0.25, "share of steam, not 30% or so", at_least=0, below=1)
    fan: bool = setting(False, "use the fan")
    light: bool = setting(True, "switch the light on")
    trays: int = setting(1, "trays in use", at_least=1)
    shelf: int = setting(0, "shelf, from below", at_least=0)
    spices: list[str] | None = setting(None, "spices", metavar="NAME")
    weights: list[int] | None = setting(None, "weights in g")
    offset: float = 0.0  # without help: no option

    alternatives = (("hours", "until"),)


def make(**values):
    return Oven(**{"dish": "bread"} | values)


def refusal(**values):
    with pytest.raises(InputError) as caught:
        make(**values)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 200
    return message


def parser(**options):
    made = Parser(prog="oven")
    add_options(made, Oven, **options)
    return made


def parse(*words, **options):
    return given(parser(**options).parse_args(["bread", *words]), Oven)


def complaint(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        parse(*words)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("oven: ")
    return error


# Values.


def test_defaults_are_the_fields():
    oven = make()
    assert (oven.degrees, oven.program, oven.hours, oven.fan, oven.light, oven.spices) == (
        180,
        "bake",
        None,
        False,
        True,
        None,
    )


@pytest.mark.parametrize(
    "values",
    [
        {"degrees": 20},
        {"degrees": 300},
        {"humidity": 0},
        {"hours": 2},
        {"hours": 1e-9},
        {"hours": None},
        {"trays": 2**53},
        {"spices": []},
        {"weights": [1, 2]},
        {"offset": -1e300},
    ],
)
def test_values_that_are_fine(values):
    assert dataclasses.asdict(make(**values)).items() >= values.items()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"degrees": 301}, "degrees must be between 20 and 300, got 301"),
        ({"degrees": "180"}, "degrees must be an integer, got '180'"),
        ({"degrees": 180.0}, "degrees must be an integer, got 180.0"),
        ({"degrees": True}, "degrees must be an integer, got True"),
        ({"degrees": None}, "degrees must be an integer, got None"),
        ({"hours": 0}, "hours must be greater than 0, got 0"),
        ({"hours": "2"}, "hours must be a number, got '2'"),
        ({"hours": True}, "hours must be a number, got True"),
        ({"hours": float("nan")}, "hours must be a finite number, got nan"),
        ({"hours": float("inf")}, "hours must be a finite number, got inf"),
        ({"offset": float("-inf")}, "offset must be a finite number, got -inf"),
        ({"humidity": 1.0}, "humidity must be at least 0 and less than 1, got 1.0"),
        ({"trays": -(10**400)}, "trays must be at least 1, got -1000"),
        ({"program": "fry"}, "program 'fry' is not known: choose bake, grill or steam"),
        ({"program": ["bake"]}, "program must be a string, got ['bake']"),
        ({"fan": 1}, "fan must be true or false, got 1"),
        ({"fan": "yes"}, "fan must be true or false, got 'yes'"),
        ({"spices": "salt"}, "spices must be a list, got 'salt'"),
        ({"spices": ["salt", 3]}, "spices must be a list, each item a string, got 3"),
        ({"weights": [1.5]}, "weights must be a list, each item an integer, got 1.5"),
        ({"dish": None}, "dish must be a string, got None"),
        ({"dish": 3 * ["bread"]}, "dish must be a string"),
        ({"hours": 1.0, "until": "12:00"}, "hours and until exclude each other: give only one of them"),
    ],
)
def test_errors_say_what_is_wrong(values, message):
    assert message in refusal(**values)


def test_a_long_value_is_not_shown_to_its_end():
    assert len(refusal(program="x" * 1000)) < 150


def test_unknown_fields_are_guessed():
    assert find_field("degrees", Oven).default == 180
    with pytest.raises(
        InputError, match=r"unknown field 'degres': did you mean degrees\? known fields are degrees, dish, "
    ):
        find_field("degres", Oven)
    with pytest.raises(InputError, match="unknown field 'zzz': known fields"):
        find_field("zzz", Oven)


def test_the_first_class_with_a_field_wins():
    @dataclass(frozen=True)
    class Other(Settings):
        degrees: int = setting(7)
        own: int = setting(8)

    assert [find_field(name, Oven, Other).default for name in ("degrees", "own")] == [180, 8]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("degrees", "200", 200),
        ("hours", "1e-1", 0.1),
        ("program", "grill", "grill"),
        ("fan", "true", True),
        ("fan", "False", False),
        ("fan", "0", False),
        ("weights", "3", 3),
    ],
)
def test_text_becomes_a_value_of_the_fields_type(name, text, value):
    found = parse_value(find_field(name, Oven), text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("degrees", "hot", "degrees must be an integer, got 'hot'"),
        ("degrees", "1.5", "degrees must be an integer, got '1.5'"),
        ("hours", "", "hours must be a number, got ''"),
        ("fan", "perhaps", "fan must be true or false, got 'perhaps'"),
    ],
)
def test_text_that_is_no_such_value(name, text, message):
    with pytest.raises(InputError) as caught:
        parse_value(find_field(name, Oven), text)
    assert str(caught.value) == message


# Options.


def test_only_what_is_typed_is_given():
    assert parse() == {"dish": "bread"}
    assert parse("--degrees", "20", "--fan", "--spices", "salt", "dill", "--weights", "1", "2") == {
        "dish": "bread",
        "degrees": 20,
        "fan": True,
        "spices": ["salt", "dill"],
        "weights": [1, 2],
    }
    assert parse("--no-light") == {"dish": "bread", "light": False}


def test_a_subset_in_its_own_order():
    made = Parser(prog="oven")
    add_options(made, Oven, only=("program", "degrees"))
    assert made.format_usage() == "usage: oven [-h] [--program {bake,grill,steam}] [--degrees N]\n"
    assert given(made.parse_args(["--degrees", "30"]), Oven, ("degrees",)) == {"degrees": 30}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--degrees", "hot"], "argument --degrees: must be an integer, got 'hot' (see oven --help)"),
        (["--degrees", "10"], "argument --degrees: must be between 20 and 300, got 10"),
        (["--hours", "nan"], "argument --hours: must be a finite number, got nan"),
        (["--program", "fry"], "argument --program: 'fry' is not known: choose bake, grill or steam"),
        (["--weights", "1", "x"], "argument --weights: must be an integer, got 'x'"),
        (["--hours", "1", "--until", "noon"], "not allowed with argument"),
        (["--offset", "1"], "unrecognized arguments: --offset 1"),
    ],
)
def test_errors_of_options(capsys, words, message):
    assert message in complaint(capsys, *words)


def test_a_required_setting_is_a_required_option(capsys):
    @dataclass(frozen=True)
    class Mixer(Settings):
        bowl: str = setting(help="which bowl")

    made = Parser(prog="mixer")
    add_options(made, Mixer)
    with pytest.raises(SystemExit):
        made.parse_args([])
    assert "the following arguments are required: --bowl" in capsys.readouterr().err


def test_positional_lists():
    @dataclass(frozen=True)
    class Shop(Settings):
        items: list[str] = setting(help="what to buy", positional=True)

    @dataclass(frozen=True)
    class Walk(Settings):
        stops: list[str] | None = setting(None, "where to stop", positional=True)

    shop, walk = Parser(prog="shop"), Parser(prog="walk")
    add_options(shop, Shop)
    add_options(walk, Walk)
    assert shop.parse_args(["a", "b"]).items == ["a", "b"]
    with pytest.raises(SystemExit):
        shop.parse_args([])
    assert walk.parse_args([]).stops == [] and walk.parse_args(["a"]).stops == ["a"]


def test_help_tells_every_default_once():
    shown = " ".join(parser(trays="one").format_help().split())
    for text in (
        "DISH what is in it",
        "--degrees N temperature in °C (default: 180)",
        "--program {bake,grill,steam} what to do (default: bake)",
        "--hours N how long (default: until it smells)",
        "--until TIME when to stop --humidity",
        "--humidity N share of steam, not 30% or so (default: 0.25)",
        "--fan use the fan",
        "--light, --no-light switch the light on",
        "--trays N trays in use (default: one)",
        "--shelf N shelf, from below (default: 0)",
        "--spices NAME [NAME ...] spices",
    ):
        assert text in shown
    assert "offset" not in shown


def test_groups_of_options_read_what_they_declare():
    made = Parser(prog="oven")
    groups = Options(Oven, ("dish", "degrees"), title="basics"), Given(Oven, ("hours", "fan"))
    for group in groups:
        group.add_to(made)
    assert "basics:" in made.format_help()
    arguments = made.parse_args(["bread", "--hours", "2"])
    assert [group.read(arguments) for group in groups] == [make(), {"hours": 2.0}]
    assert isinstance(arguments, argparse.Namespace)


# The settings of a run.


def test_run_json_keeps_its_form():
    """The names, their order, and the defaults: those of the first version are as they were."""
    assert list(RunSettings(overrides={"seed": 1}).to_dict().items()) == [
        ("preset", "tiny"),
        ("corpus", None),
        ("vocab", None),
        ("cased", False),
        ("keep_accents", False),
        ("steps", None),
        ("minutes", None),
        ("schedule", None),
        ("eval_every", None),
        ("checkpoint_every", None),
        ("keep", 10),
        ("seed", 0),
        ("threads", None),
        ("workers", None),
        ("device", "cpu"),
        ("init", None),
        ("overrides", {"seed": 1}),
    ]


def test_settings_of_a_run_come_back_from_json():
    settings = RunSettings(
        corpus=["a", "b"], minutes=2.5, overrides={"hidden_size": 24, "tie_encoders": True}
    )
    assert RunSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    older = {
        "preset": "tiny",
        "steps": 4,
        "seed": 7,
        "overrides": {},
    }
    assert RunSettings.from_dict(older) == RunSettings(steps=4, seed=7, keep=0)  # it kept all checkpoints
    with pytest.raises(InputError, match="the setting 'something', which this version does not know"):
        RunSettings.from_dict(older | {"something": "without which the run would be another one"})
    with pytest.raises(InputError, match="seed must be an integer, got '7'"):
        RunSettings.from_dict({"seed": "7"})


def test_a_run_has_one_length():
    with pytest.raises(InputError, match="steps and minutes exclude each other"):
        RunSettings(steps=3, minutes=1.0)


def test_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = with_absolute_paths({"corpus": ["a", "/b"], "vocab": "c", "init": None, "preset": "tiny"})
    assert values == {
        "corpus": [f"{tmp_path}/a", "/b"],
        "vocab": f"{tmp_path}/c",
        "init": None,
        "preset": "tiny",
    }
