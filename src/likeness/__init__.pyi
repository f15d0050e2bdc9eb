from .backbones.lora import load_adapter as load_adapter
from .backbones.open import open_backbone as open_backbone
from .benchmarks import benchmark_cases as benchmark_cases
from .core.pairs import read_pairs as read_pairs
from .core.records import Case as Case
from .core.records import Subject as Subject
from .core.records import read_cases as read_cases
from .data.lint.run import lint_pairs as lint_pairs
from .data.pairs.dip import make_pairs as make_pairs
from .evaluate.compare import compare_methods as compare_methods
from .evaluate.compare import compare_runs as compare_runs
from .evaluate.folder import evaluate_folder as evaluate_folder
from .generate.run import generate_run as generate_run
from .report.page import build_report as build_report
from .report.training_page import build_training_page as build_training_page
from .train.run import tune as tune

__version__: str
