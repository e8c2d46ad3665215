"""``preprocessor_config.json``: how a checkpoint hears, in Hugging Face's words and our own.

Owns the file's keys; ours are in ``streaming``.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from models import settings
from models.features import FeatureConfig

CONFIDENCE = "confidence_exponent"
LM_CONFIDENCE = "lm_confidence_exponent"


def feature_config(values: dict[str, Any]) -> FeatureConfig:
    """``preprocessor_config.json`` or ``processor_config.json``; our keys are in ``streaming``."""
    values = values.get("feature_extractor", values)
    ours = values.get("streaming", {}) if isinstance(values, dict) else None
    if not isinstance(ours, dict):
        raise ValueError("the feature extractor's settings are not JSON objects")
    if values.get("sampling_rate", 16_000) != 16_000:
        raise ValueError(f"sampling_rate: expected 16000, got {values['sampling_rate']}")
    unknown = ours.keys() - {*FeatureConfig.__slots__, CONFIDENCE, LM_CONFIDENCE}
    if unknown:
        raise ValueError(f"unknown setting {min(unknown)!r} of the feature extractor")
    return settings.from_json(FeatureConfig, values | ours)


def confidence_exponents(values: dict[str, Any]) -> tuple[float, float | None]:
    """How the words' confidences are calibrated, without and with a language model.

    They stand beside the feature extractor's settings; None where there is no second one.
    """
    ours = values.get("feature_extractor", values).get("streaming", {})
    found = [ours.get(CONFIDENCE, 1.0)]
    if LM_CONFIDENCE in ours:
        found.append(ours[LM_CONFIDENCE])
    for key, value in zip((CONFIDENCE, LM_CONFIDENCE), found, strict=False):
        if type(value) not in (int, float):
            raise ValueError(f"{key}: expected a number, got {value!r}")
    return float(found[0]), float(found[1]) if len(found) > 1 else None


def preprocessor_json(
    features: FeatureConfig, exponent: float, lm_exponent: float | None = None
) -> dict[str, Any]:
    """What ``feature_config`` and ``confidence_exponents`` read, and ``transformers`` as well."""
    streaming = {key: value for key, value in asdict(features).items() if value != ()}
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
        "streaming": streaming
        | {CONFIDENCE: exponent}
        | ({} if lm_exponent is None else {LM_CONFIDENCE: lm_exponent}),
    }
