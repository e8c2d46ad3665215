"""Wav2Vec2-BERT in plain PyTorch: tensors in, tensors out.

Knows nothing of sessions or asyncio.
"""
