"""What each family's licence asks, in a sentence: a reminder, and not the licence."""

BASEL = (
    "research only: the University of Basel gives the Basel Face Model to each user under an agreement of its own; "
    "neither it nor a file converted from it may be passed on"
)
FLAME = (
    "the file does not say which FLAME it is: its makers offer FLAME 2023 for non-commercial research only, FLAME 2023 "
    "Open under CC-BY-4.0, and say of others what the page says that each was downloaded from"
)
ICT = "MIT, of the USC Institute for Creative Technologies, which calls this version its non-commercial one"
