"""Speech over an MQTT broker; docs/mqtt.md has topics and payloads. Needs the extra `mqtt`."""

from streamer.edges.mqtt.edge import PASSWORD_VARIABLE, MqttEdge

__all__ = ["PASSWORD_VARIABLE", "MqttEdge"]
