"""A job in flight: what a dispatcher holds of it between its delivery and what follows."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.model.action import Run
from fleet.model.attempt import Attempt, Hop
from fleet.model.caching import Near
from fleet.model.calibration import Probe
from fleet.model.delivery import AnyDelivery
from fleet.model.diet import Diet
from fleet.model.experiment import Assignment
from fleet.model.job import Job
from fleet.model.money import Deposit
from fleet.model.reason import Reason
from fleet.model.result import Malformed, Shadow, Work
from fleet.model.unguarded import unguarded


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Calls made together at `started_at`: `size` of them, under an id of 16 hex digits, None for one never made."""

    started_at: float
    id: str | None = None
    size: int = 0


@unguarded
@dataclass(frozen=True, slots=True)
class InFlightJob:
    """A job in hand: its delivery and everything tried so far."""

    delivery: AnyDelivery
    job: Job
    attempts: tuple[Attempt, ...] = ()
    fresh: Attempt | None = None
    """The attempt that was made in this very step."""
    hop: int = 0
    reason: Reason = Reason.ROUTED
    """The reason why the job is about to run, once that is decided."""
    probe: Probe | None = None
    """Set where the run is only a second look."""
    shadow: Shadow | None = None
    """Set where the job has its result, and only a comparison is still to be made."""
    deposit: Deposit | None = None
    """The money set aside for the run, where the fleet pays for it."""
    repeated: bool = False
    """Set where another dispatcher began this paid call before."""
    intake: Hop | None = None
    """How the job's own message was taken in, once it has been."""
    diet: Diet | None = None
    """What its call leaves out of the job's request, or could leave out."""
    taken_at: float = 0.0
    """When this dispatcher put the job aside to run here, in unix seconds."""
    near: Near | None = None
    """What the semantic cache had nearest when the job came in."""
    assigned: Assignment | None = None
    """The arm of an experiment that the job was drawn into."""
    adapter: str | None = None
    """The digest of the adapter that its call asks for, once it is in a micro-batch."""
    submitted: Job | None = None
    """The job as its publisher sent it, where its arm asks something else."""

    @property
    def sent(self) -> Work | None:
        """The hand-over that brought the job to its target; None where it has none, or has run there."""
        body = self.delivery.body
        return body if self.fresh is None and isinstance(body, Work) else None

    @property
    def call_id(self) -> str:
        """The id of the job's call, unique across tenants."""
        return f"{self.job.tenant}.{self.job.id}"

    @staticmethod
    def of(delivery: AnyDelivery) -> InFlightJob:
        """Return the job of a delivery, new from its publisher or on its way. Raises TypeError if it holds none."""
        match delivery.body:
            case Work() as work:
                return InFlightJob(
                    delivery,
                    work.job,
                    work.attempts,
                    hop=work.hop + 1,
                    shadow=work.shadow,
                    intake=work.intake,
                    near=work.near,
                    assigned=work.assigned,
                )
            case Job() as job:
                return InFlightJob(delivery, job)
            case Malformed():
                raise TypeError("a malformed message holds no job")

    def after(self, attempt: Attempt) -> InFlightJob:
        return InFlightJob(
            self.delivery,
            self.job,
            (*self.attempts, attempt),
            attempt,
            self.hop,
            shadow=self.shadow,
            intake=self.intake,
            near=self.near,
            assigned=self.assigned,
            submitted=self.submitted,
        )

    def about_to_run(self, run: Run, now: float) -> InFlightJob:
        # A job from WORK has no `deposit` yet and is not `repeated`. `replace` takes three times as long.
        known = (self.delivery, self.job, self.attempts, self.fresh, self.hop, run.reason, run.probe, self.shadow)
        return InFlightJob(
            *known,
            intake=self.intake,
            taken_at=self.taken_at or now,
            near=self.near,
            assigned=self.assigned,
            submitted=self.submitted,
        )
