//! Our own record: what it says, and when it is published.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Mesh;
use crate::directory::{Entry, Standing};
use crate::wire::{Announcement, MAX_COUNT, MAX_NAME, Record, clip, next_count};
use crate::{Config, PeerName, PeerUid};

/// A changed record is published after this time, so that changes that come together go together.
pub(super) const PUBLISH: Duration = Duration::from_millis(200);
/// The longest time between two records of a peer whose links keep changing.
const PUBLISH_SLOWEST: Duration = Duration::from_secs(5);
/// A lost link does not wait so long. In the long run there is a record in this time,
const URGENT: Duration = Duration::from_secs(1);
/// and this much of it may be used at once: ten neighbours that lose their power together are noticed within a second.
const URGENT_BURST: Duration = Duration::from_secs(8);
/// A link that the other end has closed on purpose is not ours to tell of, unless that end has not in this time.
const LATE: Duration = Duration::from_secs(1);
/// A data path that does not work is published after this time.
const UNREACHED_AFTER: Duration = Duration::from_secs(10);
/// Exceptions a record lists; with more it says `isolated`.
const MAX_UNREACHED: usize = 32;
/// Addresses of our own that we tell.
pub(super) const MAX_ADDRESSES: usize = 8;
/// Labels we tell.
const MAX_LABELS: usize = 8;
/// More links than this do not fit into a record.
pub(super) const MAX_DEGREE: usize = 48;

/// When our record is published next.
#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) at: Option<Duration>,
    last: Duration,
    pause: Duration,
    /// When all that was published would have been, with `URGENT` between.
    paid: Duration,
    /// We have stood still since the last record.
    pub(super) overslept: bool,
    /// Links that their other ends have closed, and when we look whether those have said so.
    late: BTreeMap<PeerName, Duration>,
}

impl Publisher {
    pub(super) fn new(now: Duration) -> Self {
        let late = BTreeMap::new();
        Self { at: None, last: now, pause: PUBLISH, paid: now, overslept: false, late }
    }

    /// When the next record may be published.
    fn earliest(&self, urgent: bool) -> Duration {
        let at_leisure = self.last + self.pause;
        if urgent { at_leisure.min(self.paid.saturating_sub(URGENT_BURST)) } else { at_leisure }
    }

    fn published(&mut self, now: Duration) {
        let quiet = now >= self.last + 4 * self.pause;
        self.pause = if quiet { PUBLISH } else { (self.pause * 2).min(PUBLISH_SLOWEST) };
        self.last = now;
        self.paid = self.paid.max(now) + URGENT;
    }
}

impl Mesh {
    /// Whether frames reach a peer directly. That they do not is published after 10 s, until it is told otherwise, or the peer
    /// restarts or is gone. Of a peer that is neither up nor silent nothing is noted.
    pub fn handle_data_path(&mut self, name: PeerName, direct: bool, now: Duration) {
        if direct {
            self.exceptions.remove(&name);
        } else if let Some(entry) = self.directory.get(name)
            && name != self.own.name
            && matches!(entry.standing, Standing::Up | Standing::Silent)
        {
            let start = entry.record.uid();
            self.exceptions.entry(name).or_insert((start, now));
        }
    }

    pub(super) fn publish_exceptions(&mut self, now: Duration) {
        let lasting = self
            .exceptions
            .iter()
            .filter(|&(_, &(_, since))| now >= since + UNREACHED_AFTER)
            .map(|(&name, _)| name);
        let unreached: std::collections::BTreeSet<_> = lasting.take(MAX_UNREACHED + 1).collect();
        let isolated = unreached.len() > MAX_UNREACHED;
        let unreached = unreached.into_iter().take(MAX_UNREACHED).collect();
        if (isolated, &unreached) != (self.own.isolated, &self.own.unreached) {
            self.own.isolated = isolated;
            self.own.unreached = unreached;
            self.publish_soon(false, now);
        }
    }

