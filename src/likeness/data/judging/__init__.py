"""The quality gate: ten questions, the judges who answer them, and what passes."""
