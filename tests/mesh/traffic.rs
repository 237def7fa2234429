use std::fmt;

/// What a process gave its sockets to send: payload of TCP, without headers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sent {
    /// Octets of `Output::Send`.
    pub octets: u64,
    /// How many of them there were.
    pub batches: u64,
}

impl Sent {
    /// What was sent since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self { octets: self.octets - before.octets, batches: self.batches - before.batches }
    }
}

/// The same figure of many peers: who sends most, and who is in the middle.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// The most.
    pub max: f64,
    /// The middle.
    pub median: f64,
    /// The mean.
    pub mean: f64,
}

impl Cost {
    /// Of these figures.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let Some(max) = figures.last().copied() else { return Self::default() };
        #[expect(clippy::cast_precision_loss, reason = "a few thousand figures")]
        let mean = figures.iter().sum::<f64>() / figures.len() as f64;
        Self { max, median: figures[figures.len() / 2], mean }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "max {:.0}, median {:.0}, mean {:.0}", self.max, self.median, self.mean)
    }
}
