"""Pre-training: from text and settings to a run's folder with a trained model in it.

`start.py` begins or resumes a run, `trainer.py` takes it to its end, `batches.py` and `evaluation.py` feed
and measure it. Settings are in `run_settings.py` (the run), `pretraining_config.py` (the model's training)
and `presets.py`.
"""
