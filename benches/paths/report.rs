//! Medians, ratios and bounds, as tables for people and as JSON for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::bounds::{BOUNDS, Bound};
use crate::figure::{Figure, Figures};
use crate::overlay::Kind;
use crate::plot;
use crate::scenario::Scenario;

/// Paths that the others are compared to.
const YARDSTICKS: [Kind; 2] = [Kind::Kernel, Kind::Ovs];

/// More cores than this with others' work, and round trips no longer wake a sleeping processor.
const QUIET: f64 = 0.2;

/// One measurement, and what weft-switch says was lost meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    pub(crate) figures: Figures,
    pub(crate) losses: BTreeMap<String, u64>,
}

/// All that a run has found.
#[derive(Debug)]
pub(crate) struct Report {
    runs: u64,
    seconds: u64,
    kernel: String,
    cores: usize,
    filters: BTreeMap<String, String>,
    background: Vec<f64>,
    trials: BTreeMap<(Scenario, Kind), Vec<Trial>>,
}

impl Report {
    pub(crate) fn new(filters: BTreeMap<String, String>, runs: u64, seconds: u64) -> Result<Self> {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned();
        let cores = thread::available_parallelism()?.get();
        let (background, trials) = (Vec::new(), BTreeMap::new());
        Ok(Self { runs, seconds, kernel, cores, filters, background, trials })
    }

    /// Cores that others kept busy before a round.
    pub(crate) fn add_background(&mut self, cores: f64) {
        self.background.push(cores);
    }

    pub(crate) fn add(&mut self, scenario: Scenario, kind: Kind, trial: Trial) {
        self.trials.entry((scenario, kind)).or_default().push(trial);
    }

    /// Writes `paths.json` and `paths.svg` to `target/bench/` and returns their paths.
    pub(crate) fn write(&self) -> Result<[PathBuf; 2]> {
        let exe = std::env::current_exe()?;
        // target/release/deps/paths-HASH
        let target = exe.ancestors().nth(3).context("this program lies nowhere")?;
        let dir = target.join("bench");
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let (json, svg) = (dir.join("paths.json"), dir.join("paths.svg"));
        write(&json, &format!("{:#}\n", self.json()))?;
        write(&svg, &plot::draw(self))?;
        Ok([json, svg])
    }

    /// The scenarios that were measured.
    pub(crate) fn scenarios(&self) -> BTreeSet<Scenario> {
        self.trials.keys().map(|(scenario, _)| *scenario).collect()
    }

    /// The paths that a scenario was measured on.
    pub(crate) fn kinds(&self, scenario: Scenario) -> impl Iterator<Item = Kind> {
        let here = self.trials.keys().filter(move |(it, _)| *it == scenario);
        here.map(|(_, kind)| *kind)
    }

    /// The median of a number over the rounds.
    pub(crate) fn median(&self, scenario: Scenario, kind: Kind, figure: Figure) -> Option<f64> {
        let trials = self.trials.get(&(scenario, kind))?;
        let mut values: Vec<_> =
            trials.iter().filter_map(|trial| trial.figures.get(&figure).copied()).collect();
        values.sort_unstable_by(f64::total_cmp);
        let middle = values.get(values.len() / 2)?;
        let before = values.get(values.len().checked_sub(1)? / 2)?;
        Some(f64::midpoint(*before, *middle))
    }

    /// One path's median over another's.
    pub(crate) fn ratio(
        &self,
        scenario: Scenario,
        [kind, to]: [Kind; 2],
        figure: Figure,
    ) -> Option<f64> {
        let below = self.median(scenario, to, figure).filter(|it| *it > 0.0)?;
        Some(self.median(scenario, kind, figure)? / below)
    }

    /// What is bounded, as it was measured.
    fn bounded(&self, bound: &Bound) -> Option<f64> {
        match bound.over {
            Some(to) => self.ratio(bound.scenario, [bound.kind, to], bound.figure),
            None => self.median(bound.scenario, bound.kind, bound.figure),
        }
    }

    /// What weft-switch says was lost on a path, over all rounds.
    fn losses(&self, scenario: Scenario, kind: Kind) -> BTreeMap<&str, u64> {
        let mut sums = BTreeMap::new();
        for trial in self.trials.get(&(scenario, kind)).into_iter().flatten() {
            for (name, count) in &trial.losses {
                *sums.entry(name.as_str()).or_default() += count;
            }
        }
        sums
    }

    fn json(&self) -> Value {
        let mut scenarios = Map::new();
        for scenario in self.scenarios() {
            let paths: Map<_, _> = self
                .kinds(scenario)
                .map(|kind| (kind.to_string(), self.path_json(scenario, kind)))
                .collect();
            let about = json!({ "title": scenario.title(), "mtu": scenario.mtu(), "paths": paths });
            scenarios.insert(scenario.to_string(), about);
        }
        let bounds: Vec<_> = BOUNDS.iter().filter_map(|bound| self.bound_json(bound)).collect();
        let Self { runs, seconds, kernel, cores, filters, background, .. } = self;
        json!({
            "kernel": kernel,
            "cores": cores,
            "bridge_nf": filters,
            "runs": runs,
            "seconds": seconds,
            "background_cores": background,
            "scenarios": scenarios,
            "bounds": bounds,
        })
    }

