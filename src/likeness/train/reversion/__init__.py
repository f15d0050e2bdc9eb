"""ReVersion: a word for a relation, learnt from a few pictures of it."""
