//! What peers say of stations.

use std::time::Duration;

use peer_mesh::PeerName;

use super::{Node, Output, Word};
use crate::station::{Item, Merged, emit, parse};

impl Node {
    pub(super) fn stations_told(
        &mut self,
        via: PeerName,
        message: &[u8],
        now: Duration,
        outputs: &mut Vec<Output>,
    ) {
        let items = match parse(message) {
            Ok(items) => items,
            Err(bad) => {
                self.counts.malformed += 1;
                outputs.push(Output::Say(Word::Malformed(via, bad)));
                return;
            }
        };
        let mut news = Vec::new();
        for item in items {
            match self.stations.merge(item.clone(), now) {
                Merged::New => {
                    self.counts.merged += 1;
                    self.merged(&item, now);
                    news.push(item);
                }
                Merged::Known => self.counts.known += 1,
                Merged::Full => {
                    self.counts.full += 1;
                    outputs.push(Output::Say(Word::Full(item.owner)));
                }
            }
        }
        self.stations_changed |= !news.is_empty();
        let messages = emit(news).into_iter();
        outputs.extend(messages.map(|message| Output::Broadcast { message, except: Some(via) }));
    }

    /// Something was news: it may be about a station of ours.
    fn merged(&mut self, item: &Item, now: Duration) {
        let Item { owner, mac, said } = item;
        if *owner == self.own {
            self.told_of_our_own(*mac, said, now);
        } else if self.stations.owner(*mac) == Some(*owner) && self.local.leave(*mac) {
            // It has moved there. Were it to come back later, nobody shall believe that it was here all the time.
            self.withdraw(*mac, now);
        }
    }
}
