"""Fine-tuning: a pre-trained encoder gets a new head and is trained for a task.

In: a run or a directory in Hugging Face's layout, and labelled files. Out: a directory (directory.py) that
predicts for other files and is scored on them.

The walk of an example, and the file that takes each step:

    file        -> example       readers/                  a text, a sentence of tagged words, a question
    example     -> Encoded       tasks/, encode            token ids, segments, target
    Encoded     -> TaskBatch     sequences.py
    TaskBatch   -> logits        heads.py                  the encoder with a head
    logits      -> loss          task_losses.py            only in training: objective.py joins head and loss
    logits      -> prediction    tasks/, decode            a label, tags, an answer
    predictions -> scores        tasks/, score; metrics/

experiment.py runs it all: backbone.py makes the model to start from, loop.py trains it with one seed,
unfinished.py saves it as it goes on, so that it can be stopped and resumed.
What the user may choose is in experiment_settings.py and finetuning_config.py.

probes.py trains nothing of the encoder: it asks what each of its layers knows about a task
(layer_features.py, logistic_regression.py).
"""
