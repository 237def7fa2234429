use std::time::Duration;

use super::{Directory, Entry, Standing};
use crate::wire::Record;

impl Directory {
    /// Goes on under another name, with this record. Nobody is reached any more, so who was up is silent.
    pub(crate) fn rename(&mut self, own: Record, now: Duration) {
        if let Some(former) = self.peers.remove(&self.own) {
            self.digest.toggle(self.own, former.record.stamp().hash);
            for far in former.neighbours {
                if let Some(far) = self.peers.get_mut(&far) {
                    far.neighbours.remove(&self.own);
                }
            }
        }
        self.own = own.name();
        self.digest.toggle(self.own, own.stamp().hash);
        let told = Some(own.uid());
        self.peers.insert(self.own, Entry { told, ..Entry::new(own, Standing::Up, now) });
        self.generation += 1;
        self.stale = true;
        self.settle(now);
    }
}
