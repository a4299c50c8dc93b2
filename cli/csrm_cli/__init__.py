"""The ``csrm`` command: one thin file a command, heavy imports inside the command."""
