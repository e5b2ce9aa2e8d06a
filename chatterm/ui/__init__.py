"""The terminal user interface: screens, widgets, themes, keys. Knows session and nothing lower."""
