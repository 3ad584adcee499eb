//! Measurements, each beside its floor in the same run.
//!
//! It refuses a figure without its conditions: what is compared is interleaved, on this machine, now.

mod bare;
mod between;
mod check;
pub(crate) mod contain;
mod engine;
mod floor;
mod footprint;
mod order;
mod poll;
mod pressure;
mod revoke;
mod traps;
mod wire;

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::traps::Sprung;

/// The result of a bench, in the form that scripts read.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Measured {
    v: u16,
    bench: &'static str,
    figures: Map<String, Value>,
    floors: Map<String, Value>,
    ratios: Map<String, Value>,
    aims: Vec<Aim>,
    /// What a figure stands for, where its name does not say it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    traps: Vec<Sprung>,
}

/// One aim, and whether it was met.
#[derive(Clone, Debug, Serialize)]
pub struct Aim {
    name: &'static str,
    value: f64,
    limit: f64,
    met: bool,
}

/// Runs the bench of this name; `quick` is for a look, not for a figure.
///
/// # Errors
/// There is no such bench, or it could not be carried out.
pub fn run(name: &str, quick: bool) -> Result<Measured> {
    match name {
        "order" => order::run(quick),
        "footprint" => footprint::run(),
        "traps" => traps::run(quick),
        "contain" => contain::run(quick),
        "check" => check::run(quick),
        "revoke" => revoke::run(quick),
        "poll" => poll::run(quick),
        _ => bail!("there is no bench named {name:?}"),
    }
}

impl Measured {
    fn of(bench: &'static str) -> Self {
        Self { v: 1, bench, ..Self::default() }
    }

    fn note(&mut self, note: &'static str) {
        self.notes.push(note);
    }

    fn figure(&mut self, name: &str, value: f64) {
        self.figures.insert(name.to_owned(), json!(rounded(value)));
    }

    fn floor(&mut self, name: &str, value: f64) {
        self.floors.insert(name.to_owned(), json!(rounded(value)));
    }

    fn ratio(&mut self, name: &'static str, value: f64, limit: f64) {
        self.ratios.insert(name.to_owned(), json!(rounded(value)));
        self.aim(name, value, limit);
    }

    fn aim(&mut self, name: &'static str, value: f64, limit: f64) {
        let value = rounded(value);
        self.aims.push(Aim { name, value, limit, met: value <= limit });
    }

    fn at_least(&mut self, name: &'static str, value: f64, limit: f64) {
        self.aims.push(Aim { name, value: rounded(value), limit, met: value >= limit });
    }

    /// Whether every aim was met.
    #[must_use]
    pub fn met(&self) -> bool {
        self.aims.iter().all(|aim| aim.met)
    }

    /// The result for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut rows = vec![format!("bench {}", self.bench)];
        for (what, values) in [("", &self.figures), ("floor ", &self.floors)] {
            rows.extend(values.iter().map(|(name, value)| format!("  {what}{name}: {value}")));
        }
        rows.extend(self.aims.iter().map(|aim| {
            let met = if aim.met { "met" } else { "MISSED" };
            format!("  aim {}: {} (limit {}) {met}", aim.name, aim.value, aim.limit)
        }));
        rows.extend(self.notes.iter().map(|note| format!("  note: {note}")));
        rows.join("\n")
    }
}

/// The value below which `share` of the sorted samples lie, by the nearest rank.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let count = sorted.len();
    let rank = sorted.iter().enumerate().find(|(at, _)| {
        let below = u32::try_from(at + 1).map_or(f64::INFINITY, f64::from);
        let all = u32::try_from(count).map_or(f64::INFINITY, f64::from);
        below / all >= share
    });
    rank.map_or(f64::NAN, |(_, value)| *value)
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    quantile(&samples, 0.5)
}

/// Half and ninety-nine hundredths of the samples.
fn p50_p99(mut samples: Vec<f64>) -> (f64, f64) {
    samples.sort_by(f64::total_cmp);
    (quantile(&samples, 0.5), quantile(&samples, 0.99))
}

/// Plays a part for as long as it is needed, when `name` asks for one that benches start.
///
/// # Errors
/// It could not play it.
pub fn serve(name: &str) -> Option<Result<()>> {
    match name {
        bare::NAME => Some(bare::serve()),
        poll::PARKED => Some(poll::serve()),
        poll::CROWD => Some(poll::play()),
        _ => None,
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_quantiles_by_the_nearest_rank() {
        let samples = (1..=200).rev().map(f64::from).collect();
        assert_eq!(p50_p99(samples), (100.0, 198.0));
        assert_eq!(p50_p99(vec![7.0]), (7.0, 7.0));
    }

    #[test]
    fn an_aim_is_met_at_its_limit_and_missed_above() {
        let mut measured = Measured::of("order");
        measured.ratio("at", 2.0, 2.0);
        assert!(measured.met());
        measured.aim("above", 2.01, 2.0);
        assert!(!measured.met());
    }
}
