"""The recipe of the shipped model: synthesis, data, augmentation, training.

Extra ``train``.
"""
