"""The product's own proof that nothing is lost: commands are disturbed at every call to the file system.

| file | what it does |
|---|---|
| `shim.py` | counts a process's calls, and strikes at one: a kill, a signal, a full disk |
| `scenarios.py` | every command that writes, and what a user types after it failed |
| `disturbances.py` | disturbs a command, runs it again, and compares the result with an undisturbed one |
| `disk.py`, `power_cuts.py` | a simulated disk, and power cuts at every call |
| `fuzz.py`, `fuzz_formats.py`, `fuzz_mutations.py` | damaged files of every format that is read |
| `__main__.py` | `python -m tests.faults --thorough`: all points of all commands, as a table |

The ordinary suite disturbs each command at a few points (`test_faults.py`).
"""
