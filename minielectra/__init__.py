"""ELECTRA from scratch: hand-written transformer layers with manual backpropagation on NumPy or CuPy arrays."""

__version__ = "0.1.0"

from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.electra.config import ElectraConfig, PretrainingConfig
from minielectra.electra.models import ElectraForMaskedLM, ElectraForPreTraining
from minielectra.errors import InputError
from minielectra.gradcheck import gradient_check
from minielectra.inference import detect, load_discriminator
from minielectra.tasks.heads import (
    ElectraForQuestionAnswering,
    ElectraForSequenceClassification,
    ElectraForTokenClassification,
)

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
