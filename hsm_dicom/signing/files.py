"""Sign many files with one call, in workers that it starts."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from hsm_dicom.arguments import kind_of, path_text, require_bool, require_count, require_stop
from hsm_dicom.dataset.tags import ItemPath
from hsm_dicom.identity import Identity
from hsm_dicom.parallel import worker_pool
from hsm_dicom.signatures.creation.create import Timestamper
from hsm_dicom.signatures.creation.request import SigningRequest
from hsm_dicom.signatures.profiles.rules import Profile
from hsm_dicom.signing.arguments import (
    Signer,
    Tag,
    build_request,
    resolve_signer,
    resolve_timestamper,
)
from hsm_dicom.signing.batch import SigningJob, SigningOutcome, sign_jobs

StrPath: TypeAlias = str | os.PathLike[str]


def sign_files(
    sources: Iterable[StrPath],
    target: StrPath | Mapping[StrPath, StrPath],
    signer: Signer,
    profile: Profile | str = "creator",
    *,
    jobs: int = 1,
    mac: str = "sha256",
    tags: Iterable[Tag] | None = None,
    item: str | ItemPath | None = None,
    purpose: int | None = None,
    timestamp: str | Timestamper | None = None,
    overwrite: bool = False,
    resume: bool = False,
    allow_weak: bool = False,
    allow_uncovered: bool = False,
    repair: bool = False,
    trim_padding: bool = False,
    stop: threading.Event | None = None,
) -> Generator[SigningOutcome]:
    """Sign files, and yield a `SigningOutcome` for each as it is written or has failed.

        for outcome in hsm_dicom.sign_files(Path("ct").glob("*.dcm"), "signed", node, jobs=4):
            print(outcome.job.source, outcome.error or outcome.report.uid)

    ``target`` is a folder, in which each file keeps its name, or a mapping from each source to its target. Missing
    folders are created. ``jobs`` is the number of processes that read, hash and write (1: a thread of this process);
    the key stays in this process. With ``resume``, files that an earlier run signed are skipped; their outcomes have
    ``earlier``. After ``stop`` is set, files in progress are finished and no further file is begun. The other arguments
    are those of `hsm_dicom.sign`.

    An error of one file is in its outcome. Raises TypeError, ValueError and CertificateExpiredError at once, and
    TokenError, after the outcomes of all signed files, if the token fails.
    """
    identity = resolve_signer(signer).select()
    request = build_request(
        identity,
        profile,
        mac=mac,
        tags=tags,
        item=item,
        purpose=purpose,
        allow_weak=allow_weak,
        allow_uncovered=allow_uncovered,
        repair=repair,
        trim_padding=trim_padding,
    )
    stamp = resolve_timestamper(timestamp)
    require_count("jobs", jobs)
    require_bool("overwrite", overwrite)
    require_bool("resume", resume)
    require_stop(stop)
    pairs = _pairs(sources, target)
    identity.require_current()
    return _sign(pairs, identity, request, jobs, stamp, overwrite=overwrite, resume=resume, stop=stop)


def _sign(
    pairs: list[tuple[str, str]],
    identity: Identity,
    request: SigningRequest,
    jobs: int,
    timestamp: Timestamper | None,
    *,
    overwrite: bool,
    resume: bool,
    stop: threading.Event | None,
) -> Generator[SigningOutcome]:
    for folder in {Path(target).parent for _, target in pairs}:
        with suppress(OSError):  # each file of this folder reports the error in its outcome
            folder.mkdir(parents=True, exist_ok=True)
    with worker_pool(jobs) as executor:
        yield from sign_jobs(
            (SigningJob(source, target) for source, target in pairs),
            identity.key,
            request,
            executor=executor,
            sessions=max(2, jobs),
            timestamp=timestamp,
            overwrite=overwrite,
            resume=resume,
            stop=stop,
            identity=identity.name,
        )


def _pairs(sources: object, target: object) -> list[tuple[str, str]]:
    """Pair each source with its target. Raises ValueError if two sources have the same target."""
    if isinstance(sources, str | bytes | os.PathLike) or not isinstance(sources, Iterable):
        raise TypeError(f"sources must be a list of paths, not {kind_of(sources)}; for one object, call sign.")
    paths = [path_text("A source", source) for source in sources]
    if isinstance(target, Mapping):
        targets = {path_text("A source", source): path_text("A target", goal) for source, goal in target.items()}
        missing = [path for path in paths if path not in targets]
        if missing:
            raise ValueError(f"target has no entry for {missing[0]}; map each source to its target.")
        pairs = [(path, targets[path]) for path in paths]
    else:
        folder = path_text("target, unless it maps sources to targets,", target)
        pairs = [(path, str(Path(folder, Path(path).name))) for path in paths]
    twice = [goal for goal, count in Counter(goal for _, goal in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"Several sources would become {twice[0]}; map each source to a target of its own.")
    return pairs
