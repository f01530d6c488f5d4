"""Solvers of eq. (2): batched Gauss-Newton with bounds, and what goes in and out."""
