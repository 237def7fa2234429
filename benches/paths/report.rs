//! Medians and ratios, as a table for people and as JSON for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::measure::Sample;
use crate::overlay::{Kind, Overlay};

/// All that a run has found.
#[derive(Debug)]
pub(crate) struct Report {
    runs: u64,
    seconds: u64,
    kernel: String,
    cores: usize,
    filters: BTreeMap<String, String>,
    samples: BTreeMap<Kind, Vec<Sample>>,
}

/// A number that is compared.
struct Column {
    title: &'static str,
    name: &'static str,
    digits: usize,
    of: fn(&Sample) -> f64,
}

const COLUMNS: [Column; 5] = [
    Column { title: "TCP Mbit/s", name: "tcp_mbits", digits: 0, of: |it| it.tcp_mbits },
    Column { title: "64 B packets/s", name: "udp_received", digits: 0, of: |it| it.udp_received },
    Column { title: "(of sent)", name: "udp_sent", digits: 0, of: |it| it.udp_sent },
    Column { title: "p50 us", name: "rtt_p50", digits: 1, of: |it| it.rtt_p50 },
    Column { title: "p99 us", name: "rtt_p99", digits: 1, of: |it| it.rtt_p99 },
];

impl Report {
    pub(crate) fn new(overlay: &Overlay, runs: u64, seconds: u64) -> Result<Self> {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned();
        let cores = thread::available_parallelism()?.get();
        let (filters, samples) = (overlay.filters()?, BTreeMap::new());
        Ok(Self { runs, seconds, kernel, cores, filters, samples })
    }

    /// `bridge-nf-call-*` as they are for all paths.
    pub(crate) fn filters(&self) -> &BTreeMap<String, String> {
        &self.filters
    }

    pub(crate) fn add(&mut self, kind: Kind, sample: Sample) {
        self.samples.entry(kind).or_default().push(sample);
    }

    /// Writes `target/bench/paths.json` and returns its path.
    pub(crate) fn write(&self) -> Result<PathBuf> {
        let exe = std::env::current_exe()?;
        // target/release/deps/paths-HASH
        let target = exe.ancestors().nth(3).context("this program lies nowhere")?;
        let dir = target.join("bench");
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let path = dir.join("paths.json");
        fs::write(&path, format!("{:#}\n", self.json()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn json(&self) -> Value {
        let mut paths = serde_json::Map::new();
        for (kind, samples) in &self.samples {
            let mut medians = serde_json::Map::new();
            let mut ratios = serde_json::Map::new();
            for column in &COLUMNS {
                let name = column.name.to_owned();
                medians.insert(name.clone(), self.median(*kind, column).into());
                for to in [Kind::Kernel, Kind::Ovs] {
                    let ratio = self.ratio(*kind, to, column).into();
                    ratios.insert(format!("{name}_to_{to}"), ratio);
                }
            }
            let path = json!({ "median": medians, "ratio": ratios, "samples": samples });
            paths.insert(kind.to_string(), path);
        }
        let Self { runs, seconds, kernel, cores, filters, .. } = self;
        json!({
            "kernel": kernel,
            "cores": cores,
            "bridge_nf": filters,
            "runs": runs,
            "seconds": seconds,
            "paths": paths,
        })
    }

    fn median(&self, kind: Kind, column: &Column) -> Option<f64> {
        let mut values: Vec<_> = self.samples.get(&kind)?.iter().map(column.of).collect();
        values.sort_unstable_by(f64::total_cmp);
        let middle = values.get(values.len() / 2)?;
        let before = values.get(values.len().checked_sub(1)? / 2)?;
        Some(f64::midpoint(*before, *middle))
    }

    fn ratio(&self, kind: Kind, to: Kind, column: &Column) -> Option<f64> {
        Some(self.median(kind, column)? / self.median(to, column)?)
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, title: &str, cells: &[String]) -> fmt::Result {
        write!(f, "{title:<26}")?;
        for cell in cells {
            write!(f, "{cell:>16}")?;
        }
        writeln!(f)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, seconds, kernel, cores, .. } = self;
        writeln!(f, "Linux {kernel}, {cores} cores, {runs} rounds of {seconds} s, medians")?;
        let filters: Vec<_> =
            self.filters.iter().map(|(name, it)| format!("{name}={it}")).collect();
        writeln!(f, "{}\n", filters.join(" "))?;
        self.row(f, "", &COLUMNS.map(|column| column.title.to_owned()))?;
        for kind in self.samples.keys() {
            let cell = |column: &Column| match self.median(*kind, column) {
                Some(median) => format!("{median:.*}", column.digits),
                None => String::new(),
            };
            self.row(f, kind.title(), &COLUMNS.each_ref().map(cell))?;
        }
        writeln!(f)?;
        for kind in self.samples.keys() {
            for to in [Kind::Kernel, Kind::Ovs].into_iter().filter(|to| to != kind) {
                let cell = |column: &Column| match self.ratio(*kind, to, column) {
                    Some(ratio) => format!("{ratio:.2}"),
                    None => String::new(),
                };
                if self.samples.contains_key(&to) {
                    let title = format!("{} : {to}", kind.title());
                    self.row(f, &title, &COLUMNS.each_ref().map(cell))?;
                }
            }
        }
        Ok(())
    }
}
