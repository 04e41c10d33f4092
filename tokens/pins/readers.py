"""Whether others than a file's owner and this process's user may use the file, its access control list included.

systemd from version 254 on gives a unit its credentials as files of root with such a list, which names the user of the
unit. Their mode is then 0440: the bits of the group are the list's mask (acl(5)). Kubernetes gives a container its
secrets as files of root with mode 0440 and a group of the process.
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
_READ = 0x04


def may_others_use(descriptor: int, status: os.stat_result, *, group_readable: bool = False) -> bool:
    """Return whether another user than the owner, root and this process's user has any permission for an open file.

    With `group_readable`, the members of this process's groups may read it, and do nothing else.
    """
    if status.st_mode & stat.S_IRWXO:
        return True
    if not status.st_mode & stat.S_IRWXG:
        return False
    groups = {os.getegid(), *os.getgroups()} if group_readable else set()
    entries = _read_access_list(descriptor)
    if not entries:  # the bits are the group's
        return status.st_gid not in groups or bool(status.st_mode & (stat.S_IWGRP | stat.S_IXGRP))
    users = (0, os.geteuid())
    for tag, permissions, number in entries:
        if tag == _USER and permissions and number not in users:
            return True
        if tag in (_GROUP_OF_FILE, _GROUP) and permissions:
            group = status.st_gid if tag == _GROUP_OF_FILE else number
            if group not in groups or permissions != _READ:
                return True
    return False


def has_access_list(descriptor: int) -> bool:
    """Return whether an open file has an access control list beside its mode."""
    return bool(_read_access_list(descriptor))


def _read_access_list(descriptor: int) -> list[tuple[int, int, int]]:
    """Return tag, permissions and user or group of each entry."""
    try:
        entries = os.getxattr(descriptor, _ATTRIBUTE)[_HEADER:]
    except OSError:  # no list, or a file system without lists
        return []
    return list(_ENTRY.iter_unpack(entries))
