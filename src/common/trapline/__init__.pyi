from trapline.config import TrainingConfig as TrainingConfig
from trapline.data.prepared import PreparedSet as PreparedSet
from trapline.data.prepared import open_prepared as open_prepared
from trapline.errors import TraplineError as TraplineError
from trapline.errors import UsageError as UsageError
from trapline.front.jobs import evaluate as evaluate
from trapline.front.jobs import prepare as prepare
from trapline.front.jobs import train as train
from trapline.inference.answers import Answer as Answer
from trapline.inference.answers import predict as predict
from trapline.inference.predictor import Predictor as Predictor
from trapline.inference.predictor import load_predictor as load_predictor

__all__ = [
    "Answer",
    "Predictor",
    "PreparedSet",
    "TrainingConfig",
    "TraplineError",
    "UsageError",
    "evaluate",
    "load_predictor",
    "open_prepared",
    "predict",
    "prepare",
    "train",
]
__version__: str