    fn path_json(&self, scenario: Scenario, kind: Kind) -> Value {
        let (mut medians, mut ratios) = (Map::new(), Map::new());
        for figure in scenario.figures() {
            let median = self.median(scenario, kind, *figure);
            medians.insert(figure.name().to_owned(), median.into());
            for to in YARDSTICKS.into_iter().filter(|_| figure.compared()) {
                let ratio = self.ratio(scenario, [kind, to], *figure);
                ratios.insert(format!("{}_to_{to}", figure.name()), ratio.into());
            }
        }
        let samples = self.trials.get(&(scenario, kind)).into_iter().flatten();
        let samples: Vec<_> = samples.map(|trial| named(&trial.figures)).collect();
        let losses = self.losses(scenario, kind);
        json!({ "median": medians, "ratio": ratios, "losses": losses, "samples": samples })
    }

    fn bound_json(&self, bound: &Bound) -> Option<Value> {
        let value = self.bounded(bound)?;
        Some(json!({
            "scenario": bound.scenario.name(),
            "path": bound.kind.name(),
            "figure": bound.figure.name(),
            "over": bound.over.map(Kind::name),
            "value": value,
            "limit": bound.limit,
            "goal": bound.goal,
            "verdict": bound.verdict(value),
        }))
    }

    fn table(&self, f: &mut fmt::Formatter<'_>, scenario: Scenario) -> fmt::Result {
        writeln!(f, "{scenario}: {}", scenario.title())?;
        write!(f, "  {:<19}", "")?;
        for figure in scenario.figures() {
            write!(f, "{:>13}", figure.title())?;
            if figure.compared() {
                write!(f, "{:>9}{:>7}", ": kernel", ": ovs")?;
            }
        }
        writeln!(f)?;
        for kind in self.kinds(scenario) {
            write!(f, "  {:<19}", kind.title())?;
            for figure in scenario.figures() {
                let median = self.median(scenario, kind, *figure);
                write!(f, "{:>13}", or_dash(median, figure.digits()))?;
                if figure.compared() {
                    let ratio = |to| or_dash(self.ratio(scenario, [kind, to], *figure), 2);
                    write!(f, "{:>9}{:>7}", ratio(Kind::Kernel), ratio(Kind::Ovs))?;
                }
            }
            writeln!(f)?;
        }
        for kind in self.kinds(scenario) {
            let losses = self.losses(scenario, kind);
            if !losses.is_empty() {
                let all: Vec<_> = losses.iter().map(|(name, it)| format!("{name} {it}")).collect();
                writeln!(f, "  {} lost: {}", kind.title(), all.join(", "))?;
            }
        }
        for bound in BOUNDS.iter().filter(|bound| bound.scenario == scenario) {
            self.line(f, bound)?;
        }
        writeln!(f)
    }

    fn line(&self, f: &mut fmt::Formatter<'_>, bound: &Bound) -> fmt::Result {
        let Some(value) = self.bounded(bound) else { return Ok(()) };
        let over = bound.over.map(|kind| format!(" over {}", kind.title())).unwrap_or_default();
        let what = format!("{} {}{over}", bound.kind.title(), bound.figure.title());
        let side = if bound.less() { "at most" } else { "at least" };
        let Bound { limit, goal, .. } = bound;
        let verdict = bound.verdict(value);
        writeln!(f, "  {what:<44}{value:>7.2}   {side} {limit}, go for {goal}: {verdict}")
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (figure, value)) in self.figures.iter().enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            write!(f, "{comma}{} {value:.*}", figure.title(), figure.digits())?;
        }
        for (name, count) in &self.losses {
            write!(f, "; {name} {count}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, seconds, kernel, cores, .. } = self;
        writeln!(f, "Linux {kernel}, {cores} cores, {runs} rounds of {seconds} s, medians")?;
        let filters: Vec<_> =
            self.filters.iter().map(|(name, it)| format!("{name}={it}")).collect();
        writeln!(f, "{}", filters.join(" "))?;
        let others = self.background.iter().copied().fold(0.0, f64::max);
        if others > QUIET {
            writeln!(f, "CAREFUL: others kept up to {others:.2} cores busy; measure again alone")?;
        }
        writeln!(f)?;
        self.scenarios().into_iter().try_for_each(|scenario| self.table(f, scenario))
    }
}

fn named(figures: &Figures) -> BTreeMap<&'static str, f64> {
    figures.iter().map(|(figure, value)| (figure.name(), *value)).collect()
}

fn or_dash(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.digits$}"))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
