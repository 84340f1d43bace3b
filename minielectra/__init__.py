"""ELECTRA from scratch: hand-written transformer layers with manual backpropagation on NumPy or CuPy arrays."""

__version__ = "0.1.0"

from minielectra.data.wordpiece.tokenizer import WordPieceTokenizer
from minielectra.detect import detect
from minielectra.electra.electra_config import ElectraConfig
from minielectra.electra.towers import ElectraForMaskedLM, ElectraForPreTraining
from minielectra.errors import InputError
from minielectra.finetuning.heads import (
    ElectraForQuestionAnswering,
    ElectraForSequenceClassification,
    ElectraForTokenClassification,
)
from minielectra.gradcheck.checker import gradient_check
from minielectra.pretraining.load import load_discriminator
from minielectra.pretraining.pretraining_config import PretrainingConfig

__all__ = [
    "ElectraConfig",
    "ElectraForMaskedLM",
    "ElectraForPreTraining",
    "ElectraForQuestionAnswering",
    "ElectraForSequenceClassification",
    "ElectraForTokenClassification",
    "InputError",
    "PretrainingConfig",
    "WordPieceTokenizer",
    "detect",
    "gradient_check",
    "load_discriminator",
]
