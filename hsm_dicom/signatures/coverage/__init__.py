"""What a signature covers: the ``shares`` of an object that are signed and unsigned, by the ``parts`` that readers rely
on; ``main_content`` explains why such a part may not be signed."""
