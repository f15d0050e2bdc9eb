"""Statistics of scores: means with intervals, bootstraps, paired comparisons, power and agreement. All are pure.

Pictures of one subject are alike, and so are pictures of one prompt; whole subjects and prompts are therefore the unit
everywhere. `intervals.py` has what every mean of the product is printed with.
"""
