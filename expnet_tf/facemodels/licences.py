"""What each family's licence asks, in a sentence: a reminder, and not the licence."""

BASEL = (
    "research only: the Basel Face Model is given to each user under an agreement of its own with the University of "
    "Basel, and may not be passed on, nor may a file converted from it"
)
