"""The pure heart of the recognizer: numpy and the standard library; no input, output or clock."""