    /// Publishes our record soon; lost links, and those to who is back, sooner than others, since others wait for them.
    pub(super) fn publish_soon(&mut self, urgent: bool, now: Duration) {
        let at = self.publisher.earliest(urgent).max(now + PUBLISH);
        self.publisher.at = Some(self.publisher.at.map_or(at, |planned| planned.min(at)));
    }

    /// We have stood still, and somebody new is about to be told our record: not one with links that are lost. It would bring
    /// back the dead of hours ago, until the next one is out.
    pub(super) fn publish_lost(&mut self, now: Duration) {
        let published = self.directory.get(self.own.name);
        let lost = published.is_some_and(|entry| {
            entry.record.links().any(|link| !self.links.contains_key(&link.name))
        });
        if lost && self.publisher.overslept && self.publisher.at.is_some() {
            self.publish(now);
        }
    }

    pub(super) fn publish(&mut self, now: Duration) {
        self.publisher.at = None;
        let published = self.directory.get(self.own.name).map(|entry| &entry.record);
        // A link that came and went in the meantime is nobody's business.
        if published == Some(&record_of(&self.own)) {
            return;
        }
        self.publisher.published(now);
        self.publisher.overslept = false;
        self.next_version();
        self.directory.merge(record_of(&self.own), None, now);
        self.pass_on(self.own.name, None, now);
        self.apply_changes(now);
    }

    /// A link is down that the other end has closed on purpose: it is said together with the next thing there is to say, or by
    /// itself if the other end has not.
    pub(super) fn unpublish_late(&mut self, name: PeerName, now: Duration) {
        self.own.links.retain(|link| link.name != name);
        self.publisher.late.insert(name, now + LATE);
    }

    /// Says what nobody else has said.
    pub(super) fn publish_late(&mut self, now: Duration) {
        let due: Vec<_> =
            self.publisher.late.extract_if(.., |_, at| *at <= now).map(|(name, _)| name).collect();
        let states = |entry: &Entry| {
            matches!(entry.standing, Standing::Up | Standing::Silent)
                && entry.record.links().any(|link| link.name == self.own.name)
        };
        let stated = |name: &PeerName| {
            !self.links.contains_key(name) && self.directory.get(*name).is_some_and(states)
        };
        if due.iter().any(stated) {
            self.publish_soon(true, now);
        }
    }

    /// A link is down. Others wait for that if they know of it; if they do not, whatever else is to be published goes at once,
    /// since a peer whose links are being exchanged for others must not be without any for as long as others come and go.
    pub(super) fn unpublish(&mut self, name: PeerName, now: Duration) {
        self.own.links.retain(|link| link.name != name);
        let published = self.directory.get(self.own.name);
        let known =
            published.is_some_and(|entry| entry.record.links().any(|link| link.name == name));
        if known || self.publisher.at.is_some() {
            self.publish_soon(true, now);
        }
    }

    fn next_version(&mut self) {
        if self.own.version < MAX_COUNT {
            self.own.version += 1;
        } else {
            self.own.incarnation = next_count(self.own.incarnation);
            self.own.version = 1;
        }
    }
}

/// Our first record of this life.
pub(super) fn announcement(config: &Config, incarnation: u64, uid: PeerUid) -> Announcement {
    let mut addresses = config.addresses.clone();
    addresses.truncate(MAX_ADDRESSES);
    let labels = config.labels.iter().take(MAX_LABELS);
    let labels = labels
        .map(|(key, value)| (clip(key, MAX_NAME).to_owned(), clip(value, MAX_NAME).to_owned()))
        .collect();
    Announcement {
        explicit: config.explicit,
        leases: config.leases,
        started: config.started,
        nickname: clip(&config.nickname, MAX_NAME).to_owned(),
        addresses,
        labels,
        capabilities: config.capabilities,
        ..Announcement::new(config.name, uid, incarnation)
    }
}

/// The record that an announcement makes.
#[expect(
    clippy::expect_used,
    reason = "`announcement` cuts what could be too long, MAX_DEGREE and MAX_UNREACHED the rest"
)]
pub(super) fn record_of(own: &Announcement) -> Record {
    own.emit().expect("an announcement within its limits")
}
