"""English words by which a relation's word is steered: prepositions, which say how things stand to each other, and
those that name nothing in a picture.

Differs: ReVersion publishes 56 prepositions and a list of stop words; these lists are our own.
"""

PREPOSITIONS = (
    *("about", "above", "across", "after", "against", "along", "alongside", "amid", "among", "around"),
    *("at", "atop", "before", "behind", "below", "beneath", "beside", "between", "beyond", "by"),
    *("down", "for", "from", "in", "inside", "into", "near", "of", "off", "on"),
    *("onto", "opposite", "out", "outside", "over", "past", "round", "through", "throughout", "to"),
    *("toward", "towards", "under", "underneath", "up", "upon", "with", "within", "without"),
)

_ARTICLES = {"a", "an", "the", "this", "that", "these", "those"}
_PRONOUNS = {
    *("i", "me", "my", "mine", "you", "your", "yours", "he", "him", "his", "she", "her", "hers", "it", "its"),
    *("we", "us", "our", "ours", "they", "them", "their", "theirs", "one", "ones", "who", "whom", "whose", "which"),
    *("what", "itself", "himself", "herself", "themselves", "everyone", "someone", "something", "everything", "other"),
}
_VERBS = {
    *("am", "is", "are", "was", "were", "be", "been", "being", "has", "have", "had", "having", "do", "does", "did"),
    *("doing", "can", "could", "may", "might", "must", "shall", "should", "will", "would"),
}
_CONJUNCTIONS = {
    *("and", "or", "nor", "but", "if", "then", "else", "so", "as", "than", "because", "while", "when", "where"),
    *("how", "why", "whether", "though", "although", "until", "since"),
}
_ADVERBS = {
    *("not", "no", "yes", "only", "just", "very", "too", "also", "again", "once", "here", "there", "now", "ever"),
    *("never", "always", "still", "each", "every", "both", "either", "all", "any", "some", "such", "same", "own"),
    *("few", "more", "most", "much", "many", "less", "least", "several", "together"),
}
_MEDIA = {"photo", "photos", "photograph", "picture", "pictures", "image", "images"}
_PIECES = {"s", "t", "d", "m", "ll", "re", "ve"}  # of 's, don't, I'd, I'm, we'll, they're, I've
STOP_WORDS = frozenset(_ARTICLES | _PRONOUNS | _VERBS | _CONJUNCTIONS | _ADVERBS | _MEDIA | _PIECES)
