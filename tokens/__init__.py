"""Keys on devices: PKCS#11 tokens and smart cards behind ordinary `cryptography` key objects."""
