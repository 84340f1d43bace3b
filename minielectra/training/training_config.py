"""The settings of a training step, which pre-training and fine-tuning share."""

from dataclasses import dataclass

from minielectra import optim
from minielectra.settings import Settings, setting


@dataclass(frozen=True)
class TrainingConfig(Settings):
    """How weights are updated. Defaults are those of ELECTRA's pre-training (paper, table 6)."""

    batch_size: int = setting(128, "sequences per batch", at_least=1, at_most=1 << 20)
    learning_rate: float = setting(5e-4, "learning rate at its peak", above=0)
    warmup_fraction: float = setting(
        0.06, "share of the steps in which the rate rises", at_least=0, at_most=1
    )
    optimizer: str = setting("adam", "what updates the weights", choices=optim.names)
    adam_beta1: float = setting(0.9, "decay of Adam's first moment", at_least=0, below=1)
    adam_beta2: float = setting(0.999, "decay of Adam's second moment", at_least=0, below=1)
    adam_epsilon: float = setting(1e-6, "added to the root of Adam's second moment", above=0)
    muon_momentum: float = setting(0.95, "momentum of Muon", at_least=0, below=1)
    bias_correction: bool = setting(
        False, "whether Adam corrects its moments' bias; the released code does not"
    )
    weight_decay: float = setting(0.01, "decoupled; not on LayerNorm, not on biases", at_least=0)
    clip_norm: float = setting(1.0, "largest norm of all gradients together; 0: no limit", at_least=0)
    shards: int = setting(
        2, "parts of a batch, each run by one worker; decides the last bits", at_least=1, at_most=1000
    )
