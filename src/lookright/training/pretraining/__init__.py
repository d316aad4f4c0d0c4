"""Pretraining: plain text in, a base out.

`lookright.training.pretraining.recipe` is pure Python; everything else loads torch and transformers, so import it by
its module.
"""
