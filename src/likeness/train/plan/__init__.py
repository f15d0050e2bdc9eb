"""What a run will take, before it runs: parameters, memory, time and disk, from configs alone."""
