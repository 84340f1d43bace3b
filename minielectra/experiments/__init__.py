"""Experiments: variants of pre-training, compared at equal compute over the same seeds.

In: a TOML file (experiment_file.py). Out: a folder with one pre-training run for every variant, budget and
seed, the scores of each, a table of paired differences, and pictures.

    file      -> Experiment   experiment_file.py   read and checked; task_data.py reads the tasks' files
    Experiment -> plan        grid.py              which runs, and how many steps a budget pays for
    plan      -> results      grid_runner.py       starts processes, each of which is one_run.py:
                                                   pre-train, then score (model_scores.py, minimal_pairs.py)
    results   -> statistics   comparison.py        means, paired differences, bootstrap intervals
    statistics -> files       comparison_table.py, comparison_pictures.py
"""
