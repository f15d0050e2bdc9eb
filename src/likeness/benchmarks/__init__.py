"""Which cases a named benchmark holds. A benchmark gives cases; generating and measuring are other rooms' work.

`dreambench.py` reads photographed subjects from a local folder, `world.py` draws its own.
"""

# Every benchmark with what it asks for; the file that builds it is named after the word before the dash.
BENCHMARKS: dict[str, str] = {
    "dreambench-single": "30 photographed subjects x 25 prompts, one subject each",
    "dreambench-multi": "30 pairs of photographed subjects x 25 prompts",
    "world-single": "drawn characters, one per picture",
    "world-multi": "drawn characters, two per picture",
    "world-hard": "two to four drawn characters: look-alikes, small, overlapping, rare relations",
    "world-relationbench": "the 25 RelationBench prompts with drawn characters, four times",
}
