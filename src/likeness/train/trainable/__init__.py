"""What a run can change of a network: lora.py, a low-rank adapter beside its frozen layers."""
