"""Metrics: targets and predictions to scores, defined as in scikit-learn, SciPy, seqeval and SQuAD's scripts.

scores.py: classification and regression. spans.py: entities and chunks. squad_scores.py: extracted answers.
"""
