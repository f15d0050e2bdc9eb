"""Photos of people by Stellar's rules: `celeba.py` reads CelebAMask-HQ, `selection.py` chooses, `copied.py` copies."""
