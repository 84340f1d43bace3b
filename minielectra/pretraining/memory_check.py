"""Whether this machine has the memory for a pre-training, before any of it is taken."""

from minielectra import backend, objectives
from minielectra.electra.products import BatchShape
from minielectra.training.mpi import world
from minielectra.training.needed_memory import check_memory


def check_pretraining_memory(model_config, config, device="cpu", threads=None, workers=None):
    """Raise InputError if the configurations need more memory than there is.

    model_config: ElectraConfig; config: PretrainingConfig; device, threads, workers: as in RunSettings.
    """
    objective = objectives.make(model_config, config, backend.load(device))  # takes no memory yet
    towers = [tower.config for tower in objective.towers.values()]
    shape = BatchShape(config.batch_size, config.seq_length, config.masked_per_example)
    logits = objective.word_rows(shape) * model_config.vocab_size
    ranks = 1
    if workers == "plain":
        threads = 1
    elif workers == "mpi":
        threads, ranks = world().here, world().size
    check_memory(objective, towers, config.batch_size, config.seq_length, logits, threads, ranks)
