"""Prompts of Stellar's form: made from a grammar, filtered, sampled, handed to people, and described in numbers.

`grammar.py` makes candidates, `sampling.py` chooses among them by their sentence features (`embedded.py`), `make.py`
writes what `likeness data stellar-prompts` leaves behind. `counts.py` and `density.py` describe any set of prompts;
`collected.py` checks prompts that people wrote.
"""
