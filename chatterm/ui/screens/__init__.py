"""The screens: they ask the session, and lay out widgets that know nothing of it."""
