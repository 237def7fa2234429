//! Taking the guard away.

use super::nft::Nft;
use super::{Guard, GuardError, TABLES, ruleset};

impl Guard {
    /// The tables that are there.
    ///
    /// # Errors
    /// nft was refused, or is gone.
    pub async fn tables() -> Result<Vec<String>, GuardError> {
        let nft = Nft::default();
        let mut found = Vec::new();
        for table in TABLES {
            let state =
                nft.state(table).await.map_err(|why| GuardError { what: "look for", why })?;
            found.extend(state.map(|_| table.join(" ")));
        }
        Ok(found)
    }

    /// Takes the tables away: only when nothing listens any more. Tells whether there was one.
    ///
    /// # Errors
    /// nft was refused, or is gone.
    pub async fn remove() -> Result<bool, GuardError> {
        let nft = Nft::default();
        let what = |why| GuardError { what: "remove", why };
        let mut removed = false;
        for table in TABLES {
            if nft.state(table).await.map_err(what)?.is_some() {
                nft.run(&ruleset::removal(table)).await.map_err(what)?;
                removed = true;
            }
        }
        Ok(removed)
    }
}
