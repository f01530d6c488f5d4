"""expnet label: the paper's section III-B over a data set."""
