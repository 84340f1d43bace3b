"""The engine that pre-training and fine-tuning share: one step, and the ways to run its parts at once.

`contracts.py` says what a step needs from a model, a batch and an optimizer. `step.py` is the step itself, on
one screen. `engine.py` chooses how it is run; `worker.py`, `threads.py`, `processes.py` and `ranks.py` run it
in parallel, with the same bits. `mpi.py` lets several machines work together. `interruptions.py` lets Ctrl-C
end a training between two steps, after saving.
"""
