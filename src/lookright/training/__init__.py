"""Training: the recipe, the trainer, and `fit`, which turns a base and labeled sentences into a tagger.

`lookright.training.recipe` is pure Python; everything else loads torch and transformers, so import it by its module.
"""
