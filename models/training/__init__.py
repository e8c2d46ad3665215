"""Training: the scratch recipe of the shipped model, and fine-tuning of any checkpoint.

Extra ``train``.
"""
