//! Times and tells each step of a containment.
//!
//! It refuses to lose an error: a step that failed is reported with what went wrong.

use std::sync::Mutex;

use exeunt_domain::{Instant, Outcome, StepReport};

use crate::ports::{Clock, Moment};

/// Collects step reports from several threads at once.
pub(crate) struct Recorder<'a> {
    clock: &'a dyn Clock,
    observe: &'a (dyn Fn(&Moment) + Sync),
    accepted: Instant,
    steps: Mutex<Vec<StepReport>>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(
        clock: &'a dyn Clock,
        observe: &'a (dyn Fn(&Moment) + Sync),
        accepted: Instant,
        steps: Vec<StepReport>,
    ) -> Self {
        Self { clock, observe, accepted, steps: Mutex::new(steps) }
    }

    /// Runs `work` as the step `name`; the errors that it returns are reported, joined.
    pub(crate) fn step<T>(
        &self,
        name: &'static str,
        work: impl FnOnce(&mut Vec<String>) -> T,
    ) -> T {
        self.step_told(name, |errors, _| work(errors))
    }

    /// The same, where the second list tells how it was done.
    pub(crate) fn step_told<T>(
        &self,
        name: &'static str,
        work: impl FnOnce(&mut Vec<String>, &mut Vec<String>) -> T,
    ) -> T {
        (self.observe)(&Moment::Begins(name));
        let began = self.clock.instant();
        let (mut errors, mut told) = (Vec::new(), Vec::new());
        let value = work(&mut errors, &mut told);
        let ended = self.clock.instant();
        errors.sort();
        errors.dedup();
        let report = StepReport {
            step: name.to_owned(),
            ms: ended.ms_since(began),
            at_ms: ended.ms_since(self.accepted),
            error: (!errors.is_empty()).then(|| errors.join("; ")),
            detail: (!told.is_empty()).then(|| told.join("; ")),
        };
        (self.observe)(&Moment::Ended(report.clone()));
        self.lock().push(report);
        value
    }

    pub(crate) fn reached(&self, outcome: Outcome) {
        (self.observe)(&Moment::Reached(outcome));
    }

    pub(crate) fn ms(&self) -> f64 {
        self.clock.instant().ms_since(self.accepted)
    }

    pub(crate) fn into_steps(self) -> Vec<StepReport> {
        let mut steps = self.steps.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        steps.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
        steps
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<StepReport>> {
        self.steps.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
