//! What people may change about a peer while it runs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Mesh;
use super::own::announcement;

impl Mesh {
    /// What people call this peer from now on.
    pub fn set_nickname(&mut self, nickname: String, now: Duration) {
        self.config.nickname = nickname;
        self.describe(now);
    }

    /// What others may want to know from now on. As at the start, there is room for a few short ones.
    pub fn set_labels(&mut self, labels: BTreeMap<String, String>, now: Duration) {
        self.config.labels = labels;
        self.describe(now);
    }

    /// Whether we hold address leases under this name, from now on.
    pub fn set_leases(&mut self, leases: bool, now: Duration) {
        self.config.leases = leases;
        self.describe(now);
    }

    /// Brings our record into line with what we are told to say, if it is not.
    fn describe(&mut self, now: Duration) {
        let says = announcement(&self.config, self.own.incarnation, self.own.uid);
        let own = &self.own;
        let same =
            (&says.nickname, &says.labels, says.leases) == (&own.nickname, &own.labels, own.leases);
        if self.stopped || same {
            return;
        }
        self.own.nickname = says.nickname;
        self.own.labels = says.labels;
        self.own.leases = says.leases;
        self.publish_soon(false, now);
    }
}
