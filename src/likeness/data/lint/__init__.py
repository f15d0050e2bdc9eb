"""What is wrong with a pair set: run.py looks at all of it, pair.py and subjects.py at one, findings.py says it."""
