"""The steps of one job: submitted, asked after, taken in, cleared away. Each is on disk before the next begins.

A step may be begun again after a kill or a lost answer. Whether an upload or a creation took effect is found out by
listing, never by doing it a second time.
"""

import itertools
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa

from millrace.tasks.embedding import Budget, Usage, cost_cny, split_tokens
from millrace.tasks.embedding.batch.client import BatchClient, FileNotVisible, RemoteJob, may_have_taken_effect
from millrace.tasks.embedding.batch.line import LineAnswer, LineFormat
from millrace.tasks.errors import LakeError, MillraceError, ProviderStopped, ProviderUnavailable, Transient
from millrace.tasks.lake import BatchJob, BatchJobs, BatchState, VectorStore

_LINES_AT_A_TIME = 50
_TRIES = 3


class OutputForeign(ProviderStopped):
    """The results of a job belong to another one."""


@dataclass(slots=True)
class _Taken:
    """What the files of a job have given so far."""

    answered: int = 0
    refused: int = 0
    not_run: int = 0
    counted: int = 0
    billed: int = 0
    billed_for_vectors: int = 0
    lines_done: int = 0
    unknown: int = 0
    problem: str = ""
    seen: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _LineTexts:
    keys: list[bytes]
    tokens: list[int]


class BatchRoad:
    """Brings the jobs of one account and space from one step to the next; every method returns the job as it is then.

    Methods raise Transient for what may be tried again later, with the job as it was, or further. A creation whose
    answer was lost is looked for once more after `poll_s`, before there is another.
    """

    def __init__(
        self,
        jobs: BatchJobs,
        client: BatchClient,
        store: VectorStore,
        line_format: LineFormat,
        *,
        usage: Usage,
        budget: Budget,
        window: str,
        poll_s: float,
        tell: Callable[[str], None],
    ) -> None:
        self._jobs = jobs
        self._client = client
        self._store = store
        self._format = line_format
        self._usage = usage
        self._budget = budget
        self._window = window
        self._poll_s = poll_s
        self._tell = tell
        self._reserved: dict[str, Fraction] = {}
        self._begun: set[str] = set()  # steps of this process, of whose answers nothing is known yet
        self._downloads: dict[str, int] = {}
        self._cleared: dict[str, int] = {}

    def reserve(self, job: BatchJob, *, owed: bool = False) -> None:
        """Reserve what the job may cost. Raises BudgetReached, unless it is `owed` already."""
        if job.name not in self._reserved:
            self._reserved[job.name] = self._budget.reserve(job.tokens, share=self._share, what="Batch job", owed=owed)

    async def submit(self, job: BatchJob) -> BatchJob:
        """Bring a job that is not open yet one step towards it. Raises what the provider refuses it with."""
        match job.state:
            case "written":
                self.reserve(job)
                return await self._upload(job, begun=False)
            case "uploading":
                return await self._upload(job, begun=True)
            case "uploaded":
                self.reserve(job)
                self._begun.add(job.name)
                return await self._create(self._save(job, "creating"))
            case "creating":
                return await self._create(job)
            case _:
                return job

    async def ask(self, job: BatchJob) -> BatchJob:
        """Ask how far an open job is; "over" once it has ended and its results can be had."""
        return self._heard(job, await self._client.job(job.id))

    async def cancel(self, job: BatchJob) -> BatchJob:
        """Ask for the end of an open job; what it has finished is kept."""
        remote = await self._client.cancel(job.id)
        return self._heard(replace(job, cancelling=True), remote, always=True)

    def drop(self, job: BatchJob, why: str) -> BatchJob:
        """Give up a job: one that was never started, or that the user gives up."""
        self._release(job)
        dropped = replace(job, state="dropped", problem=why, changed=_now())
        self._jobs.end(dropped)
        return dropped

    async def take_in(self, job: BatchJob) -> BatchJob:
        """Take the vectors of a job that is over into the store.

        Raises ProviderUnavailable when the results are shorter than they should be, a few times; OutputForeign when
        they are not of this job.
        """
        taken = _Taken()
        lines = self._lines_of(job)
        for file in filter(None, (job.output_file, job.error_file)):
            await self._take_file(file, lines, taken)
        if job.lines_done and not taken.seen and taken.unknown:
            raise OutputForeign(
                f"the results of the Batch job {job.id} ({job.output_file}) hold {taken.unknown:,} lines, none of them "
                "of this job: nothing was taken in, and nothing was deleted at the provider. Ask the provider; or give "
                f"the job up with `millrace jobs cancel --forget {job.name}`"
            )
        if taken.lines_done < job.lines_done:
            self._downloads[job.name] = self._downloads.get(job.name, 0) + 1
            short = f"{taken.lines_done:,} of {job.lines_done:,} lines of the Batch job {job.id} came"
            if self._downloads[job.name] < _TRIES:
                raise ProviderUnavailable(f"{short}; its results are asked for again")
            self._tell(f"{short}, and no more: the other texts are embedded again")
        cost = cost_cny(taken.billed, self._usage.batch_price_cny_per_1k_tokens)
        self._usage.record_batch(
            texts=taken.answered,
            counted=taken.counted,
            billed=taken.billed,
            billed_for_vectors=taken.billed_for_vectors,
        )
        self._budget.settle(self._release(job), taken.billed, counted=taken.counted, share=self._share)
        return self._save(
            replace(
                job,
                answered=taken.answered,
                refused=taken.refused,
                not_run=job.texts - taken.answered - taken.refused,
                tokens_billed=taken.billed,
                cost_cny=cost,
                problem=job.problem or taken.problem,
            ),
            "journalled",
        )

    async def clear(self, job: BatchJob) -> BatchJob:
        """Delete the files of a job whose vectors are in the store; what fails again and again is only told."""
        try:
            for file in filter(None, (job.input_file, job.output_file, job.error_file)):
                await self._client.delete(file)
        except MillraceError as error:
            self._cleared[job.name] = self._cleared.get(job.name, 0) + 1
            if isinstance(error, Transient) and self._cleared[job.name] < _TRIES:
                raise
            self._tell(f"the files of the Batch job {job.id} stay at the provider: {error}")
        return self._save(job, "settled")

    def as_saved(self, job: BatchJob) -> BatchJob:
        """The job as its record has it."""
        return self._jobs.read(job.name)

    def end(self, job: BatchJob) -> None:
        """Let the texts of a settled job go."""
        self._jobs.end(job)

    # Steps

    async def _upload(self, job: BatchJob, *, begun: bool) -> BatchJob:
        with tempfile.TemporaryDirectory(prefix="millrace-batch-") as folder:
            path = self._request_file(job, Path(folder))
            size = path.stat().st_size
            file = ""
            if begun:
                file = next(iter(await self._client.uploads(path.name, size)), "")
            else:
                job = self._save(replace(job, file_name=path.name, file_bytes=size), "uploading")
            file = file or await self._client.upload(path)
        self._jobs.passed("was uploaded")
        return self._save(replace(job, input_file=file), "uploaded")

    async def _create(self, job: BatchJob) -> BatchJob:
        """Start the job; `begun` creations, of an earlier process or whose answer was lost, are looked for first."""
        if job.name not in self._begun:
            found = await self._client.jobs_of(job.input_file)
            if len(found) > 1:
                names = ", ".join(one.id for one in found)
                raise ProviderStopped(
                    f"the provider has {len(found)} Batch jobs of one file, and each will be billed: {names}. Cancel "
                    f"all but one in its console; or give them up with `millrace jobs cancel --forget {job.name}`"
                )
            if found:
                return self._opened(job, found[0])
            if (since_s := _seconds_since(job.changed)) < self._poll_s:  # the list may lag behind
                message = "no answer came to the creation of a Batch job; the list of jobs is looked at again"
                raise ProviderUnavailable(message, retry_after_s=self._poll_s - since_s)
        self._begun.discard(job.name)
        try:
            remote = await self._client.create(job.input_file, window=self._window, name=job.name)
        except FileNotVisible:
            self._save(job, "uploaded")
            raise
        except MillraceError as error:
            if not may_have_taken_effect(error):
                self._save(job, "uploaded")  # a definite no
            raise
        self._jobs.passed("was created")
        return self._opened(job, remote)

    def _opened(self, job: BatchJob, remote: RemoteJob) -> BatchJob:
        return self._heard(replace(job, id=remote.id, submitted=_now(), state="open"), remote, always=True)

    def _heard(self, job: BatchJob, remote: RemoteJob, *, always: bool = False) -> BatchJob:
        """The job with what the provider says of it; saved where that is new."""
        state: BatchState = "over" if remote.over and remote.published else "open"
        said = replace(
            job,
            state=state,
            remote=remote.status,
            output_file=remote.output_file or job.output_file,
            error_file=remote.error_file or job.error_file,
            lines_done=remote.completed,
            problem=remote.problem or job.problem,
        )
        if said == job and not always:
            return job
        said = replace(said, changed=_now() if remote.status != job.remote else job.changed)
        if state == "over":
            said = replace(said, ended=_now())
        self._jobs.save(said)
        return said

    # The results

    async def _take_file(self, file: str, lines: Mapping[str, _LineTexts], taken: _Taken) -> None:
        texts_of = {name: len(line.keys) for name, line in lines.items()}
        waiting: list[LineAnswer] = []
        async for raw in self._client.lines(file):
            if not raw.strip():
                continue
            answer = self._format.read(raw, texts_of)
            if answer is None:
                taken.unknown += 1
            elif answer.custom_id not in taken.seen:
                taken.seen.add(answer.custom_id)
                self._count(answer, lines[answer.custom_id], taken)
                if answer.response is not None:
                    waiting.append(answer)
            if len(waiting) == _LINES_AT_A_TIME:
                await self._keep(waiting, lines)
                waiting = []
        await self._keep(waiting, lines)

    @staticmethod
    def _count(answer: LineAnswer, line: _LineTexts, taken: _Taken) -> None:
        taken.billed += answer.billed_tokens
        if answer.response is not None:
            taken.answered += len(line.keys)
            taken.counted += sum(line.tokens)
            taken.billed_for_vectors += answer.billed_tokens
            taken.lines_done += 1
            return
        taken.lines_done += bool(answer.billed_tokens)
        taken.problem = taken.problem or answer.problem
        if answer.ran:
            taken.refused += len(line.keys)
        else:
            taken.not_run += len(line.keys)

    async def _keep(self, answers: list[LineAnswer], lines: Mapping[str, _LineTexts]) -> None:
        """Make the vectors durable that the store has not yet."""
        if not answers:
            return
        of = [lines[answer.custom_id] for answer in answers]
        keys = list(itertools.chain.from_iterable(line.keys for line in of))
        vectors = np.concatenate([answer.response.vectors for answer in answers if answer.response is not None])
        tokens = [
            share
            for answer, line in zip(answers, of, strict=True)
            for share in split_tokens(answer.billed_tokens, line.tokens)
        ]
        missing = self._store.missing(keys)
        await self._store.append([keys[at] for at in missing], vectors[missing], [tokens[at] for at in missing])

    def _lines_of(self, job: BatchJob) -> dict[str, _LineTexts]:
        """The texts of each line, by the line's name."""
        found = {}
        for rows in self._lines(job):
            name, _ = self._format.line(rows["content"].to_pylist())
            found[name] = _LineTexts(rows["text_key"].to_pylist(), rows["tokens"].to_pylist())
        return found

    def _lines(self, job: BatchJob) -> list[pa.Table]:
        texts = self._jobs.texts(job)
        starts = [0, *(np.flatnonzero(np.diff(texts["line"].to_numpy())) + 1).tolist(), texts.num_rows]
        return [texts.slice(start, end - start) for start, end in itertools.pairwise(starts)]

    def _request_file(self, job: BatchJob, folder: Path) -> Path:
        """The file of the job, named after its content; the same at every call."""
        digest, path = sha256(), folder / "requests.jsonl"
        try:
            with path.open("wb") as file:
                for rows in self._lines(job):
                    _, line = self._format.line(rows["content"].to_pylist())
                    digest.update(line)
                    file.write(line)
            return path.rename(folder / f"millrace-{digest.hexdigest()[:32]}.jsonl")
        except OSError as error:
            raise LakeError(f"the file of a Batch job cannot be written: {error}") from error

    @property
    def _share(self) -> Fraction:
        usage = self._usage
        if not usage.price_cny_per_1k_tokens:
            return Fraction(1)
        return Fraction(str(usage.batch_price_cny_per_1k_tokens)) / Fraction(str(usage.price_cny_per_1k_tokens))

    def _release(self, job: BatchJob) -> Fraction:
        return self._reserved.pop(job.name, Fraction(0))

    def _save(self, job: BatchJob, state: BatchState) -> BatchJob:
        saved = replace(job, state=state, changed=_now())
        self._jobs.save(saved)
        return saved


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _seconds_since(moment: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
