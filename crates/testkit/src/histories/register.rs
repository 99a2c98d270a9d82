//! One job as the pure life cycle has it: what a call does to it, and what it has to be answered.

use poolqueue_core::lifecycle::{Event, JobState, Transition, decide};
use poolqueue_core::{
    Attempt, Body, Change, Detail, Job, LastError, Output, Rejected, Target, lifecycle::Admission,
};

use super::NOW;
use super::record::Part;

/// What a store keeps of a job; nothing when there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Register(Option<Row>);

#[derive(Clone, Debug, PartialEq)]
struct Row {
    state: JobState,
    body: Body,
    output: Output,
    last_error: Option<LastError>,
}

impl Register {
    /// The job after this; `None` when the answer cannot be given to a job that is like this.
    pub(super) fn after(&self, part: &Part) -> Option<Register> {
        match part {
            Part::Insert(insert, answer) => self.inserted(&insert.admission, &insert.body, answer),
            Part::Change(change, answer) => self.changed(change, answer),
            Part::Delete(delete, answer) => match (&self.0, answer) {
                (None, Err(Rejected::NotFound { id })) if *id == delete.id => Some(self.clone()),
                (Some(row), Err(Rejected::NotFinal { id, status })) => {
                    let guarded = delete.only_from.is_some_and(|only| !only.contains(row.state.status));
                    let refused = guarded || !row.state.status.is_final();
                    let rightly = refused && (*id, *status) == (row.state.id, row.state.status);
                    rightly.then(|| self.clone())
                }
                (Some(row), Ok(id)) => {
                    let allowed = delete.only_from.is_none_or(|only| only.contains(row.state.status));
                    (allowed && row.state.status.is_final() && *id == row.state.id).then(Register::default)
                }
                _ => None,
            },
            Part::Claimed(assignee, job) => {
                let step = self.step(&Event::Claim { assignee: assignee.clone() }, None).ok()?;
                let after = self.stored(step, None);
                (after.job(Detail::Full).as_ref() == Some(job)).then_some(after)
            }
            Part::Read(_, detail, found) => (self.job(*detail) == *found).then(|| self.clone()),
            Part::Withdrawn(assignee, filter) => {
                let row = self.0.as_ref()?;
                let wanted = filter.matches(&row.state.labels);
                let step = self.step(&Event::Claim { assignee: assignee.clone() }, None).ok()?;
                wanted.then(|| self.stored(step, None))
            }
        }
    }

    /// The job after a withdrawn claim of this assignee's has given it back.
    pub(super) fn given_back(&self, part: &Part) -> Option<Register> {
        let (Part::Withdrawn(assignee, _), Some(row)) = (part, &self.0) else { return None };
        if row.state.assignee.as_ref() != Some(assignee) {
            return None;
        }
        let step = self.step(&Event::Undelivered, Some(row.state.attempt)).ok()?;
        Some(self.stored(step, None))
    }

    fn inserted(
        &self,
        admission: &Admission,
        body: &Body,
        answer: &Result<JobState, Rejected>,
    ) -> Option<Register> {
        match (&self.0, answer) {
            (Some(_), Err(Rejected::Duplicate { id })) if *id == admission.id => Some(self.clone()),
            (None, Ok(state)) => {
                // The one thing that is the store's to say.
                let expected = JobState::admit(admission, state.sequence, NOW);
                (expected == *state).then(|| {
                    let (state, body) = (expected, body.clone());
                    Register(Some(Row { state, body, output: Output::none(), last_error: None }))
                })
            }
            _ => None,
        }
    }

    fn changed(&self, change: &Change, answer: &Result<Transition, Rejected>) -> Option<Register> {
        let Some(row) = &self.0 else {
            let missing = Rejected::NotFound { id: change.target.id() };
            return (*answer == Err(missing)).then(|| self.clone());
        };
        let fence = match change.target {
            Target::Id(_) => None,
            Target::Lease(lease) => Some(lease.attempt),
        };
        let (id, status) = (row.state.id, row.state.status);
        let expected = if change.only_from.is_some_and(|only| !only.contains(status)) {
            Err(Rejected::Illegal { id, status, event: change.event.kind(status) })
        } else {
            decide(&row.state, &change.event, fence, NOW)
        };
        if expected != *answer {
            return None;
        }
        let output = match &change.event {
            Event::Complete { output } => Some(output),
            _ => None,
        };
        Some(expected.map_or_else(|_| self.clone(), |step| self.stored(step, output)))
    }

    /// A step of the store's own, which is fenced by the attempt it finds.
    fn step(&self, event: &Event, fence: Option<Attempt>) -> Result<Transition, ()> {
        let row = self.0.as_ref().ok_or(())?;
        decide(&row.state, event, Some(fence.unwrap_or(row.state.attempt)), NOW).map_err(drop)
    }

    fn stored(&self, step: Transition, output: Option<&Output>) -> Register {
        let mut after = self.clone();
        if let Some(row) = &mut after.0 {
            if !step.is_noop() {
                output.into_iter().for_each(|output| row.output = output.clone());
                row.last_error = step.error.or(row.last_error.take());
            }
            row.state = step.after;
        }
        after
    }

    fn job(&self, detail: Detail) -> Option<Job> {
        let row = self.0.as_ref()?;
        Some(match detail {
            Detail::State => Job::assemble(&row.state, None, Output::none(), None),
            Detail::Full => {
                let body = Some(row.body.clone());
                Job::assemble(&row.state, body, row.output.clone(), row.last_error.clone())
            }
        })
    }
}
