"""Process-wide services for devices.

| module           | contents                                                                            |
|------------------|-------------------------------------------------------------------------------------|
| `gate`           | the lock that drains PKCS#11 calls before C_Finalize or a fork                      |
| `forking`        | fork hooks, and a lock that no child inherits held                                  |
| `at_once`        | calling a function for several arguments at the same time                           |
| `ending`         | ending the process although a call has not returned from a device                   |
| `openssl_errors` | clearing OpenSSL's error queue after calls into a module                            |
| `reconnecting`   | whether the work of a thread waits for a lost device                                |
| `state_folder`   | small records that outlive the process, such as those of refused PINs               |
"""
