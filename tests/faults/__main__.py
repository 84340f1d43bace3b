"""Disturb every command that writes, and print what came of it: `python -m tests.faults [--thorough]`.

Each disturbance is one process that is killed, stopped or starved at one call to the file system, and then a
second one that goes on. The results of both together have to be those of an undisturbed process. Prints a
table, and one line per fault; ends with status 1 if there is any.

    python -m tests.faults                  a few points of each command, as in the ordinary suite
    python -m tests.faults --thorough       all points, which takes about an hour
    python -m tests.faults --only export --kinds kill --thorough
"""

import argparse
import json
import sys
import time

from .disturbances import ACTIONS, SCENARIOS, Bench, evenly
from .power_cuts import HOW, PowerCuts

SLOW = ("plot",)  # draws all pictures again, for several seconds
# How many points of a command are disturbed: (usually, of a slow command). None: all.
FEW = {"kill": (3, 1), "Ctrl-C": (2, 0), "SIGTERM": (1, 0), "SIGHUP": (1, 0), "full disk": (2, 0)}
THOROUGH = {"kill": (None, None)} | dict.fromkeys(("Ctrl-C", "SIGTERM", "SIGHUP", "full disk"), (40, 4))
POWER = "power cut"


def main(words=None):
    """Parse, disturb, print -> exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.split("\n")[0])
    parser.add_argument("--thorough", action="store_true", help="all points")
    parser.add_argument("--only", metavar="COMMAND", help="one command", choices=[s.name for s in SCENARIOS])
    parser.add_argument("--kinds", metavar="KIND,…", help=f"some of {', '.join([*ACTIONS, POWER])}")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args(words)
    kinds = options.kinds.split(",") if options.kinds else [*ACTIONS, POWER]
    chosen = [scenario for scenario in SCENARIOS if options.only in (None, scenario.name)]
    begin, bench = time.monotonic(), Bench()
    try:
        found = {one.name: disturbed(bench, one, kinds, options.thorough) for one in chosen}
    finally:
        bench.close()
    faults = [fault for kinds_of in found.values() for _, own in kinds_of.values() for fault in own]
    if options.json:
        print(json.dumps(found))
    else:
        print(table(found, bench.counts, kinds))
        print(f"\n{time.monotonic() - begin:.0f} s; {len(faults)} faults")
        for fault in faults:
            print(fault)
    return bool(faults)


def disturbed(bench, scenario, kinds, thorough):
    """Disturb one command in every way -> {kind: (number of disturbances, faults)}."""
    found = {}
    for kind in kinds:
        number, faults = 0, []
        if kind == POWER:
            number, faults = _power_cuts(bench, scenario, thorough)
        elif ACTIONS[kind] is not None:
            usual, slow = (THOROUGH if thorough else FEW)[kind]
            for at in evenly(bench.counts[scenario.name], slow if scenario.name in SLOW else usual):
                number += 1
                if fault := bench.disturb(scenario, kind, at):
                    faults.append(f"{scenario.name}: {kind} at call {at}: {fault}")
        found[kind] = number, faults
        print(f"{scenario.name}: {kind}: {number}, {len(faults)} faults", file=sys.stderr, flush=True)
    return found


def _power_cuts(bench, scenario, thorough):
    """Cut the power after every call; after some, what is left is made real, and the command goes on."""
    cuts = PowerCuts(bench, scenario)
    number, fault = cuts.check(seeds=8 if thorough else 1)
    faults = [f"{scenario.name}: {fault}"] if fault else []
    few, many = (0, 4) if scenario.name in SLOW else (1, 40)
    for i, at in enumerate(evenly(cuts.calls, many if thorough else few)):
        number += 1
        if fault := cuts.go_on_after(at, HOW[-1 - i % len(HOW)]):
            faults.append(f"{scenario.name}: {fault}")
    return number, faults


def table(found, counts, kinds):
    """The numbers of disturbances as a table in Markdown; faults, if any, are in brackets."""
    rows = [["command", "calls", *kinds], ["---"] * (len(kinds) + 2)]
    for name, own in found.items():
        cells = [f"{number}{f' ({len(faults)} faults)' if faults else ''}" for number, faults in own.values()]
        rows.append([f"`{name}`", str(counts[name]), *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
