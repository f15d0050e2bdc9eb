"""The command line with the optimizer's averages shared out, as DeepSpeed's launcher, not installed here, asks for."""

from likeness.cli import main
from likeness.train import run
from likeness.train.shards import wanted_shards

run.wanted_shards = lambda num_processes: wanted_shards(num_processes)._replace(optimizer=num_processes > 1)

if __name__ == "__main__":
    main()
