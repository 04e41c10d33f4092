"""A node as a whole: its configuration compiled, checked and served.

``configured`` and ``iscl_configured`` resolve the tables of the configuration; ``problems``, ``clashes``,
``iscl_check`` and ``check`` find what is wrong with them; ``acceptance`` tests the devices that it uses; ``service``
runs the listeners, and ``upkeep`` watches the dates of certificates and CRLs while they run.
"""
