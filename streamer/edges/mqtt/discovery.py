"""What Home Assistant is told about us, so that it makes entities of what is said.

Owns the payload of its MQTT discovery (one device, its entities), as home-assistant.io documents it
under `integrations/mqtt`. Must not know: when it is sent.

Nothing that was said is retained: the entities follow the finals as they come.
"""

import hashlib
import json
import re

MAX_STATE_LENGTH = 255  # characters that Home Assistant takes for a state
ATTRIBUTES = ("text", "start", "end", "confidence", "reason", "session", "key")


def announcement(prefix: str, topic: str) -> dict[str, str]:
    """The retained message, by its topic, for a server whose topics begin with `topic`."""
    device = _id(topic)
    finals = {"state_topic": f"{topic}/out/+/final", "qos": 1}
    text = f"{{{{ value_json.text[:{MAX_STATE_LENGTH}] }}}}"
    about = ", ".join(f"'{name}': value_json.{name}" for name in ATTRIBUTES)
    event = f"{{{{ {{'event_type': 'final', {about}}} | tojson if value_json.text }}}}"
    status = {"topic": f"{topic}/status", "value_template": "{{ value_json.status }}"}
    body = {
        "device": {
            "identifiers": [device],
            "name": "Speech recognition" if topic == "streamer" else f"Speech recognition {topic}",
            "model": "streamer",
        },
        "origin": {"name": "streamer"},
        "availability": [status],
        "components": {
            "last_final": {
                "platform": "sensor",
                "unique_id": f"{device}_last_final",
                "name": "Last final",
                "icon": "mdi:text-recognition",
                "value_template": text,
                "json_attributes_topic": finals["state_topic"],
                "json_attributes_template": f"{{{{ {{{about}}} | tojson }}}}",
                "force_update": True,  # the same words again are news
                **finals,
            },
            "said": {
                "platform": "event",
                "unique_id": f"{device}_said",
                "name": "Said",
                "icon": "mdi:account-voice",
                "event_types": ["final"],
                "value_template": event,
                **finals,
            },
        },
    }
    return {f"{prefix}/device/{device}/config": json.dumps(body)}


def _id(topic: str) -> str:
    """An id of letters, digits, _ and -, another one for each topic."""
    plain = re.sub("[^a-zA-Z0-9_-]", "_", topic)
    own = "" if plain == topic else f"_{hashlib.sha256(topic.encode()).hexdigest()[:8]}"
    return f"{'' if plain == 'streamer' else 'streamer_'}{plain}{own}"
