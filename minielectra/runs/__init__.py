"""A run is a folder. This room reads and writes its files: one owner for each, the reader beside the writer.

| file of a run | owner |
|---|---|
| `run.json`: settings and configuration | `run_folder.py` |
| `metrics.jsonl`: one line per evaluation | `metrics_log.py` |
| `detection.npz`: every score of every evaluation, and counts per token | `detection_records.py` |
| `schedule.bin`: what the clock decided about each step | `schedule_record.py` |
| `checkpoints/`: parameters and optimizer state | `checkpoints.py` |
| `.lock`: which process works in the folder | `formats/locks.py` |

`npz_arrays.py` reads .npz files and trusts nothing in them. `detection_counts.py` holds the arithmetic that
the writer of detection records shares with the pictures. The trainer hands in figures and arrays; the
pictures, `detect` and `export` take them out again.
"""
