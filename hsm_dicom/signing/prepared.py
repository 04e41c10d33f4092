"""The files of one task between its steps, in a form that the process with the key passes on unread.

Only the digests matter to that process. Everything else of the plans is packed once, by the worker that prepared them,
and unpacked once, by the worker that writes them: the process with the key has other work.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from hsm_dicom.signatures.creation.create import Plan


@dataclass(frozen=True)
class SignedBefore:
    """UID of the signature that an earlier run made for a job."""

    uid: str


Prepared = Plan | SignedBefore | Exception
"""Result of preparing one file."""


class PreparedFiles:
    """Results of preparing the files of one task, in their order.

    ``digests`` has the digest of each plan, and None for each file without a plan. The results themselves stay packed
    in a process that does not ask for them.
    """

    def __init__(self, results: Sequence[Prepared]) -> None:
        self.digests = [result.digest if isinstance(result, Plan) else None for result in results]
        self._results: Sequence[Prepared] | None = results
        self._packed = b""

    def unpack(self) -> Sequence[Prepared]:
        """Return the results."""
        if self._results is None:
            self._results = pickle.loads(self._packed)  # noqa: S301 - packed by a worker of this run
        return self._results

    def plan(self, number: int) -> Plan:
        """Return the plan of the file with this number, which has a digest."""
        return cast(Plan, self.unpack()[number])

    def __getstate__(self) -> tuple[list[bytes | None], bytes]:
        return self.digests, self._packed or pickle.dumps(self._results, pickle.HIGHEST_PROTOCOL)

    def __setstate__(self, state: tuple[list[bytes | None], bytes]) -> None:
        self.digests, self._packed = state
        self._results = None
