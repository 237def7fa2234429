//! A table beside `inet weft` that has no elements: its rules are all there is to it.

use super::listing::{Listing, Tally};
use super::nft::{Nft, NftError};
use super::ruleset::removal;

/// An installed table.
#[derive(Debug)]
pub(super) struct Side {
    /// Its family and name.
    table: [&'static str; 2],
    /// The commands that make it, or make it anew and keep its counters.
    text: String,
    installed: Listing,
}

impl Side {
    /// Puts it in place.
    ///
    /// # Errors
    /// [`NftError::Refused`]: the kernel cannot do it. Otherwise nft could not be asked.
    pub(super) async fn install(
        nft: &Nft,
        table: [&'static str; 2],
        text: String,
    ) -> Result<Self, NftError> {
        apply(nft, table, &text).await?;
        Ok(Self { table, text, installed: nft.expect_listing(table).await? })
    }

    /// Looks whether all is as it was installed, and puts it back. Tells whether it was not.
    ///
    /// # Errors
    /// nft was refused, or is gone.
    pub(super) async fn verify(&mut self, nft: &Nft) -> Result<bool, NftError> {
        let now = nft.state(self.table).await?;
        let as_before =
            |now: Listing| now.shape == self.installed.shape && now.quoted == self.installed.quoted;
        if now.is_some_and(as_before) {
            return Ok(false);
        }
        apply(nft, self.table, &self.text).await?;
        self.installed = nft.expect_listing(self.table).await?;
        Ok(true)
    }

    /// Makes it into what these commands say, which `changed` is what they have other than those before.
    ///
    /// # Errors
    /// nft was refused, or is gone.
    pub(super) async fn update(
        &mut self,
        nft: &Nft,
        text: String,
        changed: &str,
    ) -> Result<(), NftError> {
        self.text = text;
        match nft.run(changed).await {
            Ok(()) => {
                self.installed.quoted = nft.expect_listing(self.table).await?.quoted;
                Ok(())
            }
            // Somebody has removed it.
            Err(NftError::Refused(_)) => self.verify(nft).await.map(drop),
            Err(why) => Err(why),
        }
    }

    /// What was counted since it was made.
    ///
    /// # Errors
    /// nft was refused, or is gone.
    pub(super) async fn tally(&self, nft: &Nft) -> Result<Tally, NftError> {
        // Somebody has removed it: it is put back by the next look.
        Ok(nft.listing(self.table).await?.unwrap_or_default().tally)
    }
}

/// Makes, or makes anew; what cannot be kept of an earlier table is not.
async fn apply(nft: &Nft, table: [&str; 2], text: &str) -> Result<(), NftError> {
    match nft.run(text).await {
        // Adding first makes deleting succeed when there is nothing.
        Err(NftError::Refused(_)) => {
            let removal = removal(table);
            nft.run(&format!("add table {}\n{removal}{text}", table.join(" "))).await
        }
        outcome => outcome,
    }
}
