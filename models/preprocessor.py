"""``preprocessor_config.json``: how a checkpoint hears, in Hugging Face's words and our own.

Owns the file's keys; ours are in ``streaming``.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from models import settings
from models.features import FeatureConfig
from models.vocabulary import Vocabulary

CALIBRATION = (
    "confidence_exponent",
    "lm_confidence_exponent",
    "word_start_delay_ms",
    "word_end_delay_ms",
)
"""What was measured of the checkpoint's words: fields of ``Vocabulary``."""


def feature_config(values: dict[str, Any]) -> FeatureConfig:
    """``preprocessor_config.json`` or ``processor_config.json``; our keys are in ``streaming``."""
    values = values.get("feature_extractor", values)
    ours = values.get("streaming", {}) if isinstance(values, dict) else None
    if not isinstance(ours, dict):
        raise ValueError("the feature extractor's settings are not JSON objects")
    if values.get("sampling_rate", 16_000) != 16_000:
        raise ValueError(f"sampling_rate: expected 16000, got {values['sampling_rate']}")
    unknown = ours.keys() - {*FeatureConfig.__slots__, *CALIBRATION}
    if unknown:
        raise ValueError(f"unknown setting {min(unknown)!r} of the feature extractor")
    return settings.from_json(FeatureConfig, values | ours)


def calibration(values: dict[str, Any]) -> dict[str, Any]:
    """What of ``CALIBRATION`` stands beside the feature extractor's settings."""
    ours = values.get("feature_extractor", values).get("streaming", {})
    found = {key: ours[key] for key in CALIBRATION if key in ours}
    for key, value in found.items():
        if type(value) not in (int, float):
            raise ValueError(f"{key}: expected a number, got {value!r}")
    return {key: float(value) for key, value in found.items()}


def preprocessor_json(features: FeatureConfig, vocabulary: Vocabulary) -> dict[str, Any]:
    """What ``feature_config`` and ``calibration`` read, and ``transformers`` as well."""
    streaming = {key: value for key, value in asdict(features).items() if value != ()}
    calibrated = {key: getattr(vocabulary, key) for key in CALIBRATION}
    streaming |= {key: value for key, value in calibrated.items() if value is not None}
    bins, stride = streaming.pop("num_mel_bins"), streaming.pop("stride")
    return {
        "feature_extractor_type": "SeamlessM4TFeatureExtractor",
        "processor_class": "Wav2Vec2BertProcessor",
        "feature_size": bins,
        "num_mel_bins": bins,
        "stride": stride,
        "sampling_rate": 16_000,
        "padding_value": 0.0,
        "padding_side": "right",
        "return_attention_mask": True,
        "streaming": streaming,
    }
