"""Choosing a plan: candidates, strategies with a budget, and an account of what was tried and how sure it is."""
