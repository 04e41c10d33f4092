"""Whether others than a file's owner and this process's user may use the file, its access control list included.

systemd from version 254 on gives a unit its credentials as files of root with such a list, which names the user of the
unit. Their mode is then 0440: the bits of the group are the list's mask (acl(5)).
"""

from __future__ import annotations

import os
import stat
import struct

_ATTRIBUTE = "system.posix_acl_access"
_HEADER = 4
_ENTRY = struct.Struct("<HHI")
_USER, _GROUP_OF_FILE, _GROUP = 0x02, 0x04, 0x08
"""Tags of entries (linux/posix_acl.h); those of the owner, of the mask and of others are in the mode."""


def may_others_use(descriptor: int, status: os.stat_result) -> bool:
    """Return whether another user than the owner, root and this process's user has any permission for an open file."""
    if status.st_mode & stat.S_IRWXO:
        return True
    if not status.st_mode & stat.S_IRWXG:
        return False
    try:
        entries = os.getxattr(descriptor, _ATTRIBUTE)[_HEADER:]
    except OSError:  # no list: the bits are the group's
        return True
    ours = (0, os.geteuid())
    return any(
        permissions and (tag in (_GROUP_OF_FILE, _GROUP) or (tag == _USER and user not in ours))
        for tag, permissions, user in _ENTRY.iter_unpack(entries)
    )
