"""What the Storage SCP needs besides its service: ``sop_classes`` that it accepts, ``incoming`` Data Sets on their
way to disk, ``writeback`` while they arrive, ``leftovers`` of receptions that never ended, and ``policy_check`` and
``signature_check`` for received objects."""
