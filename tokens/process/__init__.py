"""What devices need from the process: ``gate`` around modules, ``forking``, OpenSSL's error queue (``openssl_errors``),
and the ``state_folder`` that outlives the process."""
