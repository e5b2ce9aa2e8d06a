"""What a conversation is: messages, their tree, sampling settings, token records.

Values only: no input or output, no user interface, no engine.
"""
