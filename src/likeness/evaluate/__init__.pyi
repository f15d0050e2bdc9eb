from .eyes import Encoders as Encoders
from .run import evaluate_run as evaluate_run
from .run import load_encoders as load_encoders

__all__ = ["Encoders", "evaluate_run", "load_encoders"]
